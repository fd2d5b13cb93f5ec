//! `$disconnect`: a connection has ended; its rows go. Best effort on the platform's side, idempotent on ours.

use std::sync::Arc;

use common::config::{KafkaConfig, StoreConfig};
use common::departure;
use common::function::Function;
use common::gateway::{WebSocketEvent, WebSocketResponse};
use common::producer::Producer;
use common::store::{Store, StoreError};
use common::telemetry::trace;
use common::time::Time;
use lambda_runtime::{Error, LambdaEvent, service_fn};

/// What `$disconnect` works with.
struct Disconnect {
    store: Store,
    producer: Producer,
}

impl Disconnect {
    async fn handle(&self, event: WebSocketEvent, now: Time) -> Result<WebSocketResponse, StoreError> {
        let context = event.request_context;
        trace::about_connection(&context.connection_id);
        // A failure makes the platform try again.
        let removed = departure::remove(&self.store, &self.producer, &context.connection_id, now).await;
        removed.inspect_err(|error| tracing::error!(%error, "the connection cannot be removed"))?;
        tracing::info!(code = context.close_code(), "disconnected");
        Ok(WebSocketResponse::accepted())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let function = Arc::new(Function::start("disconnect")?);
    let (environment, metrics) = (&function.environment, &function.metrics);
    let disconnect = Arc::new(Disconnect {
        store: Store::new(StoreConfig::new(environment)?, Arc::clone(metrics)),
        producer: Producer::new(KafkaConfig::new(environment)?, Arc::clone(metrics))?,
    });
    common::shutdown::prepare(&function, &disconnect, |disconnect| &disconnect.producer).await;
    lambda_runtime::run_concurrent(service_fn(move |LambdaEvent { payload, context }| {
        let (disconnect, function) = (Arc::clone(&disconnect), Arc::clone(&function));
        async move {
            let work = |now| disconnect.handle(payload, now);
            function.invoke(&context.request_id, context.xray_trace_id.as_deref(), work).await.map_err(Error::from)
        }
    }))
    .await
}
