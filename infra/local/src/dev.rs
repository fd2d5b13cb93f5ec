//! This runtime's own calls: the page, development tokens, running processes, switches for tests.
//!
//! | call | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /metrics` | what the functions counted and measured since the start, for Prometheus |
//! | `GET /dev/token?sub=alice&expiresIn=3600` | `{"token"}` |
//! | `GET /dev/functions` | `{"functions":[{"name","pid"}]}` |
//! | `GET /dev/metrics` | `{"message":{"Produces":1,…},…}`: the counts among them |
//! | `PUT /dev/faults` | 204; see [`crate::faults::FaultSettings`] |
//! | `POST /dev/sweep` | 200 with the sweeper's report, when it has run |
//! | `POST /dev/rewind` | 204, when the event source reads every topic from its first record again |
//!
//! Anybody who reaches these is anybody in the chat. So they answer only to a name of this machine itself (another name
//! that leads here is DNS rebinding) and not to pages of other origins.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::sync::RwLock;

use crate::{
    asker,
    embedded::Gate,
    event_source::EventSource,
    exposition,
    faults::{FaultSettings, Faults},
    gateway::{Answer, json as json_answer, message},
    lambda::Functions,
    schedule,
    token::Signer,
};

const PAGE: &str = include_str!("../page/index.html");
/// How long a token lasts unless `expiresIn` says otherwise.
const TOKEN_EXPIRES_IN_S: i64 = 3600;
/// The largest body of a switch.
const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// The event source, from its start to its stop.
pub(crate) type EventSourceSlot = Arc<RwLock<Option<EventSource>>>;

/// What the calls act on.
pub(crate) struct Dev {
    signer: Signer,
    faults: Arc<Faults>,
    event_source: EventSourceSlot,
    gate: Option<Gate>,
}

impl Dev {
    /// The gate is that of the embedded broker; none when Kafka is another one.
    pub(crate) fn new(signer: Signer, faults: Arc<Faults>, event_source: EventSourceSlot, gate: Option<Gate>) -> Self {
        Self { signer, faults, event_source, gate }
    }

    /// Answers a call; `path` is its path, split at slashes and decoded.
    pub(crate) async fn answer(&self, functions: &Functions, path: &[&str], request: Request<Incoming>) -> Answer {
        if !asker::is_own(request.headers()) {
            return message(
                StatusCode::FORBIDDEN,
                "use localhost or 127.0.0.1, from a page of this server or from none",
            );
        }
        match (request.method(), path) {
            (&Method::GET | &Method::HEAD, [""]) => page(),
            (&Method::GET, ["dev", "token"]) => self.token(request.uri().query().unwrap_or_default()),
            (&Method::GET, ["dev", "functions"]) => {
                json_answer(StatusCode::OK, &json!({ "functions": functions.running() }))
            }
            (&Method::GET, ["metrics"]) => metrics(functions),
            (&Method::GET, ["dev", "metrics"]) => json_answer(StatusCode::OK, &json!(counts(functions))),
            (&Method::PUT, ["dev", "faults"]) => self.set_faults(request.into_body()).await,
            (&Method::POST, ["dev", "rewind"]) => self.rewind().await,
            (&Method::POST, ["dev", "sweep"]) => sweep(functions).await,
            (
                _,
                ["" | "metrics" | "dev"] | ["dev", "token" | "functions" | "metrics" | "faults" | "rewind" | "sweep"],
            ) => message(StatusCode::METHOD_NOT_ALLOWED, "no such method here"),
            _ => message(StatusCode::NOT_FOUND, "no such call"),
        }
    }

    fn token(&self, query: &str) -> Answer {
        let Some(subject) = parameter(query, "sub").filter(|subject| !subject.is_empty()) else {
            return message(StatusCode::BAD_REQUEST, "sub is missing: whose token should it be?");
        };
        let expires_in_s = match parameter(query, "expiresIn").map(|seconds| seconds.parse()) {
            None => TOKEN_EXPIRES_IN_S,
            Some(Ok(seconds)) => seconds,
            Some(Err(_)) => return message(StatusCode::BAD_REQUEST, "expiresIn is not a number of seconds"),
        };
        match self.signer.token(&subject, expires_in_s, Timestamp::now()) {
            Ok(token) => {
                let mut answer = json_answer(StatusCode::OK, &json!({ "token": token }));
                answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                answer
            }
            Err(error) => {
                tracing::error!(%error, "a development token could not be signed");
                message(StatusCode::INTERNAL_SERVER_ERROR, "the token could not be signed")
            }
        }
    }

    async fn set_faults(&self, body: Incoming) -> Answer {
        let Ok(body) = Limited::new(body, BODY_LIMIT_BYTES).collect().await else {
            return message(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        };
        let settings: FaultSettings = match serde_json::from_slice(&body.to_bytes()) {
            Ok(settings) => settings,
            Err(error) => return message(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match &self.gate {
            Some(gate) => {
                gate.take_away(settings.topics_away.clone());
                gate.delay(Duration::from_millis(settings.broker_delay_ms));
                gate.settled().await;
            }
            None if settings.topics_away.is_empty() && settings.broker_delay_ms == 0 => {}
            None => return message(StatusCode::BAD_REQUEST, "only the embedded broker's topics can be taken away"),
        }
        if let Some(event_source) = self.event_source.read().await.as_ref() {
            if settings.pause_event_source { event_source.pause() } else { event_source.resume() }
        }
        self.faults.set(settings);
        no_content()
    }

    async fn rewind(&self) -> Answer {
        let event_source = self.event_source.read().await;
        let Some(event_source) = event_source.as_ref() else {
            return message(StatusCode::SERVICE_UNAVAILABLE, "the event source does not run");
        };
        match event_source.rewind().await {
            Ok(()) => no_content(),
            Err(error) => message(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }
}

async fn sweep(functions: &Functions) -> Answer {
    let report = schedule::sweep(functions).await.map_err(|error| error.to_string());
    let report = report
        .and_then(|report| serde_json::from_slice::<serde_json::Value>(&report).map_err(|error| error.to_string()));
    match report {
        Ok(report) => json_answer(StatusCode::OK, &report),
        Err(error) => message(StatusCode::BAD_GATEWAY, &error),
    }
}

fn metrics(functions: &Functions) -> Answer {
    let mut answer = Response::new(Full::from(exposition::text(&functions.figures())));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn counts(functions: &Functions) -> BTreeMap<&str, BTreeMap<String, f64>> {
    functions.figures().into_iter().map(|(name, figures)| (name, figures.sums)).collect()
}

fn page() -> Answer {
    let mut answer = Response::new(Full::from(PAGE));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn no_content() -> Answer {
    let mut answer = Response::new(Full::from(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(parameter("sub=al%20ice%2B&expiresIn=5", "sub").as_deref(), Some("al ice+"));
        assert_eq!(parameter("sub", "sub").as_deref(), Some(""));
        assert_eq!(parameter("", "sub"), None);
    }
}
