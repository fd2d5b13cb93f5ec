//! HTTP requests on their way through a test: answered here, or passed on as they are.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// An answer with its whole body.
pub(crate) type Answer = Response<Full<Bytes>>;

/// The way onward.
pub(crate) struct Onward {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Default for Onward {
    fn default() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http() }
    }
}

impl Onward {
    /// Passes a request on to a server; no answer when that does not answer.
    pub(crate) async fn pass(&self, server: &str, mut parts: Parts, body: Bytes) -> Option<Answer> {
        let path = parts.uri.path_and_query()?.as_str();
        parts.uri = format!("{}{path}", server.trim_end_matches('/')).parse::<Uri>().ok()?;
        for own in [HOST, CONTENT_LENGTH] {
            parts.headers.remove(own);
        }
        let response = self.client.request(Request::from_parts(parts, Full::new(body))).await.ok()?;
        let (parts, body) = response.into_parts();
        Some(Response::from_parts(parts, Full::new(body.collect().await.ok()?.to_bytes())))
    }
}

/// A request that is not answered: its connection ends.
#[derive(Debug)]
struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not answered")
    }
}

impl std::error::Error for Unanswered {}

/// Answers requests until the task is aborted. A request without an answer ends its connection.
pub(crate) async fn serve<F>(listener: TcpListener, answer: impl Fn(Parts, Bytes) -> F + Clone + Send + 'static)
where
    F: Future<Output = Option<Answer>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map_err(|_| Unanswered)?.to_bytes();
                answer(parts, body).await.ok_or(Unanswered)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A client that goes away in the middle is nobody's fault here.
        tokio::spawn(async move { drop(connection.await) });
    }
}
