//! One poller: takes batches from its partitions and has them processed, one at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use super::{
    EventSourceConfig, Mode, PAYLOAD_MAX_BYTES, PartitionsInPayload, Responses,
    backlog::{Backlog, Offer, Ready},
    batch::Batch,
    response, stopping,
    topic::Topic,
};
use crate::lambda::InvokeError;

/// Pause after a first failure; it doubles with each further one up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_millis(800);

pub(super) struct Poller<I> {
    topic: Arc<Topic>,
    /// Indexes of its partitions' backlogs.
    partitions: Vec<usize>,
    /// Which partition a batch starts with; moves on, so that a busy partition starves none.
    turn: usize,
    invocations: Arc<Semaphore>,
    mode: watch::Receiver<Mode>,
    invoke: I,
    bootstrap_servers: String,
    batch_size: usize,
    window: Duration,
    responses: Responses,
}

/// Held while a batch is in flight.
struct InFlight {
    _invocation: OwnedSemaphorePermit,
    _batch: OwnedRwLockReadGuard<()>,
}

/// What a poller can do now.
enum Step {
    Deliver,
    /// Wait for a record, or until then.
    Wait(Option<Instant>),
}

/// How an invocation ended.
enum Outcome {
    /// Processed up to these offsets, wholly where a partition has none.
    Done(BTreeMap<i32, i64>),
    Failed,
}

impl<I, A> Poller<I>
where
    I: Fn(Bytes) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Bytes, InvokeError>> + Send + 'static,
{
    /// The pollers of a topic. With split payloads every partition has one, and they share the topic's invocations.
    pub(super) fn all(
        topic: &Arc<Topic>,
        config: &EventSourceConfig,
        mode: &watch::Receiver<Mode>,
        invoke: &I,
    ) -> Vec<Self> {
        let partition_count = topic.backlogs.len();
        let count = match config.partitions_in_payload {
            PartitionsInPayload::Merged => config.pollers.clamp(1, partition_count),
            PartitionsInPayload::Split => partition_count,
        };
        let invocations = Arc::new(Semaphore::new(config.pollers.max(1)));
        (0..count)
            .map(|first| Self {
                topic: topic.clone(),
                partitions: (first..partition_count).step_by(count).collect(),
                turn: 0,
                invocations: invocations.clone(),
                mode: mode.clone(),
                invoke: invoke.clone(),
                bootstrap_servers: config.kafka.bootstrap_servers().into(),
                batch_size: config.batch_size.max(1),
                window: config.window,
                responses: config.responses,
            })
            .collect()
    }

    /// Delivers batches until the event source stops.
    pub(super) async fn run(mut self) {
        while let Some((batch, in_flight)) = self.next_batch().await {
            match batch.event(&self.bootstrap_servers, &self.topic.name) {
                Ok(event) => self.deliver(batch, event, in_flight).await,
                Err(error) => tracing::error!(topic = self.topic.name, %error, "a batch could not be written as JSON"),
            }
        }
    }

    /// `None` when the event source stops.
    async fn next_batch(&mut self) -> Option<(Batch, InFlight)> {
        let topic = self.topic.clone();
        loop {
            // Registered before the backlogs are looked at, so that no record arrives unnoticed in between.
            let mut arrival = std::pin::pin!(topic.arrivals.notified());
            arrival.as_mut().enable();
            match self.step() {
                Step::Deliver => {
                    let in_flight = self.begin().await?;
                    let batch = self.cut();
                    if batch.record_count() > 0 {
                        return Some((batch, in_flight));
                    }
                }
                Step::Wait(until) => {
                    let timer = async {
                        match until {
                            Some(until) => tokio::time::sleep_until(until).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = arrival => {}
                        () = timer => {}
                        () = stopping(self.mode.clone()) => return None,
                    }
                }
            }
        }
    }

    fn step(&self) -> Step {
        let now = Instant::now();
        let (mut record_count, mut json_bytes) = (0, 0);
        let (mut first_arrived, mut later): (Option<Instant>, Option<Instant>) = (None, None);
        for backlog in self.backlogs() {
            match backlog.offer(now) {
                Offer::Records(Ready { record_count: count, json_bytes: bytes, first_arrived: arrived }) => {
                    record_count += count;
                    json_bytes += bytes;
                    first_arrived = Some(first_arrived.map_or(arrived, |first| first.min(arrived)));
                }
                Offer::Later(time) => later = Some(later.map_or(time, |first| first.min(time))),
                Offer::Nothing => {}
            }
        }
        let Some(due) = first_arrived.map(|first| first + self.window) else { return Step::Wait(later) };
        if now >= due || record_count >= self.batch_size || json_bytes >= PAYLOAD_MAX_BYTES {
            Step::Deliver
        } else {
            Step::Wait(Some(later.map_or(due, |later| later.min(due))))
        }
    }

    /// Waits for an end of the pause, a free invocation and the end of a rewind. `None` when the event source stops.
    async fn begin(&mut self) -> Option<InFlight> {
        loop {
            if *self.mode.wait_for(|mode| *mode != Mode::Paused).await.ok()? == Mode::Stopping {
                return None;
            }
            let invocation = self.invocations.clone().acquire_owned().await.ok()?;
            let batch = self.topic.batches.clone().read_owned().await;
            if *self.mode.borrow() == Mode::Running {
                return Some(InFlight { _invocation: invocation, _batch: batch });
            }
        }
    }

    /// Takes records, one of each partition in turn, up to the limits of a payload.
    fn cut(&mut self) -> Batch {
        let now = Instant::now();
        let topic = self.topic.clone();
        let envelope_bytes = Batch::envelope_bytes(&self.bootstrap_servers, &topic.name, self.partitions.len());
        let mut left_bytes = PAYLOAD_MAX_BYTES.saturating_sub(envelope_bytes);
        let mut left_count = self.batch_size;
        let mut offering: Vec<&Backlog> =
            self.backlogs().filter(|backlog| matches!(backlog.offer(now), Offer::Records(_))).collect();
        if !offering.is_empty() {
            let first = self.turn % offering.len();
            offering.rotate_left(first);
        }
        let reading = topic.backlogs.first().map_or(0, Backlog::reading);
        let mut batch = Batch { partitions: BTreeMap::new(), reading };
        while left_count > 0 && !offering.is_empty() {
            offering.retain(|backlog| {
                if left_count == 0 {
                    return false;
                }
                // A record larger than a payload travels alone rather than never.
                let limit = if batch.partitions.is_empty() { usize::MAX } else { left_bytes };
                let Some(record) = backlog.take(limit) else { return false };
                left_count -= 1;
                left_bytes = left_bytes.saturating_sub(record.json.get().len() + 1);
                batch.partitions.entry(backlog.partition).or_default().push(record);
                true
            });
        }
        self.turn = self.turn.wrapping_add(1);
        batch
    }

    /// Has a batch processed, however often that takes, and commits it.
    async fn deliver(&mut self, batch: Batch, event: Bytes, first: InFlight) {
        let mut in_flight = Some(first);
        for attempt in 0.. {
            let held = match in_flight.take() {
                Some(held) => held,
                None => match self.begin().await {
                    Some(held) => held,
                    None => return,
                },
            };
            if self.backlogs().any(|backlog| backlog.reading() != batch.reading) {
                return;
            }
            match self.process(&batch, &event, attempt).await {
                Outcome::Done(failures) => return self.settle(batch, &failures).await,
                Outcome::Failed => drop(held),
            }
            tokio::select! {
                () = tokio::time::sleep(retry_delay(attempt)) => {}
                () = stopping(self.mode.clone()) => return,
            }
        }
    }

    async fn process(&self, batch: &Batch, event: &Bytes, attempt: u32) -> Outcome {
        let (topic, counters) = (&self.topic, &self.topic.counters);
        let has_failed = attempt > 0 || self.backlogs_of(batch).any(Backlog::has_failed);
        let lift = match topic.gate.as_ref().filter(|_| has_failed) {
            Some(gate) => Some(gate.lift().await),
            None => None,
        };
        let answer = (self.invoke)(event.clone()).await;
        drop(lift);
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.records.fetch_add(u64::try_from(batch.record_count()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let outcome = match (answer, self.responses) {
            (Ok(_), Responses::Whole) => Ok(BTreeMap::new()),
            (Ok(body), Responses::Partial) => {
                response::first_failures(&body, &topic.name, batch).map_err(|error| error.to_string())
            }
            (Err(error), _) => Err(error.to_string()),
        };
        let partitions: Vec<i32> = batch.partitions.keys().copied().collect();
        match outcome {
            Ok(failures) => {
                if !failures.is_empty() {
                    counters.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(topic = topic.name, ?failures, "a batch failed in part and is delivered again");
                }
                Outcome::Done(failures)
            }
            Err(error) => {
                counters.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    topic = topic.name,
                    ?partitions,
                    attempt,
                    error,
                    "a batch failed and is delivered again"
                );
                Outcome::Failed
            }
        }
    }

    /// Commits what was processed; the rest of a partition goes back to its backlog.
    async fn settle(&self, batch: Batch, failures: &BTreeMap<i32, i64>) {
        for (partition, mut records) in batch.partitions {
            let Some(backlog) = self.backlogs().find(|backlog| backlog.partition == partition) else { continue };
            let processed_count = match failures.get(&partition) {
                Some(first) => records.iter().take_while(|record| record.offset < *first).count(),
                None => records.len(),
            };
            let failed = records.split_off(processed_count);
            self.topic.commit(backlog, &records, &self.mode).await;
            if !failed.is_empty() {
                backlog.put_back(failed, |failures_in_a_row| Instant::now() + retry_delay(failures_in_a_row));
            }
        }
    }

    fn backlogs_of(&self, batch: &Batch) -> impl Iterator<Item = &Backlog> {
        self.backlogs().filter(|backlog| batch.partitions.contains_key(&backlog.partition))
    }

    fn backlogs(&self) -> impl Iterator<Item = &Backlog> {
        self.partitions.iter().filter_map(|index| self.topic.backlogs.get(*index))
    }
}

fn retry_delay(failures_before: u32) -> Duration {
    RETRY_MIN.saturating_mul(1_u32.checked_shl(failures_before).unwrap_or(u32::MAX)).min(RETRY_MAX)
}
