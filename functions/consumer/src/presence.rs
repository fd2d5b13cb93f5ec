//! Signals of one user: who types, and who comes and goes. Nothing of it is kept, and none of it is durable: whoever
//! misses a frame asks `GET /rooms/{roomId}/members`.
//!
//! A record about sessions says no more than "look": what others are told rests on the sessions as they are when they
//! are looked at, and on what others were last told, which stands with them. So a late, doubled or lost record never
//! wins, and a burst of records costs one reading. "Online" is told at once; "offline" only when a `session.check`, which
//! is sent when the grace is over, finds nobody.
//!
//! **What wins.** Others are told first; then that is noted, on condition that the sessions are as they were read. When
//! they are not, they are looked at again, against what was just told: a session that came meanwhile is told at once, one
//! that went is left to its own check, which the noting makes due. Of two consumers that tell at once, the one whose note
//! fails has the last word, and it says what is. A crash between telling and noting tells twice; or, when the sessions
//! have changed back before the records come again, leaves others with what they heard until the next change.
//!
//! Told are subscriptions to the user's rooms as the index lists them, which may be a second late. In numbers: a look is
//! 1 read unit; an announcement 3 write units, 2 read units and the subscriptions of each room, the index, and one post for
//! each connection, however many rooms it shares.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::pin::pin;

use common::codec::frame::ServerFrame;
use common::failure::Failure;
use common::id::{ConnectionId, RoomId, UserId};
use common::limits::{PRESENCE_CONNECTIONS_MAX, SIGNALS_MAX_MEMBERS};
use common::record::{Signal, SignalBody};
use common::room::Head;
use common::store::{RoomListEntry, RoomSubscription, StoreError};
use common::time::Time;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

use crate::handler::Consumer;
use crate::post::{Parcels, PostOffice, pack_signal, push};

/// How many rooms' subscriptions are read at once for one user.
const SUBSCRIPTION_READS_AT_ONCE: usize = 16;
/// How often the sessions are looked at when they keep changing, before the records are left to the next invocation.
const LOOKS_MAX: usize = 5;

/// Whether somebody without a session may still come back unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grace {
    Running,
    Over,
}

impl Consumer {
    /// Applies one user's signals.
    pub(crate) async fn apply_signals(
        &self,
        post_office: &PostOffice<'_>,
        user: &UserId,
        signals: &[Signal],
        now: Time,
    ) -> Result<(), Failure> {
        self.tell_typing(post_office, user, signals, now).await?;
        match grace(signals) {
            Some(grace) => self.announce(post_office, user, grace, now).await,
            None => Ok(()),
        }
    }

    /// Tells others what is, if that is not what they were told.
    async fn announce(
        &self,
        post_office: &PostOffice<'_>,
        user: &UserId,
        mut grace: Grace,
        now: Time,
    ) -> Result<(), Failure> {
        let mut just_told = None;
        for _ in 0..LOOKS_MAX {
            let presence = self.store.presence(user, now).await?;
            let mut told = just_told.unwrap_or(presence.is_announced());
            if let Some(online) = news(presence.is_online(), told, grace) {
                self.tell_presence(post_office, user, online, now).await?;
                told = online;
            }
            if told == presence.is_announced() || self.store.note_announced(user, &presence, told).await? {
                return Ok(());
            }
            just_told = Some(told);
            // A session that went meanwhile has a grace of its own.
            grace = Grace::Running;
        }
        Err(StoreError::Unavailable("the user's sessions keep changing".to_owned()).into())
    }

    async fn tell_presence(
        &self,
        post_office: &PostOffice<'_>,
        user: &UserId,
        online: bool,
        now: Time,
    ) -> Result<(), Failure> {
        let presence = push(ServerFrame::Presence { user_id: user.clone(), online, at: now }, now);
        let audience = self.audience(user, now).await?;
        tracing::debug!(online, connections = audience.len(), "a user's presence is told");
        let mut parcels = Parcels::new();
        for (room, subscription) in audience.values() {
            pack_signal(room, subscription, &presence, &mut parcels);
        }
        post_office.post_signals(parcels, now).await
    }

    /// The connections that hear of a user's coming and going: each once, on a subscription to the most active of the
    /// rooms, at most [`PRESENCE_CONNECTIONS_MAX`].
    async fn audience(
        &self,
        user: &UserId,
        now: Time,
    ) -> Result<HashMap<ConnectionId, (RoomId, RoomSubscription)>, Failure> {
        let rooms = self.store.rooms_of(user).await?;
        let mut entries = self.store.room_list_entries(user, &rooms).await?;
        entries.sort_unstable_by_key(|entry| Reverse(entry.head.last_activity));
        let mut others = pin!(self.others(user, entries, now));
        let mut audience = HashMap::new();
        while let Some((room, subscriptions)) = others.try_next().await? {
            for subscription in subscriptions.into_iter().filter(|subscription| subscription.terms.signals.presence) {
                let connection = subscription.connection.clone();
                audience.entry(connection).or_insert_with(|| (room.clone(), subscription));
                if audience.len() >= PRESENCE_CONNECTIONS_MAX {
                    return Ok(audience);
                }
            }
        }
        Ok(audience)
    }

    /// What others have subscribed to in a user's rooms, room after room: in rooms that are small enough for signals and
    /// on connections that keep up; one that waits for its `resync` is left alone.
    pub(crate) fn others(
        &self,
        user: &UserId,
        entries: Vec<RoomListEntry>,
        now: Time,
    ) -> impl Stream<Item = Result<(RoomId, Vec<RoomSubscription>), StoreError>> {
        let rooms = entries.into_iter().filter(|entry| has_signals(&entry.head)).map(|entry| entry.head.room);
        let read = rooms.map(move |room| async move {
            let mut subscriptions = self.store.room_subscriptions(&room, now).await?;
            subscriptions.retain(|subscription| subscription.user != *user && subscription.lagged_seq.is_none());
            Ok((room, subscriptions))
        });
        futures_util::stream::iter(read).buffered(SUBSCRIPTION_READS_AT_ONCE)
    }
}

/// Whether others may be told that somebody is gone; nothing when no record is about sessions.
fn grace(signals: &[Signal]) -> Option<Grace> {
    let grace = |signal: &Signal| match signal.body {
        SignalBody::Opened {} | SignalBody::Closed {} => Some(Grace::Running),
        SignalBody::Check {} => Some(Grace::Over),
        SignalBody::Typing { .. } => None,
    };
    let all = signals.iter().filter_map(grace);
    all.reduce(|one, other| if one == Grace::Over { one } else { other })
}

/// What others are to be told, when that is something else than what they were told.
const fn news(online: bool, told: bool, grace: Grace) -> Option<bool> {
    match (online, told, grace) {
        (true, false, _) => Some(true),
        (false, true, Grace::Over) => Some(false),
        (false, true, Grace::Running) | (true, true, _) | (false, false, _) => None,
    }
}

/// Whether a room is small enough for signals, and somebody else is in it.
const fn has_signals(head: &Head) -> bool {
    head.member_count > 1 && head.member_count <= SIGNALS_MAX_MEMBERS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(body: SignalBody) -> Signal {
        Signal { v: 1, user_id: "alice".parse().unwrap(), at: Time::from_unix_ms(0), body }
    }

    #[test]
    fn only_a_change_is_told_and_an_end_only_by_a_check() {
        let check = |online, told, expected: [Option<bool>; 2]| {
            let got = [Grace::Running, Grace::Over].map(|grace| news(online, told, grace));
            assert_eq!(got, expected, "online {online}, told {told}");
        };
        check(true, false, [Some(true), Some(true)]);
        check(true, true, [None, None]);
        check(false, true, [None, Some(false)]);
        check(false, false, [None, None]);
    }

    #[test]
    fn a_check_among_others_counts_and_typing_is_no_reason_to_look() {
        let typing = || signal(SignalBody::Typing { room_id: "room".parse().unwrap() });
        let (opened, closed) = (|| signal(SignalBody::Opened {}), || signal(SignalBody::Closed {}));
        assert_eq!(grace(&[]), None);
        assert_eq!(grace(&[typing()]), None);
        assert_eq!(grace(&[typing(), opened(), closed()]), Some(Grace::Running));
        let checked = [opened(), signal(SignalBody::Check {}), closed(), typing()];
        assert_eq!(grace(&checked), Some(Grace::Over));
    }
}
