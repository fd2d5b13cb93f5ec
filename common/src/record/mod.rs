//! Records: commands, read markers and signals on Kafka. The one module tree that knows their bytes, keys and headers.
//!
//! A value is versioned JSON; headers carry `traceparent` and the schema version. A record is decoded again before it
//! is believed: whatever stands on a topic may come from anywhere.
//!
//! | topic | record | key |
//! |---|---|---|
//! | `chat-messages` | [`Record`]: what durably changes a room | room id |
//! | `chat-read-events` | [`Marker`]: how far somebody has read | room id |
//! | `chat-presence` | [`Signal`]: sessions that open and close, typing | user id |
//! | `chat-messages-dlt` | what the consumer could take from none of them, as it was, and its [`origin`] | its own |

mod marker;
pub mod origin;
mod reply;
mod signal;

pub use marker::Marker;
pub use reply::ReplyTo;
pub use signal::{Signal, SignalBody};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::{ClientMessageId, CommandId, MessageId, RoomId, UserId};
use crate::kafka_event::Header;
use crate::room::Role;
use crate::telemetry::trace::TraceContext;
use crate::text::{Content, RoomName};
use crate::time::Time;

/// The topic of records that no consumer could take.
pub const DEAD_LETTER_TOPIC: &str = "chat-messages-dlt";
/// The version of the schema below; another one is undecodable.
pub const SCHEMA_VERSION: u32 = 1;
/// The header that carries the schema version.
const SCHEMA_HEADER: &str = "madang-schema";
/// The header that carries the W3C trace context.
const TRACE_HEADER: &str = "traceparent";

/// The headers of a record of ours, which belongs to a trace.
#[must_use]
pub fn headers(trace: Option<&TraceContext>) -> Vec<Header> {
    let schema = (SCHEMA_HEADER.to_owned(), Some(SCHEMA_VERSION.to_string().into_bytes()));
    let trace = trace.map(|trace| (TRACE_HEADER.to_owned(), Some(trace.traceparent().into_bytes())));
    [schema].into_iter().chain(trace).collect()
}

/// The trace that a record belongs to.
#[must_use]
pub fn trace(headers: &[Header]) -> Option<TraceContext> {
    let (_, value) = headers.iter().find(|(name, _)| name == TRACE_HEADER)?;
    TraceContext::of_traceparent(std::str::from_utf8(value.as_deref()?).ok()?)
}

/// The room that a record is about by its key, whatever else it says.
#[must_use]
pub fn room(topic: &str, key: Option<&[u8]>) -> Option<RoomId> {
    match topic {
        Record::TOPIC | Marker::TOPIC => std::str::from_utf8(key?).ok()?.parse().ok(),
        _ => None,
    }
}

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
    /// Say something else instead.
    #[serde(rename = "message.edit")]
    Edit {
        /// One's own message.
        message_id: MessageId,
        /// What is said now.
        content: Content,
    },
    /// Take a message back.
    #[serde(rename = "message.delete")]
    Delete {
        /// One's own message, or anybody's for an admin.
        message_id: MessageId,
    },
    /// Give the group another name.
    #[serde(rename = "room.rename")]
    Rename {
        /// The name.
        name: RoomName,
    },
    /// Make somebody a member.
    #[serde(rename = "member.invite")]
    Invite {
        /// Who.
        user_id: UserId,
    },
    /// Be a member no more.
    #[serde(rename = "member.leave")]
    Leave {
        /// Who becomes an owner at the same moment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        successor: Option<UserId>,
    },
    /// Remove somebody.
    #[serde(rename = "member.kick")]
    Kick {
        /// Who.
        user_id: UserId,
    },
    /// Let somebody do more, or less.
    #[serde(rename = "member.role")]
    ChangeRole {
        /// Who.
        user_id: UserId,
        /// What they may do from now on.
        role: Role,
    },
}

/// A record of any of the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyRecord {
    /// Of `chat-messages`.
    Room(Record),
    /// Of `chat-read-events`.
    Marker(Marker),
    /// Of `chat-presence`.
    Signal(Signal),
}

/// Reads a record of one of the topics.
///
/// # Errors
/// What about it is not ours.
pub fn decode(topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<AnyRecord, Undecodable> {
    match topic {
        Record::TOPIC => Record::decode(key, value).map(AnyRecord::Room),
        Marker::TOPIC => Marker::decode(key, value).map(AnyRecord::Marker),
        Signal::TOPIC => Signal::decode(key, value).map(AnyRecord::Signal),
        _ => Err(Undecodable::Topic),
    }
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
    /// The key is not the room id, or the user id, of the value.
    #[error("the key is not the one of the value")]
    Key,
    /// The topic takes other kinds.
    #[error("the topic does not carry this kind of record")]
    Topic,
}

/// A kind of record, and the topic that carries it.
pub trait OnTopic: Serialize + DeserializeOwned {
    /// The topic.
    const TOPIC: &'static str;

    /// The record's key: all that has one key stands on one partition.
    fn key(&self) -> &str;

    /// The record's value.
    fn value(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has string keys and no failing serializer")
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// What about it is not ours.
    fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, Undecodable> {
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
        if key == Some(record.key().as_bytes()) { Ok(record) } else { Err(Undecodable::Key) }
    }
}

impl OnTopic for Record {
    const TOPIC: &'static str = "chat-messages";

    fn key(&self) -> &str {
        self.room_id.as_str()
    }
}

impl RecordBody {
    /// The identity under which a retry is recognised, when the sender gave one.
    #[must_use]
    pub const fn client_message_id(&self) -> Option<&ClientMessageId> {
        match self {
            Self::Send { client_message_id, .. } => Some(client_message_id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::stomp::{Ack, Subscription, Version};
    use crate::codec::{Dialect, StompState};

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
        let queue = Subscription { id: "a\"b".parse().unwrap(), ack: Ack::Client };
        let state = StompState { version: Some(Version::V11), queues: vec![queue] };
        for dialect in [Dialect::Json, Dialect::Stomp(state)] {
            let connection = "TXzPWdnOjoECGjA=".parse().unwrap();
            record.reply_to = Some(ReplyTo { connection, dialect, receipt: Some("r".to_owned()), expires_at: 5 });
            assert_eq!(Record::decode(Some(b"room-1"), Some(&record.value())), Ok(record.clone()));
        }
        record.body = RecordBody::RoomCreated {};
        assert_eq!(Record::decode(Some(b"room-1"), Some(&record.value())), Ok(record));
    }

    #[test]
    fn every_kind_has_its_name_on_the_topic() {
        let user_id: UserId = "bob".parse().unwrap();
        let message_id: MessageId = "e.7".parse().unwrap();
        let content = Content::try_from("안녕".to_owned()).unwrap();
        let check = |body: RecordBody, kind: &str| {
            let record = Record { body, ..sample() };
            let text = String::from_utf8(record.value()).unwrap();
            assert!(text.contains(&format!(r#""kind":"{kind}""#)), "{text}");
            assert_eq!(decode(Record::TOPIC, Some(b"room-1"), Some(text.as_bytes())), Ok(AnyRecord::Room(record)));
        };
        check(RecordBody::Edit { message_id: message_id.clone(), content }, "message.edit");
        check(RecordBody::Delete { message_id }, "message.delete");
        check(RecordBody::Rename { name: RoomName::try_from("마당".to_owned()).unwrap() }, "room.rename");
        check(RecordBody::Invite { user_id: user_id.clone() }, "member.invite");
        check(RecordBody::Leave { successor: None }, "member.leave");
        check(RecordBody::Leave { successor: Some(user_id.clone()) }, "member.leave");
        check(RecordBody::Kick { user_id: user_id.clone() }, "member.kick");
        check(RecordBody::ChangeRole { user_id, role: Role::Admin }, "member.role");
        assert_eq!(decode("other", Some(b"room-1"), Some(&sample().value())), Err(Undecodable::Topic));
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
