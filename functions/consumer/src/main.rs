//! The Kafka event source's function: commits each room's records in order, then posts what was committed.

mod batch;
mod dead_letter;
mod deliver;
mod fan_out;
mod handler;
mod post;
mod presence;
mod read;
mod typing;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::config::{
    Environment, KafkaConfig, OutboundConfig, StoreConfig, function_name, partial_batch_responses, stomp_message_bytes,
};
use common::metrics::Metrics;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use common::time::{Time, time_left};
use handler::Consumer;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use tokio::time::Instant;

/// What is kept of the invocation's time to report what did not finish.
const REPORT_MARGIN: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    common::telemetry::start();
    let environment = Environment::of_process();
    let metrics = Arc::new(Metrics::new(function_name(&environment)?));
    let kafka = KafkaConfig::new(&environment)?;
    let consumer = Arc::new(Consumer {
        store: Store::new(StoreConfig::new(&environment)?, Arc::clone(&metrics)),
        topic_prefix: kafka.topic_prefix.clone(),
        producer: Producer::new(kafka, Arc::clone(&metrics))?,
        outbound: Outbound::new(OutboundConfig::new(&environment)?, Arc::clone(&metrics)),
        partial_batch_responses: partial_batch_responses(&environment)?,
        stomp_message_bytes: stomp_message_bytes(&environment)?,
        metrics: Arc::clone(&metrics),
    });
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<_>| {
        let (consumer, metrics) = (Arc::clone(&consumer), Arc::clone(&metrics));
        async move {
            let now = Time::now();
            let left = time_left(event.context.deadline(), SystemTime::now());
            let deadline = Instant::now() + left.saturating_sub(REPORT_MARGIN);
            let response = consumer.handle(event.payload, deadline, now).await;
            metrics.flush("consumer", now);
            response.map_err(Error::from)
        }
    }))
    .await
}
