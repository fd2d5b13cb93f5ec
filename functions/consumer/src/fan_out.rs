//! From events to frames per connection. Each event is encoded once per codec; each run of events is framed once for
//! every form and shared by the connections that get it so.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use common::codec::frame::ServerFrame;
use common::codec::stomp::message::{Message, coalesce};
use common::codec::{Dialect, Form, json};
use common::id::{CommandId, ConnectionId, Seq, UserId};
use common::record::ReplyTo;
use common::room::Head;
use common::room::event::RoomEvent;
use common::store::RoomSubscription;
use common::telemetry::trace::TraceContext;
use common::time::Time;

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
    pub(crate) waiting: &'a HashMap<CommandId, &'a ReplyTo>,
    /// The commits that posts follow.
    pub(crate) traces: &'a Traces,
    /// The longest WebSocket message that several STOMP frames are put into.
    pub(crate) stomp_message_bytes: usize,
    /// When this is done.
    pub(crate) now: Time,
}

/// The room's events, encoded; in STOMP only when somebody speaks it.
struct Encoded<'a> {
    fan_out: &'a FanOut<'a>,
    json: Vec<Arc<str>>,
    stomp: Vec<Message>,
    /// Runs of events as frames, by form.
    runs: HashMap<(Form, usize, usize), Vec<Arc<str>>>,
}

impl FanOut<'_> {
    /// The event that ended the membership on which a subscription rests, when one did.
    pub(crate) fn end_of(&self, subscription: &RoomSubscription) -> Option<Seq> {
        let of_user = self.removals.iter().filter(|(user, _)| *user == subscription.user);
        of_user.map(|(_, seq)| *seq).filter(|seq| *seq > subscription.joined_seq).min()
    }

    /// Adds each connection's frames to its parcel.
    pub(crate) fn pack(&self, subscriptions: &[RoomSubscription], parcels: &mut Parcels) {
        let mut encoded = Encoded::new(self);
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
                parcel.frames.push(resync.to_room(&self.head.room, &subscription.terms.form));
            } else {
                if let Some((_, indices)) = own.get_mut(&subscription.connection) {
                    indices.retain(|index| !range.contains(index));
                }
                parcel.events += range.len() as u64;
                parcel.traces.extend(self.traces_of(range.clone()));
                parcel.frames.extend(encoded.run(&subscription.terms.form, range));
            }
            parcel.last_seq = self.events.last().map_or(Seq::ZERO, |event| event.seq);
            parcel.subscriptions.push((subscription.clone(), lagged));
        }
        for (connection, (reply_to, indices)) in own {
            let frames = encoded.own(&reply_to.dialect, &indices);
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
            if let Some(reply_to) = self.waiting.get(&event.command_id).copied() {
                let (newest, indices) = own.entry(&reply_to.connection).or_insert((reply_to, Vec::new()));
                *newest = reply_to;
                indices.push(index);
            }
        }
        own
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

impl<'a> Encoded<'a> {
    fn new(fan_out: &'a FanOut<'a>) -> Self {
        let json = fan_out.events.iter().map(|event| json::encode_event(event).into()).collect();
        Self { fan_out, json, stomp: Vec::new(), runs: HashMap::new() }
    }

    /// A run of events as a subscription of this form gets it.
    fn run(&mut self, form: &Form, range: Range<usize>) -> Vec<Arc<str>> {
        let key = (form.clone(), range.start, range.end);
        if let Some(frames) = self.runs.get(&key) {
            return frames.clone();
        }
        let texts = match form {
            Form::Json => self.json_frames(range),
            Form::Stomp(subscription) => {
                if self.stomp.is_empty() {
                    let epoch = &self.fan_out.head.epoch;
                    let events = self.fan_out.events.iter().zip(&self.json);
                    self.stomp = events.map(|(event, json)| Message::event(event, epoch, Arc::clone(json))).collect();
                }
                let messages = self.stomp.get(range).unwrap_or_default();
                coalesce(subscription, messages, self.fan_out.stomp_message_bytes)
            }
        };
        let frames: Vec<Arc<str>> = texts.into_iter().map(Arc::from).collect();
        self.runs.insert(key, frames.clone());
        frames
    }

    /// Events of a connection's own, which has not subscribed to their room.
    fn own(&self, dialect: &Dialect, indices: &[usize]) -> Vec<Arc<str>> {
        if indices.is_empty() {
            return Vec::new();
        }
        match dialect {
            Dialect::Json => self.json_frames(indices.iter().copied()).into_iter().map(Arc::from).collect(),
            Dialect::Stomp(_) => {
                let Head { room, epoch, .. } = self.fan_out.head;
                let own = indices.iter().filter_map(|index| self.fan_out.events.get(*index)).map(|event| {
                    let (room_id, epoch) = (room.clone(), epoch.clone());
                    push(ServerFrame::Events { room_id, epoch, events: vec![event.clone()] }, self.fan_out.now)
                });
                own.filter_map(|push| push.to_connection(dialect, None)).collect()
            }
        }
    }

    fn json_frames(&self, indices: impl IntoIterator<Item = usize>) -> Vec<String> {
        let Head { room, epoch, .. } = self.fan_out.head;
        let texts = indices.into_iter().filter_map(|index| self.json.get(index)).map(AsRef::as_ref);
        json::events_frames(room, epoch, texts)
    }
}
