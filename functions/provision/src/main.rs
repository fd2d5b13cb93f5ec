//! The stack's custom resource: the topics of `infra/topics.json`, made when the stack is, looked at again when it
//! changes, and kept when it goes.

mod event;
mod handler;

use std::sync::Arc;

use common::config::Environment;
use handler::Provision;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    common::telemetry::start();
    let provision = Arc::new(Provision { environment: Environment::of_process() });
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| {
        let provision = Arc::clone(&provision);
        async move { provision.handle(event.payload).await.map_err(Error::from) }
    }))
    .await
}
