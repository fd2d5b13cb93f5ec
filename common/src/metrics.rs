//! Counts of what a function did: units, produces, posts. One line in CloudWatch's embedded metric format per
//! invocation; the only dimension is the function, so the number of series does not grow with use.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use crate::time::Time;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// DynamoDB read units, in halves (an eventually consistent read is half a unit).
    ReadHalfUnits,
    /// DynamoDB write units.
    WriteUnits,
    /// Records acknowledged by Kafka.
    Produces,
    /// Frames posted to connections.
    Posts,
    /// Events in those frames.
    PostedEvents,
    /// Connections found gone.
    Gone,
    /// Records handled.
    Records,
    /// Rooms with records, per batch.
    RoomBatches,
    /// Events committed.
    Committed,
    /// Retries recognised.
    Duplicates,
    /// Refusals told.
    Nacks,
    /// Records on the dead-letter topic.
    DeadLetters,
    /// Connections that were too slow.
    Lagged,
    /// What was due and the sweeper did.
    Swept,
}

const NAMES: [&str; 14] = [
    "ReadHalfUnits",
    "WriteUnits",
    "Produces",
    "Posts",
    "PostedEvents",
    "Gone",
    "Records",
    "RoomBatches",
    "Committed",
    "Duplicates",
    "Nacks",
    "DeadLetters",
    "Lagged",
    "Swept",
];

/// The counts since the last flush.
#[derive(Debug, Default)]
pub struct Metrics([AtomicU64; NAMES.len()]);

impl Metrics {
    /// Adds to a count.
    pub fn add(&self, count: Count, amount: u64) {
        if let Some(value) = self.0.get(count as usize) {
            value.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Adds DynamoDB's consumed capacity units.
    pub fn add_units(&self, read: f64, write: f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "units are small and positive")]
        for (count, amount) in [(Count::ReadHalfUnits, read * 2.0), (Count::WriteUnits, write)] {
            self.add(count, amount.round() as u64);
        }
    }

    /// The counts by name, set back to zero; those that are zero are left out.
    #[must_use]
    pub fn take(&self) -> Map<String, Value> {
        let taken = NAMES.iter().zip(&self.0).map(|(name, value)| (*name, value.swap(0, Ordering::Relaxed)));
        taken.filter(|(_, value)| *value > 0).map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    /// Writes one line on standard output, from where Lambda hands it to CloudWatch; none when nothing was counted.
    pub fn flush(&self, function: &str, now: Time) {
        let mut line = self.take();
        if line.is_empty() {
            return;
        }
        let metrics: Vec<Value> = line.keys().map(|name| json!({"Name": name, "Unit": "Count"})).collect();
        let directive = json!({"Namespace": "Madang", "Dimensions": [["function"]], "Metrics": metrics});
        line.insert("_aws".to_owned(), json!({"Timestamp": now.unix_ms(), "CloudWatchMetrics": [directive]}));
        line.insert("function".to_owned(), function.into());
        let text = format!("{}\n", Value::Object(line));
        if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
            tracing::warn!(%error, "the counts cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_once_by_name() {
        let metrics = Metrics::default();
        metrics.add(Count::Lagged, 2);
        metrics.add_units(1.5, 4.0);
        let taken = Value::Object(metrics.take());
        assert_eq!(taken, json!({"ReadHalfUnits": 3, "WriteUnits": 4, "Lagged": 2}));
        assert!(metrics.take().is_empty());
    }
}
