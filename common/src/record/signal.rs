//! Signals on `chat-presence`: what concerns a user's sessions, and typing. None of it is believed for more than
//! "look again": the user's consumer judges by the sessions as they are then, so a late or doubled record never wins.

use serde::{Deserialize, Serialize};

use super::OnTopic;
use crate::id::{RoomId, UserId};
use crate::time::Time;

/// Something about a user that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// The schema's version.
    pub v: u32,
    /// The user, also the record's key.
    pub user_id: UserId,
    /// When it was seen.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub body: SignalBody,
}

/// What a signal is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum SignalBody {
    /// A session was opened.
    #[serde(rename = "session.opened")]
    Opened {},
    /// A session was closed.
    #[serde(rename = "session.closed")]
    Closed {},
    /// The grace after the last session has passed, or a record may have been lost.
    #[serde(rename = "session.check")]
    Check {},
    /// The user is typing.
    #[serde(rename = "typing")]
    Typing {
        /// Where.
        room_id: RoomId,
    },
}

impl OnTopic for Signal {
    const TOPIC: &'static str = "chat-presence";

    fn key(&self) -> &str {
        self.user_id.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SCHEMA_VERSION, Undecodable};

    #[test]
    fn decode_is_the_inverse_of_value() {
        let check = |body: SignalBody, kind: &str| {
            let at = Time::from_unix_ms(1_708_326_702_080);
            let signal = Signal { v: SCHEMA_VERSION, user_id: "alice".parse().unwrap(), at, body };
            let text = String::from_utf8(signal.value()).unwrap();
            assert!(text.contains(&format!(r#""kind":"{kind}""#)), "{text}");
            assert_eq!(Signal::decode(Some(b"alice"), Some(text.as_bytes())), Ok(signal));
            assert_eq!(Signal::decode(Some(b"bob"), Some(text.as_bytes())), Err(Undecodable::Key));
        };
        check(SignalBody::Opened {}, "session.opened");
        check(SignalBody::Closed {}, "session.closed");
        check(SignalBody::Check {}, "session.check");
        check(SignalBody::Typing { room_id: "room-1".parse().unwrap() }, "typing");
    }
}
