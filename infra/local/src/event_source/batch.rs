//! The records of one invocation, and its event.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::record::Record;

/// What one invocation delivers: of each partition, consecutive records in order.
pub(super) struct Batch {
    pub(super) partitions: BTreeMap<i32, Vec<Record>>,
    /// Which reading of the topic the records belong to; see [`super::backlog::Backlog`].
    pub(super) reading: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event_source: &'static str,
    bootstrap_servers: &'a str,
    records: BTreeMap<String, Vec<&'a RawValue>>,
}

impl Batch {
    /// The bytes of an event without its records, for a topic and a number of partitions; never less than they are.
    pub(super) fn envelope_bytes(bootstrap_servers: &str, topic: &str, partition_count: usize) -> usize {
        // 80 covers the fixed names; a partition's key adds its number, quotes, colon, brackets and comma.
        80 + bootstrap_servers.len() + partition_count * (topic.len() + 20)
    }

    pub(super) fn record_count(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    /// # Errors
    /// Never: every part is JSON already. Serialisation has no other way to say so.
    pub(super) fn event(&self, bootstrap_servers: &str, topic: &str) -> Result<Bytes, serde_json::Error> {
        let records = self
            .partitions
            .iter()
            .map(|(partition, records)| {
                (format!("{topic}-{partition}"), records.iter().map(|record| &*record.json).collect())
            })
            .collect();
        let event = Event { event_source: "SelfManagedKafka", bootstrap_servers, records };
        serde_json::to_vec(&event).map(Bytes::from)
    }
}
