//! `GET /rooms/{roomId}/members`.

use common::failure::Failure;
use common::id::{RoomId, UserId};
use common::ingress::require_member;
use common::limits::{LIST_DEFAULT_ENTRIES, LIST_MAX_ENTRIES};
use common::room::Member;
use serde::Serialize;

use crate::answer::Answer;
use crate::call::Call;
use crate::handler::Api;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberView<'a> {
    user_id: &'a UserId,
    role: String,
    joined_seq: u64,
    read_seq: u64,
    online: bool,
}

#[derive(Serialize)]
struct MemberList<'a> {
    members: Vec<MemberView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

impl Api {
    pub(crate) async fn members(&self, call: &Call, room: &RoomId) -> Result<Answer, Failure> {
        let limit = call.limit(LIST_DEFAULT_ENTRIES, LIST_MAX_ENTRIES)?;
        let list = format!("members {room}");
        let after: Option<UserId> =
            call.parameter("cursor")?.map(|cursor| self.cursors.open(&list, &call.user, cursor)).transpose()?;
        require_member(&self.store, room, &call.user).await?;
        let mut members = self.store.members(room, after.as_ref(), limit + 1).await?;
        // Once more, so that nobody reads past their removal.
        require_member(&self.store, room, &call.user).await?;
        let more = members.len() > limit;
        members.truncate(limit);
        let users: Vec<UserId> = members.iter().map(|member| member.user.clone()).collect();
        let online = self.store.online(&users, call.now).await?;
        let view = |member| member_view(member, online.contains(&member.user));
        let cursor = users.last().filter(|_| more).map(|last| self.cursors.seal(&list, &call.user, last));
        Ok(Answer::ok(&MemberList { members: members.iter().map(view).collect(), cursor }))
    }
}

fn member_view(member: &Member, online: bool) -> MemberView<'_> {
    MemberView {
        user_id: &member.user,
        role: member.role.to_string(),
        joined_seq: member.joined_seq.get(),
        read_seq: member.read_seq.get(),
        online,
    }
}
