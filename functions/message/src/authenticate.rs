//! `auth`: the first frame of a pending connection, or a live connection's next token.

use common::auth::expired;
use common::code::{ByeCode, ErrorCode};
use common::codec::frame::ServerFrame;
use common::command::Token;
use common::failure::Failure;
use common::farewell;
use common::ingress::session_signal;
use common::record::SignalBody;
use common::store::{Connection, ConnectionState, OpenError};
use common::time::Time;

use crate::handler::{Ending, MessageFunction};

impl MessageFunction {
    pub(crate) async fn authenticate(
        &self,
        connection: &Connection,
        id: Option<String>,
        token: &Token,
        now: Time,
    ) -> Result<Ending, Failure> {
        match &connection.state {
            ConnectionState::Pending if connection.is_too_late(now) => {
                return Ok(Ending::Farewell(ByeCode::AuthTimeout));
            }
            // Events were skipped since the token expired: only a new connection, with catch-up, brings them.
            ConnectionState::Live(principal) if expired(principal.expires_at, now) => {
                return Ok(Ending::Farewell(ByeCode::TokenExpired));
            }
            ConnectionState::Closing(code) => return Ok(Ending::Farewell(*code)),
            ConnectionState::Pending | ConnectionState::Live(_) => {}
        }
        let principal = self.verifier.verify(&token.0, now).await?;
        match &connection.state {
            ConnectionState::Live(before) if before.user != principal.user => {
                return Err(ErrorCode::SubjectMismatch.into());
            }
            ConnectionState::Pending | ConnectionState::Live(_) | ConnectionState::Closing(_) => {}
        }
        let replaced = match self.store.authenticate(connection, &principal, now).await {
            Ok(replaced) => replaced,
            Err(OpenError::SessionLimit) => return Err(ErrorCode::SessionLimit.into()),
            Err(OpenError::Changed) => return self.changed_meanwhile(connection, now).await,
            Err(OpenError::Store(error)) => return Err(error.into()),
        };
        if connection.state == ConnectionState::Pending {
            tokio::join!(
                farewell::say_to_replaced(&self.store, &self.outbound, &replaced, now),
                session_signal(&self.producer, &principal.user, SignalBody::Opened {}, now),
            );
        }
        let answer = ServerFrame::Authenticated { id, user_id: principal.user, expires_at: principal.expires_at };
        Ok(Ending::Answer(Box::new(answer)))
    }

    /// The connection went away, began to close, or became somebody's, between reading and writing it.
    async fn changed_meanwhile(&self, connection: &Connection, now: Time) -> Result<Ending, Failure> {
        match self.store.connection(&connection.id, now).await?.map(|connection| connection.state) {
            None => Ok(Ending::Farewell(ByeCode::ProtocolError)),
            Some(ConnectionState::Closing(code)) => Ok(Ending::Farewell(code)),
            Some(ConnectionState::Pending | ConnectionState::Live(_)) => Err(ErrorCode::SubjectMismatch.into()),
        }
    }
}
