//! `subscribe`: both rows first, then what was missed, then the membership once more; so no event falls between
//! subscription and catch-up, and nobody catches up past their removal.

use std::collections::HashSet;

use common::auth::Principal;
use common::code::ErrorCode;
use common::codec::Form;
use common::codec::frame::{Subscribed, SubscribedRoom};
use common::command::{Position, Signals, SubscribeRooms};
use common::failure::Failure;
use common::history;
use common::id::RoomId;
use common::ingress::{missing_membership, require_member};
use common::limits::{CATCH_UP_MAX_EVENTS, SUBSCRIPTIONS_PER_CONNECTION_MAX};
use common::room::Member;
use common::store::{Connection, RoomListEntry, SubscribeError, Terms};
use common::time::Time;

use crate::handler::MessageFunction;

/// How often memberships that change meanwhile are read again.
const ATTEMPTS_MAX: usize = 3;

/// Who subscribes, on what, and on which terms.
pub(crate) struct Speaker<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) principal: &'a Principal,
    pub(crate) terms: Terms,
}

impl MessageFunction {
    pub(crate) async fn subscribe(
        &self,
        connection: &Connection,
        principal: &Principal,
        rooms: SubscribeRooms,
        signals: Signals,
        said: Time,
    ) -> Result<Subscribed, Failure> {
        let wanted = match &rooms {
            SubscribeRooms::One { room, .. } => std::slice::from_ref(room),
            SubscribeRooms::Many(rooms) => rooms,
        };
        let subscriptions = self.store.connection_subscriptions(&connection.id).await?;
        // A renewal takes no further place.
        let subscribed: HashSet<&RoomId> = subscriptions.iter().map(|(room, _)| room).chain(wanted).collect();
        if subscribed.len() > SUBSCRIPTIONS_PER_CONNECTION_MAX {
            return Err(ErrorCode::LimitReached.into());
        }
        let speaker = Speaker { connection, principal, terms: Terms { form: Form::Json, events: true, signals } };
        match rooms {
            SubscribeRooms::One { room, after } => self.subscribe_one(&speaker, room, after, said).await,
            SubscribeRooms::Many(rooms) => self.subscribe_many(&speaker, rooms, said).await,
        }
    }

    pub(crate) async fn subscribe_one(
        &self,
        speaker: &Speaker<'_>,
        room: RoomId,
        after: Option<Position>,
        said: Time,
    ) -> Result<Subscribed, Failure> {
        let Speaker { connection, principal, terms } = speaker;
        let member = require_member(&self.store, &room, &principal.user).await?;
        let membership = [(room.clone(), member)];
        self.store.subscribe(&connection.id, principal, &membership, terms, said).await.map_err(changed)?;
        let head = self.store.head(&room).await?.ok_or(ErrorCode::RoomNotFound)?;
        let after = after.map(|after| (after.epoch == head.epoch && after.seq <= head.last_seq).then_some(after.seq));
        let (events, more) = match after {
            Some(Some(seq)) if seq < head.last_seq => {
                let caught_up = history::events_after(&self.store, &room, seq, CATCH_UP_MAX_EVENTS).await?;
                require_member(&self.store, &room, &principal.user).await?;
                caught_up
            }
            _ => (Vec::new(), false),
        };
        let recovered = after.map(|seq| seq.is_some());
        Ok(Subscribed::One { room_id: room, epoch: head.epoch, last_seq: head.last_seq, recovered, events, more })
    }

    async fn subscribe_many(
        &self,
        speaker: &Speaker<'_>,
        rooms: Vec<RoomId>,
        said: Time,
    ) -> Result<Subscribed, Failure> {
        let Speaker { connection, principal, terms } = speaker;
        let mut attempt = 1;
        let subscribed = loop {
            let entries = self.store.room_list_entries(&principal.user, &rooms).await?;
            let memberships: Vec<(RoomId, Member)> =
                entries.into_iter().map(|entry| (entry.head.room, entry.member)).collect();
            match self.store.subscribe(&connection.id, principal, &memberships, terms, said).await {
                Err(SubscribeError::Membership) if attempt < ATTEMPTS_MAX => attempt += 1,
                outcome => {
                    outcome.map_err(changed)?;
                    break memberships;
                }
            }
        };
        // The heads are read behind the subscription: whatever comes after them comes as a frame.
        let mut entries = self.store.room_list_entries(&principal.user, &rooms).await?;
        entries.retain(|entry| is_subscribed(&subscribed, &entry.head.room, &entry.member));
        let mut answers = Vec::with_capacity(rooms.len());
        for room in rooms {
            answers.push(match entries.iter().find(|entry| entry.head.room == room) {
                Some(RoomListEntry { head, .. }) => {
                    SubscribedRoom::Good { room_id: room, epoch: head.epoch.clone(), last_seq: head.last_seq }
                }
                None => {
                    let error = missing_membership(&self.store, &room).await?;
                    SubscribedRoom::Refused { room_id: room, error }
                }
            });
        }
        Ok(Subscribed::Many { rooms: answers })
    }
}

/// Whether a subscription rests on a membership as it is now. Whoever became a member meanwhile has none, and is told of
/// the membership by a notice.
fn is_subscribed(subscribed: &[(RoomId, Member)], room: &RoomId, now: &Member) -> bool {
    subscribed.iter().any(|(subscribed, then)| subscribed == room && then.joined_seq == now.joined_seq)
}

/// What a client is told when something changed between reading and writing: to try again.
fn changed(error: SubscribeError) -> Failure {
    match error {
        SubscribeError::Membership | SubscribeError::Connection => ErrorCode::Unavailable.into(),
        SubscribeError::Store(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use common::id::Seq;
    use common::room::Role;

    use super::*;

    #[test]
    fn whoever_becomes_a_member_while_subscribing_is_not_subscribed() {
        let room = |name: &str| -> RoomId { name.parse().unwrap() };
        let member = |joined: u64, read: u64| Member {
            user: "bob".parse().unwrap(),
            role: Role::Member,
            joined_seq: Seq::new(joined).unwrap(),
            read_seq: Seq::new(read).unwrap(),
        };
        let subscribed = [(room("one"), member(2, 2)), (room("two"), member(3, 3))];
        let check = |name, now: Member, expected| assert_eq!(is_subscribed(&subscribed, &room(name), &now), expected);
        check("one", member(2, 9), true);
        check("two", member(3, 3), true);
        check("one", member(3, 3), false);
        check("three", member(2, 2), false);
    }
}
