//! The runtime's counters of what the functions did, before and after a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::runtime::Runtime;

/// The functions count at the end of an invocation: what a run caused is complete when the counters rest.
const REST: Duration = Duration::from_millis(300);
const REST_ATTEMPTS: usize = 10;

/// Counts by name, over all functions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Reads the counters once they rest; none when the runtime keeps none.
    pub(crate) async fn read(runtime: &Runtime) -> Option<Self> {
        let mut counters = Self::read_now(runtime).await?;
        for _ in 0..REST_ATTEMPTS {
            tokio::time::sleep(REST).await;
            let again = Self::read_now(runtime).await?;
            if again == counters {
                break;
            }
            counters = again;
        }
        Some(counters)
    }

    async fn read_now(runtime: &Runtime) -> Option<Self> {
        let answer: Value = runtime.get("/dev/metrics").await.ok()?;
        let mut counters = Self::default();
        counters.add(&answer);
        Some(counters)
    }

    /// Sums every number under its name, however deep it stands: the runtime may keep functions apart.
    fn add(&mut self, value: &Value) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value.as_f64() {
                Some(number) => *self.0.entry(name.clone()).or_default() += number,
                None => self.add(value),
            }
        }
    }

    /// What was counted since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let difference =
            |(name, value): (&String, &f64)| (name.clone(), value - before.0.get(name).copied().unwrap_or_default());
        Self(self.0.iter().map(difference).collect())
    }

    /// One count.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counters_are_summed_and_subtracted() {
        let read = |value: Value| {
            let mut counters = Counters::default();
            counters.add(&value);
            counters
        };
        let before = read(json!({"message": {"Produces": 2}, "at": "now"}));
        let after = read(json!({"message": {"Produces": 5}, "consumer": {"Produces": 1, "Posts": 7}}));
        let difference = after.since(&before);
        assert_eq!((difference.get("Produces"), difference.get("Posts")), (Some(4.0), Some(7.0)));
        assert_eq!(difference.get("Gone"), None);
    }
}
