//! What is in flight, counted, so that a drain can wait for its end.

use std::{future::Future, sync::Arc};

use tokio::sync::watch;

/// A count of what is in flight.
#[derive(Clone)]
pub(super) struct Work {
    count: Arc<watch::Sender<usize>>,
}

/// One piece of work; it ends when this is dropped.
pub(super) struct Piece(Arc<watch::Sender<usize>>);

impl Default for Work {
    fn default() -> Self {
        Self { count: Arc::new(watch::Sender::new(0)) }
    }
}

impl Work {
    pub(super) fn begin(&self) -> Piece {
        self.count.send_modify(|count| *count += 1);
        Piece(Arc::clone(&self.count))
    }

    /// Counts a future from now until its end.
    pub(super) fn track<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let piece = self.begin();
        async move {
            let output = work.await;
            drop(piece);
            output
        }
    }

    /// Waits until nothing is in flight.
    pub(super) async fn done(&self) {
        // The sender lives in `self`, so the channel cannot be closed.
        drop(self.count.subscribe().wait_for(|count| *count == 0).await);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
