//! `$connect`: who may open a connection, and as whom.

mod handler;
mod origin;
mod subprotocol;
mod token;

use std::sync::Arc;

use common::auth::Verifier;
use common::config::{AllowedOrigins, JwtConfig, KafkaConfig, OutboundConfig, StoreConfig};
use common::function::Function;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use handler::Connect;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let function = Arc::new(Function::start("connect")?);
    let (environment, metrics) = (&function.environment, &function.metrics);
    let connect = Arc::new(Connect {
        verifier: Verifier::new(JwtConfig::new(environment)?)?,
        origins: AllowedOrigins::new(environment)?,
        store: Store::new(StoreConfig::new(environment)?, Arc::clone(metrics)),
        outbound: Outbound::new(OutboundConfig::new(environment)?, Arc::clone(metrics)),
        producer: Producer::new(KafkaConfig::new(environment)?, Arc::clone(metrics))?,
    });
    common::shutdown::prepare(&function, &connect, |connect| &connect.producer).await;
    lambda_runtime::run_concurrent(service_fn(move |LambdaEvent { payload, context }| {
        let (connect, function) = (Arc::clone(&connect), Arc::clone(&function));
        async move {
            let work = |now| connect.handle(payload, now);
            Ok::<_, Error>(function.invoke(&context.request_id, context.xray_trace_id.as_deref(), work).await)
        }
    }))
    .await
}
