//! Whether an acknowledged record can be lost all the same. A record is acknowledged by every replica that is in sync; how
//! many these are at least, and whether one that is not may lead, is a setting of the topic or the cluster's own.

/// The least number of replicas that acknowledge a record.
pub(crate) const MIN_IN_SYNC_REPLICAS: &str = "min.insync.replicas";
/// Whether a replica that has missed records may lead when no other is left.
pub(crate) const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";
/// How many replicas a topic gets that says no number.
pub(crate) const DEFAULT_REPLICATION: &str = "default.replication.factor";

/// So many replicas have a record when it is acknowledged: with fewer it is lost with one broker.
const ACKNOWLEDGING_MIN: usize = 2;

/// How an acknowledged record may be lost: the setting, its value, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Risk {
    /// There is nowhere to keep a second replica.
    #[error("the cluster has one broker, and what it has acknowledged is lost with it: keep it for development")]
    OneBroker,
    /// Topics that are made now would have a single replica, though there is room for more.
    #[error(
        "the cluster has {brokers} brokers and default.replication.factor=1: what one of them has acknowledged would \
         be lost with it, so nothing was made; set it to 3 for the brokers"
    )]
    DefaultReplication {
        /// How many there are.
        brokers: usize,
    },
    /// A topic has a single replica, though there is room for more.
    #[error(
        "{topic} has one replica on a cluster of {brokers} brokers: what its broker has acknowledged is lost with it; \
         give it 3 with the cluster's own tool (kafka-reassign-partitions)"
    )]
    OneReplica {
        /// The topic.
        topic: String,
        /// How many there are.
        brokers: usize,
    },
    /// The leader alone may acknowledge.
    #[error(
        "{topic} has min.insync.replicas={found}: the leader alone may acknowledge a record, which is then lost with \
         it; set it to 2 with the cluster's own tool (kafka-configs)"
    )]
    MinInSyncReplicas {
        /// The topic.
        topic: String,
        /// What it is.
        found: usize,
    },
    /// A replica that has missed records may lead.
    #[error(
        "{topic} has unclean.leader.election.enable=true: a replica that has missed acknowledged records may become \
         the leader, and they are lost; set it to false with the cluster's own tool (kafka-configs)"
    )]
    UncleanLeaderElection {
        /// The topic.
        topic: String,
    },
}

impl Risk {
    /// Whether there is something to set right: a cluster of one broker is as safe as it can be.
    pub(crate) const fn can_be_mended(&self) -> bool {
        match self {
            Self::OneBroker => false,
            Self::DefaultReplication { .. }
            | Self::OneReplica { .. }
            | Self::MinInSyncReplicas { .. }
            | Self::UncleanLeaderElection { .. } => true,
        }
    }
}

/// What a cluster gives a topic that says nothing of it, as far as it tells whoever asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) brokers: usize,
    pub(crate) replicas: Option<usize>,
    pub(crate) min_in_sync_replicas: Option<usize>,
}

impl Defaults {
    /// The settings with which a topic loses nothing. What replicas that are not told have to acknowledge is left to the
    /// cluster: a topic with fewer than that takes no record at all.
    ///
    /// # Errors
    /// There would be a single replica, though there is room for more.
    pub(crate) fn settings(self) -> Result<Vec<(&'static str, String)>, Risk> {
        let mut settings = vec![(UNCLEAN_LEADER_ELECTION, false.to_string())];
        match self.replicas {
            Some(1) if self.brokers > 1 => return Err(Risk::DefaultReplication { brokers: self.brokers }),
            Some(ACKNOWLEDGING_MIN..) => {
                let own = self.min_in_sync_replicas.unwrap_or_default();
                settings.push((MIN_IN_SYNC_REPLICAS, own.max(ACKNOWLEDGING_MIN).to_string()));
            }
            Some(_) | None => {}
        }
        Ok(settings)
    }
}

/// What a cluster tells of a topic that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) brokers: usize,
    /// Those of the partition that has fewest; none where the cluster keeps them to itself, as Event Hubs does.
    pub(crate) replicas: usize,
    pub(crate) min_in_sync_replicas: Option<usize>,
    pub(crate) unclean_leader_election: Option<bool>,
}

impl Told {
    /// How the topic's records may be lost. What is not told is not held against it.
    pub(crate) fn risks(self, topic: &str) -> impl Iterator<Item = Risk> {
        let topic = topic.to_owned();
        let replication = match (self.replicas, self.brokers) {
            (1, 1) => Some(Risk::OneBroker),
            (1, brokers) => Some(Risk::OneReplica { topic: topic.clone(), brokers }),
            _ => None,
        };
        // Of a single replica they say nothing.
        let is_replicated = self.replicas > 1;
        let found = self.min_in_sync_replicas.filter(|found| is_replicated && *found < ACKNOWLEDGING_MIN);
        let in_sync = found.map(|found| Risk::MinInSyncReplicas { topic: topic.clone(), found });
        let is_unclean = is_replicated && self.unclean_leader_election == Some(true);
        let election = is_unclean.then_some(Risk::UncleanLeaderElection { topic });
        replication.into_iter().chain(in_sync).chain(election)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Told =
        Told { brokers: 3, replicas: 3, min_in_sync_replicas: Some(2), unclean_leader_election: Some(false) };

    #[test]
    fn a_topic_is_judged_by_what_is_told() {
        let check = |told: Told, expected: &[Risk]| {
            assert_eq!(told.risks("chat-messages").collect::<Vec<_>>(), expected, "{told:?}");
        };
        let topic = || "chat-messages".to_owned();
        let leader_alone = Risk::MinInSyncReplicas { topic: topic(), found: 1 };
        let unclean = Risk::UncleanLeaderElection { topic: topic() };
        check(SAFE, &[]);
        check(Told { min_in_sync_replicas: Some(1), ..SAFE }, std::slice::from_ref(&leader_alone));
        check(Told { replicas: 2, min_in_sync_replicas: Some(1), ..SAFE }, std::slice::from_ref(&leader_alone));
        check(Told { unclean_leader_election: Some(true), ..SAFE }, std::slice::from_ref(&unclean));
        let both = Told { min_in_sync_replicas: Some(1), unclean_leader_election: Some(true), ..SAFE };
        check(both, &[leader_alone, unclean]);
        check(Told { replicas: 1, ..both }, &[Risk::OneReplica { topic: topic(), brokers: 3 }]);
        check(Told { brokers: 1, replicas: 1, ..both }, &[Risk::OneBroker]);
        check(Told { min_in_sync_replicas: None, unclean_leader_election: None, ..SAFE }, &[]);
        // What Event Hubs tells: one broker, and no replicas.
        check(Told { brokers: 1, replicas: 0, ..both }, &[]);
    }

    #[test]
    fn a_topic_is_made_as_safe_as_its_replicas_allow() {
        let check = |brokers, replicas, min_in_sync_replicas, expected: Result<Option<&str>, Risk>| {
            let settings = Defaults { brokers, replicas, min_in_sync_replicas }.settings();
            let unclean = (UNCLEAN_LEADER_ELECTION, "false".to_owned());
            let in_sync = |value: &str| (MIN_IN_SYNC_REPLICAS, value.to_owned());
            let expected = expected.map(|value| [unclean].into_iter().chain(value.map(in_sync)).collect::<Vec<_>>());
            assert_eq!(settings, expected, "{replicas:?} replicas on {brokers} brokers");
        };
        check(3, Some(3), Some(1), Ok(Some("2")));
        check(2, Some(2), Some(1), Ok(Some("2")));
        check(5, Some(5), Some(3), Ok(Some("3")));
        check(3, Some(3), None, Ok(Some("2")));
        check(1, Some(1), Some(1), Ok(None));
        check(3, None, None, Ok(None));
        check(3, Some(1), Some(1), Err(Risk::DefaultReplication { brokers: 3 }));
    }

    #[test]
    fn only_a_lone_broker_is_lived_with() {
        let topic = || "chat-messages".to_owned();
        assert!(!Risk::OneBroker.can_be_mended());
        for risk in [
            Risk::DefaultReplication { brokers: 3 },
            Risk::OneReplica { topic: topic(), brokers: 3 },
            Risk::MinInSyncReplicas { topic: topic(), found: 1 },
            Risk::UncleanLeaderElection { topic: topic() },
        ] {
            assert!(risk.can_be_mended(), "{risk}");
        }
    }
}
