//! What a function counts and measures about itself: units, produces, posts, how long a delivery takes. The line that
//! ends an invocation has it in CloudWatch's embedded metric format (more lines only for very many measurements); the only
//! dimension is the function's deployed name, so the number of series does not grow with use, and two stacks of one
//! account stay apart. Where a process has several invocations at once, a line has what was counted since the one before.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::time::Time;

macro_rules! counts {
    ($($(#[$meta:meta])* $name:ident,)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Count { $($(#[$meta])* $name,)* }

        /// The names of all, in their order.
        const NAMES: &[&str] = &[$(stringify!($name),)*];
    };
}

counts! {
    /// DynamoDB read units, in halves (an eventually consistent read is half a unit).
    ReadHalfUnits,
    /// DynamoDB write units.
    WriteUnits,
    /// Records acknowledged by Kafka.
    Produces,
    /// Commands let in, among those records: each is committed, a duplicate, or refused in the end.
    Accepted,
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
    /// Memberships that the cache knew of, so that the table was not asked.
    CacheHits,
    /// Memberships that it did not know of.
    CacheMisses,
    /// Asks that failed; after one the cache is left alone for a while.
    CacheFailures,
}

/// What is measured: each value is kept, so that percentiles can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// From the receipt of a command to the end of its event's posts.
    DeliveryLatency,
    /// Events in one transaction.
    CommitBatchSize,
}

const MEASURES: [(&str, &str); 2] = [("DeliveryLatency", "Milliseconds"), ("CommitBatchSize", "Count")];

/// The most values that a line may have of one metric (the embedded metric format's specification).
const VALUES_MAX: usize = 100;

/// The counts and measurements since the last flush.
#[derive(Debug, Default)]
pub struct Metrics {
    function_name: String,
    counts: [AtomicU64; NAMES.len()],
    measured: [Mutex<Vec<u64>>; MEASURES.len()],
}

impl Metrics {
    /// Nothing counted yet, by the function of this name.
    #[must_use]
    pub fn new(function_name: String) -> Self {
        Self { function_name, ..Self::default() }
    }

    /// Adds to a count.
    pub fn add(&self, count: Count, amount: u64) {
        if let Some(value) = self.counts.get(count as usize) {
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

    /// Adds a measurement.
    pub fn measure(&self, measure: Measure, value: u64) {
        if let Some(values) = self.measured.get(measure as usize) {
            values.lock().unwrap_or_else(PoisonError::into_inner).push(value);
        }
    }

    /// The counts by name, set back to zero; those that are zero are left out.
    #[must_use]
    pub fn take(&self) -> Map<String, Value> {
        let taken = NAMES.iter().zip(&self.counts).map(|(name, value)| (*name, value.swap(0, Ordering::Relaxed)));
        taken.filter(|(_, value)| *value > 0).map(|(name, value)| (name.to_owned(), value.into())).collect()
    }

    /// Writes what was counted into the line that ends an invocation, on standard output, from where Lambda hands it to
    /// CloudWatch. Tells whether there was anything.
    pub fn flush(&self, end: &Map<String, Value>, now: Time) -> bool {
        let lines = self.take_lines(end, now);
        for line in &lines {
            if let Err(error) = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()) {
                tracing::warn!(%error, "the counts cannot be written");
            }
        }
        !lines.is_empty()
    }

    fn take_lines(&self, end: &Map<String, Value>, now: Time) -> Vec<Value> {
        let mut counts = self.take();
        let measured: Vec<_> = MEASURES.iter().map(|(name, _)| *name).zip(self.take_measured()).collect();
        let with_measured = measured.iter().map(|(_, values)| values.len().div_ceil(VALUES_MAX)).max();
        let count = with_measured.unwrap_or_default().max(usize::from(!counts.is_empty()));
        let line = |index| {
            let mut figures = std::mem::take(&mut counts);
            for (name, values) in &measured {
                figures.extend(values.chunks(VALUES_MAX).nth(index).map(|values| ((*name).to_owned(), values.into())));
            }
            self.line(figures, end, now)
        };
        (0..count).map(line).collect()
    }

    fn take_measured(&self) -> impl Iterator<Item = Vec<u64>> {
        self.measured.iter().map(|values| std::mem::take(&mut *values.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn line(&self, mut figures: Map<String, Value>, end: &Map<String, Value>, now: Time) -> Value {
        let metrics: Vec<Value> = figures.keys().map(|name| json!({"Name": name, "Unit": unit(name)})).collect();
        let directive = json!({"Namespace": "Madang", "Dimensions": [["FunctionName"]], "Metrics": metrics});
        figures.insert("_aws".to_owned(), json!({"Timestamp": now.unix_ms(), "CloudWatchMetrics": [directive]}));
        figures.insert("FunctionName".to_owned(), self.function_name.clone().into());
        figures.extend(end.clone());
        Value::Object(figures)
    }
}

fn unit(name: &str) -> &'static str {
    MEASURES.iter().find(|(measure, _)| *measure == name).map_or("Count", |(_, unit)| unit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Who looks from outside rests on the data file.
    #[test]
    fn every_figure_is_declared() {
        let declared: Value = serde_json::from_str(include_str!("../../infra/figures.json")).unwrap();
        let counts: BTreeSet<&str> = declared["counts"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(counts, NAMES.iter().copied().collect());
        let measures = declared["measures"].as_object().unwrap().iter();
        let measures: BTreeSet<(&str, &str)> =
            measures.map(|(name, measure)| (name.as_str(), measure["unit"].as_str().unwrap())).collect();
        assert_eq!(measures, BTreeSet::from(MEASURES));
    }

    #[test]
    fn counts_are_taken_once_by_name() {
        let metrics = Metrics::default();
        metrics.add(Count::Lagged, 2);
        metrics.add_units(1.5, 4.0);
        let taken = Value::Object(metrics.take());
        assert_eq!(taken, json!({"ReadHalfUnits": 3, "WriteUnits": 4, "Lagged": 2}));
        assert!(metrics.take().is_empty());
    }

    #[test]
    fn a_line_names_its_figures_their_units_and_the_invocation() {
        let metrics = Metrics::new("stack-Consumer-1".to_owned());
        metrics.add(Count::Posts, 2);
        metrics.measure(Measure::DeliveryLatency, 30);
        metrics.measure(Measure::DeliveryLatency, 7);
        let expected = json!({
            "Posts": 2,
            "DeliveryLatency": [30, 7],
            "FunctionName": "stack-Consumer-1",
            "request_id": "r-1",
            "_aws": {"Timestamp": 5, "CloudWatchMetrics": [{
                "Namespace": "Madang",
                "Dimensions": [["FunctionName"]],
                "Metrics": [
                    {"Name": "DeliveryLatency", "Unit": "Milliseconds"},
                    {"Name": "Posts", "Unit": "Count"},
                ],
            }]},
        });
        let end = Map::from_iter([("request_id".to_owned(), "r-1".into())]);
        assert_eq!(metrics.take_lines(&end, Time::from_unix_ms(5)), [expected]);
        assert!(metrics.take_lines(&end, Time::from_unix_ms(6)).is_empty());
    }

    #[test]
    fn a_line_has_at_most_a_hundred_values_of_a_measure_and_counts_come_once() {
        let metrics = Metrics::default();
        metrics.add(Count::Committed, 250);
        (0..250).for_each(|value| metrics.measure(Measure::DeliveryLatency, value));
        metrics.measure(Measure::CommitBatchSize, 9);
        let lines = metrics.take_lines(&Map::new(), Time::from_unix_ms(5));
        let values: Vec<usize> = lines.iter().map(|line| line["DeliveryLatency"].as_array().unwrap().len()).collect();
        assert_eq!(values, [100, 100, 50]);
        for once in ["Committed", "CommitBatchSize"] {
            assert_eq!(lines.iter().filter(|line| line.get(once).is_some()).count(), 1, "{once}");
        }
    }
}
