//! The gateway side: one port for the WebSocket API, its management API, the HTTP API and the development calls.
//!
//! | path | what |
//! |---|---|
//! | `/local` with an upgrade | the WebSocket API; `local` is its stage |
//! | `/local/@connections/{id}` | the management API |
//! | `/`, `/metrics`, `/dev/…` | this runtime's own: a page, figures, switches for tests |
//! | all others | the HTTP API |
//!
//! The gateway never reads what clients and functions say to each other. It holds no state that outlives a connection.

mod connections;
mod event;
mod handshake;
mod http_api;
mod management;
mod response;
mod socket;
mod work;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{
    dev::Dev,
    faults::Faults,
    lambda::{Functions, InvokeError},
};
use connections::Connections;
pub(crate) use response::{Answer, json, message};
use work::Work;

/// The stage of the WebSocket API.
pub(crate) const STAGE: &str = "local";
/// The largest message, in either direction. Source: quotas of a WebSocket API.
const MESSAGE_LIMIT_BYTES: usize = 128 * 1024;
/// How long an integration may take. Source: quotas of a WebSocket API.
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(29);
/// How long a client may take to send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// How long the listener rests when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a drain waits for what is in flight: an integration, and the `$disconnect` that follows it.
const DRAIN_LIMIT: Duration = Duration::from_secs(40);

/// What tests turn down.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long a connection may be quiet; ten minutes on the platform.
    pub(crate) idle_limit: Duration,
    /// How long a connection may last; two hours on the platform.
    pub(crate) connection_limit: Duration,
}

/// The gateway.
pub(crate) struct Gateway {
    functions: Functions,
    connections: Connections,
    dev: Dev,
    faults: Arc<Faults>,
    settings: Settings,
    port: u16,
    draining: watch::Sender<bool>,
    work: Work,
}

/// Why an integration gave no answer. The cause is logged where this is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IntegrationError {
    /// The function, or the gateway's own limit, ran out of time.
    TimedOut,
    /// The function failed.
    Failed,
    /// There was no function to invoke.
    Unavailable,
}

impl Gateway {
    /// Serves a listener until the process ends.
    pub(crate) fn start(
        listener: TcpListener,
        port: u16,
        functions: Functions,
        (dev, faults): (Dev, Arc<Faults>),
        settings: Settings,
    ) -> Arc<Self> {
        let gateway = Arc::new(Self {
            functions,
            connections: Connections::default(),
            dev,
            faults,
            settings,
            port,
            draining: watch::Sender::new(false),
            work: Work::default(),
        });
        tokio::spawn(accept(listener, Arc::clone(&gateway)));
        gateway
    }

    /// Refuses new connections and requests, lets what is in flight end, and closes every socket with 1001. The
    /// management API goes on, since the consumer still delivers.
    pub(crate) async fn drain(&self) {
        self.draining.send_replace(true);
        if timeout(DRAIN_LIMIT, self.work.done()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
    }

    /// Waits until [`Gateway::drain`] begins.
    async fn until_draining(&self) {
        // The sender lives in `self`, so the channel cannot be closed.
        drop(self.draining.subscribe().wait_for(|draining| *draining).await);
    }

    /// Invokes a function within the integration timeout.
    async fn invoke(&self, function: &str, event: Bytes) -> Result<Bytes, IntegrationError> {
        match timeout(INTEGRATION_TIMEOUT, self.functions.invoke(function, event)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(function, %error, "an invocation failed");
                Err(match error {
                    InvokeError::TimedOut => IntegrationError::TimedOut,
                    InvokeError::Failed { .. } | InvokeError::Crashed => IntegrationError::Failed,
                    InvokeError::Unavailable => IntegrationError::Unavailable,
                })
            }
            Err(_) => {
                tracing::warn!(function, "an invocation passed the integration timeout");
                Err(IntegrationError::TimedOut)
            }
        }
    }
}

async fn accept(listener: TcpListener, gateway: Arc<Gateway>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                tokio::spawn(serve(TokioIo::new(stream), peer, Arc::clone(&gateway)));
            }
            Err(error) => {
                tracing::warn!(%error, "the gateway could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TokioIo<tokio::net::TcpStream>, peer: SocketAddr, gateway: Arc<Gateway>) {
    let service = service_fn(move |request| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, Infallible>(route(&gateway, peer.ip(), request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(stream, service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "a connection to the gateway ended");
    }
}

async fn route(gateway: &Arc<Gateway>, source_ip: IpAddr, request: Request<Incoming>) -> Answer {
    let decoded = |segment: &str| percent_decode_str(segment).decode_utf8_lossy().into_owned();
    let segments: Vec<String> = request.uri().path().split('/').skip(1).map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let [stage, "@connections", connection_id] = segments.as_slice() {
        let (head, body) = request.into_parts();
        return management::answer(gateway, (stage, connection_id), &head.method, body).await;
    }
    let _guard = gateway.work.begin();
    if *gateway.draining.borrow() {
        return message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    }
    let upgrade = handshake::is_asked(request.headers());
    match segments.as_slice() {
        [STAGE] | [STAGE, ""] if upgrade => handshake::answer(gateway, source_ip, request).await,
        [STAGE] | [STAGE, ""] => message(StatusCode::UPGRADE_REQUIRED, "Upgrade Required"),
        _ if upgrade => message(StatusCode::FORBIDDEN, "Forbidden"),
        ["" | "metrics"] | ["dev", ..] => gateway.dev.answer(&gateway.functions, &segments, request).await,
        _ => http_api::answer(gateway, source_ip, request).await,
    }
}

#[cfg(test)]
mod tests;
