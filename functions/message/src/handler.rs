//! The story of one WebSocket message: know the connection, then obey in its dialect. The sender is the connection's user;
//! no field of a frame can say otherwise.

use common::auth::Verifier;
use common::cache::Cache;
use common::code::ByeCode;
use common::codec::frame::{ClientFrame, ServerFrame};
use common::codec::{Dialect, StompState, json};
use common::command::Command;
use common::cursor::Cursors;
use common::farewell;
use common::gateway::{WebSocketEvent, WebSocketResponse};
use common::id::ConnectionId;
use common::outbound::{Outbound, PostError};
use common::producer::Producer;
use common::store::{Connection, Store};
use common::telemetry::trace;
use common::time::Time;

/// What `$default` works with.
pub(crate) struct MessageFunction {
    pub(crate) verifier: Verifier,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) producer: Producer,
    pub(crate) outbound: Outbound,
    pub(crate) cursors: Cursors,
    pub(crate) stomp_message_bytes: usize,
}

impl MessageFunction {
    /// Answers one WebSocket message.
    pub(crate) async fn handle(&self, event: WebSocketEvent, now: Time) -> WebSocketResponse {
        let connection_id = &event.request_context.connection_id;
        let said = event.request_context.said_at().unwrap_or(now);
        trace::about_connection(connection_id);
        let text = event.text().unwrap_or_default();
        // Nothing, or nothing but line ends: the gateway's own way to say nothing, some clients' way to stay connected,
        // and STOMP's heart-beat. That costs no table read; nor does a ping.
        if text.trim_matches(['\r', '\n']).is_empty() {
            return WebSocketResponse::accepted();
        }
        let decoded = json::decode(text);
        if let Ok(ClientFrame { id, command: Command::Ping }) = decoded {
            return match id {
                Some(_) => WebSocketResponse::frame(json::encode(&ServerFrame::Pong { id })),
                None => WebSocketResponse::accepted(),
            };
        }
        if let Some(room) = decoded.as_ref().ok().and_then(|frame| frame.command.room()) {
            trace::about_room(room);
        }
        match self.store.connection(connection_id, now).await {
            Ok(Some(connection)) => match connection.dialect {
                Dialect::Json if Dialect::is_connect(text) => {
                    let dialect = Dialect::Stomp(StompState::default());
                    self.handle_stomp(Connection { dialect, ..connection }, text, said, now).await
                }
                Dialect::Json => self.handle_json(&connection, decoded, said, now).await,
                Dialect::Stomp(_) => self.handle_stomp(connection, text, said, now).await,
            },
            Ok(None) => self.end(connection_id, &Dialect::guess(text).farewell(ByeCode::ProtocolError)).await,
            Err(error) => match Dialect::guess(text) {
                Dialect::Json => crate::json::refuse(decoded, error.into()),
                Dialect::Stomp(_) => {
                    tracing::error!(%error, "a connection cannot be read");
                    self.end(connection_id, &crate::stomp::unavailable()).await
                }
            },
        }
    }

    /// Tells a connection its last frame, and ends it.
    pub(crate) async fn end(&self, connection: &ConnectionId, last: &str) -> WebSocketResponse {
        match farewell::end_with(&self.outbound, connection, last).await {
            Ok(()) | Err(PostError::Gone) => {}
            Err(error) => tracing::warn!(%error, "the connection cannot be closed"),
        }
        WebSocketResponse::accepted()
    }
}
