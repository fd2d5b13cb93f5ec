//! The Kafka event source's event and response: thin structures that take every record, also those without a key,
//! value or header, so that one odd record never fails its batch.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::config::TopicPrefix;

/// A batch of records, several partitions perhaps, each in order.
#[derive(Debug, Deserialize)]
pub struct KafkaEvent {
    /// By `topic-partition`; the names are read from the records themselves, since topics may contain `-`.
    #[serde(default)]
    pub records: BTreeMap<String, Vec<KafkaRecord>>,
}

impl KafkaEvent {
    /// The same, every topic by our name of it.
    #[must_use]
    pub fn with_our_topics(mut self, prefix: &TopicPrefix) -> Self {
        for record in self.records.values_mut().flatten() {
            record.topic = prefix.without(&record.topic).to_owned();
        }
        self
    }
}

/// One record as it stood on the topic.
#[derive(Debug, Clone, Deserialize)]
pub struct KafkaRecord {
    /// The topic: its name on the cluster, or ours after [`KafkaEvent::with_our_topics`].
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The key, when there is one.
    #[serde(default, deserialize_with = "base64_bytes")]
    pub key: Option<Vec<u8>>,
    /// The value, when there is one.
    #[serde(default, deserialize_with = "base64_bytes")]
    pub value: Option<Vec<u8>>,
    /// The headers, in order; a null header has no bytes.
    #[serde(default, deserialize_with = "header_bytes")]
    pub headers: Vec<Header>,
}

/// A record's header: its name, and its bytes unless it is null.
pub type Header = (String, Option<Vec<u8>>);

fn base64_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text: Option<Value> = Option::deserialize(deserializer)?;
    // What is not base64 cannot be ours either: it is kept as it stands and found undecodable.
    Ok(text.and_then(|text| match text {
        Value::String(text) => Some(STANDARD.decode(&text).unwrap_or_else(|_| text.into_bytes())),
        Value::Null => None,
        other => Some(other.to_string().into_bytes()),
    }))
}

/// Header bytes come signed (-128 to 127); 0 to 255 are taken too. A null header was seen as an empty object.
fn header_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Header>, D::Error> {
    let value: Option<Value> = Option::deserialize(deserializer)?;
    let Some(Value::Array(entries)) = value else { return Ok(Vec::new()) };
    let members = entries.into_iter().filter_map(|entry| match entry {
        Value::Object(members) => Some(members),
        _ => None,
    });
    let header = |(name, value): (String, Value)| {
        let bytes = value.as_array().map(|bytes| {
            let byte = |byte: &Value| byte.as_i64().map(|byte| byte.to_le_bytes().first().copied().unwrap_or_default());
            bytes.iter().filter_map(byte).collect()
        });
        (name, bytes)
    };
    Ok(members.flat_map(|members| members.into_iter().map(header)).collect())
}

/// Which records were not handled; of each partition the first, the rest of it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// Empty when all were handled.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// One partition's first record that was not handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    /// Which record.
    pub item_identifier: ItemIdentifier,
}

/// A record's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ItemIdentifier {
    /// The topic and the number of the partition, joined as in the event: `chat-messages-0`.
    pub partition: String,
    /// The offset.
    pub offset: i64,
}
