//! Which of a room's events each connection gets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use common::codec::Dialect;
use common::codec::frame::ServerFrame;
use common::id::{CommandId, ConnectionId, Seq, UserId};
use common::record::ReplyTo;
use common::room::Head;
use common::room::event::RoomEvent;
use common::store::RoomSubscription;
use common::telemetry::trace::TraceContext;
use common::time::Time;

use crate::frames::{EncodedEvents, Frames};
use crate::post::{Parcels, push};
use crate::trace::Traces;

/// One room's events on their way to its subscribers.
pub(crate) struct FanOut<'a> {
    /// The room as it stands after the commit.
    pub(crate) head: &'a Head,
    /// What is posted, in order.
    pub(crate) events: &'a [RoomEvent],
    /// Whose memberships ended within the batch, and with which event.
    pub(crate) removals: &'a [(UserId, Seq)],
    /// Connections that wait for an event of theirs, whether they are subscribed or not.
    pub(crate) waiting: &'a HashMap<CommandId, Cow<'a, ReplyTo>>,
    /// The commits that posts follow.
    pub(crate) traces: &'a Traces,
    /// The longest WebSocket message that several STOMP frames are put into.
    pub(crate) stomp_message_bytes: usize,
    /// When this is done.
    pub(crate) now: Time,
}

impl FanOut<'_> {
    /// The event that ended the membership on which a subscription rests, when one did.
    pub(crate) fn end_of(&self, subscription: &RoomSubscription) -> Option<Seq> {
        let of_user = self.removals.iter().filter(|(user, _)| *user == subscription.user);
        of_user.map(|(_, seq)| *seq).filter(|seq| *seq > subscription.joined_seq).min()
    }

    /// Adds each connection's frames to its parcel.
    pub(crate) fn pack(&self, subscriptions: &[RoomSubscription], parcels: &mut Parcels) {
        let forms = subscriptions.iter().map(|subscription| &subscription.terms.form);
        let encoded = Arc::new(EncodedEvents::new(self.head, self.events, forms, self.stomp_message_bytes));
        let mut own = self.own();
        let resync = push(ServerFrame::resync(self.head), self.now);
        for subscription in subscriptions.iter().filter(|subscription| subscription.terms.events) {
            let end = self.end_of(subscription);
            let range = self.range(subscription.joined_seq, end);
            let parcel = parcels.entry(subscription.connection.clone()).or_default();
            parcel.is_established = true;
            let lagged = subscription.lagged_seq.filter(|_| end.is_none());
            if lagged.is_some() {
                // The fetch that follows brings its own events too.
                own.remove(&subscription.connection);
                parcel.frames.push(Frames::One(resync.to_room(&self.head.room, &subscription.terms.form)));
            } else {
                if let Some((_, indices)) = own.get_mut(&subscription.connection) {
                    indices.retain(|index| !range.contains(index));
                }
                parcel.events += range.len() as u64;
                parcel.traces.extend(self.traces_of(range.clone()));
                let (events, form) = (Arc::clone(&encoded), subscription.terms.form.clone());
                parcel.frames.push(Frames::Run { events, form, range });
            }
            parcel.last_seq = self.events.last().map_or(Seq::ZERO, |event| event.seq);
            parcel.subscriptions.push((subscription.clone(), lagged));
        }
        for (connection, (reply_to, indices)) in own {
            let frames = self.own_frames(&encoded, &reply_to.dialect, &indices);
            if !frames.is_empty() {
                let parcel = parcels.entry(connection.clone()).or_default();
                parcel.is_established = true;
                parcel.events += indices.len() as u64;
                parcel.traces.extend(self.traces_of(indices));
                parcel.frames.extend(frames);
            }
        }
    }

    /// The events that connections wait for, by connection.
    fn own(&self) -> HashMap<&ConnectionId, (&ReplyTo, Vec<usize>)> {
        let mut own: HashMap<&ConnectionId, (&ReplyTo, Vec<usize>)> = HashMap::new();
        for (index, event) in self.events.iter().enumerate() {
            if let Some(reply_to) = self.waiting.get(&event.command_id).map(AsRef::as_ref) {
                let (newest, indices) = own.entry(&reply_to.connection).or_insert((reply_to, Vec::new()));
                *newest = reply_to;
                indices.push(index);
            }
        }
        own
    }

    /// Events of a connection's own, which has not subscribed to their room.
    fn own_frames(&self, encoded: &EncodedEvents, dialect: &Dialect, indices: &[usize]) -> Vec<Frames> {
        match dialect {
            Dialect::Json => encoded.json(indices.iter().copied()).map(|text| Frames::One(text.into())).collect(),
            Dialect::Stomp(_) => {
                let Head { room, epoch, .. } = self.head;
                let own = indices.iter().filter_map(|index| self.events.get(*index)).map(|event| {
                    let (room_id, epoch) = (room.clone(), epoch.clone());
                    push(ServerFrame::Events { room_id, epoch, events: vec![event.clone()] }, self.now)
                });
                own.flat_map(|push| push.to_connection(dialect, None)).map(Frames::One).collect()
            }
        }
    }

    /// Which events a subscription gets: from those that its member could know on, to the removal of that member.
    fn range(&self, joined: Seq, end: Option<Seq>) -> Range<usize> {
        let first = self.events.partition_point(|event| event.seq < joined);
        let last = end.map_or(self.events.len(), |end| self.events.partition_point(|event| event.seq <= end));
        first..last.max(first)
    }

    fn traces_of(&self, indices: impl IntoIterator<Item = usize>) -> impl Iterator<Item = TraceContext> {
        self.traces.of(indices.into_iter().filter_map(|index| Some(self.events.get(index)?.command_id)))
    }
}

#[cfg(test)]
mod tests {
    use common::codec::Form;
    use common::codec::stomp::{Ack, Subscription};
    use common::command::Signals;
    use common::id::MessageId;
    use common::room::RoomKind;
    use common::room::event::{EventBody, Message};
    use common::store::Terms;

    use super::*;

    const EVENTS: usize = 100;
    const SUBSCRIPTIONS: usize = 500;

    fn head() -> Head {
        let now = Time::from_unix_ms(1_800_000_000_000);
        Head {
            room: "room".parse().unwrap(),
            kind: RoomKind::Group,
            name: "Courtyard".to_owned(),
            epoch: "e1".parse().unwrap(),
            last_seq: Seq::new(EVENTS as u64).unwrap(),
            last_message_no: EVENTS as u64,
            last_message_seq: Seq::new(EVENTS as u64).unwrap(),
            member_count: 2,
            owner_count: 1,
            created_at: now,
            last_activity: now,
            delivered_seq: Seq::ZERO,
        }
    }

    fn event(seq: usize, content: &str) -> RoomEvent {
        let (seq, at) = (Seq::new(seq as u64).unwrap(), Time::from_unix_ms(1_800_000_000_000));
        let body = EventBody::Message(Message {
            id: MessageId { epoch: "e1".parse().unwrap(), seq },
            client_message_id: format!("c-{seq}").parse().unwrap(),
            number: seq.get(),
            content: Some(content.to_owned()),
            edited_at: None,
        });
        let (room, sender) = ("room".parse().unwrap(), "alice".parse().unwrap());
        RoomEvent { seq, room, at, sender, command_id: CommandId::new(at, seq.get().into()), body }
    }

    fn subscription(number: usize) -> RoomSubscription {
        let form = Form::Stomp(Subscription { id: format!("s{number}").parse().unwrap(), ack: Ack::Auto });
        RoomSubscription {
            connection: "connection".parse().unwrap(),
            user: "bob".parse().unwrap(),
            joined_seq: Seq::ZERO,
            terms: Terms { form, events: true, signals: Signals::default() },
            lagged_seq: None,
        }
    }

    /// The most memory that this process has had.
    fn peak_kilobytes() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// They were all in memory before the first was posted, more than a function has; and again with each redelivery.
    #[test]
    fn copies_of_many_subscriptions_are_not_held_at_once() {
        let content = "x".repeat(24_000);
        let events: Vec<RoomEvent> = (1..=EVENTS).map(|seq| event(seq, &content)).collect();
        let subscriptions: Vec<RoomSubscription> = (0..SUBSCRIPTIONS).map(subscription).collect();
        let (head, waiting, traces) = (head(), HashMap::new(), Traces::default());
        let (head, events, waiting, traces) = (&head, events.as_slice(), &waiting, &traces);
        let now = Time::from_unix_ms(1_800_000_000_000);
        let fan_out = FanOut { head, events, removals: &[], waiting, traces, stomp_message_bytes: 8_192, now };
        let before = peak_kilobytes();
        let mut parcels = Parcels::new();
        fan_out.pack(&subscriptions, &mut parcels);
        let texts = parcels.values().flat_map(|parcel| &parcel.frames).flat_map(Frames::texts);
        let (count, bytes) = texts.fold((0, 0), |(count, bytes), text| (count + 1, bytes + text.len()));
        assert_eq!(count, EVENTS * SUBSCRIPTIONS);
        assert!(bytes > 1_200_000_000, "{bytes} bytes");
        let more = peak_kilobytes() - before;
        assert!(more < 64_000, "{more} kB were held at once");
    }
}
