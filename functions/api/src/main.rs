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
use common::cache::Cache;
use common::config::{AllowedOrigins, CacheConfig, JwtConfig, KafkaConfig, StoreConfig, cursor_key};
use common::cursor::Cursors;
use common::function::Function;
use common::producer::Producer;
use common::store::Store;
use handler::Api;
use lambda_http::{Error, Request, RequestExt as _, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let function = Arc::new(Function::start("api")?);
    let (environment, metrics) = (&function.environment, &function.metrics);
    let api = Arc::new(Api {
        verifier: Verifier::new(JwtConfig::new(environment)?)?,
        origins: AllowedOrigins::new(environment)?,
        store: Store::new(StoreConfig::new(environment)?, Arc::clone(metrics)),
        cache: Cache::new(CacheConfig::new(environment)?, Arc::clone(metrics)),
        producer: Producer::new(KafkaConfig::new(environment)?, Arc::clone(metrics))?,
        cursors: Cursors::new(&cursor_key(environment)?),
    });
    common::shutdown::prepare(&function, &api, |api| &api.producer).await;
    lambda_http::run_concurrent(service_fn(move |request: Request| {
        let (api, function) = (Arc::clone(&api), Arc::clone(&function));
        async move {
            let context = request.lambda_context();
            let work = |now| api.handle(request, now);
            Ok::<_, Error>(function.invoke(&context.request_id, context.xray_trace_id.as_deref(), work).await)
        }
    }))
    .await
}
