//! The story of one batch: rooms side by side, each in order; then what is nobody's; then the report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::cache::Cache;
use common::config::TopicPrefix;
use common::failure::Failure;
use common::id::{RoomId, Seq};
use common::kafka_event::{BatchItemFailure, BatchResponse, ItemIdentifier, KafkaEvent, KafkaRecord};
use common::metrics::{Count, Measure, Metrics};
use common::outbound::Outbound;
use common::producer::Producer;
use common::record::{self, Record};
use common::room::commit::{Outcome, RoomBatch};
use common::store::{Store, StoreError};
use common::telemetry::trace::{self, TraceContext};
use common::time::Time;
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, Span};

use crate::batch::{Batch, Placed};
use crate::post::PostOffice;
use crate::trace::Commits;

/// How many rooms are worked on at once.
const ROOMS_AT_ONCE: usize = 16;
/// How often a room starts over because its head has moved, before the batch is left to the next invocation.
const RACES_MAX: usize = 20;
/// How long after the deadline it may take to note what was delivered, which leaves time to report.
const MARKS_LIMIT: Duration = Duration::from_secs(1);

/// What the consumer works with.
pub(crate) struct Consumer {
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) topic_prefix: TopicPrefix,
    pub(crate) producer: Producer,
    pub(crate) outbound: Outbound,
    /// As many permits as connections may be posted to at once.
    pub(crate) posts: Semaphore,
    pub(crate) partial_batch_responses: bool,
    pub(crate) stomp_message_bytes: usize,
    pub(crate) metrics: Arc<Metrics>,
}

/// The event source must bring the batch again.
#[derive(Debug, thiserror::Error)]
#[error("{0} partitions have records that could not be handled now")]
pub(crate) struct BatchFailed(usize);

/// How one room's part of a batch ended.
enum RoomEnd {
    /// Committed and posted, as far as this seq.
    Done { delivered: Option<Seq>, impossible: Vec<KafkaRecord> },
    /// Not all of it; its records come again.
    Failed(Vec<KafkaRecord>),
}

/// The first offset of each partition that was not handled.
pub(crate) type Failed = BTreeMap<(String, i32), i64>;

impl Consumer {
    /// Handles one batch.
    pub(crate) async fn handle(
        &self,
        event: KafkaEvent,
        deadline: Instant,
        now: Time,
    ) -> Result<BatchResponse, BatchFailed> {
        let Batch { rooms, markers, signals, undecodable } = Batch::sort(event.with_our_topics(&self.topic_prefix));
        let (rooms, markers, signals) = (rooms.into_groups(), markers.into_groups(), signals.into_groups());
        self.metrics.add(Count::Records, undecodable.len() as u64 + count(&rooms) + count(&markers) + count(&signals));
        self.metrics.add(Count::RoomBatches, rooms.len() as u64);
        let post_office = &PostOffice::new(self, now, deadline);
        let rooms = in_parallel(rooms, |room, records| self.handle_room(post_office, room, records, deadline, now));
        let markers = in_parallel(markers, |room, markers| async move {
            let (raw, markers) = unzip(markers);
            let span = trace::room(&room, first_trace(&raw).as_ref());
            let work = self.apply_markers(post_office, &room, &markers, now);
            if finish(&raw, deadline, work).instrument(span).await { Vec::new() } else { raw }
        });
        let signals = in_parallel(signals, |user, signals| async move {
            let (raw, signals) = unzip(signals);
            let span = trace::signals(first_trace(&raw).as_ref());
            let work = self.apply_signals(post_office, &user, &signals, now);
            if finish(&raw, deadline, work).instrument(span).await { Vec::new() } else { raw }
        });
        let (ends, unread, unheard) = tokio::join!(rooms, markers, signals);
        let mut failed = Failed::new();
        let mut letters: Vec<(KafkaRecord, String)> =
            undecodable.into_iter().map(|(record, reason)| (record, reason.to_string())).collect();
        let mut delivered = Vec::new();
        for (room, end) in ends {
            match end {
                RoomEnd::Done { delivered: seq, impossible } => {
                    delivered.extend(seq.map(|seq| (room, seq)));
                    letters.extend(impossible.into_iter().map(|record| (record, "impossible".to_owned())));
                }
                RoomEnd::Failed(records) => records.iter().for_each(|record| note(&mut failed, record)),
            }
        }
        unread.iter().chain(&unheard).flatten().for_each(|record| note(&mut failed, record));
        // Without partial responses a failure brings every record again: what is buried now would be buried each time.
        if failed.is_empty() || self.partial_batch_responses {
            self.bury(letters, &mut failed, deadline, now).await;
        }
        if !failed.is_empty() {
            self.mark_delivered(delivered, deadline + MARKS_LIMIT).await;
        }
        self.report(failed)
    }

    async fn handle_room(
        &self,
        post_office: &PostOffice<'_>,
        room: RoomId,
        records: Vec<Placed<Record>>,
        deadline: Instant,
        now: Time,
    ) -> (RoomId, RoomEnd) {
        let (raw, records) = unzip(records);
        let traces: Vec<Option<TraceContext>> = raw.iter().map(|record| record::trace(&record.headers)).collect();
        let span = trace::room(&room, first_trace(&raw).as_ref());
        let mut batch = RoomBatch::new(records);
        let work = async {
            let commits = Commits::begin(batch.records(), &traces);
            self.commit(&room, &mut batch, now).await?;
            let traces = commits.end(&batch);
            // Before whoever is removed hears of it.
            self.cache.keep(&room, &batch.memberships()).await;
            self.deliver(post_office, &room, &batch, &traces, now).await
        };
        if !finish(&raw, deadline, work).instrument(span).await {
            return (room, RoomEnd::Failed(raw));
        }
        let impossible = raw.into_iter().zip(batch.outcomes());
        let impossible = impossible.filter(|(_, outcome)| **outcome == Outcome::Impossible);
        let impossible = impossible.map(|(record, _)| record).collect();
        (room, RoomEnd::Done { delivered: batch.delivered_after_posting(), impossible })
    }

    /// Commits a room's records, transaction after transaction, again from the table when another writer was faster.
    async fn commit(&self, room: &RoomId, batch: &mut RoomBatch, now: Time) -> Result<(), Failure> {
        for _ in 0..RACES_MAX {
            let state = self.store.room_state(room, &batch.lookups()).await?;
            batch.loaded(state);
            if self.write_all(room, batch, now).await? {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("the room's head keeps moving".to_owned()).into())
    }

    /// Writes until every record has its outcome, or the room has to be loaded again.
    async fn write_all(&self, room: &RoomId, batch: &mut RoomBatch, now: Time) -> Result<bool, StoreError> {
        while let Some(transaction) = batch.next_transaction() {
            if !transaction.is_empty() {
                match self.store.write_commit(room, &transaction, now).await {
                    Ok(()) => {
                        let events = transaction.events.len() as u64;
                        self.metrics.add(Count::Committed, events);
                        self.metrics.measure(Measure::CommitBatchSize, events);
                    }
                    Err(StoreError::Condition(_)) => return Ok(false),
                    Err(StoreError::Invalid(cause)) => {
                        tracing::error!(cause, "the table refuses a transaction as invalid");
                        // Nothing was written, so what was loaded still holds; it is no race either, or a batch of
                        // many such records would never come to its end.
                        batch.invalid();
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            batch.written();
        }
        Ok(true)
    }

    /// Before a failure is reported: what was delivered need not be posted again with the redelivered batch.
    async fn mark_delivered(&self, rooms: Vec<(RoomId, Seq)>, limit: Instant) {
        let marks = rooms.into_iter().map(|(room, seq)| async move {
            if let Err(error) = self.store.mark_delivered(&room, seq).await {
                tracing::warn!(%error, room_id = %room, "a room's events may be posted twice");
            }
        });
        let marks = futures_util::stream::iter(marks).buffer_unordered(ROOMS_AT_ONCE).collect::<()>();
        if timeout_at(limit, marks).await.is_err() {
            tracing::warn!("events of some rooms may be posted twice: the table took too long to note them");
        }
    }

    fn report(&self, failed: Failed) -> Result<BatchResponse, BatchFailed> {
        if !failed.is_empty() && !self.partial_batch_responses {
            return Err(BatchFailed(failed.len()));
        }
        let failure = |((topic, partition), offset): ((String, i32), i64)| BatchItemFailure {
            item_identifier: ItemIdentifier {
                partition: format!("{}-{partition}", self.topic_prefix.with(&topic)),
                offset,
            },
        };
        Ok(BatchResponse { batch_item_failures: failed.into_iter().map(failure).collect() })
    }
}

/// Works on groups side by side, on so many at once.
async fn in_parallel<K, T, F: Future>(
    groups: Vec<(K, Vec<Placed<T>>)>,
    work: impl Fn(K, Vec<Placed<T>>) -> F,
) -> Vec<F::Output> {
    let works = groups.into_iter().map(|(key, records)| work(key, records));
    futures_util::stream::iter(works).buffer_unordered(ROOMS_AT_ONCE).collect().await
}

/// Does one group's work in time; false when its records must come again.
async fn finish(raw: &[KafkaRecord], deadline: Instant, work: impl Future<Output = Result<(), Failure>>) -> bool {
    // Not its key, which may be a user.
    let first = raw.first();
    let topic = first.map(|record| record.topic.as_str());
    let (partition, offset) = (first.map(|record| record.partition), first.map(|record| record.offset));
    match timeout_at(deadline, work).await {
        Ok(Ok(())) => return true,
        Ok(Err(failure)) => {
            trace::fail(&Span::current(), &failure);
            tracing::error!(error = %failure, topic, partition, offset, "records are left for another try");
        }
        Err(late) => {
            trace::fail(&Span::current(), &late);
            tracing::error!(topic, partition, offset, "records were not handled in time");
        }
    }
    false
}

/// The trace of the first record that belongs to one.
fn first_trace(raw: &[KafkaRecord]) -> Option<TraceContext> {
    raw.iter().find_map(|record| record::trace(&record.headers))
}

fn unzip<T>(placed: Vec<Placed<T>>) -> (Vec<KafkaRecord>, Vec<T>) {
    placed.into_iter().map(|placed| (placed.raw, placed.record)).unzip()
}

fn count<K, T>(groups: &[(K, Vec<Placed<T>>)]) -> u64 {
    groups.iter().map(|(_, records)| records.len() as u64).sum()
}

/// Notes a record that was not handled, if it is its partition's first.
pub(crate) fn note(failed: &mut Failed, record: &KafkaRecord) {
    let first = failed.entry((record.topic.clone(), record.partition)).or_insert(record.offset);
    *first = record.offset.min(*first);
}

/// Whether a record stands before its partition's first failure, so that it will not come again.
pub(crate) fn is_before_failure(failed: &Failed, record: &KafkaRecord) -> bool {
    failed.get(&(record.topic.clone(), record.partition)).is_none_or(|first| record.offset < *first)
}
