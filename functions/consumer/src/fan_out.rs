//! From events to frames per connection. Each event is encoded once; each run of events is framed once and shared by
//! every connection that gets it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use common::codec::frame::ServerFrame;
use common::codec::json;
use common::id::{CommandId, ConnectionId, Seq};
use common::room::Head;
use common::room::event::RoomEvent;
use common::store::RoomSubscription;

use crate::post::Parcel;

/// One room's events on their way to its subscribers.
pub(crate) struct FanOut<'a> {
    /// The room as it stands after the commit.
    pub(crate) head: &'a Head,
    /// What is posted, in order; never empty.
    pub(crate) events: &'a [RoomEvent],
    /// Connections that wait for an event of theirs, whether they are subscribed or not.
    pub(crate) waiting: &'a HashMap<CommandId, ConnectionId>,
}

impl FanOut<'_> {
    /// Adds each connection's frames to its parcel.
    pub(crate) fn pack(&self, subscriptions: Vec<RoomSubscription>, parcels: &mut HashMap<ConnectionId, Parcel>) {
        let encoded: Vec<String> = self.events.iter().map(json::encode_event).collect();
        let mut shared: BTreeMap<usize, Vec<Arc<str>>> = BTreeMap::new();
        let mut own: HashMap<&ConnectionId, Vec<&str>> = HashMap::new();
        for (event, text) in self.events.iter().zip(&encoded) {
            if let Some(connection) = self.waiting.get(&event.command_id) {
                own.entry(connection).or_default().push(text);
            }
        }
        for subscription in subscriptions {
            own.remove(&subscription.connection);
            let parcel = parcels.entry(subscription.connection.clone()).or_default();
            if let Some(lagged) = subscription.lagged_seq {
                parcel.frames.push(self.resync());
                parcel.resync = Some(lagged);
            } else {
                // Whoever joined later does not get what came before as live frames.
                let first = self.events.partition_point(|event| event.seq < subscription.joined_seq);
                let frames =
                    shared.entry(first).or_insert_with(|| self.frames(encoded.get(first..).unwrap_or_default()));
                parcel.frames.extend(frames.iter().cloned());
                parcel.events += (self.events.len() - first) as u64;
            }
            parcel.last_seq = self.events.last().map(|event| event.seq).unwrap_or(Seq::ZERO);
            parcel.subscription = Some(subscription);
        }
        for (connection, texts) in own {
            let frames = json::events_frames(&self.head.room, &self.head.epoch, texts.iter().copied());
            let parcel = parcels.entry(connection.clone()).or_default();
            parcel.events += texts.len() as u64;
            parcel.frames.extend(frames.into_iter().map(Arc::from));
        }
    }

    fn frames(&self, texts: &[String]) -> Vec<Arc<str>> {
        let frames = json::events_frames(&self.head.room, &self.head.epoch, texts.iter().map(String::as_str));
        frames.into_iter().map(Arc::from).collect()
    }

    fn resync(&self) -> Arc<str> {
        let Head { room, epoch, last_seq, .. } = self.head;
        json::encode(&ServerFrame::Resync { room_id: room.clone(), epoch: epoch.clone(), last_seq: *last_seq }).into()
    }
}
