//! The stack's custom resource: the topics of `infra/topics.json`, made when the stack is, looked at again when it
//! changes, and kept when it goes.

mod event;
mod handler;

use std::sync::Arc;

use common::function::Function;
use handler::Provision;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let function = Arc::new(Function::start("provision")?);
    // What is wrong with its settings for Kafka is an answer to CloudFormation, so they are read when it is called.
    let provision = Arc::new(Provision { environment: function.environment.clone() });
    lambda_runtime::run(service_fn(move |LambdaEvent { payload, context }| {
        let (provision, function) = (Arc::clone(&provision), Arc::clone(&function));
        async move {
            let work = |_| provision.handle(payload);
            let response = function.invoke(&context.request_id, context.xray_trace_id.as_deref(), work).await;
            response.map_err(Error::from)
        }
    }))
    .await
}
