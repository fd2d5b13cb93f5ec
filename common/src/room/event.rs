//! Room events: what durably happened in a room, in order. The same object everywhere: history, live, catch-up.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Role;
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
    /// A message says something else since then.
    MessageEdited {
        /// Which message.
        message_id: MessageId,
        /// What it says now, joined from the message itself: an edit stores no text, so that a deleted message
        /// survives nowhere. None when the message is deleted.
        content: Option<String>,
    },
    /// A message was taken back.
    MessageDeleted {
        /// Which message.
        message_id: MessageId,
    },
    /// The group has another name.
    RoomRenamed {
        /// The name.
        name: String,
    },
    /// Somebody is a member from here on.
    MemberInvited {
        /// Who.
        user: UserId,
    },
    /// Somebody left.
    MemberLeft {
        /// Who: the event's sender.
        user: UserId,
        /// Who is an owner from here on, when the leaver named one.
        successor: Option<UserId>,
    },
    /// Somebody was removed.
    MemberKicked {
        /// Who.
        user: UserId,
    },
    /// Somebody may do more, or less, from here on.
    MemberRole {
        /// Who.
        user: UserId,
        /// What they may do.
        role: Role,
    },
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
    /// What it says; none once it is deleted.
    pub content: Option<String>,
    /// When it was last changed.
    pub edited_at: Option<Time>,
}

impl EventBody {
    /// The `kind` of the event, on every wire and in the table.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RoomCreated { .. } => "room.created",
            Self::Message(_) => "message",
            Self::MessageEdited { .. } => "message.edited",
            Self::MessageDeleted { .. } => "message.deleted",
            Self::RoomRenamed { .. } => "room.renamed",
            Self::MemberInvited { .. } => "member.invited",
            Self::MemberLeft { .. } => "member.left",
            Self::MemberKicked { .. } => "member.kicked",
            Self::MemberRole { .. } => "member.role",
        }
    }
}

impl RoomEvent {
    /// The message in it, when it is one.
    #[must_use]
    pub const fn message(&self) -> Option<&Message> {
        match &self.body {
            EventBody::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The message whose text must be joined into this event before anybody sees it.
    #[must_use]
    pub const fn edited_seq(&self) -> Option<Seq> {
        match &self.body {
            EventBody::MessageEdited { message_id, .. } => Some(message_id.seq),
            _ => None,
        }
    }

    /// Puts what the edited message says now into an edit.
    pub fn join(&mut self, target: Option<&Message>) {
        if let EventBody::MessageEdited { content, .. } = &mut self.body {
            *content = target.and_then(|message| message.content.clone());
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
                match &message.content {
                    Some(content) => object.serialize_entry("content", content)?,
                    None => object.serialize_entry("deleted", &true)?,
                }
                if let Some(edited_at) = &message.edited_at {
                    object.serialize_entry("editedAt", edited_at)?;
                }
            }
            EventBody::MessageEdited { message_id, content } => {
                object.serialize_entry("messageId", message_id)?;
                object.serialize_entry("targetSeq", &message_id.seq)?;
                match content {
                    Some(content) => object.serialize_entry("content", content)?,
                    None => object.serialize_entry("deleted", &true)?,
                }
            }
            EventBody::MessageDeleted { message_id } => {
                object.serialize_entry("messageId", message_id)?;
                object.serialize_entry("targetSeq", &message_id.seq)?;
            }
            EventBody::RoomRenamed { name } => object.serialize_entry("name", name)?,
            EventBody::MemberInvited { user } | EventBody::MemberKicked { user } => {
                object.serialize_entry("userId", user)?;
            }
            EventBody::MemberLeft { user, successor } => {
                object.serialize_entry("userId", user)?;
                if let Some(successor) = successor {
                    object.serialize_entry("successor", successor)?;
                }
            }
            EventBody::MemberRole { user, role } => {
                object.serialize_entry("userId", user)?;
                object.serialize_entry("role", role)?;
            }
        }
        object.end()
    }
}
