//! The closed list of error codes: what a client is told, with the HTTP status, the fixed sentence, and whether
//! the same request may succeed later. Causes go to the log, never to a client.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $text:literal, $status:literal, $sentence:literal;)*) => {
        /// Why a request was refused; the same list on every socket and over HTTP.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$meta])* $name,)* }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as clients see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with the code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// One fixed sentence for a person; it never carries anything of the request or of the system.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

codes! {
    /// Not JSON, not an object, too deep, or a number or escape that JSON cannot hold.
    BadJson = "bad_json", 400, "The text is not a JSON object within the limits.";
    /// An object names one key twice.
    DuplicateKey = "duplicate_key", 400, "An object names the same key twice.";
    /// No such `action`.
    UnknownAction = "unknown_action", 400, "There is no such action.";
    /// A field is missing, of the wrong type, or out of its range.
    InvalidField = "invalid_field", 400, "A field is missing or not valid.";
    /// The cursor is damaged, or belongs to another list or user.
    BadCursor = "bad_cursor", 400, "The cursor is not valid for this list.";
    /// Nothing visible in the content.
    ContentEmpty = "content_empty", 400, "The content has nothing visible.";
    /// The content is longer than the limit, or its frame would be.
    ContentTooLong = "content_too_long", 400, "The content is too long.";
    /// The call is for groups.
    DirectRoom = "direct_room", 400, "A direct room does not allow this.";
    /// No token was given.
    TokenMissing = "token_missing", 401, "A token is required.";
    /// The token is not one of ours.
    TokenInvalid = "token_invalid", 401, "The token is not valid.";
    /// The token was one of ours.
    TokenExpired = "token_expired", 401, "The token has expired.";
    /// Not allowed, whatever the membership.
    Forbidden = "forbidden", 403, "This is not allowed.";
    /// The user is not a member of the room.
    NotMember = "not_member", 403, "You are not a member of this room.";
    /// A refresh brought another subject's token.
    SubjectMismatch = "subject_mismatch", 403, "The token belongs to another user.";
    /// No such path (HTTP).
    NotFound = "not_found", 404, "There is nothing at this path.";
    /// The path has no such method (HTTP).
    MethodNotAllowed = "method_not_allowed", 405, "This path does not have this method.";
    /// No such room.
    RoomNotFound = "room_not_found", 404, "There is no such room.";
    /// No such message in this room.
    MessageNotFound = "message_not_found", 404, "There is no such message in this room.";
    /// The idempotency key was used with other content.
    IdempotencyConflict = "idempotency_conflict", 409, "This id was used before with other content.";
    /// The last owner must name a successor.
    LastOwner = "last_owner", 409, "The last owner cannot leave without a successor.";
    /// The room has as many members as it can.
    RoomFull = "room_full", 409, "The room is full.";
    /// It is so already.
    NoChange = "no_change", 409, "Nothing would change.";
    /// A limit that stands in `limits`.
    LimitReached = "limit_reached", 409, "A limit is reached.";
    /// The user has as many sessions as allowed.
    SessionLimit = "session_limit", 429, "Too many sessions are open.";
    /// A part of the system cannot be reached now.
    Unavailable = "unavailable", 503, "The service is not available now; try again.";
    /// Our fault.
    Internal = "internal", 500, "Something went wrong on our side.";
}

impl ErrorCode {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Internal)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ErrorCode {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A request refused, with what the client is told beside the code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", field.map(|field| format!(" ({field})")).unwrap_or_default())]
pub struct Refusal {
    /// Why.
    pub code: ErrorCode,
    /// Which field of the request, when it is one.
    pub field: Option<&'static str>,
}

impl Refusal {
    /// `invalid_field` that names the field.
    #[must_use]
    pub const fn field(field: &'static str) -> Self {
        Self { code: ErrorCode::InvalidField, field: Some(field) }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, field: None }
    }
}

/// Why the server closes a connection: what `bye` says, and what stands in the row of a connection that is closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByeCode {
    /// The token has expired.
    TokenExpired,
    /// No token came in time.
    AuthTimeout,
    /// The user opened more sessions than allowed; this was the oldest.
    SessionReplaced,
    /// The client does not follow the protocol, or its connection is not known.
    ProtocolError,
}

impl ByeCode {
    const ALL: [Self; 4] = [Self::TokenExpired, Self::AuthTimeout, Self::SessionReplaced, Self::ProtocolError];

    /// The code as clients see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::AuthTimeout => "auth_timeout",
            Self::SessionReplaced => "session_replaced",
            Self::ProtocolError => "protocol_error",
        }
    }
}

impl FromStr for ByeCode {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or(())
    }
}

impl fmt::Display for ByeCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for ByeCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn published_file(name: &str) -> String {
        std::fs::read_to_string(format!("{}/../infra/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn every_farewell_is_published() {
        let file = published_file("asyncapi.yaml");
        let list = file.lines().find(|line| line.contains("code: {enum: [")).unwrap();
        for code in ByeCode::ALL {
            assert!(list.contains(code.as_str()), "{code}: {list}");
        }
    }

    /// The file lists the codes of each status as `Code<status>`.
    #[test]
    fn the_published_list_is_the_same() {
        let file = published_file("schemas.yaml");
        let mut published = BTreeSet::new();
        let (mut is_list, mut status) = (false, 0);
        for line in file.lines() {
            if !line.starts_with("   ") {
                let listed = line.strip_prefix("  Code").and_then(|rest| rest.strip_suffix(':'));
                is_list = listed.is_some();
                status = listed.map_or(0, |listed| listed.parse::<u16>().unwrap());
            } else if is_list {
                let words = line.split(|character: char| !character.is_ascii_lowercase() && character != '_');
                published
                    .extend(words.filter(|word| !matches!(*word, "" | "enum")).map(|word| (status, word.to_owned())));
            }
        }
        let ours = ErrorCode::ALL.iter().map(|code| (code.status(), code.as_str().to_owned())).collect();
        assert_eq!(published, ours);
    }
}
