//! Switches for what the cloud does only sometimes, so that tests can have it always.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use tokio::sync::watch;

/// What `PUT /dev/faults` sets. Every call replaces all of it; a missing field is its harmless value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct FaultSettings {
    /// What a POST to `@connections` meets.
    posts: Posts,
    /// Only posts to these connections; absent means all.
    connections: Option<Vec<String>>,
    /// How many posts to each of them meet it, unless they are held; absent means all.
    times: Option<u32>,
    /// `$disconnect` is not invoked.
    drop_disconnect: bool,
    /// The event source starts no batch.
    pub(crate) pause_event_source: bool,
    /// How long the embedded broker takes for each answer, in milliseconds.
    pub(crate) broker_delay_ms: u64,
    /// Topics that nobody can produce to or read; only on the embedded broker.
    pub(crate) topics_away: BTreeSet<String>,
}

/// What a POST to `@connections` meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Posts {
    /// Nothing.
    #[default]
    Ok,
    /// 429.
    Throttle,
    /// No answer until this is lifted.
    Hold,
    /// 410, while the socket stays open.
    Gone,
    /// 500.
    Fail,
}

/// The switches as they stand.
pub(crate) struct Faults {
    settings: watch::Sender<FaultSettings>,
    /// How many posts have met one so far, by connection.
    met: Mutex<HashMap<String, u32>>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { settings: watch::Sender::new(FaultSettings::default()), met: Mutex::default() }
    }
}

impl Faults {
    /// Replaces every switch.
    pub(crate) fn set(&self, settings: FaultSettings) {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.settings.send_replace(settings);
    }

    /// What a post to this connection meets; waits as long as that is [`Posts::Hold`].
    pub(crate) async fn of_post(&self, connection_id: &str) -> Posts {
        let mut settings = self.settings.subscribe();
        let lifted = settings.wait_for(|settings| settings.of(connection_id) != Posts::Hold).await;
        // The sender lives in `self`, so the channel cannot be closed.
        let Ok(lifted) = lifted else { return Posts::Ok };
        match (lifted.of(connection_id), lifted.times) {
            (Posts::Ok, _) => Posts::Ok,
            (_, Some(times)) if self.meets(connection_id) > times => Posts::Ok,
            (posts, _) => posts,
        }
    }

    /// Counts one more post to a connection; how many those are.
    fn meets(&self, connection_id: &str) -> u32 {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let count = met.entry(connection_id.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Whether `$disconnect` gets lost.
    pub(crate) fn drops_disconnect(&self) -> bool {
        self.settings.borrow().drop_disconnect
    }
}

impl FaultSettings {
    fn of(&self, connection_id: &str) -> Posts {
        match &self.connections {
            Some(connections) if !connections.iter().any(|id| id == connection_id) => Posts::Ok,
            _ => self.posts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn posts_meet_what_is_set_for_their_connection() {
        let faults = Faults::default();
        assert_eq!(faults.of_post("a").await, Posts::Ok);
        faults.set(serde_json::from_str(r#"{"posts":"throttle","connections":["a"]}"#).unwrap());
        assert_eq!((faults.of_post("a").await, faults.of_post("b").await), (Posts::Throttle, Posts::Ok));
        faults.set(serde_json::from_str(r#"{"posts":"gone","dropDisconnect":true}"#).unwrap());
        assert_eq!((faults.of_post("b").await, faults.drops_disconnect()), (Posts::Gone, true));
    }

    #[tokio::test]
    async fn each_connection_meets_it_so_often() {
        let faults = Faults::default();
        let settings: FaultSettings = serde_json::from_str(r#"{"posts":"fail","times":1}"#).unwrap();
        for _ in 0..2 {
            faults.set(settings.clone());
            for connection in ["a", "b"] {
                assert_eq!(faults.of_post(connection).await, Posts::Fail);
                assert_eq!(faults.of_post(connection).await, Posts::Ok);
            }
        }
    }

    #[tokio::test]
    async fn a_held_post_goes_on_when_the_fault_is_lifted() {
        let faults = Faults::default();
        faults.set(serde_json::from_str(r#"{"posts":"hold"}"#).unwrap());
        let held = faults.of_post("a");
        tokio::pin!(held);
        assert!(futures_util::poll!(&mut held).is_pending());
        faults.set(FaultSettings::default());
        assert_eq!(held.await, Posts::Ok);
    }

    #[test]
    fn a_misspelt_switch_is_refused() {
        assert!(serde_json::from_str::<FaultSettings>(r#"{"post":"hold"}"#).is_err());
        assert!(serde_json::from_str::<FaultSettings>(r#"{"posts":"holds"}"#).is_err());
    }
}
