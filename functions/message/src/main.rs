//! `$default`: what clients say, decoded, checked, and answered in the route response.

mod authenticate;
mod handler;
mod json;
mod obey;
mod stomp;
mod subscribe;

use std::sync::Arc;

use common::auth::Verifier;
use common::config::{
    Environment, JwtConfig, KafkaConfig, OutboundConfig, StoreConfig, cursor_key, function_name, stomp_message_bytes,
};
use common::cursor::Cursors;
use common::metrics::Metrics;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use common::time::Time;
use handler::MessageFunction;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    common::telemetry::start();
    let environment = Environment::of_process();
    let metrics = Arc::new(Metrics::new(function_name(&environment)?));
    let function = Arc::new(MessageFunction {
        verifier: Verifier::new(JwtConfig::new(&environment)?)?,
        store: Store::new(StoreConfig::new(&environment)?, Arc::clone(&metrics)),
        producer: Producer::new(KafkaConfig::new(&environment)?, Arc::clone(&metrics))?,
        outbound: Outbound::new(OutboundConfig::new(&environment)?, Arc::clone(&metrics)),
        cursors: Cursors::new(&cursor_key(&environment)?),
        stomp_message_bytes: stomp_message_bytes(&environment)?,
    });
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<_>| {
        let (function, metrics) = (Arc::clone(&function), Arc::clone(&metrics));
        async move {
            let now = Time::now();
            let response = function.handle(event.payload, now).await;
            metrics.flush("message", now);
            Ok::<_, Error>(response)
        }
    }))
    .await
}
