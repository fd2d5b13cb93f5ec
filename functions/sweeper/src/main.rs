//! The schedule's function, once a minute: ends what nobody ended, and says what nobody said. It finds what is due
//! through an index, so a sweep reads as much as is due, not as much as there is.

mod act;
mod handler;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::config::{Environment, KafkaConfig, OutboundConfig, StoreConfig, function_name};
use common::metrics::Metrics;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use common::time::{Time, time_left};
use handler::{Sweeper, Timing};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::de::IgnoredAny;
use tokio::time::Instant;

/// What is kept of the invocation's time for what is under way when a sweep stops early.
const LAST_ACTS: Duration = Duration::from_secs(10);
/// What is kept of it to report.
const REPORT_MARGIN: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    common::telemetry::start();
    let environment = Environment::of_process();
    let metrics = Arc::new(Metrics::new(function_name(&environment)?));
    let sweeper = Arc::new(Sweeper {
        store: Store::new(StoreConfig::new(&environment)?, Arc::clone(&metrics)),
        outbound: Outbound::new(OutboundConfig::new(&environment)?, Arc::clone(&metrics)),
        // Most sweeps have nothing to tell.
        producer: Producer::lazy(KafkaConfig::new(&environment)?, Arc::clone(&metrics)),
        metrics: Arc::clone(&metrics),
    });
    // Nothing of the event is needed, so that anything will do.
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<IgnoredAny>| {
        let (sweeper, metrics) = (Arc::clone(&sweeper), Arc::clone(&metrics));
        async move {
            let now = Time::now();
            let left = time_left(event.context.deadline(), SystemTime::now());
            let timing = Timing {
                now,
                last_start: Instant::now() + left.saturating_sub(LAST_ACTS),
                end: Instant::now() + left.saturating_sub(REPORT_MARGIN),
            };
            let report = sweeper.handle(timing).await;
            metrics.flush("sweeper", now);
            report.map_err(Error::from)
        }
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_event_will_do() {
        let path = format!("{}/../../events/schedule.json", env!("CARGO_MANIFEST_DIR"));
        for text in [&std::fs::read_to_string(path).unwrap(), "{}", "null", "[1]", r#""2026-11-25T04:00:00Z""#] {
            assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "{text}");
        }
    }
}
