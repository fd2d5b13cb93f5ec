//! What the functions count about themselves: lines in CloudWatch's embedded metric format on their standard output,
//! summed up by function and name since the start.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

/// The sums of one function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<BTreeMap<String, f64>>>);

impl Counts {
    /// Takes a line of a function's standard output; tells whether it was one of metrics.
    pub(super) fn take(&self, line: &[u8]) -> bool {
        let Ok(Value::Object(line)) = serde_json::from_slice(line) else { return false };
        let Some(directives) = line.get("_aws").and_then(|aws| aws.get("CloudWatchMetrics")?.as_array()) else {
            return false;
        };
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let definitions = directives.iter().filter_map(|directive| directive.get("Metrics")?.as_array()).flatten();
        for name in definitions.filter_map(|definition| definition.get("Name")?.as_str()) {
            if let Some(value) = line.get(name).and_then(Value::as_f64) {
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        true
    }

    /// The sums by name.
    pub(super) fn sums(&self) -> BTreeMap<String, f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_metrics_are_summed_and_others_are_left() {
        let counts = Counts::default();
        let line =
            br#"{"Posts":2,"Other":9,"function":"x","_aws":{"CloudWatchMetrics":[{"Metrics":[{"Name":"Posts"}]}]}}"#;
        assert!(counts.take(line) && counts.take(line));
        assert!(!counts.take(b"hello"));
        assert!(!counts.take(br#"{"Posts":2}"#));
        assert_eq!(counts.sums(), BTreeMap::from([("Posts".to_owned(), 4.0)]));
    }
}
