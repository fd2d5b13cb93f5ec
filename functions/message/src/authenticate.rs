//! `auth`: the first frame of a pending connection, or a live connection's next token.

use common::auth::expired;
use common::code::ErrorCode;
use common::codec::frame::{ByeCode, ServerFrame};
use common::command::Token;
use common::failure::Failure;
use common::limits::PENDING_MAX_MS;
use common::store::{Connection, ConnectionState, StoreError};
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
            ConnectionState::Pending if connection.connected_at.plus_ms(PENDING_MAX_MS) < now => {
                return Ok(Ending::Farewell(ByeCode::AuthTimeout));
            }
            // Events were skipped since the token expired: only a new connection, with catch-up, brings them.
            ConnectionState::Live(principal) if expired(principal.expires_at, now) => {
                return Ok(Ending::Farewell(ByeCode::TokenExpired));
            }
            ConnectionState::Pending | ConnectionState::Live(_) => {}
        }
        let principal = self.verifier.verify(&token.0, now).await?;
        match &connection.state {
            ConnectionState::Live(before) if before.user != principal.user => {
                return Err(ErrorCode::SubjectMismatch.into());
            }
            ConnectionState::Pending | ConnectionState::Live(_) => {}
        }
        match self.store.authenticate(connection, &principal, now).await {
            Ok(()) => {}
            // The connection went away, or became somebody's, between reading and writing it.
            Err(StoreError::Condition(_)) => return Err(ErrorCode::SubjectMismatch.into()),
            Err(error) => return Err(error.into()),
        }
        let answer = ServerFrame::Authenticated { id, user_id: principal.user, expires_at: principal.expires_at };
        Ok(Ending::Answer(Box::new(answer)))
    }
}
