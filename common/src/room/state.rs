//! What is known of a room when something is decided about it, and how an event changes that.

use std::collections::{HashMap, HashSet};

use super::event::{EventBody, RoomEvent};
use super::{Head, Member, Role};
use crate::code::ErrorCode;
use crate::id::{CommandId, Seq, UserId};
use crate::record::{Record, RecordBody};
use crate::time::Time;

/// Where a record's outcome is remembered: its sender and their id of it, or the record's own id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DedupeKey {
    /// The authenticated sender.
    pub sender: UserId,
    /// The `clientMessageId`, or the record's `id` for commands without one.
    pub slot: String,
}

impl DedupeKey {
    /// The key of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let slot = record.body.client_message_id().map_or_else(|| record.id.to_string(), ToString::to_string);
        Self { sender: record.sender.clone(), slot }
    }
}

/// What is remembered under one [`DedupeKey`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dedupe {
    /// The one record that was accepted.
    pub accepted: Option<Accepted>,
    /// Records that were refused, with their code.
    pub refused: HashMap<CommandId, ErrorCode>,
}

/// An accepted record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The record.
    pub id: CommandId,
    /// The event that it became.
    pub seq: Seq,
    /// What its content was: a digest.
    pub hash: String,
}

/// What must be looked up before something is decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lookups {
    /// Whose membership.
    pub members: HashSet<UserId>,
    /// Which messages, or the room's first event.
    pub targets: HashSet<Seq>,
    /// Which remembered outcomes.
    pub dedupe: HashSet<DedupeKey>,
}

impl Lookups {
    /// Adds what the rules need for a wish.
    pub fn add(&mut self, sender: &UserId, body: &RecordBody) {
        self.members.insert(sender.clone());
        match body {
            RecordBody::Invite { user_id } | RecordBody::Kick { user_id } | RecordBody::ChangeRole { user_id, .. } => {
                self.members.insert(user_id.clone());
            }
            RecordBody::Leave { successor } => self.members.extend(successor.clone()),
            RecordBody::Edit { message_id, .. } | RecordBody::Delete { message_id } => {
                self.targets.insert(message_id.seq);
            }
            RecordBody::RoomCreated {} => {
                self.targets.insert(Seq::ZERO.next());
            }
            RecordBody::Send { .. } | RecordBody::Rename { .. } => {}
        }
    }
}

/// What the table holds of a room, as far as somebody looked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomState {
    /// The head; none when there is no such room.
    pub head: Option<Head>,
    /// The members among those looked up.
    pub members: HashMap<UserId, Member>,
    /// The messages among those looked up, in their current state, or the room's first event.
    pub targets: HashMap<Seq, RoomEvent>,
    /// The dedupe items among those looked up.
    pub dedupe: HashMap<DedupeKey, Dedupe>,
}

/// What an event changes beside the log and the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody is a member from here on.
    Join(Member),
    /// Somebody is none any more.
    Leave(UserId),
    /// A member's role is another one.
    Role(UserId, Role),
    /// A message says something else.
    Edit {
        /// Which message.
        seq: Seq,
        /// What it says.
        content: String,
        /// Since when.
        at: Time,
    },
    /// A message says nothing any more.
    Erase(Seq),
}

impl Change {
    /// What an event changes. Of an edit this is known only while the event still carries its text.
    #[must_use]
    pub fn of(event: &RoomEvent) -> Vec<Self> {
        match &event.body {
            EventBody::RoomCreated { .. } | EventBody::Message(_) | EventBody::RoomRenamed { .. } => Vec::new(),
            EventBody::MessageEdited { message_id, content } => {
                let edit =
                    |content: &String| Self::Edit { seq: message_id.seq, content: content.clone(), at: event.at };
                content.iter().map(edit).collect()
            }
            EventBody::MessageDeleted { message_id } => vec![Self::Erase(message_id.seq)],
            EventBody::MemberInvited { user } => {
                let (user, seq) = (user.clone(), event.seq);
                vec![Self::Join(Member { user, role: Role::Member, joined_seq: seq, read_seq: seq })]
            }
            EventBody::MemberLeft { user, successor } => {
                let successor = successor.iter().map(|successor| Self::Role(successor.clone(), Role::Owner));
                std::iter::once(Self::Leave(user.clone())).chain(successor).collect()
            }
            EventBody::MemberKicked { user } => vec![Self::Leave(user.clone())],
            EventBody::MemberRole { user, role } => vec![Self::Role(user.clone(), *role)],
        }
    }
}

impl RoomState {
    /// The room as it stands behind an event.
    pub fn apply(&mut self, event: &RoomEvent) {
        for change in Change::of(event) {
            self.apply_change(change);
        }
        if event.message().is_some() {
            self.targets.insert(event.seq, event.clone());
        }
        let Some(head) = &mut self.head else { return };
        head.last_seq = event.seq;
        head.last_activity = head.last_activity.max(event.at);
        match &event.body {
            EventBody::Message(message) => {
                head.last_message_no = message.number;
                head.last_message_seq = event.seq;
            }
            EventBody::RoomRenamed { name } => head.name.clone_from(name),
            _ => {}
        }
    }

    fn apply_change(&mut self, change: Change) {
        match change {
            Change::Join(member) => {
                self.count(|head| head.member_count += 1);
                self.members.insert(member.user.clone(), member);
            }
            Change::Leave(user) => {
                let member = self.members.remove(&user);
                let was_owner = member.is_some_and(|member| member.role == Role::Owner);
                self.count(|head| {
                    head.member_count = head.member_count.saturating_sub(1);
                    head.owner_count = head.owner_count.saturating_sub(u64::from(was_owner));
                });
            }
            Change::Role(user, role) => {
                let Some(member) = self.members.get_mut(&user) else { return };
                let before = std::mem::replace(&mut member.role, role);
                let (was_owner, is_owner) = (before == Role::Owner, role == Role::Owner);
                self.count(|head| {
                    head.owner_count = (head.owner_count + u64::from(is_owner)).saturating_sub(u64::from(was_owner));
                });
            }
            Change::Edit { seq, content, at } => self.change_message(seq, Some(content), at),
            Change::Erase(seq) => self.change_message(seq, None, Time::from_unix_ms(0)),
        }
    }

    fn count(&mut self, change: impl FnOnce(&mut Head)) {
        if let Some(head) = &mut self.head {
            change(head);
        }
    }

    fn change_message(&mut self, seq: Seq, content: Option<String>, at: Time) {
        if let Some(RoomEvent { body: EventBody::Message(message), .. }) = self.targets.get_mut(&seq) {
            message.edited_at = content.is_some().then_some(at);
            message.content = content;
        }
    }
}
