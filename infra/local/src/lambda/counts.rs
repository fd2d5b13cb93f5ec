//! What the functions count about themselves: lines in CloudWatch's embedded metric format on their standard output,
//! summed up by function and name since the start. A metric that stands there as a list of values is a distribution.
//!
//! What `infra/figures.json` names is there from the start, at zero: to Prometheus a series that appears with a value has
//! not increased.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;
use serde_json::Value;

/// The upper bounds of a distribution's buckets: milliseconds, or how many.
pub(crate) const BUCKET_BOUNDS: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];

/// The figures that are declared, each with the functions that have it.
#[derive(Deserialize)]
struct Declared {
    counts: BTreeMap<String, Vec<String>>,
    measures: BTreeMap<String, DeclaredMeasure>,
}

#[derive(Deserialize)]
struct DeclaredMeasure {
    unit: String,
    functions: Vec<String>,
}

/// The figures of one function, while it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<Figures>>);

/// The figures of one function, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// What is counted.
    pub(crate) sums: BTreeMap<String, f64>,
    /// What is measured.
    pub(crate) distributions: BTreeMap<String, Distribution>,
}

/// The values of a measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Distribution {
    /// As CloudWatch calls it.
    pub(crate) unit: String,
    /// How many values lie at or below each bound.
    pub(crate) at_most: [u64; BUCKET_BOUNDS.len()],
    /// How many values there are.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: f64,
}

impl Counts {
    /// Those of a function: nothing yet of what it counts and measures.
    pub(crate) fn of(function: &str) -> Self {
        let Declared { counts, measures } =
            serde_json::from_str(include_str!("../../../figures.json")).expect("a test reads this data file");
        let has = |functions: &[String]| functions.iter().any(|name| name == function);
        let counts = counts.into_iter().filter(|(_, functions)| has(functions)).map(|(name, _)| (name, 0.0));
        let measures = measures.into_iter().filter(|(_, measure)| has(&measure.functions));
        let distributions =
            measures.map(|(name, measure)| (name, Distribution { unit: measure.unit, ..Distribution::default() }));
        Self(Arc::new(Mutex::new(Figures { sums: counts.collect(), distributions: distributions.collect() })))
    }

    /// Takes a line of a function's standard output; tells whether it was one of metrics.
    pub(super) fn take(&self, line: &[u8]) -> bool {
        let Ok(Value::Object(line)) = serde_json::from_slice(line) else { return false };
        let Some(directives) = line.get("_aws").and_then(|aws| aws.get("CloudWatchMetrics")?.as_array()) else {
            return false;
        };
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let definitions = directives.iter().filter_map(|directive| directive.get("Metrics")?.as_array()).flatten();
        for definition in definitions {
            if let Some(name) = definition.get("Name").and_then(Value::as_str) {
                let unit = definition.get("Unit").and_then(Value::as_str).unwrap_or_default();
                figures.take(name, unit, line.get(name).unwrap_or(&Value::Null));
            }
        }
        true
    }

    /// The figures now.
    pub(super) fn figures(&self) -> Figures {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Figures {
    fn take(&mut self, name: &str, unit: &str, value: &Value) {
        if let Some(values) = value.as_array() {
            let distribution = self.distributions.entry(name.to_owned()).or_default();
            unit.clone_into(&mut distribution.unit);
            values.iter().filter_map(Value::as_f64).for_each(|value| distribution.take(value));
        } else if let Some(value) = value.as_f64() {
            *self.sums.entry(name.to_owned()).or_default() += value;
        }
    }
}

impl Distribution {
    fn take(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        let buckets = BUCKET_BOUNDS.iter().zip(&mut self.at_most);
        buckets.filter(|(bound, _)| value <= **bound).for_each(|(_, count)| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_of_a_function_is_there_at_zero() {
        let figures = Counts::of("sweeper").figures();
        let names: Vec<&str> = figures.sums.keys().map(String::as_str).collect();
        assert_eq!(names, ["Gone", "Posts", "Produces", "ReadHalfUnits", "Swept", "WriteUnits"]);
        assert!(figures.sums.values().all(|sum| *sum == 0.0) && figures.distributions.is_empty());
        let latency = &Counts::of("consumer").figures().distributions["DeliveryLatency"];
        assert_eq!((latency.unit.as_str(), latency.count), ("Milliseconds", 0));
    }

    #[test]
    fn lines_of_metrics_are_summed_and_others_are_left() {
        let counts = Counts::default();
        let line =
            br#"{"Posts":2,"Other":9,"function":"x","_aws":{"CloudWatchMetrics":[{"Metrics":[{"Name":"Posts"}]}]}}"#;
        assert!(counts.take(line) && counts.take(line));
        assert!(!counts.take(b"hello"));
        assert!(!counts.take(br#"{"Posts":2}"#));
        assert_eq!(counts.figures().sums, BTreeMap::from([("Posts".to_owned(), 4.0)]));
    }

    #[test]
    fn a_list_is_a_distribution() {
        let counts = Counts::default();
        let line = br#"{"Took":[1,7,20000],"_aws":{"CloudWatchMetrics":[{"Metrics":[{"Name":"Took","Unit":"Milliseconds"}]}]}}"#;
        assert!(counts.take(line));
        let at_most = [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2];
        let expected = Distribution { unit: "Milliseconds".to_owned(), at_most, count: 3, sum: 20_008.0 };
        assert_eq!(counts.figures().distributions, BTreeMap::from([("Took".to_owned(), expected)]));
        assert!(counts.figures().sums.is_empty());
    }
}
