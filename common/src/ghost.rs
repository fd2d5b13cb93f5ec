//! Sessions whose connections died without a word: `$disconnect` is best effort. Until the two hours are over, such a one
//! must neither keep its user out nor cost a living one its place.

use futures_util::future::join_all;
use tracing::Instrument as _;

use crate::departure;
use crate::id::UserId;
use crate::outbound::{Outbound, PostError};
use crate::producer::Producer;
use crate::store::{LiveConnection, Store, StoreError};
use crate::telemetry::trace;
use crate::time::Time;

/// Asks the gateway about each of a user's connections, and removes those that it does not know any more. A connection so
/// young that it may be inside its own `$connect` counts as alive.
///
/// # Errors
/// The table cannot be read or written.
pub async fn clear(
    store: &Store,
    outbound: &Outbound,
    producer: &Producer,
    user: &UserId,
    now: Time,
) -> Result<(), StoreError> {
    let sessions = store.live_connections(std::slice::from_ref(user), now).await?;
    let established = sessions.iter().filter(|session| session.is_established(now));
    let is_gone = |session: &LiveConnection| {
        let connection = session.connection.clone();
        async move { (outbound.ask_about(&connection).await == Err(PostError::Gone)).then_some(connection) }
    };
    let gone = join_all(established.map(is_gone)).await;
    let mut ended = None;
    let removed = async {
        for connection in gone.into_iter().flatten() {
            let remove = async {
                tracing::info!("a connection died without a word");
                store.remove_gone(&connection, Some(user), now).await
            };
            ended = remove.instrument(trace::connection(&connection, None)).await?.or(ended.take());
        }
        Ok(())
    };
    let removed = removed.await;
    // Once for all of them: while Kafka is away, each would take its time.
    departure::tell(producer, ended, now).await;
    removed
}
