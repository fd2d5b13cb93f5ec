//! The Kafka event source's function: commits each room's records in order, then posts what was committed.

mod batch;
mod dead_letter;
mod deliver;
mod fan_out;
mod frames;
mod handler;
mod post;
mod presence;
mod read;
mod trace;
mod typing;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::cache::Cache;
use common::config::{
    CacheConfig, KafkaConfig, OutboundConfig, StoreConfig, partial_batch_responses, stomp_message_bytes,
};
use common::function::Function;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use common::time::time_left;
use handler::Consumer;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use post::POSTS_AT_ONCE;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What is kept of the invocation's time to report what did not finish.
const REPORT_MARGIN: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let function = Arc::new(Function::start("consumer")?);
    let (environment, metrics) = (&function.environment, &function.metrics);
    let kafka = KafkaConfig::new(environment)?;
    let consumer = Arc::new(Consumer {
        store: Store::new(StoreConfig::new(environment)?, Arc::clone(metrics)),
        cache: Cache::new(CacheConfig::new(environment)?, Arc::clone(metrics)),
        topic_prefix: kafka.topic_prefix.clone(),
        producer: Producer::new(kafka, Arc::clone(metrics))?,
        outbound: Outbound::new(OutboundConfig::new(environment)?, Arc::clone(metrics)),
        posts: Semaphore::new(POSTS_AT_ONCE),
        partial_batch_responses: partial_batch_responses(environment)?,
        stomp_message_bytes: stomp_message_bytes(environment)?,
        metrics: Arc::clone(metrics),
    });
    common::shutdown::prepare(&function, &consumer, |consumer| &consumer.producer).await;
    lambda_runtime::run_concurrent(service_fn(move |LambdaEvent { payload, context }: LambdaEvent<_>| {
        let (consumer, function) = (Arc::clone(&consumer), Arc::clone(&function));
        async move {
            let left = time_left(context.deadline(), SystemTime::now());
            let deadline = Instant::now() + left.saturating_sub(REPORT_MARGIN);
            let work = |now| consumer.handle(payload, deadline, now);
            let response = function.invoke(&context.request_id, context.xray_trace_id.as_deref(), work).await;
            response.map_err(Error::from)
        }
    }))
    .await
}
