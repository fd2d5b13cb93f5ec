//! `$disconnect`: a connection has ended; its rows go. Best effort on the platform's side, idempotent on ours.

use std::sync::Arc;

use common::config::{Environment, StoreConfig};
use common::gateway::{WebSocketEvent, WebSocketResponse};
use common::metrics::Metrics;
use common::store::Store;
use common::time::Time;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    common::telemetry::start();
    let metrics = Arc::new(Metrics::default());
    let store = Arc::new(Store::new(StoreConfig::new(&Environment::of_process())?, Arc::clone(&metrics)));
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<WebSocketEvent>| {
        let (store, metrics) = (Arc::clone(&store), Arc::clone(&metrics));
        async move {
            let now = Time::now();
            let context = event.payload.request_context;
            let removed = store.remove_connection(&context.connection_id, now).await;
            metrics.flush("disconnect", now);
            // A failure makes the platform try again.
            removed.map_err(|error| {
                tracing::error!(%error, connection_id = %context.connection_id, "the connection cannot be removed");
                error
            })?;
            tracing::info!(connection_id = %context.connection_id, reason = context.disconnect_reason, "disconnected");
            Ok::<_, Error>(WebSocketResponse::accepted())
        }
    }))
    .await
}
