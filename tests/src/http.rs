//! HTTP calls and answers. Every answer of the API is checked against `infra/openapi.yaml`.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::contract::contracts;
use crate::deadline::within;

/// Calls to one base address, perhaps with a token.
#[derive(Clone)]
pub struct Http {
    base: String,
    token: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The call, for messages.
    pub call: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Http {
    /// Calls below an address.
    #[must_use]
    pub fn new(base: &str, token: Option<&str>) -> Self {
        // A connection belongs to the test that opened it, so every test has a client of its own.
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.to_owned(), token: token.map(str::to_owned), client }
    }

    /// A call with all that it can have.
    ///
    /// # Panics
    /// No answer in time, or one that the contract does not have, or the request cannot be written.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let answer = self.exchange(method, path, headers, body.into()).await;
        if is_of_the_api(method, path) {
            contracts().judge_answer(method, path, &answer);
        }
        answer
    }

    async fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let call = format!("{method} {path}");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a request");
        within(&call, async {
            let response = match self.client.request(request).await {
                Ok(response) => response,
                Err(error) => panic!("{call}: {error}"),
            };
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.expect("the whole body").to_bytes();
            let text = String::from_utf8(bytes.to_vec()).expect("a body in UTF-8");
            Answer { call: call.clone(), status: parts.status.as_u16(), headers: parts.headers, text }
        })
        .await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Bytes::new()).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// PUT without a body.
    pub async fn put(&self, path: &str) -> Answer {
        self.call("PUT", path, &[], Bytes::new()).await
    }
}

/// Whether a call is one of the API: not of the local runtime, and not a preflight.
fn is_of_the_api(method: &str, path: &str) -> bool {
    method != "OPTIONS"
        && !["/", "/metrics"].contains(&path)
        && !["/dev/", "/@connections/"].iter().any(|prefix| path.starts_with(prefix))
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// It is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}: not JSON: {}", self.call, self.text))
    }

    /// The body as JSON, of an answer with this status.
    ///
    /// # Panics
    /// It has another status.
    pub fn good(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.call, self.text);
        self.json()
    }

    /// Checks that this is a problem of the closed list, in its whole form.
    ///
    /// # Panics
    /// It is not.
    pub fn refused(&self, status: u16, code: &str) {
        let problem = self.good(status);
        assert_eq!(problem["code"], code, "{}: {problem}", self.call);
        assert_eq!(problem["status"], status, "{}: {problem}", self.call);
        for field in ["type", "title", "requestId"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{}: {field}: {problem}", self.call);
        }
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.call);
    }
}
