//! The `@connections` API: POST, GET and DELETE of one connection.
//!
//! A connection can be reached from the moment its `$connect` returned until it closes; before and after it is gone
//! (410). Signatures are not looked at. Sources: API Gateway's developer guide, "Use `@connections` commands in your
//! backend service"; the reference of the API Gateway Management API.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Response, StatusCode, body::Incoming};
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    Answer, Gateway, MESSAGE_LIMIT_BYTES, STAGE,
    connections::{Connection, PostError},
    response::{exception, json, message},
};
use crate::faults::Posts;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionStatus<'a> {
    connected_at: String,
    identity: Identity<'a>,
    last_active_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    source_ip: String,
    user_agent: Option<&'a str>,
}

/// Answers a call of the management API.
pub(super) async fn answer(
    gateway: &Gateway,
    (stage, connection_id): (&str, &str),
    method: &Method,
    body: Incoming,
) -> Answer {
    if stage != STAGE {
        return exception(StatusCode::FORBIDDEN, "ForbiddenException", "Forbidden");
    }
    match *method {
        Method::POST => post(gateway, connection_id, body).await,
        Method::GET => gateway.connections.get(connection_id).map_or_else(gone, |connection| describe(&connection)),
        Method::DELETE => gateway.connections.get(connection_id).map_or_else(gone, |connection| {
            connection.delete();
            empty(StatusCode::NO_CONTENT)
        }),
        _ => message(StatusCode::FORBIDDEN, "Missing Authentication Token"),
    }
}

async fn post(gateway: &Gateway, connection_id: &str, body: Incoming) -> Answer {
    match gateway.faults.of_post(connection_id).await {
        Posts::Ok | Posts::Hold => {}
        Posts::Throttle => return throttled(),
        Posts::Gone => return gone(),
        Posts::Fail => return message(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
    }
    let Some(connection) = gateway.connections.get(connection_id) else { return gone() };
    let Ok(body) = Limited::new(body, MESSAGE_LIMIT_BYTES).collect().await else {
        return exception(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", "Message too long");
    };
    let Ok(text) = Utf8Bytes::try_from(body.to_bytes()) else {
        return message(StatusCode::BAD_REQUEST, "the data is not UTF-8, but posts go out as text frames");
    };
    match connection.post(text) {
        Ok(()) => empty(StatusCode::OK),
        Err(PostError::Gone) => gone(),
        Err(PostError::Full) => throttled(),
    }
}

fn describe(connection: &Connection) -> Answer {
    let client = &connection.origin.client;
    let status = ConnectionStatus {
        connected_at: format!("{:.3}", connection.origin.connected_at),
        identity: Identity { source_ip: client.source_ip.to_string(), user_agent: client.user_agent.as_deref() },
        last_active_at: format!("{:.3}", connection.last_active()),
    };
    json(StatusCode::OK, &status)
}

fn gone() -> Answer {
    exception(StatusCode::GONE, "GoneException", "Gone")
}

fn throttled() -> Answer {
    exception(StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", "Too many requests")
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::from(Bytes::new()));
    *answer.status_mut() = status;
    answer
}
