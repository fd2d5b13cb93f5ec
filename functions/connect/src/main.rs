//! `$connect`: who may open a connection, and as whom.

mod handler;
mod origin;
mod subprotocol;
mod token;

use std::sync::Arc;

use common::auth::Verifier;
use common::config::{AllowedOrigins, Environment, JwtConfig, KafkaConfig, OutboundConfig, StoreConfig, function_name};
use common::metrics::Metrics;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use common::time::Time;
use handler::Connect;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    common::telemetry::start();
    let environment = Environment::of_process();
    let metrics = Arc::new(Metrics::new(function_name(&environment)?));
    let connect = Arc::new(Connect {
        verifier: Verifier::new(JwtConfig::new(&environment)?)?,
        origins: AllowedOrigins::new(&environment)?,
        store: Store::new(StoreConfig::new(&environment)?, Arc::clone(&metrics)),
        outbound: Outbound::new(OutboundConfig::new(&environment)?, Arc::clone(&metrics)),
        // A pending connection produces nothing, so that it need not wait for Kafka's client.
        producer: Producer::lazy(KafkaConfig::new(&environment)?, Arc::clone(&metrics)),
    });
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<_>| {
        let (connect, metrics) = (Arc::clone(&connect), Arc::clone(&metrics));
        async move {
            let now = Time::now();
            let response = connect.handle(event.payload, now).await;
            metrics.flush("connect", now);
            Ok::<_, Error>(response)
        }
    }))
    .await
}
