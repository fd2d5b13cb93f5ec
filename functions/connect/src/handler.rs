//! The story of `$connect`: origin, subprotocol, token, then the connection's row with a session slot, before the socket
//! opens.

use common::auth::Verifier;
use common::code::ErrorCode;
use common::config::AllowedOrigins;
use common::gateway::{WebSocketEvent, WebSocketResponse};
use common::id::{ConnectionId, UserId};
use common::outbound::Outbound;
use common::producer::Producer;
use common::record::SignalBody;
use common::store::{Connection, ConnectionState, LiveConnection, OpenError, Store, StoreError};
use common::telemetry::trace;
use common::time::Time;
use common::{farewell, ghost};

use crate::origin;
use crate::subprotocol::{self, Offer};
use crate::token;

/// What `$connect` works with.
pub(crate) struct Connect {
    pub(crate) verifier: Verifier,
    pub(crate) origins: AllowedOrigins,
    pub(crate) store: Store,
    pub(crate) outbound: Outbound,
    pub(crate) producer: Producer,
}

impl Connect {
    /// Answers one `$connect`: 200, or the status that the handshake fails with.
    pub(crate) async fn handle(&self, event: WebSocketEvent, now: Time) -> WebSocketResponse {
        trace::about_connection(&event.request_context.connection_id);
        match self.open(&event, now).await {
            Ok(response) => response,
            Err(status) => WebSocketResponse::refused(status),
        }
    }

    async fn open(&self, event: &WebSocketEvent, now: Time) -> Result<WebSocketResponse, u16> {
        if !origin::is_allowed(event, &self.origins) {
            return Err(ErrorCode::Forbidden.status());
        }
        let Offer { subprotocol, dialect, bearer } = subprotocol::negotiate(event.header("Sec-WebSocket-Protocol"))?;
        let state = match token::find(event, bearer).map_err(ErrorCode::status)? {
            None => ConnectionState::Pending,
            Some(token) => {
                let verified = self.verifier.verify(token, now).await;
                ConnectionState::Live(verified.map_err(ErrorCode::status)?)
            }
        };
        let context = &event.request_context;
        let connected_at = context.connected_at.map_or(now, Time::from_unix_ms);
        let connection = Connection { id: context.connection_id.clone(), connected_at, dialect, state };
        let replaced = match self.put(&connection, now).await {
            Ok(replaced) => replaced,
            Err(OpenError::SessionLimit) => return Err(ErrorCode::SessionLimit.status()),
            Err(OpenError::Changed) => return Err(ErrorCode::Unavailable.status()),
            Err(OpenError::Store(error)) => {
                // The write may have been done although its answer was lost.
                self.take_back(&connection.id, now).await;
                return Err(table_failure(error));
            }
        };
        if let ConnectionState::Live(principal) = &connection.state {
            self.tell(&principal.user, &replaced, now).await;
            if let Err(status) = self.stand_last(&connection.id, now).await {
                self.take_back(&connection.id, now).await;
                return Err(status);
            }
        }
        Ok(subprotocol.map_or_else(WebSocketResponse::accepted, WebSocketResponse::subprotocol))
    }

    /// Writes the connection; where its user has too many sessions, by the policy, once those that are dead are removed.
    async fn put(&self, connection: &Connection, now: Time) -> Result<Vec<LiveConnection>, OpenError> {
        match (self.store.refusing().put_connection(connection, now).await, &connection.state) {
            (Err(OpenError::SessionLimit), ConnectionState::Live(principal)) => {
                ghost::clear(&self.store, &self.outbound, &self.producer, &principal.user, now).await?;
                self.store.put_connection(connection, now).await
            }
            (outcome, _) => outcome,
        }
    }

    /// Tells those that gave way, and the user's consumer. Neither can fail the connect.
    async fn tell(&self, user: &UserId, replaced: &[LiveConnection], now: Time) {
        tokio::join!(
            farewell::say_to_replaced(&self.store, &self.outbound, replaced, now),
            common::ingress::session_signal(&self.producer, user, SignalBody::Opened {}, now),
        );
    }

    /// Looks once more, at the very end: a connection that gave way while it was being opened must not open.
    async fn stand_last(&self, id: &ConnectionId, now: Time) -> Result<(), u16> {
        let connection = self.store.connection(id, now).await.map_err(table_failure)?;
        if connection.is_some_and(|connection| matches!(connection.state, ConnectionState::Live(_))) {
            return Ok(());
        }
        tracing::info!("a newer session took this one's place before it was open");
        Err(ErrorCode::SessionLimit.status())
    }

    /// Removes what was written for a connection that will not open.
    async fn take_back(&self, id: &ConnectionId, now: Time) {
        if let Err(error) = self.store.remove_connection(id, now).await {
            tracing::warn!(%error, "a refused connection is left to the sweeper");
        }
    }
}

fn table_failure(error: StoreError) -> u16 {
    tracing::error!(%error, "the connection cannot be read or written");
    ErrorCode::from(error).status()
}
