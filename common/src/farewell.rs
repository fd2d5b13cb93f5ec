//! Closing a connection from the server's side. A function cannot close after its route response, so the last frame
//! (`bye`, or ERROR) is posted, awaited, and then the connection is deleted; `$disconnect` removes its rows.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::code::ByeCode;
use crate::codec::Dialect;
use crate::id::ConnectionId;
use crate::outbound::{Outbound, PostError};
use crate::store::{LiveConnection, Store};
use crate::time::Time;

/// How long a connection may still be inside its own `$connect`, where the gateway answers as if it were gone.
const OPENING_LIMIT: Duration = Duration::from_secs(2);
/// How long to wait before looking at such a connection again.
const OPENING_PAUSE: Duration = Duration::from_millis(100);

/// Tells a connection why it ends, and ends it.
///
/// # Errors
/// It is gone, or could not be ended.
pub async fn say(
    outbound: &Outbound,
    connection: &ConnectionId,
    dialect: &Dialect,
    code: ByeCode,
) -> Result<(), PostError> {
    end_with(outbound, connection, &dialect.farewell(code)).await
}

/// Posts a connection's last frame, whatever it says, and ends it.
///
/// # Errors
/// It is gone, or could not be ended.
pub async fn end_with(outbound: &Outbound, connection: &ConnectionId, last: &str) -> Result<(), PostError> {
    match outbound.post(connection, last.as_bytes()).await {
        // Whoever does not take their farewell is let go without it.
        Ok(()) | Err(PostError::Slow) => outbound.close(connection).await,
        Err(error @ (PostError::Gone | PostError::Refused)) => Err(error),
    }
}

/// Ends the connections that gave way to a newer session. What does not succeed within a moment is left to the
/// sweeper: they are marked as closing, and due.
pub async fn say_to_replaced(store: &Store, outbound: &Outbound, replaced: &[LiveConnection], now: Time) {
    join_all(replaced.iter().map(|session| close_replaced(store, outbound, session, now))).await;
}

async fn close_replaced(store: &Store, outbound: &Outbound, session: &LiveConnection, now: Time) {
    let connection = &session.connection;
    let limit = Instant::now() + OPENING_LIMIT;
    loop {
        match say(outbound, connection, &session.dialect, ByeCode::SessionReplaced).await {
            Ok(()) => return,
            Err(PostError::Gone) if session.is_established(now) => {
                if let Err(error) = store.remove_gone(connection, Some(&session.user), now).await {
                    tracing::warn!(%error, connection_id = %connection, "a replaced connection is left to the sweeper");
                }
                return;
            }
            Err(PostError::Gone) if Instant::now() < limit => {}
            Err(error) => {
                tracing::warn!(%error, connection_id = %connection, "a replaced connection is left to the sweeper");
                return;
            }
        }
        tokio::time::sleep(OPENING_PAUSE).await;
        // Its `$connect` has refused itself, or its `$disconnect` has come.
        match store.connection(connection, now).await {
            Ok(None) => return,
            Ok(Some(_)) => {}
            Err(error) => tracing::warn!(%error, connection_id = %connection, "a replaced connection cannot be read"),
        }
    }
}
