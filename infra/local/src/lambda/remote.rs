//! Functions that somebody else serves: the invoke URL of `cargo lambda watch`, for hot reload.
//!
//! `POST {url}/2015-03-31/functions/{name}/invocations` with the event as its body. An error is an answer that is not
//! 200, that has the header `X-Amz-Function-Error`, or that is an object with `errorType` and `errorMessage`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, Uri, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tokio::{net::TcpStream, time::sleep};

use super::InvokeError;

/// The time between two looks whether the server is there.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A server of functions.
pub(super) struct Remote {
    url: String,
    host_and_port: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Diagnostic {
    error_type: String,
    error_message: String,
}

impl Remote {
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        let uri: Uri = url.parse().map_err(|_| format!("{url} is not a URL"))?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            return Err(format!("{url} is not an http:// URL"));
        };
        let host_and_port = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        Ok(Self { url: url.into(), host_and_port, client: Client::builder(TokioExecutor::new()).build_http() })
    }

    /// Waits until the server is there.
    pub(super) async fn reachable(&self) {
        while TcpStream::connect(&self.host_and_port).await.is_err() {
            sleep(LOOK_INTERVAL).await;
        }
    }

    pub(super) async fn invoke(&self, name: &str, payload: Bytes) -> Result<Bytes, InvokeError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/2015-03-31/functions/{name}/invocations", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(payload))
            .map_err(|_| InvokeError::Unavailable)?;
        let response = self.client.request(request).await.map_err(|_| InvokeError::Unavailable)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|_| InvokeError::Crashed)?.to_bytes();
        let flagged = head.status != StatusCode::OK || head.headers.contains_key("x-amz-function-error");
        match serde_json::from_slice::<Diagnostic>(&body) {
            Ok(error) => Err(InvokeError::Failed { error_type: error.error_type, message: error.error_message }),
            Err(_) if flagged => {
                Err(InvokeError::Failed { error_type: "Unknown".into(), message: head.status.to_string() })
            }
            Err(_) => Ok(body),
        }
    }
}
