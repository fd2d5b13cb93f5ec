//! API Gateway's WebSocket events and responses: thin structures that demand only what every event has.
//!
//! The published event types demand fields that the platform and its emulators do not always send
//! (localstack/localstack#10295, calavera/aws-lambda-events#38); these take `null` and absence for all but the
//! connection's id.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::ConnectionId;
use crate::time::Time;

/// A connection was opened, said something, or was closed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketEvent {
    headers: Option<HashMap<String, Option<String>>>,
    query_string_parameters: Option<HashMap<String, Option<String>>>,
    /// About the connection.
    pub request_context: RequestContext,
    /// What stood on the socket, on `$default`.
    pub body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// About the connection.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestContext {
    /// The connection.
    pub connection_id: ConnectionId,
    /// When it was opened, in milliseconds since the Unix epoch.
    pub connected_at: Option<i64>,
    request_time_epoch: Option<i64>,
    disconnect_status_code: Option<Value>,
}

impl RequestContext {
    /// When this was said, by the gateway's clock: what a connection says is invoked side by side, in any order.
    #[must_use]
    pub fn said_at(&self) -> Option<Time> {
        self.request_time_epoch.map(Time::from_unix_ms)
    }

    /// The close code with which the connection ended, on `$disconnect`, as the platform tells it: also -1. The reason
    /// beside it is the client's own text.
    #[must_use]
    pub fn close_code(&self) -> Option<i64> {
        self.disconnect_status_code.as_ref()?.as_i64()
    }
}

impl WebSocketEvent {
    /// A header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.as_ref()?.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        value.as_deref()
    }

    /// A query parameter.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query_string_parameters.as_ref()?.get(name)?.as_deref()
    }

    /// The frame's text; a frame that the gateway encoded was not text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.body.as_deref().filter(|_| self.is_base64_encoded != Some(true))
    }
}

/// What a function answers to the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketResponse {
    status_code: u16,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    headers: HashMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl WebSocketResponse {
    /// Nothing to say.
    #[must_use]
    pub fn accepted() -> Self {
        Self { status_code: 200, headers: HashMap::new(), body: None }
    }

    /// A frame for the client, on a route with a route response.
    #[must_use]
    pub fn frame(frame: String) -> Self {
        Self { body: Some(frame), ..Self::accepted() }
    }

    /// The handshake fails with this status.
    #[must_use]
    pub fn refused(status_code: u16) -> Self {
        Self { status_code, ..Self::accepted() }
    }

    /// The handshake succeeds with this subprotocol.
    #[must_use]
    pub fn subprotocol(name: &str) -> Self {
        Self { headers: HashMap::from([("Sec-WebSocket-Protocol", name.to_owned())]), ..Self::accepted() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str) -> WebSocketEvent {
        let path = format!("{}/../events/{name}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn headers_and_queries_are_found() {
        let event = load("websocket-connect-token.json");
        assert!(event.header("hOST").is_some());
        assert!(event.query("token").is_some());
        assert!(load("websocket-connect.json").query("token").is_none());
        assert!(load("websocket-message.json").text().unwrap().contains("action"));
        assert!(load("websocket-message-stomp.json").text().unwrap().ends_with('\0'));
    }

    /// A real `$disconnect` told -1 (architect/req-res-fixtures, fixtures/ws): nothing depends on the code, and the
    /// connection has to go.
    #[test]
    fn a_close_code_may_be_anything() {
        assert_eq!(load("websocket-disconnect.json").request_context.close_code(), Some(1001));
        for (told, expected) in [("-1", Some(-1)), ("70000", Some(70_000)), (r#""1005""#, None), ("null", None)] {
            let context = format!(r#"{{"connectionId":"c=","disconnectStatusCode":{told}}}"#);
            assert_eq!(serde_json::from_str::<RequestContext>(&context).unwrap().close_code(), expected, "{told}");
        }
    }

    /// Typed events demanded what was not sent elsewhere: localstack/localstack#10295, calavera/aws-lambda-events#38.
    #[test]
    fn only_the_connection_is_demanded() {
        for name in
            ["websocket-connect-minimal.json", "websocket-message-minimal.json", "websocket-disconnect-minimal.json"]
        {
            let event = load(name);
            assert!(!event.request_context.connection_id.as_str().is_empty(), "{name}");
            assert_eq!(event.header("Host"), None);
        }
        let nulls = r#"{"headers":null,"queryStringParameters":null,"body":null,"isBase64Encoded":null,"more":[1],
            "requestContext":{"connectionId":"c=","identity":null,"connectedAt":null,"authorizer":{"x":1}}}"#;
        let event: WebSocketEvent = serde_json::from_str(nulls).unwrap();
        assert_eq!((event.header("Host"), event.query("token"), event.text()), (None, None, None));
        assert!(serde_json::from_str::<WebSocketEvent>(r#"{"requestContext":{"connectionId":"a#b"}}"#).is_err());
    }

    #[test]
    fn responses_have_the_shape_that_the_gateway_reads() {
        let json = |response| serde_json::to_string(&response).unwrap();
        assert_eq!(json(WebSocketResponse::accepted()), r#"{"statusCode":200}"#);
        assert_eq!(json(WebSocketResponse::refused(401)), r#"{"statusCode":401}"#);
        assert_eq!(json(WebSocketResponse::frame("x".to_owned())), r#"{"statusCode":200,"body":"x"}"#);
        assert_eq!(
            json(WebSocketResponse::subprotocol("chat.v1.json")),
            r#"{"statusCode":200,"headers":{"Sec-WebSocket-Protocol":"chat.v1.json"}}"#
        );
    }
}
