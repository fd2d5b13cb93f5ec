//! Records: commands on Kafka. The one module that knows their bytes, keys and headers.
//!
//! A value is versioned JSON; the key is the room id; headers carry `traceparent` and the schema version. A record
//! is decoded again before it is believed: whatever stands on a topic may come from anywhere.

use serde::{Deserialize, Serialize};

use crate::id::{ClientMessageId, CommandId, ConnectionId, RoomId, UserId};
use crate::text::Content;
use crate::time::Time;

/// The version of the schema below; another one is undecodable.
pub const SCHEMA_VERSION: u32 = 1;
/// The header that carries the schema version.
pub const SCHEMA_HEADER: &str = "madang-schema";
/// The header that carries the W3C trace context.
pub const TRACE_HEADER: &str = "traceparent";

/// A command on its way to the room's one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The schema's version.
    pub v: u32,
    /// The command's identity everywhere.
    pub id: CommandId,
    /// The room, also the record's key.
    pub room_id: RoomId,
    /// The token's subject.
    pub sender: UserId,
    /// When a function received the command.
    pub received_at: Time,
    /// Where the outcome is told, when somebody waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
    /// What is wanted.
    #[serde(flatten)]
    pub body: RecordBody,
}

/// What a record wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum RecordBody {
    /// Say something.
    #[serde(rename = "message.send")]
    Send {
        /// The sender's identity of the message.
        client_message_id: ClientMessageId,
        /// What is said.
        content: Content,
    },
    /// A room was made (the table has it already): tell its members.
    #[serde(rename = "room.created")]
    RoomCreated {},
}

/// The connection that waits for an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyTo {
    /// The connection.
    pub connection: ConnectionId,
    /// When the token expires; afterwards the outcome is not told.
    pub expires_at: i64,
}

/// The bytes on a topic are not a record of ours. The reason carries nothing of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// No value (a tombstone), or an empty one.
    #[error("the record has no value")]
    NoValue,
    /// Not JSON of the schema.
    #[error("the value does not follow the schema")]
    Schema,
    /// Another version of the schema.
    #[error("the value has an unknown schema version")]
    Version,
    /// The key is not the room id of the value.
    #[error("the key is not the value's room id")]
    Key,
    /// The topic takes other kinds.
    #[error("the topic does not carry this kind of record")]
    Topic,
}

impl Record {
    /// The record's key: all of a room stands on one partition.
    #[must_use]
    pub fn key(&self) -> &str {
        self.room_id.as_str()
    }

    /// The record's value.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has string keys and no failing serializer")
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// What about it is not ours.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, Undecodable> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let value = value.filter(|value| !value.is_empty()).ok_or(Undecodable::NoValue)?;
        let version: Version = serde_json::from_slice(value).map_err(|_| Undecodable::Schema)?;
        if version.v != SCHEMA_VERSION {
            return Err(Undecodable::Version);
        }
        let record: Self = serde_json::from_slice(value).map_err(|_| Undecodable::Schema)?;
        if key != Some(record.key().as_bytes()) {
            return Err(Undecodable::Key);
        }
        Ok(record)
    }
}

impl RecordBody {
    /// The identity under which a retry is recognised, when the sender gave one.
    #[must_use]
    pub const fn client_message_id(&self) -> Option<&ClientMessageId> {
        match self {
            Self::Send { client_message_id, .. } => Some(client_message_id),
            Self::RoomCreated {} => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record {
            v: SCHEMA_VERSION,
            id: CommandId::new(Time::from_unix_ms(1_708_326_702_080), 1),
            room_id: "room-1".parse().unwrap(),
            sender: "alice".parse().unwrap(),
            received_at: Time::from_unix_ms(1_708_326_702_080),
            reply_to: None,
            body: RecordBody::Send {
                client_message_id: "c1".parse().unwrap(),
                content: Content::try_from("안녕".to_owned()).unwrap(),
            },
        }
    }

    #[test]
    fn decode_is_the_inverse_of_value() {
        let mut record = sample();
        assert_eq!(Record::decode(Some(b"room-1"), Some(&record.value())), Ok(record.clone()));
        record.reply_to = Some(ReplyTo { connection: "TXzPWdnOjoECGjA=".parse().unwrap(), expires_at: 5 });
        assert_eq!(Record::decode(Some(b"room-1"), Some(&record.value())), Ok(record.clone()));
        record.body = RecordBody::RoomCreated {};
        assert_eq!(Record::decode(Some(b"room-1"), Some(&record.value())), Ok(record));
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        let value = sample().value();
        let text = String::from_utf8(value.clone()).unwrap();
        let check = |key: Option<&[u8]>, value: Option<&[u8]>, expected| {
            assert_eq!(Record::decode(key, value), Err(expected));
        };
        check(Some(b"room-1"), None, Undecodable::NoValue);
        check(Some(b"room-1"), Some(b""), Undecodable::NoValue);
        check(None, Some(&value), Undecodable::Key);
        check(Some(b"room-2"), Some(&value), Undecodable::Key);
        check(Some(b"room-1"), Some(b"\xff\xfe\0"), Undecodable::Schema);
        check(Some(b"room-1"), Some("[".repeat(20_000).as_bytes()), Undecodable::Schema);
        check(Some(b"room-1"), Some(text.replace("\"v\":1", "\"v\":2").as_bytes()), Undecodable::Version);
        check(Some(b"room-1"), Some(text.replace("roomId", "room").as_bytes()), Undecodable::Schema);
        check(Some(b"room-1"), Some(text.replace("안녕", " ").as_bytes()), Undecodable::Schema);
        check(Some(b"room-1"), Some(text.replace("message.send", "message.sing").as_bytes()), Undecodable::Schema);
    }
}
