//! The Runtime API of one environment: what `lambda_runtime` and its shutdown helper ask of the platform.
//!
//! `next` is a long poll that is answered by an invocation and by nothing else: it never answers 204 and is not cut
//! while the process lives, since both end `lambda_runtime`.

use std::{
    convert::Infallible,
    future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderMap},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    InvokeError,
    environment::{Environment, Handed},
    pool::Pool,
};
use crate::{asker, identifier};

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const DEADLINE_MS: &str = "lambda-runtime-deadline-ms";
const FUNCTION_ARN: &str = "lambda-runtime-invoked-function-arn";
const TRACE_ID: &str = "lambda-runtime-trace-id";
const FUNCTION_ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const EXTENSION_IDENTIFIER: &str = "lambda-extension-identifier";

/// The largest answer of a function. Source: Lambda quotas, synchronous response payload.
const RESPONSE_LIMIT_BYTES: usize = 6 * 1024 * 1024;
/// How long the listener rests when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a function reports of an error of its own.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Diagnostic {
    error_type: String,
    error_message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registered<'a> {
    function_name: &'a str,
    function_version: &'a str,
    handler: &'a str,
}

/// Serves the Runtime API to one process, until the task is aborted.
pub(super) async fn serve(listener: TcpListener, pool: Pool, environment: Arc<Environment>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the Runtime API could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a Runtime API connection keeps its delay");
        }
        while connections.try_join_next().is_some() {}
        let (pool, environment) = (pool.clone(), Arc::clone(&environment));
        connections.spawn(async move {
            let service = service_fn(|request| {
                let (pool, environment) = (pool.clone(), Arc::clone(&environment));
                async move { Ok::<_, Infallible>(answer(&pool, &environment, request).await) }
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a Runtime API connection ended");
            }
        });
    }
}

async fn answer(pool: &Pool, environment: &Arc<Environment>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // A page could take invocations away with a picture's address.
    if !asker::is_program(&head.headers) {
        return status(StatusCode::FORBIDDEN);
    }
    let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    match (&head.method, path.as_slice()) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => next(pool, environment).await,
        (&Method::POST, ["2018-06-01", "runtime", "invocation", request_id, "response"]) => {
            let result = read(body).await.map_err(|()| InvokeError::Failed {
                error_type: "Function.ResponseSizeTooLarge".into(),
                message: format!("the response is larger than {RESPONSE_LIMIT_BYTES} bytes, or was cut"),
            });
            finish(pool, environment, request_id, result)
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", request_id, "error"]) => {
            let error = failure(&head.headers, &read(body).await.unwrap_or_default());
            finish(pool, environment, request_id, Err(error))
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
            let error = failure(&head.headers, &read(body).await.unwrap_or_default());
            tracing::error!(function = pool.spec().name, %error, "a function reported an error of its start");
            status(StatusCode::ACCEPTED)
        }
        (&Method::POST, ["2020-01-01", "extension", "register"]) => register(&pool.spec().name),
        // The helper subscribes to no event, so there never is one.
        (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => future::pending().await,
        (&Method::POST, ["2020-01-01", "extension", "init" | "exit", "error"]) => status(StatusCode::ACCEPTED),
        _ => status(StatusCode::NOT_FOUND),
    }
}

async fn next(pool: &Pool, environment: &Arc<Environment>) -> Response<Full<Bytes>> {
    match pool.next(environment).await {
        Ok(handed) => invocation(&pool.spec().name, handed),
        // The pool lets go of a `next` only when the process has ended: there is nobody to answer.
        Err(_) => future::pending().await,
    }
}

fn invocation(function: &str, handed: Handed) -> Response<Full<Bytes>> {
    let deadline_ms = handed.deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    Response::builder()
        .header(REQUEST_ID, &handed.request_id)
        .header(DEADLINE_MS, deadline_ms.to_string())
        .header(FUNCTION_ARN, format!("arn:aws:lambda:us-east-1:000000000000:function:{function}"))
        .header(TRACE_ID, format!("{};Parent={};Sampled=0", identifier::trace_root(), identifier::hexadecimal(8)))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(handed.payload))
        .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

fn finish(
    pool: &Pool,
    environment: &Environment,
    request_id: &str,
    result: Result<Bytes, InvokeError>,
) -> Response<Full<Bytes>> {
    if environment.answer(request_id, result) {
        pool.announce();
        status(StatusCode::ACCEPTED)
    } else {
        status(StatusCode::BAD_REQUEST)
    }
}

fn failure(headers: &HeaderMap, body: &[u8]) -> InvokeError {
    let diagnostic: Diagnostic = serde_json::from_slice(body).unwrap_or_default();
    let of_header = || headers.get(FUNCTION_ERROR_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("Unknown");
    let error_type = if diagnostic.error_type.is_empty() { of_header().to_owned() } else { diagnostic.error_type };
    InvokeError::Failed { error_type, message: diagnostic.error_message }
}

fn register(function: &str) -> Response<Full<Bytes>> {
    let registered = Registered { function_name: function, function_version: "$LATEST", handler: "bootstrap" };
    let Ok(body) = serde_json::to_vec(&registered) else { return status(StatusCode::INTERNAL_SERVER_ERROR) };
    Response::builder()
        .header(EXTENSION_IDENTIFIER, identifier::uuid())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn read(body: Incoming) -> Result<Bytes, ()> {
    Limited::new(body, RESPONSE_LIMIT_BYTES).collect().await.map(http_body_util::Collected::to_bytes).map_err(|_| ())
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
