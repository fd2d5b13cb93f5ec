//! A collector of traces: takes OTLP over HTTP, as functions export it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::deadline::eventually;
use crate::passage::{self, Answer};

/// What a span is to the call that it stands for.
pub use otlp::span::SpanKind;

/// One span, as it was exported.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of the process.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// Its trace, 32 hexadecimal digits.
    pub trace: String,
    /// Itself, 16 hexadecimal digits.
    pub id: String,
    /// The span that it belongs to; empty at the root.
    pub parent: String,
    /// What it is to a call.
    pub kind: SpanKind,
    /// Its attributes that are texts.
    pub attributes: HashMap<String, String>,
    /// The spans that it is linked to.
    pub links: Vec<String>,
    /// Whether it says that it failed.
    pub failed: bool,
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    /// A thread of its own: an export has little time, and a test may keep its thread busy for longer.
    server: Option<Runtime>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    bodies: Vec<u8>,
    headers: Vec<String>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start() -> Self {
        let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
        let (ready, listening) = std::sync::mpsc::channel();
        let taken = Arc::new(Mutex::new(Taken::default()));
        let of_server = Arc::clone(&taken);
        server.spawn(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
            ready.send(listener.local_addr()).expect("somebody who waits");
            passage::serve(listener, move |parts, body| {
                let taken = Arc::clone(&of_server);
                async move { Some(answer(&parts, &body, &taken)) }
            })
            .await;
        });
        let address = listening.recv().expect("a listener").expect("an address");
        Self { address, taken, server: Some(server) }
    }

    /// Its base address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.lock().spans.clone()
    }

    /// Waits for spans that these make of all.
    ///
    /// # Panics
    /// They do not come.
    pub async fn eventually<T>(&self, what: &str, look: impl Fn(&[Span]) -> Option<T>) -> T {
        eventually(what, async || look(&self.spans())).await
    }

    /// Whether a text stands in anything that was exported.
    #[must_use]
    pub fn has_seen(&self, text: &str) -> bool {
        self.lock().bodies.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The values of the header `authorization`, one for each export.
    #[must_use]
    pub fn authorizations(&self) -> Vec<String> {
        self.lock().headers.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

fn answer(parts: &Parts, body: &Bytes, taken: &Mutex<Taken>) -> Answer {
    let is_export = parts.method == Method::POST && parts.uri.path() == "/v1/traces";
    let export = ExportTraceServiceRequest::decode(body.as_ref()).ok().filter(|_| is_export);
    let mut response = Response::new(Full::default());
    match export {
        Some(export) => {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.bodies.extend_from_slice(body);
            let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
            taken.headers.push(authorization.unwrap_or_default().to_owned());
            taken.spans.extend(export.resource_spans.into_iter().flat_map(spans));
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

fn spans(of_resource: otlp::ResourceSpans) -> impl Iterator<Item = Span> {
    let resource = texts(of_resource.resource.map(|resource| resource.attributes).unwrap_or_default());
    let service = resource.get("service.name").cloned().unwrap_or_default();
    let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(move |span| Span {
        service: service.clone(),
        kind: span.kind(),
        name: span.name,
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        attributes: texts(span.attributes),
        links: span.links.iter().map(|link| hexadecimal(&link.span_id)).collect(),
        failed: span.status.is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
    })
}

fn texts(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let text = |KeyValue { key, value, .. }| match value?.value? {
        Value::StringValue(text) => Some((key, text)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
