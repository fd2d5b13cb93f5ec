//! Posting: connections side by side, the frames of one connection one after the other. A connection that is gone is
//! removed; one that is too slow is given up for this batch and told to `resync` later. Neither holds up its room; nor do
//! they when they are merely too many for one invocation: whose turn has not come by then is told to `resync`, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::codec::Push;
use common::codec::frame::ServerFrame;
use common::failure::Failure;
use common::id::{ConnectionId, FrameId, RoomId, Seq};
use common::metrics::{Count, Measure};
use common::outbound::PostError;
use common::room::event::RoomEvent;
use common::store::{LiveConnection, RoomSubscription, StoreError};
use common::telemetry::trace::{self, TraceContext};
use common::time::{Time, limit_ms};
use common::{departure, farewell};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::frames::Frames;
use crate::handler::Consumer;

/// How many connections are posted to at once, whatever their rooms. Each has a socket, and a lag that is noted another
/// one; with DynamoDB's and Kafka's they stay below the 1,024 files that an environment may have open (Lambda quotas).
pub(crate) const POSTS_AT_ONCE: usize = 256;
/// How many of them one room, or one user's signals, may have.
const ROOM_POSTS_AT_ONCE: usize = 64;
/// How often one frame is tried.
const ATTEMPTS_MAX: u32 = 3;
/// How long one connection may take for all of a batch's frames.
const CONNECTION_BUDGET: Duration = limit_ms(2_500);
/// How long a connection may take that was too slow before: it must not hold up its room batch after batch.
const LAGGED_BUDGET: Duration = limit_ms(300);
/// How long a connection may take for one frame where no event is for it: nothing would mark it as too slow, so it would
/// hold up batch after batch. Who misses an outcome or a notice asks for it.
const UNMARKED_BUDGET: Duration = limit_ms(1_000);
/// How long a connection may take for signals, in one attempt: who misses one misses nothing that lasts.
const SIGNAL_BUDGET: Duration = limit_ms(1_000);
/// What is kept of a batch's time to note who was left out.
const NOTES_MARGIN: Duration = limit_ms(5_000);

/// How much is done for one connection before it counts as too slow.
struct Patience {
    /// How often one frame is tried.
    attempts_max: u32,
    /// How long one frame may take, with all its attempts.
    frame: Duration,
    /// How long all of them may take.
    all: Duration,
}

/// What one connection gets of one room, or of one user's signals.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    /// In order.
    pub(crate) frames: Vec<Frames>,
    /// The connection's last one: it ends with that.
    pub(crate) last_frame: Option<Arc<str>>,
    /// The traces of the commands that they tell of.
    pub(crate) traces: Vec<TraceContext>,
    /// How many events are in them.
    pub(crate) events: u64,
    /// The subscriptions behind it that events are for; a mark of lag that the `resync` among the frames covers.
    pub(crate) subscriptions: Vec<(RoomSubscription, Option<Seq>)>,
    /// The last event of the batch.
    pub(crate) last_seq: Seq,
    /// Whether the connection is known to be open: it has sent frames, or it is old enough. Another one may still be
    /// inside its own `$connect`, where the gateway answers as if it were gone.
    pub(crate) is_established: bool,
}

/// What is to be posted, by connection.
pub(crate) type Parcels = HashMap<ConnectionId, Parcel>;

impl Parcel {
    /// Whether a client that misses this has a hole in its room, rather than a signal less.
    fn is_durable(&self) -> bool {
        self.events > 0 || self.has_resync()
    }

    /// Who comes first, should there be too little time for all: those who are told nothing of it later, and last those who
    /// have been noted as left out.
    fn turn(&self) -> u8 {
        if self.subscriptions.is_empty() || self.last_frame.is_some() {
            0
        } else if self.has_resync() {
            2
        } else {
            1
        }
    }

    fn has_resync(&self) -> bool {
        self.subscriptions.iter().any(|(_, resync)| resync.is_some())
    }

    /// For a room's frames, or for signals.
    fn patience(&self, room: Option<&RoomId>) -> Patience {
        let (attempts_max, frame, all) = match room {
            None => (1, SIGNAL_BUDGET, SIGNAL_BUDGET),
            Some(_) if self.has_resync() => (ATTEMPTS_MAX, LAGGED_BUDGET, LAGGED_BUDGET),
            Some(_) if self.subscriptions.is_empty() => (ATTEMPTS_MAX, UNMARKED_BUDGET, CONNECTION_BUDGET),
            Some(_) => (ATTEMPTS_MAX, CONNECTION_BUDGET, CONNECTION_BUDGET),
        };
        Patience { attempts_max, frame, all }
    }
}

/// Whose turn it is with a connection, and the longest time in which it did not take what it got: another room does not
/// give it as much once more.
type Lane = tokio::sync::Mutex<Duration>;

/// Posts for one invocation, one frame in flight per connection, whatever its rooms.
pub(crate) struct PostOffice<'a> {
    consumer: &'a Consumer,
    /// The time at its opening, on both clocks.
    opened: (Time, Instant),
    /// When it closes.
    closes: Instant,
    lanes: Mutex<HashMap<ConnectionId, Arc<Lane>>>,
}

impl<'a> PostOffice<'a> {
    /// For a batch that began now and has until a deadline.
    pub(crate) fn new(consumer: &'a Consumer, now: Time, deadline: Instant) -> Self {
        let closes = deadline.checked_sub(NOTES_MARGIN).unwrap_or(deadline);
        Self { consumer, opened: (now, Instant::now()), closes, lanes: Mutex::default() }
    }

    /// Measures how long events have taken from their receipt until now.
    pub(crate) fn measure_latency(&self, events: &[RoomEvent]) {
        let (opened, instant) = self.opened;
        let now = opened.plus_ms(i64::try_from(instant.elapsed().as_millis()).unwrap_or(i64::MAX));
        for event in events {
            // Another machine's clock may be ahead of this one's.
            let latency_ms = u64::try_from(now.unix_ms() - event.at.unix_ms()).unwrap_or_default();
            self.consumer.metrics.measure(Measure::DeliveryLatency, latency_ms);
        }
    }

    /// Posts one room's parcels, as many as there is time for.
    ///
    /// # Errors
    /// There is no time left to begin; the management API refuses us altogether; or a slow connection could not be noted:
    /// the batch must come again.
    pub(crate) async fn post_all(&self, room: &RoomId, parcels: Parcels, now: Time) -> Result<(), Failure> {
        let left_out = self.post_side_by_side(Some(room), parcels, now).await?;
        if left_out > 0 {
            tracing::warn!(left_out, room_id = %room, "there was no time to post to everybody: the others are told to resync");
        }
        Ok(())
    }

    /// Posts signals, which nobody fetches later: each is tried once, and a connection that is slow goes without.
    ///
    /// # Errors
    /// There is no time left to begin, or the management API refuses us altogether: the batch must come again.
    pub(crate) async fn post_signals(&self, parcels: Parcels, now: Time) -> Result<(), Failure> {
        self.post_side_by_side(None, parcels, now).await.map(drop)
    }

    /// Gives how many subscribed connections were left out.
    async fn post_side_by_side(&self, room: Option<&RoomId>, parcels: Parcels, now: Time) -> Result<usize, Failure> {
        if self.time_left().is_zero() {
            return Err(StoreError::Unavailable("time to post, which others took".to_owned()).into());
        }
        let mut parcels: Vec<_> = parcels.into_iter().collect();
        parcels.sort_by_key(|(_, parcel)| parcel.turn());
        futures_util::stream::iter(parcels)
            .map(|(connection, parcel)| self.post_parcel(room, connection, parcel, now))
            .buffer_unordered(ROOM_POSTS_AT_ONCE)
            .try_fold(0, |count, left_out| async move { Ok(count + usize::from(left_out)) })
            .await
    }

    /// Tells whether a subscribed connection was left out for want of time.
    async fn post_parcel(
        &self,
        room: Option<&RoomId>,
        connection: ConnectionId,
        parcel: Parcel,
        now: Time,
    ) -> Result<bool, Failure> {
        let lane = self.lane(&connection);
        let mut missed = lane.lock().await;
        // Behind its lane, where nobody waits with one; before its budget, which is the connection's own.
        let _permit = self.consumer.posts.acquire().await.expect("nobody closes it");
        let patience = parcel.patience(room);
        let frames = async {
            self.post_frames(&connection, &parcel.frames, &patience).await?;
            match &parcel.last_frame {
                Some(last) => farewell::end_with(&self.consumer.outbound, &connection, last).await,
                None => Ok(()),
            }
        };
        let time_left = self.time_left();
        let outcome = if patience.frame <= *missed || time_left.is_zero() {
            Err(PostError::Slow)
        } else {
            let span = trace::post(&connection, &parcel.traces);
            let posted = tokio::time::timeout(patience.all.min(time_left), frames).instrument(span.clone()).await;
            posted.unwrap_or(Err(PostError::Slow)).inspect_err(|error| trace::fail(&span, error))
        };
        if outcome == Err(PostError::Slow) {
            *missed = patience.frame.max(*missed);
            // Whoever does not take their last frame is let go without it.
            if parcel.last_frame.is_some()
                && let Err(error) = self.consumer.outbound.close(&connection).await
            {
                tracing::warn!(%error, connection_id = %connection, "a connection that takes nothing cannot be closed");
            }
        }
        let left_out = time_left.is_zero() && parcel.is_durable();
        match outcome {
            Ok(()) => self.settle(room, &parcel).await?,
            Err(PostError::Gone) if parcel.is_established => {
                self.remove(&connection, room, &parcel, now).instrument(trace::connection(&connection, room)).await;
            }
            Err(PostError::Gone) => {}
            Err(PostError::Slow) => match room {
                Some(room) => {
                    if !left_out {
                        let seq = parcel.last_seq;
                        tracing::warn!(connection_id = %connection, room_id = %room, %seq, "a connection is too slow");
                    }
                    self.note_lag(room, &parcel, now).await?;
                }
                None => tracing::debug!(connection_id = %connection, "a slow connection goes without a signal"),
            },
            Err(error @ PostError::Refused) => {
                tracing::error!(%error, connection_id = %connection, "frames cannot be posted");
                return Err(StoreError::Unavailable("the management API".to_owned()).into());
            }
        }
        Ok(left_out)
    }

    fn time_left(&self) -> Duration {
        self.closes.saturating_duration_since(Instant::now())
    }

    fn lane(&self, connection: &ConnectionId) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(connection.clone()).or_default())
    }

    async fn post_frames(
        &self,
        connection: &ConnectionId,
        frames: &[Frames],
        patience: &Patience,
    ) -> Result<(), PostError> {
        for frames in frames {
            for frame in frames.texts() {
                let post = self.post_frame(connection, &frame, patience.attempts_max);
                tokio::time::timeout(patience.frame, post).await.unwrap_or(Err(PostError::Slow))?;
            }
        }
        Ok(())
    }

    async fn post_frame(&self, connection: &ConnectionId, frame: &str, attempts_max: u32) -> Result<(), PostError> {
        let mut attempt = 1;
        loop {
            match self.consumer.outbound.post(connection, frame.as_bytes()).await {
                Err(PostError::Slow) if attempt < attempts_max => {
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                    attempt += 1;
                }
                posted => return posted,
            }
        }
    }

    async fn settle(&self, room: Option<&RoomId>, parcel: &Parcel) -> Result<(), Failure> {
        self.consumer.metrics.add(Count::PostedEvents, parcel.events);
        let Some(room) = room else { return Ok(()) };
        for (subscription, resync) in &parcel.subscriptions {
            if let Some(seq) = resync {
                self.consumer.store.clear_lagged(room, subscription, *seq).await?;
            }
        }
        Ok(())
    }

    /// Removes a connection that is gone. A failure here is no reason to post again.
    async fn remove(&self, connection: &ConnectionId, room: Option<&RoomId>, parcel: &Parcel, now: Time) {
        tracing::info!("a connection is gone");
        let Consumer { store, producer, .. } = self.consumer;
        let removal = async {
            departure::remove_gone(store, producer, connection, now).await?;
            let Some(room) = room else { return Ok(()) };
            // The rows that led here, should they be all that is left.
            let subscriptions: Vec<_> = parcel.subscriptions.iter().map(|(subscription, _)| subscription).collect();
            store.forget_subscriptions(room, &subscriptions).await
        };
        let removal: Result<(), StoreError> = removal.await;
        if let Err(error) = removal {
            tracing::warn!(%error, "a gone connection is still in the table");
        }
    }

    async fn note_lag(&self, room: &RoomId, parcel: &Parcel, now: Time) -> Result<(), Failure> {
        self.consumer.metrics.add(Count::Lagged, 1);
        // What an earlier try of the batch has noted need not be noted once more: with each try there is less to do.
        let is_news = |subscription: &RoomSubscription| subscription.lagged_seq < Some(parcel.last_seq);
        let subscriptions = parcel.subscriptions.iter().map(|(subscription, _)| subscription);
        for subscription in subscriptions.filter(|subscription| parcel.is_durable() && is_news(subscription)) {
            self.consumer.store.mark_lagged(room, subscription, parcel.last_seq, now).await?;
        }
        Ok(())
    }
}

/// A name for a frame.
pub(crate) fn frame_id(now: Time) -> FrameId {
    FrameId::new(now, rand::random())
}

/// A server frame, encoded once for whoever gets it.
pub(crate) fn push(frame: ServerFrame, now: Time) -> Push {
    Push::new(&frame, frame_id(now))
}

/// Adds what concerns a user to what one of their connections gets, if that has a place for it.
pub(crate) fn pack_for_session(session: &LiveConnection, push: &Push, now: Time, parcels: &mut Parcels) {
    let texts = push.to_connection(&session.dialect, None);
    if texts.is_empty() {
        return;
    }
    let parcel = parcels.entry(session.connection.clone()).or_default();
    parcel.is_established |= session.is_established(now);
    parcel.frames.extend(texts.into_iter().map(Frames::One));
}

/// Adds a room's signal to what a subscribed connection gets.
pub(crate) fn pack_signal(room: &RoomId, subscription: &RoomSubscription, push: &Push, parcels: &mut Parcels) {
    let parcel = parcels.entry(subscription.connection.clone()).or_default();
    // It has sent the frame that subscribed it.
    parcel.is_established = true;
    parcel.frames.push(Frames::One(push.to_signals(room, &subscription.terms.form)));
}

#[cfg(test)]
mod tests;
