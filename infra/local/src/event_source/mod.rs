//! The Kafka event source: batches of records to a function, offsets committed after it succeeded.
//!
//! Behaves as the platform's event source mapping does in stream mode, starting at the trim horizon:
//!
//! - Every topic has a group of its own, `madang-<topic>`, and a bound of pollers; at most that many invocations run at
//!   a time. Partitions are shared among the pollers, one payload may hold several of them, and a partition never has
//!   two batches in flight.
//! - A batch is cut at the configured number of records and at [`PAYLOAD_MAX_BYTES`] of JSON. It waits for the window,
//!   which starts at its first record, unless it is full before.
//! - A failed invocation is repeated with the same payload within a second, for ever; its partitions wait, others go
//!   on. With partial batch responses, what precedes a partition's first failed offset is committed, the rest of that
//!   partition is delivered again. Without them the answer's body is not looked at.
//! - Delivery is at least once: an offset is committed when the function has succeeded, and a restart goes on at the
//!   committed offset.
//!
//! Partitions are assigned, not subscribed: this process is the only reader of its groups, so a rebalance could only
//! cost start time. The commits are real group commits all the same, readable by any tool. A group of the same name
//! with live members elsewhere would make them fail.
//!
//! Records are read eagerly into memory, since the embedded broker drops old ones. A partition whose uncommitted
//! records pass [`BACKLOG_HIGH_BYTES`] makes the embedded broker refuse new records (see [`Gate`]), or pauses the
//! partition on a broker that keeps them, until they are below [`BACKLOG_LOW_BYTES`]. While a failed batch is tried
//! again the gate is lifted, because the function may have to write a record itself (a dead letter) to get on.

mod backlog;
mod batch;
mod poller;
mod record;
mod response;
mod topic;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use rdkafka::error::KafkaError;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use self::{poller::Poller, topic::Topic};
use crate::{embedded::Gate, kafka::Kafka, lambda::InvokeError};

/// The topics that have a trigger in the template, in the same order.
pub(crate) const SOURCES: [&str; 3] = ["chat-messages", "chat-read-events", "chat-presence"];

/// Largest payload of one invocation, in bytes of JSON. Source: Lambda quota, 6 MB for a synchronous invocation.
const PAYLOAD_MAX_BYTES: usize = 6 * 1024 * 1024;

/// Uncommitted bytes of a partition at which no more are taken in; the embedded broker keeps 5 MiB.
const BACKLOG_HIGH_BYTES: usize = 4 * 1024 * 1024;
/// Uncommitted bytes of a partition below which more are taken in again.
const BACKLOG_LOW_BYTES: usize = 2 * 1024 * 1024;

/// How often [`EventSource::drained`] compares offsets.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Everything that can be set on the event source.
pub(crate) struct EventSourceConfig {
    /// The cluster, also named in every event.
    pub(crate) kafka: Kafka,
    /// The topics to read, each with pollers of its own; see [`SOURCES`].
    pub(crate) topics: Vec<String>,
    /// The embedded broker's gate; `None` for a broker that keeps its records.
    pub(crate) gate: Option<Gate>,
    /// Most records of one payload (platform default 100, at most 10,000).
    pub(crate) batch_size: usize,
    /// How long a batch waits for more records (platform default 500 ms).
    pub(crate) window: Duration,
    /// Most concurrent invocations of a topic (platform: 3).
    pub(crate) pollers: usize,
    /// How partitions stand in payloads.
    pub(crate) partitions_in_payload: PartitionsInPayload,
    /// What the function's answer means.
    pub(crate) responses: Responses,
}

/// How the partitions of a topic are spread over payloads; the platform promises neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartitionsInPayload {
    /// A poller puts all its partitions into one payload.
    Merged,
    /// Every payload holds one partition.
    Split,
}

/// What the body of a successful answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Responses {
    /// Nothing: the whole batch succeeded.
    Whole,
    /// `batchItemFailures` names what to deliver again.
    Partial,
}

/// What was delivered since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Invocations, repeated ones included.
    pub(crate) batches: u64,
    /// Records handed over, repeated ones included.
    pub(crate) records: u64,
    /// Invocations that failed, wholly or in part.
    pub(crate) failures: u64,
    /// Records that the embedded broker dropped before they were read; more than 0 is a defect of this runtime.
    pub(crate) lost: u64,
}

/// Why the event source does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventSourceError {
    /// The cluster could not be asked.
    #[error("the event source of {topic} does not reach the brokers that KAFKA_BOOTSTRAP_SERVERS names: {error}")]
    Kafka {
        /// The topic's name.
        topic: String,
        /// What the client reported.
        error: KafkaError,
    },
    /// The topic is not there.
    #[error("the event source of {0}: there is no such topic")]
    NoTopic(String),
    /// A task of the event source has ended.
    #[error("the event source has stopped")]
    Stopped,
}

/// The running event source of all its topics. Dropping it stops it at once, in the middle of its batches; what was
/// not committed is delivered again after the next start.
pub(crate) struct EventSource {
    topics: Vec<Arc<Topic>>,
    mode: watch::Sender<Mode>,
    counters: Arc<Counters>,
    tasks: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    Paused,
    Stopping,
}

#[derive(Default)]
struct Counters {
    batches: AtomicU64,
    records: AtomicU64,
    failures: AtomicU64,
    lost: AtomicU64,
}

/// Starts reading and delivering. Returns when every topic's committed offsets are known and its partitions assigned.
///
/// # Errors
/// As [`EventSourceError`] says.
pub(crate) async fn start<I, A>(config: EventSourceConfig, invoke: I) -> Result<EventSource, EventSourceError>
where
    I: Fn(Bytes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Bytes, InvokeError>> + Send + 'static,
{
    let (mode, observed) = watch::channel(Mode::Running);
    let counters = Arc::new(Counters::default());
    let opened = try_join_all(config.topics.iter().map(|name| Topic::open(&config, name, counters.clone()))).await?;
    let mut tasks = JoinSet::new();
    let mut topics = Vec::new();
    for (topic, requested_rewinds) in opened {
        tasks.spawn(topic.clone().read(requested_rewinds, observed.clone()));
        for poller in Poller::all(&topic, &config, &observed, &invoke) {
            tasks.spawn(poller.run());
        }
        topics.push(topic);
    }
    Ok(EventSource { topics, mode, counters, tasks })
}

impl EventSource {
    /// Starts no more batches until [`EventSource::resume`]; those in flight end.
    pub(crate) fn pause(&self) {
        self.mode.send_replace(Mode::Paused);
    }

    /// Ends a pause.
    pub(crate) fn resume(&self) {
        self.mode.send_replace(Mode::Running);
    }

    /// Delivers every record that the broker still has again, as if the groups were reset: waits for the batches in
    /// flight, sets every committed offset back to the first record and reads from there.
    ///
    /// # Errors
    /// The cluster did not take the offsets, or the event source is stopping.
    pub(crate) async fn rewind(&self) -> Result<(), EventSourceError> {
        try_join_all(self.topics.iter().map(|topic| topic.rewind())).await.map(drop)
    }

    /// Waits until everything that stood in the topics is committed; `false` when that takes longer than this.
    ///
    /// Offsets that hold no record (markers of transactions, which nobody here uses) would count as undelivered.
    pub(crate) async fn drained(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let drained = join_all(self.topics.iter().map(|topic| topic.is_drained())).await;
            if drained.into_iter().all(|drained| drained) {
                return true;
            }
            if Instant::now() + DRAIN_POLL_INTERVAL > deadline {
                return false;
            }
            tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
        }
    }

    /// Starts no more batches, lets those in flight end and commits them, then leaves the cluster.
    pub(crate) async fn stop(mut self) {
        self.mode.send_replace(Mode::Stopping);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the event source failed");
            }
        }
        let topics = std::mem::take(&mut self.topics);
        // Closing a Kafka client waits for its threads.
        if tokio::task::spawn_blocking(move || drop(topics)).await.is_err() {
            tracing::error!("a Kafka client of the event source did not close");
        }
    }

    /// What was delivered since the start.
    pub(crate) fn counts(&self) -> Counts {
        let Counters { batches, records, failures, lost } = &*self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { batches: read(batches), records: read(records), failures: read(failures), lost: read(lost) }
    }
}

/// Waits until the event source stops.
async fn stopping(mut mode: watch::Receiver<Mode>) {
    // An error means that the event source is gone, which is the same.
    drop(mode.wait_for(|mode| *mode == Mode::Stopping).await);
}
