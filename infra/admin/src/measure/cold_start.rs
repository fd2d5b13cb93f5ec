//! A cold start as Lambda would see it: from the start of the process to its first `GET …/invocation/next`, at a
//! Runtime API that this process serves and that never hands out an invocation.

use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// From the start of a process to its first call for work.
pub(crate) type ColdStart = Duration;

const NEXT: &str = "/2018-06-01/runtime/invocation/next";
const INIT_ERROR: &str = "/2018-06-01/runtime/init/error";
const REGISTER: &str = "/2020-01-01/extension/register";
/// Lambda's own limit.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A function that did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColdStartError {
    #[error("it cannot be started: {0}")]
    Start(#[from] std::io::Error),
    #[error("it reported an error while it started")]
    Init,
    #[error("it ended with {0} before it asked for work")]
    Exit(std::process::ExitStatus),
    #[error("it did not ask for work within {} s", INIT_TIMEOUT.as_secs())]
    Timeout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Next,
    InitError,
}

/// Starts the binary once in this environment and stops it when it asks for work.
///
/// # Errors
/// It never asked.
pub(crate) async fn measure(binary: &Path, variables: &[(String, String)]) -> Result<ColdStart, ColdStartError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?.to_string();
    let (sender, mut calls) = unbounded_channel();
    let api = tokio::spawn(serve(listener, sender));
    let mut command = Command::new(binary);
    command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
    command.env("AWS_LAMBDA_RUNTIME_API", address);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let started = Instant::now();
    let mut process = command.spawn()?;
    let outcome = tokio::select! {
        call = calls.recv() => match call {
            Some((Call::Next, at)) => Ok(at.saturating_duration_since(started)),
            Some((Call::InitError, _)) | None => Err(ColdStartError::Init),
        },
        status = process.wait() => Err(ColdStartError::Exit(status?)),
        () = tokio::time::sleep(INIT_TIMEOUT) => Err(ColdStartError::Timeout),
    };
    process.kill().await?;
    api.abort();
    outcome
}

async fn serve(listener: TcpListener, calls: UnboundedSender<(Call, Instant)>) {
    while let Ok((stream, _)) = listener.accept().await {
        let calls = calls.clone();
        let service = service_fn(move |request: Request<Incoming>| answer(request, calls.clone()));
        tokio::spawn(async move {
            // The function is stopped in the middle of its call: how its connection ends says nothing.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    calls: UnboundedSender<(Call, Instant)>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let call = match request.uri().path() {
        REGISTER => {
            let body = r#"{"functionName":"function","functionVersion":"$LATEST","handler":"bootstrap"}"#;
            let mut response = Response::new(Full::from(body));
            response.headers_mut().insert("lambda-extension-identifier", "cold-start".parse().expect("a plain word"));
            return Ok(response);
        }
        NEXT => Some(Call::Next),
        INIT_ERROR => Some(Call::InitError),
        _ => None,
    };
    if let Some(call) = call {
        // Nobody listens any more once the first call was taken.
        calls.send((call, Instant::now())).ok();
    }
    if call == Some(Call::InitError) {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::ACCEPTED;
        return Ok(response);
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_never_asks_is_told() {
        let outcome = measure(Path::new("/bin/false"), &[]).await;
        assert!(matches!(outcome, Err(ColdStartError::Exit(status)) if !status.success()));
        assert!(matches!(measure(Path::new("/nowhere"), &[]).await, Err(ColdStartError::Start(_))));
    }
}
