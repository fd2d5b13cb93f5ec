//! Commands: what a user wants of the system, in checked types only. A codec makes them of client frames, the API
//! of HTTP calls.

use crate::id::{ClientMessageId, Epoch, RoomId, Seq};
use crate::text::Content;

/// What one client frame asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Authenticate a pending connection, or bring a fresh token to a live one.
    Auth {
        /// The JWT; never logged.
        token: Token,
    },
    /// Receive a room's events from now on.
    Subscribe(Subscribe),
    /// Stop receiving rooms.
    Unsubscribe {
        /// The rooms.
        rooms: Vec<RoomId>,
    },
    /// Say something in a room.
    Send(SendMessage),
    /// Read messages of a room.
    History {
        /// The room.
        room: RoomId,
        /// Which of its messages.
        page: HistoryPage,
    },
    /// Show that the connection is alive.
    Ping,
}

/// A subscription to one room, perhaps with what was missed, or to several.
#[derive(Debug, Clone, PartialEq)]
pub enum Subscribe {
    /// One room.
    One {
        /// The room.
        room: RoomId,
        /// The last event that the client has.
        after: Option<Position>,
    },
    /// Several rooms, without catch-up.
    Many(Vec<RoomId>),
}

/// A place in a room's log, as a client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The room's epoch.
    pub epoch: Epoch,
    /// The last event that the client has.
    pub seq: Seq,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// The room.
    pub room: RoomId,
    /// The client's identity of the message: a retry carries the same.
    pub client_message_id: ClientMessageId,
    /// What is said.
    pub content: Content,
}

/// Which messages of a room; bounds are exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Where to start.
    pub start: HistoryStart,
    /// At most so many messages.
    pub limit: usize,
}

/// Where a page of history starts, and which way it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryStart {
    /// At the newest message, backwards.
    Newest,
    /// Before this seq, backwards.
    Before(Seq),
    /// After this seq, forwards.
    After(Seq),
    /// Where an earlier page ended.
    Cursor(String),
}

/// A JWT as a client gave it. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}
