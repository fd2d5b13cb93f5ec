//! Identities. Each is a string with a private field and a checking constructor, so that no key is ever built
//! from unchecked input and nothing is checked twice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::digest::digest;
use crate::limits::{CONNECTION_ID_MAX_BYTES, ID_MAX_CHARACTERS, INTEGER_MAX, USER_ID_MAX_BYTES};
use crate::text::whole_number;

/// The text is not an identity of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid identity")]
pub struct InvalidId;

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $check:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identity as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(InvalidId) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A room: `[A-Za-z0-9._~-]{1,64}`.
    RoomId,
    is_unreserved
);
text_id!(
    /// A user: the token's subject, 1 to 128 bytes without control characters.
    UserId,
    |text| (1..=USER_ID_MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
);
text_id!(
    /// A live WebSocket connection, named by API Gateway; opaque to us.
    ConnectionId,
    |text| (1..=CONNECTION_ID_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte))
);
text_id!(
    /// What a client calls one message, unique for its sender in its room: `[A-Za-z0-9._~-]{1,64}`.
    ClientMessageId,
    is_unreserved
);
text_id!(
    /// The life of a room's log; another one after an administrator restored the room.
    Epoch,
    is_unreserved
);

impl RoomId {
    /// The same for the same parts, for ever: so nobody can make a second room of what there is one of. The first letter
    /// says what kind of room it is.
    #[must_use]
    pub fn derived(kind: char, parts: &[&str]) -> Self {
        // The length keeps `a`, `bc` and `ab`, `c` apart.
        let text: String = parts.iter().map(|part| format!("{} {part}\n", part.len())).collect();
        Self(format!("{kind}-{}", digest(&text)))
    }
}

fn is_unreserved(text: &str) -> bool {
    (1..=ID_MAX_CHARACTERS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}

/// A command's identity, given at ingress: the `id` of its record, `commandId` to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Ulid);

impl CommandId {
    /// From a time and 80 random bits.
    #[must_use]
    pub fn new(time: crate::time::Time, random: u128) -> Self {
        Self(Ulid::from_parts(u64::try_from(time.unix_ms()).unwrap_or_default(), random))
    }

    /// The time that it was given.
    #[must_use]
    pub fn time(self) -> crate::time::Time {
        crate::time::Time::from_unix_ms(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
    }
}

impl FromStr for CommandId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = Self(Ulid::from_string(text).map_err(|_| InvalidId)?);
        // One spelling only: the reader also takes lower case and look-alike letters.
        if id.to_string() == text { Ok(id) } else { Err(InvalidId) }
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl TryFrom<String> for CommandId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(CommandId);
as_text!(MessageId);

/// What one server frame is called where its protocol wants a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameId(Ulid);

impl FrameId {
    /// From a time and 80 random bits.
    #[must_use]
    pub fn new(time: crate::time::Time, random: u128) -> Self {
        Self(Ulid::from_parts(u64::try_from(time.unix_ms()).unwrap_or_default(), random))
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// The place of an event in its room's log: dense, from 1; 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Seq(u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// A checked seq.
    ///
    /// # Errors
    /// Above what a JavaScript number holds exactly.
    pub fn new(value: u64) -> Result<Self, InvalidId> {
        if value <= INTEGER_MAX { Ok(Self(value)) } else { Err(InvalidId) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The seq that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The seq before, or 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl FromStr for Seq {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        whole_number(text).ok_or(InvalidId).and_then(Self::new)
    }
}

impl TryFrom<u64> for Seq {
    type Error = InvalidId;
    fn try_from(value: u64) -> Result<Self, InvalidId> {
        Self::new(value)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

/// A message's public identity, `<epoch>.<seq>`: an edit or delete finds its target without a lookup.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The room's epoch when the message was committed.
    pub epoch: Epoch,
    /// The message's place in the log.
    pub seq: Seq,
}

impl FromStr for MessageId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (epoch, seq) = text.rsplit_once('.').ok_or(InvalidId)?;
        let id = Self { epoch: epoch.parse()?, seq: seq.parse()? };
        if id.to_string() == text { Ok(id) } else { Err(InvalidId) }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_ids_take_what_a_path_takes_unescaped() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<RoomId>().is_ok(), good, "{text:?}");
        check("a", true);
        check("A-z_0.~".replace('_', "-").as_str(), true);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        check("", false);
        check("a/b", false);
        check("a#b", false);
        check("a\0", false);
        check("é", false);
    }

    #[test]
    fn user_ids_take_any_text_without_controls() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<UserId>().is_ok(), good, "{text:?}");
        check("auth0|5f7c", true);
        check("지민", true);
        check("a#b/c", true);
        check(&"é".repeat(64), true);
        check(&"é".repeat(65), false);
        check("a\nb", false);
        check("a\u{85}b", false);
        check("", false);
    }

    /// Another derivation would give every pair a second direct room.
    #[test]
    fn derived_rooms_stay_what_they_are() {
        assert_eq!(RoomId::derived('d', &["alice", "bob"]).as_str(), "d-UBuULVXtt-Lrn9ElElFdLg");
        assert_eq!(RoomId::derived('d', &["alic", "ebob"]).as_str(), "d-jx7pk5rSMuI95El-hrGLNQ");
        assert_eq!(RoomId::derived('g', &["alice", "k"]).as_str(), "g-xQqO6PIh3mtKfe9SZJTPcA");
    }

    #[test]
    fn a_seq_is_written_in_digits_alone() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse::<Seq>().ok().map(Seq::get), expected, "{text:?}");
        };
        check("0", Some(0));
        check("007", Some(7));
        check("9007199254740991", Some(INTEGER_MAX));
        for odd in ["", "+7", "-7", "-0", " 7", "7 ", "7.0", "7e0", "0x7", "٧", "9007199254740992"] {
            check(odd, None);
        }
    }

    #[test]
    fn command_and_message_ids_have_one_spelling() {
        let id = CommandId::new(crate::time::Time::from_unix_ms(1_708_326_702_080), 7);
        assert_eq!(id.to_string().parse::<CommandId>(), Ok(id));
        assert!(id.to_string().to_lowercase().parse::<CommandId>().is_err());
        assert!("e.07".parse::<MessageId>().is_err());
        assert!("e.+7".parse::<MessageId>().is_err());
        assert!("e.9007199254740992".parse::<MessageId>().is_err());
        let id: MessageId = "a.b.12".parse().unwrap();
        assert_eq!((id.epoch.as_str(), id.seq.get()), ("a.b", 12));
    }
}
