//! From events to frames per connection. Each event is encoded once; each run of events is framed once and shared by
//! every connection that gets it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use common::codec::frame::ServerFrame;
use common::codec::json;
use common::id::{CommandId, ConnectionId, Seq, UserId};
use common::room::Head;
use common::room::event::RoomEvent;
use common::store::RoomSubscription;

use crate::post::Parcels;

/// One room's events on their way to its subscribers.
pub(crate) struct FanOut<'a> {
    /// The room as it stands after the commit.
    pub(crate) head: &'a Head,
    /// What is posted, in order.
    pub(crate) events: &'a [RoomEvent],
    /// Whose memberships ended within the batch, and with which event.
    pub(crate) removals: &'a [(UserId, Seq)],
    /// Connections that wait for an event of theirs, whether they are subscribed or not.
    pub(crate) waiting: &'a HashMap<CommandId, ConnectionId>,
}

impl FanOut<'_> {
    /// The event that ended the membership on which a subscription rests, when one did.
    pub(crate) fn end_of(&self, subscription: &RoomSubscription) -> Option<Seq> {
        let of_user = self.removals.iter().filter(|(user, _)| *user == subscription.user);
        of_user.map(|(_, seq)| *seq).filter(|seq| *seq > subscription.joined_seq).min()
    }

    /// Adds each connection's frames to its parcel.
    pub(crate) fn pack(&self, subscriptions: &[RoomSubscription], parcels: &mut Parcels) {
        let encoded: Vec<String> = self.events.iter().map(json::encode_event).collect();
        let mut shared: BTreeMap<(usize, usize), Vec<Arc<str>>> = BTreeMap::new();
        let mut own: HashMap<&ConnectionId, Vec<usize>> = HashMap::new();
        for (index, event) in self.events.iter().enumerate() {
            if let Some(connection) = self.waiting.get(&event.command_id) {
                own.entry(connection).or_default().push(index);
            }
        }
        for subscription in subscriptions {
            let end = self.end_of(subscription);
            let range = self.range(subscription.joined_seq, end);
            let parcel = parcels.entry(subscription.connection.clone()).or_default();
            parcel.is_established = true;
            if let (Some(lagged), None) = (subscription.lagged_seq, end) {
                // The fetch that follows brings its own events too.
                own.remove(&subscription.connection);
                parcel.frames.push(self.resync());
                parcel.resync = Some(lagged);
            } else {
                if let Some(indices) = own.get_mut(&subscription.connection) {
                    indices.retain(|index| !range.contains(index));
                }
                parcel.events += range.len() as u64;
                let frames = shared.entry((range.start, range.end)).or_insert_with(|| self.frames(&encoded, range));
                parcel.frames.extend(frames.iter().cloned());
            }
            parcel.last_seq = self.events.last().map_or(Seq::ZERO, |event| event.seq);
            parcel.subscription = Some(subscription.clone());
        }
        for (connection, indices) in own.into_iter().filter(|(_, indices)| !indices.is_empty()) {
            let parcel = parcels.entry(connection.clone()).or_default();
            parcel.is_established = true;
            parcel.events += indices.len() as u64;
            parcel.frames.extend(self.frames(&encoded, indices));
        }
    }

    /// Which events a subscription gets: from those that its member could know on, to the removal of that member.
    fn range(&self, joined: Seq, end: Option<Seq>) -> Range<usize> {
        let first = self.events.partition_point(|event| event.seq < joined);
        let last = end.map_or(self.events.len(), |end| self.events.partition_point(|event| event.seq <= end));
        first..last.max(first)
    }

    fn frames(&self, encoded: &[String], indices: impl IntoIterator<Item = usize>) -> Vec<Arc<str>> {
        let texts = indices.into_iter().filter_map(|index| encoded.get(index)).map(String::as_str);
        let frames = json::events_frames(&self.head.room, &self.head.epoch, texts);
        frames.into_iter().map(Arc::from).collect()
    }

    fn resync(&self) -> Arc<str> {
        let Head { room, epoch, last_seq, .. } = self.head;
        json::encode(&ServerFrame::Resync { room_id: room.clone(), epoch: epoch.clone(), last_seq: *last_seq }).into()
    }
}
