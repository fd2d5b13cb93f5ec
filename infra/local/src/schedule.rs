//! EventBridge's part: a schedule that invokes the sweeper, and the event it does so with.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::lambda::{Functions, InvokeError};

/// A running schedule.
pub(crate) struct Schedule {
    ending: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Schedule {
    /// Invokes the sweeper at an interval, for the first time when one has passed.
    pub(crate) fn start(functions: Functions, interval: Duration) -> Self {
        let ending = watch::Sender::new(false);
        let mut ended = ending.subscribe();
        let task = tokio::spawn(async move {
            let mut ticks = interval_at(Instant::now() + interval, interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => return,
                    _ = ticks.tick() => {}
                }
                if let Err(error) = sweep(&functions).await {
                    tracing::warn!(%error, "a sweep failed");
                }
            }
        });
        Self { ending, task }
    }

    /// Invokes no more, and waits for the sweep that runs.
    pub(crate) async fn stop(self) {
        self.ending.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the schedule ended badly");
        }
    }
}

/// Invokes the sweeper once and waits for its report.
///
/// # Errors
/// As [`InvokeError`] says.
pub(crate) async fn sweep(functions: &Functions) -> Result<Bytes, InvokeError> {
    functions.invoke("sweeper", event(Timestamp::now())).await
}

/// A scheduled event, as `events/schedule.json` shows it.
fn event(now: Timestamp) -> Bytes {
    let [first, second] = [rand::random::<u32>(), rand::random::<u32>()];
    let event = json!({
        "version": "0",
        "id": format!("{first:08x}-0000-4000-8000-0000{second:08x}"),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": format!("{now:.0}"),
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:000000000000:rule/local-sweep"],
        "detail": {},
    });
    event.to_string().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_event_has_the_shape_of_the_sample() {
        let sample: Value = serde_json::from_str(include_str!("../../../events/schedule.json")).unwrap();
        let made: Value = serde_json::from_slice(&event(Timestamp::UNIX_EPOCH)).unwrap();
        let names = |event: &Value| event.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&made), names(&sample));
        assert_eq!(made["time"], "1970-01-01T00:00:00Z");
        assert_eq!(made["id"].as_str().unwrap().len(), sample["id"].as_str().unwrap().len());
    }
}
