//! Waiting for something, never longer than a bound, and never longer than it takes.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

/// How long anything may take. Far more than it takes on a busy machine, and more than the minute after which the sweeper
/// tries once more: only a failure waits so long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How often to ask for what cannot be listened to.
const PERIOD: Duration = Duration::from_millis(10);

/// The outcome of something that must end in time.
///
/// # Panics
/// It does not.
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    within_limit(PATIENCE, what, work).await
}

async fn within_limit<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: not within {limit:?}"),
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// There is none in time.
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_in(PATIENCE, what, ask).await
}

/// The same for what takes longer than anything of ours: a foreign server's start.
///
/// # Panics
/// There is no answer in time.
pub async fn eventually_in<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within_limit(limit, what, async {
        let mut asks = every(PERIOD);
        loop {
            asks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    })
    .await
}

/// At once and then after each period; one that was missed is not made up for.
pub(crate) fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
