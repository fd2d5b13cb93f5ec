//! Who may do what in a room. Asked twice with the same words: at the door, so that the sender hears at once, and at
//! the commit, which decides.

use super::state::RoomState;
use super::{Head, Member, Role, RoomKind};
use crate::code::{ErrorCode, Refusal};
use crate::id::{MessageId, UserId};
use crate::limits::MEMBERS_PER_ROOM_MAX;
use crate::record::RecordBody;
use crate::room::event::{Message, RoomEvent};

/// Whether a user may have what they want, in this state of the room.
///
/// # Errors
/// Why not.
pub fn check(state: &RoomState, sender: &UserId, body: &RecordBody) -> Result<(), Refusal> {
    let head = state.head.as_ref();
    let (Some(head), Some(member)) = (head, state.members.get(sender)) else {
        return Err(missing_membership(head).into());
    };
    let asked = Asked { state, head, member };
    match body {
        RecordBody::Send { .. } => Ok(()),
        RecordBody::RoomCreated {} => Err(ErrorCode::Internal.into()),
        RecordBody::Edit { message_id, content } => asked.edit(message_id, content.as_str()),
        RecordBody::Delete { message_id } => asked.delete(message_id),
        RecordBody::Rename { name } => asked.rename(name.as_str()),
        RecordBody::Invite { user_id } => asked.invite(user_id),
        RecordBody::Leave { successor } => asked.leave(successor.as_ref()),
        RecordBody::Kick { user_id } => asked.kick(user_id),
        RecordBody::ChangeRole { user_id, role } => asked.change_role(user_id, *role),
    }
}

/// Why somebody who is no member of a room, if there is one, gets nothing. The id of a direct room follows from those of
/// its two people: to whoever is neither it is as if it were not there, or anybody could find out who talks with whom.
#[must_use]
pub fn missing_membership(head: Option<&Head>) -> ErrorCode {
    match head.map(|head| &head.kind) {
        Some(RoomKind::Group) => ErrorCode::NotMember,
        Some(RoomKind::Direct { .. }) | None => ErrorCode::RoomNotFound,
    }
}

/// A member's question about a room.
struct Asked<'a> {
    state: &'a RoomState,
    head: &'a Head,
    member: &'a Member,
}

impl Asked<'_> {
    fn edit(&self, message: &MessageId, content: &str) -> Result<(), Refusal> {
        let (event, message) = self.message(message)?;
        if event.sender != self.member.user {
            return Err(ErrorCode::Forbidden.into());
        }
        changes(message.content.as_deref() != Some(content))
    }

    fn delete(&self, message: &MessageId) -> Result<(), Refusal> {
        let (event, _) = self.message(message)?;
        let is_own = event.sender == self.member.user;
        allowed(is_own || self.member.role >= Role::Admin)
    }

    /// A message of this life of the log that still says something.
    fn message(&self, id: &MessageId) -> Result<(&RoomEvent, &Message), ErrorCode> {
        let event = self.state.targets.get(&id.seq).filter(|_| id.epoch == self.head.epoch);
        let message = event.and_then(|event| Some((event, event.message()?)));
        message.filter(|(_, message)| message.content.is_some()).ok_or(ErrorCode::MessageNotFound)
    }

    fn rename(&self, name: &str) -> Result<(), Refusal> {
        self.group(Role::Admin)?;
        changes(self.head.name != name)
    }

    fn invite(&self, user: &UserId) -> Result<(), Refusal> {
        self.group(Role::Admin)?;
        changes(!self.state.members.contains_key(user))?;
        if self.head.member_count >= MEMBERS_PER_ROOM_MAX { Err(ErrorCode::RoomFull.into()) } else { Ok(()) }
    }

    fn leave(&self, successor: Option<&UserId>) -> Result<(), Refusal> {
        self.group(Role::Member)?;
        if let Some(successor) = successor {
            allowed(self.member.role == Role::Owner)?;
            let is_other_member = *successor != self.member.user && self.state.members.contains_key(successor);
            return if is_other_member { Ok(()) } else { Err(Refusal::field("successor")) };
        }
        // Who is alone has nobody to name.
        if self.is_last_owner() && self.head.member_count > 1 { Err(ErrorCode::LastOwner.into()) } else { Ok(()) }
    }

    fn kick(&self, user: &UserId) -> Result<(), Refusal> {
        self.group(Role::Admin)?;
        let target = self.state.members.get(user).ok_or(ErrorCode::NoChange)?;
        allowed(self.member.role > target.role)
    }

    fn change_role(&self, user: &UserId, role: Role) -> Result<(), Refusal> {
        self.group(Role::Owner)?;
        let target = self.state.members.get(user).ok_or(Refusal::field("userId"))?;
        changes(target.role != role)?;
        if *user == self.member.user && self.is_last_owner() { Err(ErrorCode::LastOwner.into()) } else { Ok(()) }
    }

    fn is_last_owner(&self) -> bool {
        self.member.role == Role::Owner && self.head.owner_count <= 1
    }

    /// The room is a group, and the asking member has at least this role.
    fn group(&self, role: Role) -> Result<(), Refusal> {
        match self.head.kind {
            RoomKind::Direct { .. } => Err(ErrorCode::DirectRoom.into()),
            RoomKind::Group => allowed(self.member.role >= role),
        }
    }
}

fn allowed(allowed: bool) -> Result<(), Refusal> {
    if allowed { Ok(()) } else { Err(ErrorCode::Forbidden.into()) }
}

fn changes(changes: bool) -> Result<(), Refusal> {
    if changes { Ok(()) } else { Err(ErrorCode::NoChange.into()) }
}

#[cfg(test)]
mod tests;
