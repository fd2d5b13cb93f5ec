//! The local runtime as seen from outside: its address, and the calls this tool makes to it. It is always on this
//! machine: any other host is refused before a byte is sent.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longer than the gateway waits for a function.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// The address of a local runtime: `http`, a loopback host, a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuntimeUrl {
    authority: String,
}

/// An address that this tool does not talk to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("an address looks like http://127.0.0.1:8787")]
    Form,
    #[error("not a loopback address: this tool only ever talks to this machine")]
    Remote,
}

impl FromStr for RuntimeUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let authority = uri.authority().ok_or(UrlError::Form)?;
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !plain || authority.as_str().contains('@') {
            return Err(UrlError::Form);
        }
        let host = authority.host().trim_matches(['[', ']']);
        let loopback = host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !loopback {
            return Err(UrlError::Remote);
        }
        Ok(Self { authority: authority.as_str().to_owned() })
    }
}

impl RuntimeUrl {
    /// Where the stage `local` takes WebSockets.
    pub(crate) fn websocket(&self, token: &str) -> String {
        format!("ws://{}/local?token={}", self.authority, utf8_percent_encode(token, NON_ALPHANUMERIC))
    }
}

/// A call that did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuntimeError {
    #[error("no local runtime answers at http://{0} (is `cargo run` running there?)")]
    Unreachable(String),
    #[error("{path} answered {status}: {body}")]
    Status { path: String, status: StatusCode, body: String },
    #[error("{path} answered something else than expected: {cause}")]
    Answer { path: String, cause: serde_json::Error },
}

/// A client of one local runtime.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    pub(crate) url: RuntimeUrl,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Runtime {
    pub(crate) fn new(url: RuntimeUrl) -> Self {
        Self { url, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// A development token for a subject.
    pub(crate) async fn token(&self, subject: &str, lifetime: Duration) -> Result<String, RuntimeError> {
        #[derive(serde::Deserialize)]
        struct Answer {
            token: String,
        }
        let subject = utf8_percent_encode(subject, NON_ALPHANUMERIC);
        let path = format!("/dev/token?sub={subject}&expiresIn={}", lifetime.as_secs());
        self.get(&path).await.map(|answer: Answer| answer.token)
    }

    /// Asks for a resource of the runtime itself.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RuntimeError> {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    /// Posts JSON as the owner of a token; the same key twice is one call.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &str,
        key: &str,
        body: &Value,
    ) -> Result<T, RuntimeError> {
        let authorization = format!("Bearer {token}");
        let headers =
            [("authorization", authorization.as_str()), ("idempotency-key", key), ("content-type", "application/json")];
        self.call(Method::POST, path, &headers, Bytes::from(body.to_string())).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<T, RuntimeError> {
        let unreachable = || RuntimeError::Unreachable(self.url.authority.clone());
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.url.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|_| unreachable())?;
        let answer = async {
            let response = self.client.request(request).await.map_err(|_| unreachable())?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|_| unreachable())?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| unreachable())??;
        // The query of a path may hold what nobody should read in a log.
        let path = || path.split('?').next().unwrap_or_default().to_owned();
        if !status.is_success() {
            let body = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(RuntimeError::Status { path: path(), status, body });
        }
        serde_json::from_slice(&body).map_err(|cause| RuntimeError::Answer { path: path(), cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_talked_to() {
        let check = |text: &str, expected| assert_eq!(text.parse::<RuntimeUrl>().map(|_| ()), expected, "{text}");
        check("http://127.0.0.1:8787", Ok(()));
        check("http://127.8.7.6:1/", Ok(()));
        check("http://localhost:8787", Ok(()));
        check("http://[::1]:8787", Ok(()));
        check("http://192.0.2.1:8787", Err(UrlError::Remote));
        check("http://localhost.example:8787", Err(UrlError::Remote));
        check("http://127.0.0.1.example", Err(UrlError::Remote));
        check("http://127.0.0.1@example:80", Err(UrlError::Form));
        check("https://127.0.0.1:8787", Err(UrlError::Form));
        check("http://127.0.0.1:8787/local", Err(UrlError::Form));
        check("127.0.0.1:8787", Err(UrlError::Form));
        check("", Err(UrlError::Form));
    }
}
