//! The partial batch response of a function.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::batch::Batch;

/// An answer that names nothing of its batch; the platform then takes the whole batch as failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("the partial batch response has another shape: {0}")]
    Shape(String),
    #[error("the partial batch response names {topic_partition} offset {offset}, which is not in the batch")]
    Unknown { topic_partition: String, offset: i64 },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    batch_item_failures: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: ItemIdentifier,
}

#[derive(Deserialize)]
struct ItemIdentifier {
    partition: String,
    offset: i64,
}

/// The first failed offset of each partition that has one. An empty body, `null` and an absent or empty list are
/// success.
///
/// # Errors
/// As [`ResponseError`] says.
pub(super) fn first_failures(body: &[u8], topic: &str, batch: &Batch) -> Result<BTreeMap<i32, i64>, ResponseError> {
    if body.trim_ascii().is_empty() {
        return Ok(BTreeMap::new());
    }
    let response: Option<Response> =
        serde_json::from_slice(body).map_err(|error| ResponseError::Shape(error.to_string()))?;
    let mut first = BTreeMap::new();
    for Failure { item_identifier: ItemIdentifier { partition: topic_partition, offset } } in
        response.unwrap_or_default().batch_item_failures.unwrap_or_default()
    {
        let Some(partition) = partition(&topic_partition, topic).filter(|partition| holds(batch, *partition, offset))
        else {
            return Err(ResponseError::Unknown { topic_partition, offset });
        };
        first.entry(partition).and_modify(|lowest: &mut i64| *lowest = offset.min(*lowest)).or_insert(offset);
    }
    Ok(first)
}

fn partition(topic_partition: &str, topic: &str) -> Option<i32> {
    topic_partition.strip_prefix(topic)?.strip_prefix('-')?.parse().ok()
}

fn holds(batch: &Batch, partition: i32, offset: i64) -> bool {
    batch.partitions.get(&partition).is_some_and(|records| records.iter().any(|record| record.offset == offset))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use tokio::time::Instant;

    use super::{super::record::Record, *};

    fn check(body: &str, expected: Option<&[(i32, i64)]>) {
        let record = |offset| Record { offset, json: RawValue::NULL.to_owned(), log_bytes: 0, arrived: Instant::now() };
        let partitions = BTreeMap::from([(0, (5..9).map(record).collect()), (2, (0..3).map(record).collect())]);
        let found = first_failures(body.as_bytes(), "chat-messages", &Batch { partitions, reading: 0 });
        assert_eq!(found.ok(), expected.map(|pairs| pairs.iter().copied().collect()), "{body}");
    }

    fn failures(identifiers: &str) -> String {
        format!(r#"{{"batchItemFailures":[{identifiers}]}}"#)
    }

    #[test]
    fn the_lowest_offset_of_each_partition_counts() {
        for success in ["", " ", "null", "{}", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#] {
            check(success, Some(&[]));
        }
        let item = |partition: &str, offset: i64| {
            format!(r#"{{"itemIdentifier":{{"partition":"{partition}","offset":{offset}}}}}"#)
        };
        check(&failures(&item("chat-messages-0", 7)), Some(&[(0, 7)]));
        let several = [item("chat-messages-0", 7), item("chat-messages-2", 1), item("chat-messages-0", 6)].join(",");
        check(&failures(&several), Some(&[(0, 6), (2, 1)]));
    }

    #[test]
    fn an_answer_that_names_nothing_of_the_batch_is_an_error() {
        let text = |identifier: &str| failures(&format!(r#"{{"itemIdentifier":{identifier}}}"#));
        check("[]x", None);
        check("\"done\"", None);
        check(&text(r#""chat-messages-0""#), None);
        check(&text(r#"{"partition":"chat-messages-0","offset":9}"#), None);
        check(&text(r#"{"partition":"chat-messages-1","offset":5}"#), None);
        check(&text(r#"{"partition":"other-0","offset":5}"#), None);
    }
}
