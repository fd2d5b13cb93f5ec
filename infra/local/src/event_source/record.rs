//! One record as it stands in an event.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use rdkafka::{
    Message, Timestamp,
    message::{BorrowedMessage, Header},
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use topics::readable_headers;

/// What Kafka's record format adds to a small record, roughly; only the reckoning of backlogs uses it.
const FRAMING_BYTES: usize = 70;

/// A record that waits for its delivery.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) offset: i64,
    /// The element of the event's list, ready to be put into a payload.
    pub(super) json: Box<RawValue>,
    /// About what it takes in the broker's log.
    pub(super) log_bytes: usize,
    /// When it was read; a batching window starts here.
    pub(super) arrived: Instant,
}

/// Field names, order and types are the platform's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordJson<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    timestamp_type: &'static str,
    key: Option<String>,
    value: Option<String>,
    /// Java's bytes: −128 to 127. A header without a value leaves an empty object, as was seen on the platform.
    headers: Vec<BTreeMap<&'a str, Vec<i8>>>,
}

impl Record {
    /// # Errors
    /// Never for what a broker can send; serialisation has no other way to say so.
    pub(super) fn read(message: &BorrowedMessage<'_>) -> Result<Self, serde_json::Error> {
        let headers = readable_headers(message);
        let header_bytes: usize =
            headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len)).sum();
        let (timestamp, timestamp_type) = match message.timestamp() {
            Timestamp::CreateTime(ms) => (ms, "CREATE_TIME"),
            Timestamp::LogAppendTime(ms) => (ms, "LOG_APPEND_TIME"),
            Timestamp::NotAvailable => (-1, "NO_TIMESTAMP_TYPE"),
        };
        let json = serde_json::value::to_raw_value(&RecordJson {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp,
            timestamp_type,
            key: message.key().map(|key| BASE64_STANDARD.encode(key)),
            value: message.payload().map(|value| BASE64_STANDARD.encode(value)),
            headers: headers.iter().map(json_of).collect(),
        })?;
        let body_bytes = message.key_len() + message.payload_len();
        Ok(Self {
            offset: message.offset(),
            json,
            log_bytes: body_bytes + header_bytes + FRAMING_BYTES,
            arrived: Instant::now(),
        })
    }
}

fn json_of<'a>(header: &Header<'a, &[u8]>) -> BTreeMap<&'a str, Vec<i8>> {
    let value = header.value.map(|bytes| (header.key, bytes.iter().map(|byte| byte.cast_signed()).collect()));
    value.into_iter().collect()
}
