//! Frames between the codecs and the functions, whatever their form on the socket.

use serde::Serialize;

use crate::code::{ByeCode, ErrorCode, Refusal};
use crate::command::Command;
use crate::id::{ClientMessageId, CommandId, Epoch, MessageId, RoomId, Seq, UserId};
use crate::room::Head;
use crate::room::event::RoomEvent;
use crate::time::Time;

/// The first pause of a client that is told to come back with growing ones, in milliseconds.
const BYE_RETRY_AFTER_MS: u64 = 1_000;

/// A decoded client frame.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientFrame {
    /// What the client calls the frame; asks for exactly one answer.
    pub id: Option<String>,
    /// What it asks for.
    pub command: Command,
}

/// A client frame that could not be decoded, with what is needed to answer it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct FrameFault {
    /// The frame's id, when that much could be read.
    pub id: Option<String>,
    /// The message it was about, when that much could be read.
    pub client_message_id: Option<ClientMessageId>,
    /// Why it was refused.
    pub refusal: Refusal,
}

/// What goes to a client. Field names are those of `chat.v1.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServerFrame {
    /// The connection speaks for a user.
    Authenticated {
        /// The frame answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The token's subject.
        user_id: UserId,
        /// When the token ends.
        expires_at: Time,
    },
    /// The connection receives a room from now on.
    Subscribed {
        /// The frame answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// One room with what was missed, or several.
        #[serde(flatten)]
        rooms: Subscribed,
    },
    /// The connection does not receive these rooms any more.
    Unsubscribed {
        /// The frame answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The rooms.
        room_ids: Vec<RoomId>,
    },
    /// The command stands in Kafka.
    Ack {
        /// The frame answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The command's identity, or one for each person invited; typing has none.
        #[serde(flatten)]
        commands: Option<Commands>,
        /// The message it was about.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_message_id: Option<ClientMessageId>,
    },
    /// A page of messages.
    History {
        /// The frame answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The room.
        room_id: RoomId,
        /// The messages.
        messages: Vec<RoomEvent>,
        /// Where the next page starts, when there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// The connection is alive.
    Pong {
        /// The frame answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// A client frame was refused.
    Error {
        /// The frame answered, when its id could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The message it was about.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_message_id: Option<ClientMessageId>,
        /// Why.
        #[serde(flatten)]
        reason: Reason,
    },
    /// Events of a room. The fan-out puts many into one frame by [`super::json::events_frames`].
    Events {
        /// The room.
        room_id: RoomId,
        /// Its epoch.
        epoch: Epoch,
        /// In order.
        events: Vec<RoomEvent>,
    },
    /// The sender had sent the same message before.
    Duplicate {
        /// The room.
        room_id: RoomId,
        /// The command that was the repetition.
        command_id: CommandId,
        /// The sender's id of the message.
        client_message_id: ClientMessageId,
        /// The message that stands.
        message_id: MessageId,
        /// Its place.
        seq: Seq,
    },
    /// A command that was acked was refused at its commit.
    Nack {
        /// The room.
        room_id: RoomId,
        /// The command.
        command_id: CommandId,
        /// The message it was about.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_message_id: Option<ClientMessageId>,
        /// Why.
        code: ErrorCode,
        /// Whether the same may succeed later.
        retryable: bool,
    },
    /// Something concerns the user, whatever is subscribed.
    Notice {
        /// What kind.
        kind: NoticeKind,
        /// The room.
        room_id: RoomId,
        /// The event behind it.
        event: RoomEvent,
    },
    /// Somebody has read a room up to an event.
    Read {
        /// The room.
        room_id: RoomId,
        /// Who.
        user_id: UserId,
        /// The event.
        seq: Seq,
    },
    /// Somebody is typing.
    Typing {
        /// Where.
        room_id: RoomId,
        /// Who.
        user_id: UserId,
        /// How long this may be shown, in milliseconds.
        expires_in_ms: u64,
    },
    /// Somebody has come or gone.
    Presence {
        /// Who.
        user_id: UserId,
        /// Whether they have a session now.
        online: bool,
        /// When this was found.
        at: Time,
    },
    /// Events were skipped on this connection: fetch from the last seq on.
    Resync {
        /// The room.
        room_id: RoomId,
        /// Its epoch.
        epoch: Epoch,
        /// Its last seq.
        last_seq: Seq,
    },
    /// The server closes the connection.
    Bye {
        /// Why.
        code: ByeCode,
        /// Whether to come back.
        reconnect: Reconnect,
        /// After how long, in milliseconds.
        retry_after_ms: u64,
    },
}

/// What was handed to Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Commands {
    /// One command.
    One {
        /// Its identity.
        command_id: CommandId,
    },
    /// One for each person invited.
    Many {
        /// Their identities, in the order of the people.
        command_ids: Vec<CommandId>,
    },
}

/// The answer to `subscribe`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Subscribed {
    /// One room.
    One {
        /// The room.
        room_id: RoomId,
        /// Its epoch.
        epoch: Epoch,
        /// Its last seq.
        last_seq: Seq,
        /// With `after`: whether `events` continue what the client has.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        /// What was missed.
        events: Vec<RoomEvent>,
        /// Whether more was missed than stands here.
        more: bool,
    },
    /// Several rooms.
    Many {
        /// In the order asked.
        rooms: Vec<SubscribedRoom>,
    },
}

/// One of several rooms subscribed at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum SubscribedRoom {
    /// It is subscribed.
    Good {
        /// The room.
        room_id: RoomId,
        /// Its epoch.
        epoch: Epoch,
        /// Its last seq.
        last_seq: Seq,
    },
    /// It is not.
    Refused {
        /// The room.
        room_id: RoomId,
        /// Why.
        error: ErrorCode,
    },
}

/// Why a request was refused, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// The code.
    pub code: ErrorCode,
    /// A fixed sentence.
    pub message: &'static str,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
}

impl From<Refusal> for Reason {
    fn from(Refusal { code, field }: Refusal) -> Self {
        let retryable = code.retryable();
        Self { code, message: code.sentence(), retryable, retry_after_ms: retryable.then_some(1_000), field }
    }
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoticeKind {
    /// A room was made with the user in it.
    Created,
    /// The user is a member of a room from here on.
    Invited,
    /// The user was removed from a room; their subscriptions to it are over.
    Kicked,
    /// The user left a room, perhaps on another device; their subscriptions to it are over.
    Left,
    /// The user may do more, or less, in a room.
    Role,
}

/// Whether a client should come back after `bye`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reconnect {
    /// At once, with a fresh token.
    Now,
    /// Later, with growing pauses.
    Backoff,
    /// Not by itself.
    Never,
}

impl ServerFrame {
    /// The `type` of the frame, on every wire.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Authenticated { .. } => "authenticated",
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Ack { .. } => "ack",
            Self::History { .. } => "history",
            Self::Pong { .. } => "pong",
            Self::Error { .. } => "error",
            Self::Events { .. } => "events",
            Self::Duplicate { .. } => "duplicate",
            Self::Nack { .. } => "nack",
            Self::Notice { .. } => "notice",
            Self::Read { .. } => "read",
            Self::Typing { .. } => "typing",
            Self::Presence { .. } => "presence",
            Self::Resync { .. } => "resync",
            Self::Bye { .. } => "bye",
        }
    }

    /// `bye` with what goes with its code.
    #[must_use]
    pub const fn bye(code: ByeCode) -> Self {
        let (reconnect, retry_after_ms) = match code {
            ByeCode::TokenExpired => (Reconnect::Now, 0),
            ByeCode::AuthTimeout | ByeCode::ProtocolError => (Reconnect::Backoff, BYE_RETRY_AFTER_MS),
            // Coming back would push out the session that has just pushed this one out.
            ByeCode::SessionReplaced => (Reconnect::Never, 0),
        };
        Self::Bye { code, reconnect, retry_after_ms }
    }

    /// `resync` to where a room is now.
    #[must_use]
    pub fn resync(head: &Head) -> Self {
        Self::Resync { room_id: head.room.clone(), epoch: head.epoch.clone(), last_seq: head.last_seq }
    }
}
