//! The open connections: what can be posted to, and each one's queue of frames on their way out.
//!
//! A queue is bounded by bytes, so that a client that does not read costs its own share of memory and delays nobody.
//! Frames of one connection leave in the order in which they were posted.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::{Utf8Bytes, protocol::CloseFrame};

use super::event::Origin;

/// How much may wait for a client that reads slowly; the next post answers 429.
const QUEUE_LIMIT_BYTES: usize = 1024 * 1024;
/// What a queued frame costs beside its text, so that empty frames are bounded too.
const FRAME_COST_BYTES: usize = 64;

/// A frame on its way out.
pub(super) enum Outgoing {
    /// A text frame.
    Text(Utf8Bytes),
    /// The last frame.
    Close(CloseFrame),
}

/// One open connection.
pub(super) struct Connection {
    /// Who is connected.
    pub(super) origin: Origin,
    last_active_ms: AtomicI64,
    queue: mpsc::UnboundedSender<Outgoing>,
    queued_bytes: AtomicUsize,
    deleted: Notify,
}

/// Why a frame was not queued.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PostError {
    /// The connection is closed.
    Gone,
    /// The client reads too slowly.
    Full,
}

/// Every open connection by its id.
#[derive(Clone, Default)]
pub(super) struct Connections {
    open: Arc<Mutex<HashMap<String, Arc<Connection>>>>,
}

impl Connections {
    /// From now on the connection can be posted to.
    pub(super) fn open(&self, origin: Origin) -> (Arc<Connection>, mpsc::UnboundedReceiver<Outgoing>) {
        let (queue, queued) = mpsc::unbounded_channel();
        let last_active_ms = AtomicI64::new(Timestamp::now().as_millisecond());
        let connection =
            Connection { origin, last_active_ms, queue, queued_bytes: AtomicUsize::new(0), deleted: Notify::new() };
        let connection = Arc::new(connection);
        self.lock().insert(connection.origin.connection_id.clone(), Arc::clone(&connection));
        (connection, queued)
    }

    /// From now on the connection is gone.
    pub(super) fn remove(&self, connection: &Connection) {
        self.lock().remove(&connection.origin.connection_id);
    }

    pub(super) fn get(&self, connection_id: &str) -> Option<Arc<Connection>> {
        self.lock().get(connection_id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Queues a text frame.
    ///
    /// # Errors
    /// As [`PostError`] says.
    pub(super) fn post(&self, text: Utf8Bytes) -> Result<(), PostError> {
        let cost = text.len() + FRAME_COST_BYTES;
        let add = |queued: usize| Some(queued + cost).filter(|queued| *queued <= QUEUE_LIMIT_BYTES);
        if self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return Err(PostError::Full);
        }
        self.touch();
        self.queue.send(Outgoing::Text(text)).map_err(|_| PostError::Gone)
    }

    /// Queues the last frame.
    pub(super) fn close(&self, frame: CloseFrame) {
        // A writer that is gone has nothing left to close.
        drop(self.queue.send(Outgoing::Close(frame)));
    }

    /// A text frame left the queue.
    pub(super) fn sent(&self, length_bytes: usize) {
        self.queued_bytes.fetch_sub(length_bytes + FRAME_COST_BYTES, Ordering::Relaxed);
    }

    /// Notes that data passed, in either direction.
    pub(super) fn touch(&self) {
        self.last_active_ms.store(Timestamp::now().as_millisecond(), Ordering::Relaxed);
    }

    /// When data last passed.
    pub(super) fn last_active(&self) -> Timestamp {
        Timestamp::from_millisecond(self.last_active_ms.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Asks the connection's own task to close it.
    pub(super) fn delete(&self) {
        self.deleted.notify_one();
    }

    /// Waits for [`Connection::delete`].
    pub(super) async fn deleted(&self) {
        self.deleted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::event::Client, *};

    #[test]
    fn a_full_queue_refuses_until_something_leaves() {
        let client = Client { source_ip: [127, 0, 0, 1].into(), port: 1, user_agent: None, host: "localhost".into() };
        let origin = Origin { connection_id: "one".into(), connected_at: Timestamp::now(), client };
        let connections = Connections::default();
        let (connection, mut queued) = connections.open(origin);
        let frame = Utf8Bytes::from("x".repeat(128 * 1024));
        while connection.post(frame.clone()).is_ok() {}
        assert_eq!(connection.post(frame.clone()), Err(PostError::Full));
        assert_eq!(connection.post("small".into()), Ok(()));
        assert!(matches!(queued.try_recv(), Ok(Outgoing::Text(text)) if text == frame));
        connection.sent(frame.len());
        assert_eq!(connection.post(frame.clone()), Ok(()));
        drop(queued);
        connection.sent(frame.len());
        assert_eq!(connection.post(frame), Err(PostError::Gone));
        connections.remove(&connection);
        assert!(connections.get("one").is_none());
    }
}
