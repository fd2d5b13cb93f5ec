//! The HTTP API: rooms, members, messages.

mod answer;
mod call;
mod change;
mod command;
mod cors;
mod create;
mod encoded;
mod handler;
mod member;
mod message;
mod room;
mod room_list;
mod route;

use std::sync::Arc;

use common::auth::Verifier;
use common::config::{AllowedOrigins, Environment, JwtConfig, KafkaConfig, StoreConfig, cursor_key, function_name};
use common::cursor::Cursors;
use common::metrics::Metrics;
use common::producer::Producer;
use common::store::Store;
use common::time::Time;
use handler::Api;
use lambda_http::{Error, Request, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    common::telemetry::start();
    let environment = Environment::of_process();
    let metrics = Arc::new(Metrics::new(function_name(&environment)?));
    let api = Arc::new(Api {
        verifier: Verifier::new(JwtConfig::new(&environment)?)?,
        origins: AllowedOrigins::new(&environment)?,
        store: Store::new(StoreConfig::new(&environment)?, Arc::clone(&metrics)),
        producer: Producer::new(KafkaConfig::new(&environment)?, Arc::clone(&metrics))?,
        cursors: Cursors::new(&cursor_key(&environment)?),
    });
    lambda_http::run_concurrent(service_fn(move |request: Request| {
        let (api, metrics) = (Arc::clone(&api), Arc::clone(&metrics));
        async move {
            let now = Time::now();
            let response = api.handle(request, now).await;
            metrics.flush("api", now);
            Ok::<_, Error>(response)
        }
    }))
    .await
}
