//! The story of `$connect`: origin, subprotocol, token, then the connection's row, before the socket opens.

use common::auth::Verifier;
use common::code::ErrorCode;
use common::config::AllowedOrigins;
use common::gateway::{WebSocketEvent, WebSocketResponse};
use common::store::{Connection, ConnectionState, Store};
use common::time::Time;

use crate::origin;
use crate::subprotocol::{self, Offer};
use crate::token;

/// What `$connect` works with.
pub(crate) struct Connect {
    pub(crate) verifier: Verifier,
    pub(crate) origins: AllowedOrigins,
    pub(crate) store: Store,
}

impl Connect {
    /// Answers one `$connect`: 200, or the status that the handshake fails with.
    pub(crate) async fn handle(&self, event: WebSocketEvent, now: Time) -> WebSocketResponse {
        match self.open(&event, now).await {
            Ok(response) => response,
            Err(status) => WebSocketResponse::refused(status),
        }
    }

    async fn open(&self, event: &WebSocketEvent, now: Time) -> Result<WebSocketResponse, u16> {
        if !origin::is_allowed(event, &self.origins) {
            return Err(ErrorCode::Forbidden.status());
        }
        let Offer { subprotocol, bearer } = subprotocol::negotiate(event.header("Sec-WebSocket-Protocol"))?;
        let state = match token::find(event, bearer).map_err(ErrorCode::status)? {
            None => ConnectionState::Pending,
            Some(token) => {
                let verified = self.verifier.verify(token, now).await;
                ConnectionState::Live(verified.map_err(ErrorCode::status)?)
            }
        };
        let context = &event.request_context;
        let connected_at = context.connected_at.map_or(now, Time::from_unix_ms);
        let connection = Connection { id: context.connection_id.clone(), connected_at, state };
        self.store.put_connection(&connection, now).await.map_err(|error| {
            tracing::error!(%error, connection_id = %connection.id, "the connection cannot be written");
            ErrorCode::from(error).status()
        })?;
        Ok(subprotocol.map_or_else(WebSocketResponse::accepted, WebSocketResponse::subprotocol))
    }
}
