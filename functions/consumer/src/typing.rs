//! Who types. What comes too late to be shown is dropped; several signals of one user and room in a batch are one.

use std::collections::BTreeMap;
use std::pin::pin;

use common::codec::frame::ServerFrame;
use common::failure::Failure;
use common::id::{RoomId, UserId};
use common::limits::TYPING_EXPIRES_MS;
use common::record::{Signal, SignalBody};
use common::time::Time;
use futures_util::TryStreamExt as _;

use crate::handler::Consumer;
use crate::post::{Parcels, PostOffice, pack_signal, push};

impl Consumer {
    /// Tells the rooms in which a user types, while they are a member.
    pub(crate) async fn tell_typing(
        &self,
        post_office: &PostOffice<'_>,
        user: &UserId,
        signals: &[Signal],
        now: Time,
    ) -> Result<(), Failure> {
        let typed = typed(signals, now);
        if typed.is_empty() {
            return Ok(());
        }
        let rooms: Vec<RoomId> = typed.keys().map(|room| (*room).clone()).collect();
        // Only rooms with a membership come back.
        let entries = self.store.room_list_entries(user, &rooms).await?;
        let mut others = pin!(self.others(user, entries, now));
        let mut parcels = Parcels::new();
        while let Some((room, subscriptions)) = others.try_next().await? {
            let expires_in_ms = typed.get(&room).copied().unwrap_or_default();
            let typing = ServerFrame::Typing { room_id: room.clone(), user_id: user.clone(), expires_in_ms };
            let typing = push(typing, now);
            for subscription in subscriptions.iter().filter(|subscription| subscription.terms.signals.typing) {
                pack_signal(&room, subscription, &typing, &mut parcels);
            }
        }
        post_office.post_signals(parcels, now).await
    }
}

/// In which rooms typing may still be shown, and how long, in milliseconds.
fn typed(signals: &[Signal], now: Time) -> BTreeMap<&RoomId, u64> {
    let mut typed: BTreeMap<&RoomId, u64> = BTreeMap::new();
    for Signal { at, body, .. } in signals {
        let SignalBody::Typing { room_id } = body else { continue };
        // A clock that is ahead of ours makes nothing last longer.
        let age_ms = u64::try_from(now.unix_ms() - at.unix_ms()).unwrap_or_default();
        if let Some(left_ms @ 1..) = TYPING_EXPIRES_MS.checked_sub(age_ms) {
            let longest = typed.entry(room_id).or_default();
            *longest = left_ms.max(*longest);
        }
    }
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_unix_ms(1_800_000_000_000);

    fn typing(room: &str, age_ms: i64) -> Signal {
        let body = SignalBody::Typing { room_id: room.parse().unwrap() };
        Signal { v: 1, user_id: "alice".parse().unwrap(), at: NOW.plus_ms(-age_ms), body }
    }

    #[test]
    fn typing_is_one_signal_a_room_and_ends_with_its_time() {
        let check = |signals: &[Signal], expected: &[(&str, u64)]| {
            let typed = typed(signals, NOW);
            let got: Vec<(&str, u64)> = typed.iter().map(|(room, left)| (room.as_str(), *left)).collect();
            assert_eq!(got, expected);
        };
        check(&[], &[]);
        check(&[typing("one", 0), typing("two", 1_000), typing("one", 3_000)], &[("one", 5_000), ("two", 4_000)]);
        check(&[typing("one", 4_999), typing("two", 5_000), typing("three", 3_600_000)], &[("one", 1)]);
        check(&[typing("one", -60_000)], &[("one", 5_000)]);
        let opened = Signal { body: SignalBody::Opened {}, ..typing("one", 0) };
        check(&[opened], &[]);
    }
}
