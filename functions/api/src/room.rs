//! `GET /rooms/{roomId}`, and the form that a room has in every answer.

use common::code::ErrorCode;
use common::failure::Failure;
use common::id::{RoomId, UserId};
use common::ingress::missing_membership;
use common::room::{Head, Member};
use common::store::RoomListEntry;
use common::time::Time;
use serde::Serialize;

use crate::answer::Answer;
use crate::call::Call;
use crate::handler::Api;

/// A room as one of its members sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoomView<'a> {
    room_id: &'a RoomId,
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<&'a UserId>,
    epoch: &'a str,
    last_seq: u64,
    member_count: u64,
    created_at: Time,
    me: MeView,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MeView {
    role: String,
    joined_seq: u64,
    read_seq: u64,
}

impl<'a> RoomView<'a> {
    /// The view of a member.
    pub(crate) fn new(head: &'a Head, member: &'a Member) -> Self {
        Self {
            room_id: &head.room,
            kind: head.kind.as_str(),
            name: &head.name,
            peer_id: head.kind.peer_of(&member.user),
            epoch: head.epoch.as_str(),
            last_seq: head.last_seq.get(),
            member_count: head.member_count,
            created_at: head.created_at,
            me: MeView {
                role: member.role.to_string(),
                joined_seq: member.joined_seq.get(),
                read_seq: member.read_seq.get(),
            },
        }
    }
}

impl Api {
    pub(crate) async fn room(&self, call: &Call, room: &RoomId) -> Result<Answer, Failure> {
        let entries = self.store.room_list_entries(&call.user, std::slice::from_ref(room)).await?;
        match entries.first() {
            Some(RoomListEntry { head, member }) => Ok(Answer::ok(&RoomView::new(head, member))),
            None => Err(missing_membership(&self.store, room).await?.into()),
        }
    }
}

/// The caller's own entry of a room that they have just made, or made before and may have left.
pub(crate) fn own_membership(entries: &[RoomListEntry]) -> Result<&RoomListEntry, ErrorCode> {
    entries.first().ok_or(ErrorCode::NotMember)
}
