//! `$default`: what clients say, decoded, checked, and answered in the route response.

mod authenticate;
mod handler;
mod json;
mod obey;
mod stomp;
mod subscribe;

use std::sync::Arc;

use common::auth::Verifier;
use common::cache::Cache;
use common::config::{
    CacheConfig, JwtConfig, KafkaConfig, OutboundConfig, StoreConfig, cursor_key, stomp_message_bytes,
};
use common::cursor::Cursors;
use common::function::Function;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::Store;
use handler::MessageFunction;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let function = Arc::new(Function::start("message")?);
    let (environment, metrics) = (&function.environment, &function.metrics);
    let message = Arc::new(MessageFunction {
        verifier: Verifier::new(JwtConfig::new(environment)?)?,
        store: Store::new(StoreConfig::new(environment)?, Arc::clone(metrics)),
        cache: Cache::new(CacheConfig::new(environment)?, Arc::clone(metrics)),
        producer: Producer::new(KafkaConfig::new(environment)?, Arc::clone(metrics))?,
        outbound: Outbound::new(OutboundConfig::new(environment)?, Arc::clone(metrics)),
        cursors: Cursors::new(&cursor_key(environment)?),
        stomp_message_bytes: stomp_message_bytes(environment)?,
    });
    common::shutdown::prepare(&function, &message, |message| &message.producer).await;
    lambda_runtime::run_concurrent(service_fn(move |LambdaEvent { payload, context }| {
        let (message, function) = (Arc::clone(&message), Arc::clone(&function));
        async move {
            let work = |now| message.handle(payload, now);
            Ok::<_, Error>(function.invoke(&context.request_id, context.xray_trace_id.as_deref(), work).await)
        }
    }))
    .await
}
