//! A batch from the event source, sorted: room by room, user by user, and what is nobody's.

use std::collections::HashMap;
use std::hash::Hash;

use common::id::{RoomId, UserId};
use common::kafka_event::{KafkaEvent, KafkaRecord};
use common::record::{self, AnyRecord, Marker, Record, Signal, Undecodable};

/// A record with the place that it came from.
#[derive(Debug)]
pub(crate) struct Placed<T> {
    /// As it stood on the topic.
    pub(crate) raw: KafkaRecord,
    /// What it says.
    pub(crate) record: T,
}

/// Records by what they concern, each group in Kafka's order.
#[derive(Debug)]
pub(crate) struct Groups<K, T> {
    groups: Vec<(K, Vec<Placed<T>>)>,
    index: HashMap<K, usize>,
}

/// A batch: every record is a room's, a user's or nobody's.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What changes rooms.
    pub(crate) rooms: Groups<RoomId, Record>,
    /// How far rooms are read.
    pub(crate) markers: Groups<RoomId, Marker>,
    /// What users' sessions do.
    pub(crate) signals: Groups<UserId, Signal>,
    /// What cannot be decoded, with the reason.
    pub(crate) undecodable: Vec<(KafkaRecord, Undecodable)>,
}

impl<K, T> Default for Groups<K, T> {
    fn default() -> Self {
        Self { groups: Vec::new(), index: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, T> Groups<K, T> {
    fn add(&mut self, key: &K, raw: KafkaRecord, record: T) {
        let at = *self.index.entry(key.clone()).or_insert_with(|| {
            self.groups.push((key.clone(), Vec::new()));
            self.groups.len() - 1
        });
        if let Some((_, records)) = self.groups.get_mut(at) {
            records.push(Placed { raw, record });
        }
    }
}

impl<K, T> Groups<K, T> {
    /// The groups, in the order of their first records.
    pub(crate) fn into_groups(self) -> Vec<(K, Vec<Placed<T>>)> {
        self.groups
    }
}

impl Batch {
    /// Sorts a batch.
    pub(crate) fn sort(event: KafkaEvent) -> Self {
        let mut batch = Self::default();
        for raw in event.records.into_values().flatten() {
            match record::decode(&raw.topic, raw.key.as_deref(), raw.value.as_deref()) {
                Ok(AnyRecord::Room(record)) => batch.rooms.add(&record.room_id.clone(), raw, record),
                Ok(AnyRecord::Marker(marker)) => batch.markers.add(&marker.room_id.clone(), raw, marker),
                Ok(AnyRecord::Signal(signal)) => batch.signals.add(&signal.user_id.clone(), raw, signal),
                Err(reason) => batch.undecodable.push((raw, reason)),
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str) -> KafkaEvent {
        let path = format!("{}/../../events/{name}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// How many records stand in all groups.
    fn count<K, T>(groups: Groups<K, T>) -> usize {
        groups.into_groups().iter().map(|(_, records)| records.len()).sum()
    }

    #[test]
    fn the_samples_are_records_of_their_topics() {
        let check = |name, expected| {
            let batch = Batch::sort(load(name));
            assert!(batch.undecodable.is_empty(), "{name}: {:?}", batch.undecodable);
            assert_eq!((count(batch.rooms), count(batch.markers), count(batch.signals)), expected, "{name}");
        };
        check("kafka-batch.json", (3, 0, 0));
        check("kafka-batch-msk.json", (3, 0, 0));
        check("kafka-batch-changes.json", (4, 0, 0));
        check("kafka-batch-reading.json", (0, 3, 0));
        check("kafka-batch-presence.json", (0, 0, 4));
    }

    /// Odd records failed whole batches elsewhere: aws-powertools/powertools-lambda-typescript#4988.
    #[test]
    fn odd_records_never_fail_their_batch() {
        let batch = Batch::sort(load("kafka-batch-odd.json"));
        assert!(!batch.undecodable.is_empty());
        assert!(!batch.rooms.into_groups().is_empty(), "their neighbours stand");
    }
}
