//! Switches for what the cloud does only sometimes, so that tests can have it always.

use std::collections::BTreeSet;

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
}

impl Default for Faults {
    fn default() -> Self {
        Self { settings: watch::Sender::new(FaultSettings::default()) }
    }
}

impl Faults {
    /// Replaces every switch.
    pub(crate) fn set(&self, settings: FaultSettings) {
        self.settings.send_replace(settings);
    }

    /// What a post to this connection meets; waits as long as that is [`Posts::Hold`].
    pub(crate) async fn of_post(&self, connection_id: &str) -> Posts {
        let mut settings = self.settings.subscribe();
        let lifted = settings.wait_for(|settings| settings.of(connection_id) != Posts::Hold).await;
        // The sender lives in `self`, so the channel cannot be closed.
        lifted.map_or(Posts::Ok, |settings| settings.of(connection_id))
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
