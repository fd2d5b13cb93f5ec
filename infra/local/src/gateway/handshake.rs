//! The WebSocket handshake: held until `$connect` returns, then 101, or the function's own status.
//!
//! The function runs to its end also when the client leaves meanwhile; a connection that it accepted and that never
//! came to be is reported to `$disconnect`.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{
        CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    upgrade::OnUpgrade,
};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    Answer, Gateway, IntegrationError,
    event::{self, Client, Origin},
    response::{ProxyResponse, json, message},
    socket::{self, Closing},
};
use crate::identifier;

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    holds(headers, &UPGRADE, "websocket") && holds(headers, &CONNECTION, "upgrade")
}

/// Answers a handshake.
pub(super) async fn answer(gateway: &Arc<Gateway>, source_ip: IpAddr, mut request: Request<Incoming>) -> Answer {
    let upgrade = hyper::upgrade::on(&mut request);
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let (Some(key), Some(b"13")) = (headers.get(SEC_WEBSOCKET_KEY), version) else {
        let mut refusal = message(StatusCode::BAD_REQUEST, "Bad Request");
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return refusal;
    };
    let now = Timestamp::now();
    let client = Client::new(source_ip, gateway.port, headers);
    let handshake = Handshake {
        origin: Origin { connection_id: identifier::gateway(), connected_at: now, client },
        request_id: identifier::gateway(),
        accept_key: derive_accept_key(key.as_bytes()),
    };
    let query = request.uri().query();
    let event = event::connect(&handshake.origin, &handshake.request_id, headers, query, now);
    let (answer, answered) = oneshot::channel();
    let task = handshake.run(Arc::clone(gateway), event, upgrade, answer);
    tokio::spawn(gateway.work.track(task));
    answered.await.unwrap_or_else(|_| message(StatusCode::BAD_GATEWAY, "Internal server error"))
}

struct Handshake {
    origin: Origin,
    request_id: String,
    accept_key: String,
}

impl Handshake {
    /// Asks `$connect`, answers the client, and runs the connection to its end.
    async fn run(self, gateway: Arc<Gateway>, event: Bytes, upgrade: OnUpgrade, answer: oneshot::Sender<Answer>) {
        let accepted = match self.ask(&gateway, event).await {
            Ok(accepted) => accepted,
            Err(refusal) => {
                // A client that left does not want the refusal either.
                drop(answer.send(refusal));
                return;
            }
        };
        let (connection, queue) = gateway.connections.open(self.origin);
        let upgraded = match answer.send(accepted) {
            Ok(()) => upgrade.await.ok(),
            Err(_) => None,
        };
        match upgraded {
            Some(upgraded) => socket::run(&gateway, connection, queue, upgraded).await,
            None => {
                gateway.connections.remove(&connection);
                socket::report(&gateway, &connection.origin, &Closing::Lost).await;
            }
        }
    }

    async fn ask(&self, gateway: &Gateway, event: Bytes) -> Result<Answer, Answer> {
        let answer = gateway.invoke("connect", event).await.map_err(|error| self.refusal(error))?;
        let response = ProxyResponse::of_websocket(&answer).map_err(|error| {
            tracing::error!(connection_id = self.origin.connection_id, %error, "a connection failed");
            self.refusal(IntegrationError::Failed)
        })?;
        if response.is_success() {
            Ok(self.switching(response.header("Sec-WebSocket-Protocol")))
        } else {
            Err(response.into_answer("application/json"))
        }
    }

    fn switching(&self, protocol: Option<String>) -> Answer {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let values = [(SEC_WEBSOCKET_ACCEPT, Some(self.accept_key.clone())), (SEC_WEBSOCKET_PROTOCOL, protocol)];
        for (name, value) in values {
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                headers.insert(name, value);
            }
        }
        answer
    }

    fn refusal(&self, error: IntegrationError) -> Answer {
        let (status, text) = match error {
            IntegrationError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "Endpoint request timed out"),
            IntegrationError::Failed | IntegrationError::Unavailable => {
                (StatusCode::BAD_GATEWAY, "Internal server error")
            }
        };
        let body = serde_json::json!({
            "message": text, "connectionId": self.origin.connection_id, "requestId": self.request_id,
        });
        json(status, &body)
    }
}

/// Whether a header that lists tokens holds one of them.
fn holds(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}
