//! A batch from the event source, sorted into rooms and records that are not ours.

use std::collections::HashMap;

use common::id::RoomId;
use common::kafka_event::{KafkaEvent, KafkaRecord};
use common::producer::MESSAGES_TOPIC;
use common::record::{Record, Undecodable};

/// A record with the place that it came from.
#[derive(Debug)]
pub(crate) struct Placed {
    /// As it stood on the topic.
    pub(crate) raw: KafkaRecord,
    /// What it says.
    pub(crate) record: Record,
}

/// A batch: every record is either a room's or nobody's.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// By room, each in Kafka's order.
    pub(crate) rooms: Vec<(RoomId, Vec<Placed>)>,
    /// What cannot be decoded, with the reason.
    pub(crate) undecodable: Vec<(KafkaRecord, Undecodable)>,
}

impl Batch {
    /// Sorts a batch.
    pub(crate) fn sort(event: KafkaEvent) -> Self {
        let mut batch = Self::default();
        let mut index: HashMap<RoomId, usize> = HashMap::new();
        for raw in event.records.into_values().flatten() {
            let decoded = if raw.topic == MESSAGES_TOPIC {
                Record::decode(raw.key.as_deref(), raw.value.as_deref())
            } else {
                Err(Undecodable::Topic)
            };
            match decoded {
                Err(reason) => batch.undecodable.push((raw, reason)),
                Ok(record) => {
                    let at = *index.entry(record.room_id.clone()).or_insert_with(|| {
                        batch.rooms.push((record.room_id.clone(), Vec::new()));
                        batch.rooms.len() - 1
                    });
                    if let Some((_, records)) = batch.rooms.get_mut(at) {
                        records.push(Placed { raw, record });
                    }
                }
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

    #[test]
    fn the_samples_are_records_of_rooms() {
        for name in ["kafka-batch.json", "kafka-batch-msk.json"] {
            let batch = Batch::sort(load(name));
            assert!(batch.undecodable.is_empty(), "{name}: {:?}", batch.undecodable);
            assert!(!batch.rooms.is_empty(), "{name}");
        }
    }

    /// Odd records failed whole batches elsewhere: aws-powertools/powertools-lambda-typescript#4988.
    #[test]
    fn odd_records_never_fail_their_batch() {
        let batch = Batch::sort(load("kafka-batch-odd.json"));
        assert!(!batch.undecodable.is_empty());
        assert!(!batch.rooms.is_empty(), "their neighbours stand");
    }
}
