//! The story of one sweep: shards side by side, each from its oldest entry on; each entry claimed, then acted on. What
//! there is no time for stays due: the next sweep goes on with it.

use std::sync::Arc;

use common::metrics::{Count, Metrics};
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::{Due, DueItem, DuePage, DuePosition, SWEEP_SHARDS, Store, StoreError};
use common::telemetry::trace;
use common::time::Time;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

/// How many shards are swept at once.
const SHARDS_AT_ONCE: usize = 4;
/// How many entries of a shard are acted on at once.
const ACTS_AT_ONCE: usize = 8;

/// What the sweeper works with.
pub(crate) struct Sweeper {
    pub(crate) store: Store,
    pub(crate) outbound: Outbound,
    pub(crate) producer: Producer,
    pub(crate) metrics: Arc<Metrics>,
}

/// The time that a sweep has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// When it began: what is due by then is swept.
    pub(crate) now: Time,
    /// Nothing new is begun after this.
    pub(crate) last_start: Instant,
    /// What is under way is given up then; its claim passes.
    pub(crate) end: Instant,
}

/// What a sweep came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SweepReport {
    /// Entries that were due.
    due: u64,
    /// Those that this sweep claimed and acted on; the rest was somebody else's, or not due any more.
    acted: u64,
    /// Those that could not be acted on now; they are due again.
    failed: u64,
    /// Those that there was no time for.
    left: u64,
}

/// Some of what is due could not be found out.
#[derive(Debug, thiserror::Error)]
#[error("{0} shards could not be read")]
pub(crate) struct SweepFailed(usize);

/// How one entry ended.
enum Act {
    Done,
    NotOurs,
    Failed,
    Left,
}

impl SweepReport {
    fn add(&mut self, act: &Act) {
        self.due += 1;
        match act {
            Act::Done => self.acted += 1,
            Act::NotOurs => {}
            Act::Failed => self.failed += 1,
            Act::Left => self.left += 1,
        }
    }

    fn sum(self, other: &Self) -> Self {
        Self {
            due: self.due + other.due,
            acted: self.acted + other.acted,
            failed: self.failed + other.failed,
            left: self.left + other.left,
        }
    }
}

impl Sweeper {
    /// Sweeps once.
    pub(crate) async fn handle(&self, timing: Timing) -> Result<SweepReport, SweepFailed> {
        let shards = futures_util::stream::iter(0..SWEEP_SHARDS).map(|shard| self.sweep_shard(shard, timing));
        let shards: Vec<_> = shards.buffer_unordered(SHARDS_AT_ONCE).collect().await;
        let unread = shards.iter().filter(|(_, outcome)| outcome.is_err()).count();
        let report = shards.iter().fold(SweepReport::default(), |sum, (report, _)| sum.sum(report));
        self.metrics.add(Count::Swept, report.acted);
        if report.left > 0 {
            tracing::warn!(due = report.due, left = report.left, "the sweep ran out of time; the next one goes on");
        }
        if unread == 0 { Ok(report) } else { Err(SweepFailed(unread)) }
    }

    async fn sweep_shard(&self, shard: u32, timing: Timing) -> (SweepReport, Result<(), StoreError>) {
        let mut report = SweepReport::default();
        let mut from: Option<DuePosition> = None;
        loop {
            let DuePage { due, next } = match self.store.due(shard, from, timing.now).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(%error, shard, "what is due cannot be read");
                    return (report, Err(error));
                }
            };
            let acts = due.into_iter().map(|due| {
                let span = span(&due.item);
                self.try_act(due, timing).instrument(span)
            });
            let acts = futures_util::stream::iter(acts);
            let acts: Vec<Act> = acts.buffer_unordered(ACTS_AT_ONCE).collect().await;
            acts.iter().for_each(|act| report.add(act));
            from = next;
            if from.is_none() || report.left > 0 {
                return (report, Ok(()));
            }
        }
    }

    async fn try_act(&self, due: Due, timing: Timing) -> Act {
        if Instant::now() >= timing.last_start {
            return Act::Left;
        }
        match tokio::time::timeout_at(timing.end, self.act(&due, timing.now)).await {
            Ok(Ok(true)) => Act::Done,
            Ok(Ok(false)) => Act::NotOurs,
            Ok(Err(error)) => {
                tracing::error!(%error, item = due.item.kind(), "something that is due could not be done now");
                Act::Failed
            }
            Err(_) => {
                tracing::error!(item = due.item.kind(), "something that is due took too long");
                Act::Failed
            }
        }
    }
}

/// What is done about one entry; a user is not named.
fn span(item: &DueItem) -> Span {
    match item {
        DueItem::Connection(connection) => trace::connection(connection, None),
        DueItem::Subscription { room, connection, .. } => trace::connection(connection, Some(room)),
        DueItem::Sessions(_) => Span::none(),
    }
}
