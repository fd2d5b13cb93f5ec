//! Room events: what durably happened in a room, in order. The same object everywhere: history, live, catch-up.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::id::{ClientMessageId, CommandId, MessageId, RoomId, Seq, UserId};
use crate::time::Time;

/// One event of a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomEvent {
    /// Its place in the log.
    pub seq: Seq,
    /// The room.
    pub room: RoomId,
    /// When the command was received.
    pub at: Time,
    /// Who caused it: the token's subject.
    pub sender: UserId,
    /// The command that it came from.
    pub command_id: CommandId,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// The room was made, with its first members.
    RoomCreated {
        /// A group's name; empty in a direct room.
        name: String,
        /// The first members, the maker first.
        users: Vec<UserId>,
    },
    /// Something was said; in its current state.
    Message(Message),
}

/// A message in its current state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its public identity.
    pub id: MessageId,
    /// The sender's identity of it.
    pub client_message_id: ClientMessageId,
    /// Its number among the room's messages, from 1.
    pub number: u64,
    /// What was said.
    pub content: String,
}

impl EventBody {
    /// The `kind` of the event, on every wire and in the table.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RoomCreated { .. } => "room.created",
            Self::Message(_) => "message",
        }
    }
}

impl RoomEvent {
    /// The message in it, when it is one.
    #[must_use]
    pub const fn message(&self) -> Option<&Message> {
        match &self.body {
            EventBody::Message(message) => Some(message),
            EventBody::RoomCreated { .. } => None,
        }
    }
}

/// The public JSON object of an event.
impl Serialize for RoomEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("seq", &self.seq)?;
        object.serialize_entry("kind", self.body.kind())?;
        object.serialize_entry("roomId", &self.room)?;
        object.serialize_entry("at", &self.at)?;
        object.serialize_entry("sender", &self.sender)?;
        object.serialize_entry("commandId", &self.command_id)?;
        match &self.body {
            EventBody::RoomCreated { name, users } => {
                object.serialize_entry("name", name)?;
                object.serialize_entry("userIds", users)?;
            }
            EventBody::Message(message) => {
                object.serialize_entry("messageId", &message.id)?;
                object.serialize_entry("clientMessageId", &message.client_message_id)?;
                object.serialize_entry("content", &message.content)?;
            }
        }
        object.end()
    }
}
