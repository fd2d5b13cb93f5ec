//! A connection's user: by the first token of a pending connection, or a live connection's next one.

use common::auth::{Principal, expired};
use common::code::{ByeCode, ErrorCode};
use common::codec::Dialect;
use common::command::Token;
use common::ingress::session_signal;
use common::record::SignalBody;
use common::store::{Connection, ConnectionState, OpenError};
use common::time::Time;
use common::{farewell, ghost};

use crate::handler::MessageFunction;
use crate::obey::Stop;

impl MessageFunction {
    /// Gives a connection its user by a token, and the dialect that it speaks from now on.
    pub(crate) async fn authenticate(
        &self,
        connection: &Connection,
        dialect: &Dialect,
        token: &Token,
        now: Time,
    ) -> Result<Principal, Stop> {
        match &connection.state {
            ConnectionState::Pending if connection.is_too_late(now) => {
                return Err(Stop::Farewell(ByeCode::AuthTimeout));
            }
            // Events were skipped since the token expired: only a new connection, with catch-up, brings them.
            ConnectionState::Live(principal) if expired(principal.expires_at, now) => {
                return Err(Stop::Farewell(ByeCode::TokenExpired));
            }
            ConnectionState::Closing(code) => return Err(Stop::Farewell(*code)),
            ConnectionState::Pending | ConnectionState::Live(_) => {}
        }
        let principal = self.verifier.verify(&token.0, now).await?;
        match &connection.state {
            ConnectionState::Live(before) if before.user != principal.user => {
                return Err(ErrorCode::SubjectMismatch.into());
            }
            ConnectionState::Pending | ConnectionState::Live(_) | ConnectionState::Closing(_) => {}
        }
        self.settle(connection, dialect, &principal, now).await?;
        match &connection.state {
            // It took so long that events were skipped here, too.
            ConnectionState::Live(before) if expired(before.expires_at, Time::now()) => {
                Err(Stop::Farewell(ByeCode::TokenExpired))
            }
            ConnectionState::Pending | ConnectionState::Live(_) | ConnectionState::Closing(_) => Ok(principal),
        }
    }

    /// Writes a connection's user and dialect.
    pub(crate) async fn settle(
        &self,
        connection: &Connection,
        dialect: &Dialect,
        principal: &Principal,
        now: Time,
    ) -> Result<(), Stop> {
        let mut outcome = self.store.refusing().authenticate(connection, dialect, principal, now).await;
        if let Err(OpenError::SessionLimit) = outcome {
            ghost::clear(&self.store, &self.outbound, &self.producer, &principal.user, now).await?;
            outcome = self.store.authenticate(connection, dialect, principal, now).await;
        }
        let replaced = match outcome {
            Ok(replaced) => replaced,
            Err(OpenError::SessionLimit) => return Err(ErrorCode::SessionLimit.into()),
            Err(OpenError::Changed) => return Err(self.changed_meanwhile(connection, now).await),
            Err(OpenError::Store(error)) => return Err(error.into()),
        };
        if connection.state == ConnectionState::Pending {
            tokio::join!(
                farewell::say_to_replaced(&self.store, &self.outbound, &replaced, now),
                session_signal(&self.producer, &principal.user, SignalBody::Opened {}, now),
            );
        }
        Ok(())
    }

    /// The connection went away, began to close, or became somebody's, between reading and writing it.
    async fn changed_meanwhile(&self, connection: &Connection, now: Time) -> Stop {
        match self.store.connection(&connection.id, now).await.map(|connection| connection.map(|now| now.state)) {
            Ok(None) => Stop::Farewell(ByeCode::ProtocolError),
            Ok(Some(ConnectionState::Closing(code))) => Stop::Farewell(code),
            Ok(Some(ConnectionState::Pending | ConnectionState::Live(_))) => ErrorCode::SubjectMismatch.into(),
            Err(error) => error.into(),
        }
    }
}
