//! Destinations: where a client may subscribe, and where it may send.
//!
//! | destination | |
//! |---|---|
//! | `/topic/rooms/{roomId}` | a room's events |
//! | `/topic/rooms/{roomId}/signals` | who reads, types, comes and goes |
//! | `/user/queue/events` | what concerns the user, and what became of their commands |
//! | `/app/rooms/{roomId}/{action}` | sends a command |
//! | `/app/auth` | brings the next token |
//!
//! There are no patterns: a wildcard, a list or a dot segment is no room id of anybody's.

use crate::code::{ErrorCode, Refusal};
use crate::id::RoomId;

/// The user's own queue.
pub const USER_QUEUE: &str = "/user/queue/events";
const TOPIC: &str = "/topic/";
const ROOMS: &str = "rooms/";
const APPLICATION: &str = "/app/";
const SIGNALS: &str = "signals";

/// What a client subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A room's events.
    Room(RoomId),
    /// A room's signals.
    Signals(RoomId),
    /// The user's queue.
    UserQueue,
}

/// Where a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// To a room: what is to be done there.
    Room {
        /// The room.
        room: RoomId,
        /// What.
        action: &'a str,
    },
    /// The next token.
    Auth,
}

impl Source {
    /// Reads a SUBSCRIBE's destination.
    ///
    /// # Errors
    /// `forbidden` for what is somebody else's or not to be subscribed to, `invalid_field` for what is none.
    pub fn parse(destination: &str) -> Result<Self, Refusal> {
        if destination == USER_QUEUE {
            return Ok(Self::UserQueue);
        }
        match destination.strip_prefix(TOPIC).and_then(|topic| topic.strip_prefix(ROOMS)) {
            Some(room) => match room.split_once('/') {
                None => Ok(Self::Room(room_id(room)?)),
                Some((room, SIGNALS)) => Ok(Self::Signals(room_id(room)?)),
                Some(_) => Err(Refusal::field("destination")),
            },
            None => Err(elsewhere(destination)),
        }
    }

    /// The room that it is of.
    #[must_use]
    pub const fn room(&self) -> Option<&RoomId> {
        match self {
            Self::Room(room) | Self::Signals(room) => Some(room),
            Self::UserQueue => None,
        }
    }

    /// The destination of what is delivered.
    #[must_use]
    pub fn destination(&self) -> String {
        match self {
            Self::Room(room) => format!("{TOPIC}{ROOMS}{room}"),
            Self::Signals(room) => format!("{TOPIC}{ROOMS}{room}/{SIGNALS}"),
            Self::UserQueue => USER_QUEUE.to_owned(),
        }
    }
}

impl<'a> Target<'a> {
    /// Reads a SEND's destination.
    ///
    /// # Errors
    /// `forbidden` for what only the server sends to, `invalid_field` for what is none.
    pub fn parse(destination: &'a str) -> Result<Self, Refusal> {
        let Some(path) = destination.strip_prefix(APPLICATION) else { return Err(elsewhere(destination)) };
        if path == "auth" {
            return Ok(Self::Auth);
        }
        let parts = path.strip_prefix(ROOMS).and_then(|rest| rest.split_once('/'));
        let (room, action) = parts.ok_or(Refusal::field("destination"))?;
        Ok(Self::Room { room: room_id(room)?, action })
    }
}

fn room_id(text: &str) -> Result<RoomId, Refusal> {
    let is_dots = matches!(text, "." | "..");
    text.parse().ok().filter(|_| !is_dots).ok_or(Refusal::field("destination"))
}

/// Why a destination is none of ours: brokers' prefixes are somebody's, anything else is nothing.
fn elsewhere(destination: &str) -> Refusal {
    let is_somebodys = ["/topic/", "/queue/", "/user/", "/app/"].iter().any(|prefix| destination.starts_with(prefix));
    if is_somebodys { ErrorCode::Forbidden.into() } else { Refusal::field("destination") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_rooms_their_signals_and_ones_own_queue() {
        let (invalid, forbidden) = (Err(Refusal::field("destination")), Err(ErrorCode::Forbidden.into()));
        let check = |destination, expected| assert_eq!(Source::parse(destination), expected, "{destination}");
        check("/topic/rooms/r-1", Ok(Source::Room("r-1".parse().unwrap())));
        check("/topic/rooms/r-1/signals", Ok(Source::Signals("r-1".parse().unwrap())));
        check("/user/queue/events", Ok(Source::UserQueue));
        for odd in [
            "",
            "x",
            "topic/rooms/r",
            "/topic/rooms/",
            "/topic/rooms/*",
            "/topic/rooms/>",
            "/topic/rooms/#",
            "/topic/rooms/**",
            "/topic/rooms/a,b",
            "/topic/rooms/..",
            "/topic/rooms/.",
            "/topic/rooms/a/../b",
            "/topic/rooms/a/",
            "/topic/rooms/a/signals/",
            "/topic/rooms/a/typing",
            "/topic/rooms/a%2Fb",
            "/topic/rooms/a b",
            "/topic/rooms/방",
            "/topic/rooms//signals",
        ] {
            check(odd, invalid.clone());
        }
        for others in [
            "/user/bob/queue/events",
            "/user/queue/events/bob",
            "/user/queue/other",
            "/queue/events-user1",
            "/topic/all",
            "/topic/",
            "/app/rooms/r/send",
        ] {
            check(others, forbidden.clone());
        }
        for good in ["/topic/rooms/r", "/topic/rooms/r/signals", "/user/queue/events"] {
            assert_eq!(Source::parse(good).unwrap().destination(), good);
        }
    }

    #[test]
    fn targets_are_actions_in_rooms_and_the_next_token() {
        let check = |destination, expected| assert_eq!(Target::parse(destination), expected, "{destination}");
        check("/app/rooms/r/send", Ok(Target::Room { room: "r".parse().unwrap(), action: "send" }));
        check("/app/auth", Ok(Target::Auth));
        for odd in ["/app/", "/app/rooms", "/app/rooms/r", "/app/rooms/*/send", "/app/rooms/../send", "/app/other", "x"]
        {
            check(odd, Err(Refusal::field("destination")));
        }
        for servers in ["/topic/rooms/r", "/user/queue/events", "/user/bob/queue/events", "/queue/x"] {
            check(servers, Err(ErrorCode::Forbidden.into()));
        }
    }
}
