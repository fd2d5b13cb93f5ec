//! The schedule's function, once a minute: ends what nobody ended, and says what nobody said. It finds what is due
//! through an index, so a sweep reads as much as is due, not as much as there is.

mod act;
mod handler;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::config::{KafkaConfig, OutboundConfig, StoreConfig};
use common::function::Function;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use common::time::time_left;
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
    let function = Arc::new(Function::start("sweeper")?);
    let (environment, metrics) = (&function.environment, &function.metrics);
    let sweeper = Arc::new(Sweeper {
        store: Store::new(StoreConfig::new(environment)?, Arc::clone(metrics)),
        outbound: Outbound::new(OutboundConfig::new(environment)?, Arc::clone(metrics)),
        // Most sweeps have nothing to tell.
        producer: Producer::lazy(KafkaConfig::new(environment)?, Arc::clone(metrics)),
        metrics: Arc::clone(metrics),
    });
    common::shutdown::prepare(&function, &sweeper, |sweeper| &sweeper.producer).await;
    // Nothing of the event is needed, so that anything will do.
    lambda_runtime::run_concurrent(service_fn(move |LambdaEvent { context, .. }: LambdaEvent<IgnoredAny>| {
        let (sweeper, function) = (Arc::clone(&sweeper), Arc::clone(&function));
        async move {
            let left = time_left(context.deadline(), SystemTime::now());
            let last_start = Instant::now() + left.saturating_sub(LAST_ACTS);
            let end = Instant::now() + left.saturating_sub(REPORT_MARGIN);
            let work = |now| sweeper.handle(Timing { now, last_start, end });
            let report = function.invoke(&context.request_id, context.xray_trace_id.as_deref(), work).await;
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
