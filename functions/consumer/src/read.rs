//! Read markers: the highest of each user in a room moves, and is told to the user's own sessions and to whoever asked
//! for receipts. Written first, then posted: a marker that is delivered again because the posting failed moves nothing
//! and is told again, while another marker for the same place moves and tells nothing. So a burst of one person's
//! markers in one batch is one write and one frame per receiver, and a rewound topic tells each member's last one again
//! at most.

use std::collections::HashMap;

use common::codec::frame::ServerFrame;
use common::failure::Failure;
use common::id::{RoomId, Seq, UserId};
use common::limits::SIGNALS_MAX_MEMBERS;
use common::record::Marker;
use common::room::Head;
use common::store::{RoomSubscription, StoreError};
use common::time::Time;
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::handler::Consumer;
use crate::post::{Parcels, PostOffice, pack_for_session, pack_signal, push};

/// How many members' markers are written at once, per room.
const WRITES_AT_ONCE: usize = 16;

impl Consumer {
    /// Applies one room's markers. Those of nobody, of a room that is no more or of somebody who is no member, are
    /// nothing.
    ///
    /// # Errors
    /// The table or the management API is away: the markers must come again.
    pub(crate) async fn apply_markers(
        &self,
        post_office: &PostOffice<'_>,
        room: &RoomId,
        markers: &[Marker],
        now: Time,
    ) -> Result<(), Failure> {
        let Some(head) = self.store.head(room).await? else {
            tracing::debug!("markers of a room that does not exist");
            return Ok(());
        };
        let writes: Vec<_> = highest(markers).into_iter().map(|marker| self.move_marker(marker, &head)).collect();
        let moved: Vec<Option<(UserId, Seq)>> =
            futures_util::stream::iter(writes).buffer_unordered(WRITES_AT_ONCE).try_collect().await?;
        let moved: Vec<(UserId, Seq)> = moved.into_iter().flatten().collect();
        if moved.is_empty() {
            return Ok(());
        }
        let parcels = self.pack_receipts(&head, &moved, now).await?;
        post_office.post_all(room, parcels, now).await
    }

    async fn move_marker(&self, marker: &Marker, head: &Head) -> Result<Option<(UserId, Seq)>, StoreError> {
        // The log only grows, so what is clamped to its end is still no further when it is written.
        let seq = self.store.move_marker(marker, marker.seq.min(head.last_seq)).await?;
        if seq.is_none() {
            tracing::debug!(seq = %marker.seq, "a marker moves nothing");
        }
        Ok(seq.map(|seq| (marker.user_id.clone(), seq)))
    }

    async fn pack_receipts(&self, head: &Head, moved: &[(UserId, Seq)], now: Time) -> Result<Parcels, Failure> {
        let users: Vec<UserId> = moved.iter().map(|(user, _)| user.clone()).collect();
        let live = self.store.live_connections(&users, now).await?;
        let listeners = self.listeners(head, now).await?;
        let mut parcels = Parcels::new();
        for (user, seq) in moved {
            let (room_id, user_id) = (head.room.clone(), user.clone());
            let read = push(ServerFrame::Read { room_id, user_id, seq: *seq }, now);
            for session in live.iter().filter(|session| session.user == *user) {
                pack_for_session(session, &read, now, &mut parcels);
            }
            for listener in listeners.iter().filter(|listener| listener.user != *user) {
                pack_signal(&head.room, listener, &read, &mut parcels);
            }
        }
        Ok(parcels)
    }

    /// Who asked for receipts in a room that is small enough. A connection that was too slow for events gets none until
    /// it has caught up.
    async fn listeners(&self, head: &Head, now: Time) -> Result<Vec<RoomSubscription>, StoreError> {
        if head.member_count > SIGNALS_MAX_MEMBERS {
            return Ok(Vec::new());
        }
        let mut subscriptions = self.store.room_subscriptions(&head.room, now).await?;
        subscriptions.retain(|subscription| subscription.terms.signals.read && subscription.lagged_seq.is_none());
        Ok(subscriptions)
    }
}

/// The highest marker of each user; among equals the first, which is the same one when they are delivered again.
fn highest(markers: &[Marker]) -> Vec<&Marker> {
    let mut highest: HashMap<&UserId, &Marker> = HashMap::new();
    for marker in markers {
        let known = highest.entry(&marker.user_id).or_insert(marker);
        if marker.seq > known.seq {
            *known = marker;
        }
    }
    highest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use common::id::CommandId;
    use common::record::SCHEMA_VERSION;

    use super::*;

    fn marker(number: u128, user: &str, seq: u64) -> Marker {
        let at = Time::from_unix_ms(1_800_000_000_000);
        Marker {
            v: SCHEMA_VERSION,
            id: CommandId::new(at, number),
            room_id: "room".parse().unwrap(),
            user_id: user.parse().unwrap(),
            seq: Seq::new(seq).unwrap(),
            received_at: at,
        }
    }

    #[test]
    fn only_the_first_of_the_highest_markers_of_a_user_counts() {
        let markers = [
            marker(1, "alice", 5),
            marker(2, "bob", 2),
            marker(3, "alice", 9),
            marker(4, "alice", 9),
            marker(5, "alice", 7),
        ];
        let mut counted: Vec<&Marker> = highest(&markers).into_iter().collect();
        counted.sort_by_key(|marker| &marker.user_id);
        assert_eq!(counted, [&markers[2], &markers[1]]);
        assert!(highest(&[]).is_empty());
    }
}
