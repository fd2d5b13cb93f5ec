//! Commands: what a user wants of the system, in checked types only. A codec makes them of client frames, the API
//! of HTTP calls.

use crate::code::Refusal;
use crate::id::{ClientMessageId, Epoch, MessageId, RoomId, Seq, UserId};
use crate::room::Role;
use crate::text::{Content, RoomName};

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
    /// Do something in a room.
    Act {
        /// The room.
        room: RoomId,
        /// What.
        action: RoomAction,
    },
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

impl Command {
    /// What the client calls the message that it sends.
    #[must_use]
    pub const fn client_message_id(&self) -> Option<&ClientMessageId> {
        match self {
            Self::Act { action: RoomAction::Send(send), .. } => Some(&send.client_message_id),
            _ => None,
        }
    }

    /// The one room that it is about.
    #[must_use]
    pub const fn room(&self) -> Option<&RoomId> {
        match self {
            Self::Act { room, .. }
            | Self::Subscribe(Subscribe { rooms: SubscribeRooms::One { room, .. }, .. })
            | Self::History { room, .. } => Some(room),
            Self::Unsubscribe { rooms } | Self::Subscribe(Subscribe { rooms: SubscribeRooms::Many(rooms), .. }) => {
                if let [room] = rooms.as_slice() {
                    Some(room)
                } else {
                    None
                }
            }
            Self::Auth { .. } | Self::Ping => None,
        }
    }
}

/// What somebody does in a room: it is handed on as records, and acked when they stand in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomAction {
    /// Say something.
    Send(SendMessage),
    /// Change something else of the room.
    Change(RoomChange),
    /// Have read the room up to an event.
    Read {
        /// The event.
        seq: Seq,
    },
    /// Be typing.
    Typing,
}

/// A change of a room that is no message of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomChange {
    /// Say something else instead.
    Edit {
        /// One's own message.
        message: MessageId,
        /// What is said now.
        content: Content,
    },
    /// Take a message back.
    Delete {
        /// The message.
        message: MessageId,
    },
    /// Give the group another name.
    Rename {
        /// The name.
        name: RoomName,
    },
    /// Make people members.
    Invite {
        /// Who, nobody twice.
        users: Vec<UserId>,
    },
    /// Be a member no more.
    Leave {
        /// Who becomes an owner at the same moment.
        successor: Option<UserId>,
    },
    /// Remove somebody.
    Kick {
        /// Who.
        user: UserId,
    },
    /// Let somebody do more, or less.
    Role {
        /// Who.
        user: UserId,
        /// What they may do.
        role: Role,
    },
}

/// A subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// To what.
    pub rooms: SubscribeRooms,
    /// What beside events is wanted.
    pub signals: Signals,
}

/// One room, perhaps with what was missed, or several.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscribeRooms {
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

/// What a subscription wants beside events; none of it is kept, and small rooms alone have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// Who types.
    pub typing: bool,
    /// How far others have read.
    pub read: bool,
    /// Who comes and goes.
    pub presence: bool,
}

impl Signals {
    /// The names of what is wanted, as clients write them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [("typing", self.typing), ("read", self.read), ("presence", self.presence)];
        all.into_iter().filter_map(|(name, wanted)| wanted.then_some(name))
    }

    /// Adds one by its name; false when there is none of that name.
    pub fn add(&mut self, name: &str) -> bool {
        match name {
            "typing" => self.typing = true,
            "read" => self.read = true,
            "presence" => self.presence = true,
            _ => return false,
        }
        true
    }
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

impl HistoryStart {
    /// From what a client names of these, which is one at most.
    ///
    /// # Errors
    /// `invalid_field` when it names several.
    pub fn new(before: Option<Seq>, after: Option<Seq>, cursor: Option<&str>) -> Result<Self, Refusal> {
        match (before, after, cursor) {
            (None, None, None) => Ok(Self::Newest),
            (Some(before), None, None) => Ok(Self::Before(before)),
            (None, Some(after), None) => Ok(Self::After(after)),
            (None, None, Some(cursor)) => Ok(Self::Cursor(cursor.to_owned())),
            (_, _, Some(_)) => Err(Refusal::field("cursor")),
            (Some(_), Some(_), None) => Err(Refusal::field("after")),
        }
    }
}

/// A JWT as a client gave it. It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}
