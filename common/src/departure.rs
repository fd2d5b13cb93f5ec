//! What `$disconnect` does: a connection's rows go, and its user's consumer is told when a session has ended. The
//! platform may never call it, so whoever finds that a connection has ended does the same. Idempotent.

use crate::id::{ConnectionId, UserId};
use crate::ingress::session_signal;
use crate::producer::Producer;
use crate::record::SignalBody;
use crate::store::{Store, StoreError};
use crate::time::Time;

/// Removes a connection that has ended.
///
/// # Errors
/// The table cannot be read or written; to be tried again.
pub async fn remove(
    store: &Store,
    producer: &Producer,
    connection: &ConnectionId,
    now: Time,
) -> Result<(), StoreError> {
    tell(producer, store.remove_connection(connection, now).await?, now).await;
    Ok(())
}

/// Removes a connection that the gateway does not know any more, and counts it.
///
/// # Errors
/// The table cannot be read or written; to be tried again.
pub async fn remove_gone(
    store: &Store,
    producer: &Producer,
    connection: &ConnectionId,
    now: Time,
) -> Result<(), StoreError> {
    tell(producer, store.remove_gone(connection, None, now).await?, now).await;
    Ok(())
}

/// Tells a user's consumer that sessions of theirs have ended, if any has.
pub(crate) async fn tell(producer: &Producer, ended: Option<UserId>, now: Time) {
    if let Some(user) = ended {
        session_signal(producer, &user, SignalBody::Closed {}, now).await;
    }
}
