//! Read markers on `chat-read-events`. Only the highest of a user in a room counts.

use serde::{Deserialize, Serialize};

use super::OnTopic;
use crate::id::{CommandId, RoomId, Seq, UserId};
use crate::time::Time;

/// How far somebody has read a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// The schema's version.
    pub v: u32,
    /// The command that said so.
    pub id: CommandId,
    /// The room, also the record's key.
    pub room_id: RoomId,
    /// Who: the token's subject.
    pub user_id: UserId,
    /// The last event that they have read, as they say; it may stand past the room's end.
    pub seq: Seq,
    /// When a function received the command.
    pub received_at: Time,
}

impl OnTopic for Marker {
    const TOPIC: &'static str = "chat-read-events";

    fn key(&self) -> &str {
        self.room_id.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SCHEMA_VERSION, Undecodable};

    #[test]
    fn decode_is_the_inverse_of_value() {
        let at = Time::from_unix_ms(1_708_326_702_080);
        let marker = Marker {
            v: SCHEMA_VERSION,
            id: CommandId::new(at, 1),
            room_id: "room-1".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            seq: Seq::new(7).unwrap(),
            received_at: at,
        };
        assert_eq!(Marker::decode(Some(b"room-1"), Some(&marker.value())), Ok(marker.clone()));
        assert_eq!(Marker::decode(Some(b"alice"), Some(&marker.value())), Err(Undecodable::Key));
        let text = String::from_utf8(marker.value()).unwrap();
        for wrong in ["-1", "9007199254740992", "1.5", "null"] {
            let text = text.replace(r#""seq":7"#, &format!(r#""seq":{wrong}"#));
            assert_eq!(Marker::decode(Some(b"room-1"), Some(text.as_bytes())), Err(Undecodable::Schema), "{wrong}");
        }
    }
}
