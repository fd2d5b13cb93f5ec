//! `GET /rooms` and `GET /rooms/{roomId}`.

use common::code::ErrorCode;
use common::failure::Failure;
use common::id::{RoomId, UserId};
use common::ingress::missing_membership;
use common::limits::{HISTORY_DEFAULT_MESSAGES, LIST_MAX_ENTRIES};
use common::room::event::RoomEvent;
use common::room::{Head, Member};
use common::store::RoomListEntry;
use common::time::Time;
use serde::{Deserialize, Serialize};

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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedRoom<'a> {
    #[serde(flatten)]
    room: RoomView<'a>,
    unread: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<RoomEvent>,
}

#[derive(Serialize)]
struct RoomList<'a> {
    rooms: Vec<ListedRoom<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Where a page ended: rooms are listed newest activity first, by id where two are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place(std::cmp::Reverse<i64>, RoomId);

impl Place {
    fn of(entry: &RoomListEntry) -> Self {
        Self(std::cmp::Reverse(entry.head.last_activity.unix_ms()), entry.head.room.clone())
    }
}

const LIST: &str = "rooms";

impl Api {
    pub(crate) async fn room(&self, call: &Call, room: &RoomId) -> Result<Answer, Failure> {
        let entries = self.store.room_list_entries(&call.user, std::slice::from_ref(room)).await?;
        match entries.first() {
            Some(RoomListEntry { head, member }) => Ok(Answer::ok(&RoomView::new(head, member))),
            None => Err(missing_membership(&self.store, room).await?.into()),
        }
    }

    pub(crate) async fn list_rooms(&self, call: &Call) -> Result<Answer, Failure> {
        let limit = call.limit(HISTORY_DEFAULT_MESSAGES, LIST_MAX_ENTRIES)?;
        let after: Option<Place> =
            call.parameter("cursor")?.map(|cursor| self.cursors.open(LIST, &call.user, cursor)).transpose()?;
        let rooms = self.store.rooms_of(&call.user).await?;
        let mut entries = self.store.room_list_entries(&call.user, &rooms).await?;
        entries.retain(|entry| after.as_ref().is_none_or(|after| Place::of(entry) > *after));
        entries.sort_by_cached_key(Place::of);
        let more = entries.len() > limit;
        entries.truncate(limit);
        let mut listed = Vec::with_capacity(entries.len());
        for RoomListEntry { head, member } in &entries {
            let last_message = self.store.messages_before(&head.room, None, 1).await?.pop();
            let unread = self.store.unread(&head.room, &call.user, member.read_seq).await?;
            listed.push(ListedRoom { room: RoomView::new(head, member), unread, last_message });
        }
        let end = entries.last().filter(|_| more);
        let cursor = end.map(|entry| self.cursors.seal(LIST, &call.user, &Place::of(entry)));
        Ok(Answer::ok(&RoomList { rooms: listed, cursor }))
    }
}

/// A membership that must be there because it was just written.
pub(crate) fn own_membership(entries: &[RoomListEntry]) -> Result<&RoomListEntry, ErrorCode> {
    entries.first().ok_or(ErrorCode::NotMember)
}
