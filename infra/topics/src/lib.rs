//! The topics that `infra/topics.json` declares ([`declared`]), how they come to be on a cluster ([`see_to`]), how one
//! gets more partitions ([`Raise`]), what to set right where a client does not reach them ([`advice()`]), and what a
//! client reads of a record's headers ([`readable_headers`]).
//!
//! Explicit (nothing relies on automatic creation) and idempotent. What exists is checked and never changed: another
//! number of partitions sends rooms to other partitions, which breaks their order unless it is done in steps, and
//! records that are kept longer outlive the memory for retries. Everything is checked before anything is made. Where the
//! cluster's own management makes the topics, they are only looked for ([`Care::Verify`]).
//!
//! What is acknowledged must not be lost with one broker: topics are made so, and one that is not is a [`Risk`].

mod advice;
mod cluster;
mod durability;
mod headers;
mod raise;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use rdkafka::ClientConfig;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::Deserialize;

pub use advice::{advice, entry_advice};
use cluster::Cluster;
pub use durability::Risk;
pub use headers::readable_headers;
pub use raise::Raise;

const MILLISECONDS_PER_HOUR: u64 = 3_600_000;

/// A topic as it should be on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name there.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// How long it keeps records.
    pub retention_ms: u64,
    /// How long records go to the same file, which is dropped as a whole; none where the cluster lets nobody choose.
    pub segment_ms: Option<u64>,
    /// How large a batch of records may be. On the dead-letter topic larger than on the others, so that every record of
    /// theirs finds room there with what is added to it.
    pub max_message_bytes: u64,
}

impl Topic {
    /// The settings that are declared, by Kafka's names.
    fn settings(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let settings = [
            ("retention.ms", Some(self.retention_ms)),
            ("segment.ms", self.segment_ms),
            ("max.message.bytes", Some(self.max_message_bytes)),
        ];
        settings.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// The same topic with files as the cluster cuts them.
    fn without_segments(self) -> Self {
        Self { segment_ms: None, ..self }
    }

    /// The step that makes it on Event Hubs, where a topic is an event hub.
    fn event_hub(&self) -> String {
        let Self { name, partitions, retention_ms, .. } = self;
        let hours = retention_ms.div_ceil(MILLISECONDS_PER_HOUR);
        format!(
            "az eventhubs eventhub create --resource-group GROUP --namespace-name NAMESPACE --name {name} \
             --partition-count {partitions} --cleanup-policy Delete --retention-time-in-hours {hours}"
        )
    }
}

/// For whom the partitions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// An installation.
    Production,
    /// One machine.
    Local,
}

/// The topics are not as declared.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// Nobody answers, or whoever does hangs up: a broker that misses a client's certificate does, too.
    #[error(
        "no broker answers at {servers}, which KAFKA_BOOTSTRAP_SERVERS names, or it wants another \
         KAFKA_SECURITY_PROTOCOL or KAFKA_SSL_CERTIFICATE_PEM: {cause}"
    )]
    NoBroker {
        /// The addresses.
        servers: String,
        /// What the client met last.
        cause: RDKafkaErrorCode,
    },
    /// The brokers do not let this client in.
    #[error("{0}")]
    Entry(&'static str),
    /// There is no token to show.
    #[error("{0}")]
    NoToken(String),
    /// A topic has fewer partitions than it should.
    #[error(
        "{topic} has {found} partitions, but {wanted} are configured: a raise moves rooms and has its order; \
         `admin topics raise-partitions` does it, or set KAFKA_PARTITIONS to what is there"
    )]
    TooFewPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: usize,
        /// How many are configured.
        wanted: i32,
    },
    /// A topic has more partitions than it should.
    #[error(
        "{topic} has {found} partitions, but {wanted} are configured: partitions cannot be taken away, so set \
         KAFKA_PARTITIONS to what is there"
    )]
    TooManyPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: usize,
        /// How many are configured.
        wanted: i32,
    },
    /// A topic has another setting than declared.
    #[error("{topic} has {setting}={found}, but {declared} is declared: set it with the cluster's own tool")]
    Setting {
        /// The topic.
        topic: String,
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        declared: u64,
    },
    /// Acknowledged records may be lost.
    #[error(transparent)]
    Risk(#[from] Risk),
    /// The cluster keeps a topic's settings to itself.
    #[error(
        "{0} is there, but its settings are not told: this user may not describe its configuration; whoever may not has \
         KAFKA_TOPICS=verify"
    )]
    Untold(String),
    /// The cluster does not make a topic, or give it more partitions.
    #[error("{topic} cannot be made or looked at: {cause}{}", way_round(*.cause))]
    Refused {
        /// The topic.
        topic: String,
        /// What the cluster says.
        cause: RDKafkaErrorCode,
    },
    /// A topic that should be there is not.
    #[error("the cluster has no topic {0}")]
    Missing(String),
    /// Topics that somebody else makes are not there.
    #[error("{}", unmade(.0))]
    Unmade(Vec<Topic>),
    /// Somebody writes, though nobody may.
    #[error("{0} is still written to: close ingress first, by INGRESS_CLOSED=true for every function")]
    StillWritten(String),
    /// The consumers do not come to the end.
    #[error("{lag} records of {topic} wait for the group {group}: partitions are raised when none does")]
    Lag {
        /// The topic.
        topic: String,
        /// Who reads it.
        group: String,
        /// How many records.
        lag: i64,
    },
    /// A topic was made, but cannot be used.
    #[error("{0} was made, but not all of its partitions have a leader")]
    NoLeader(String),
    /// The client itself fails.
    #[error("the Kafka client fails: {0}")]
    Client(#[from] KafkaError),
    /// A question to the cluster panicked.
    #[error("a question to the cluster did not end")]
    Interrupted,
}

/// What is done about the topics before anything reads them, by the names that `KAFKA_TOPICS` has for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Care {
    /// `make`: missing ones are made as declared, the others checked.
    #[default]
    Make,
    /// `make-without-segments`: the same on a cluster that lets nobody choose `segment.ms`, and has its own settings
    /// against loss.
    MakeWithoutSegments,
    /// `verify`: they are made by other means, and have to be there with their partitions.
    Verify,
}

/// The names of every care.
pub const CARES: &str = "make, make-without-segments or verify";

/// There is no such care.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {CARES}")]
pub struct UnknownCare;

impl FromStr for Care {
    type Err = UnknownCare;

    fn from_str(name: &str) -> Result<Self, UnknownCare> {
        match name {
            "make" => Ok(Self::Make),
            "make-without-segments" => Ok(Self::MakeWithoutSegments),
            "verify" => Ok(Self::Verify),
            _ => Err(UnknownCare),
        }
    }
}

/// What became of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was missing.
    Made,
    /// It was there as declared.
    Kept,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Declaration {
    partitions: i32,
    local_partitions: i32,
    retention_ms: u64,
    segment_ms: u64,
    max_message_bytes: u64,
}

/// The declared topics, by our own names of them.
#[must_use]
pub fn declared(scale: Scale) -> Vec<Topic> {
    let topics: BTreeMap<String, Declaration> =
        serde_json::from_str(include_str!("../../topics.json")).expect("a test reads this data file");
    let topic = |(name, declaration): (String, Declaration)| Topic {
        name,
        partitions: match scale {
            Scale::Production => declaration.partitions,
            Scale::Local => declaration.local_partitions,
        },
        retention_ms: declaration.retention_ms,
        segment_ms: Some(declaration.segment_ms),
        max_message_bytes: declaration.max_message_bytes,
    };
    topics.into_iter().map(topic).collect()
}

/// Sees to these topics in one of the ways, and says what became of each. Tells how acknowledged records may be lost,
/// where that is no error.
///
/// # Errors
/// As [`TopicError`] says; then nothing was made, unless the cluster refused one, gave it no leaders or settings that are
/// a [`Risk`], of which it had told nothing before.
pub async fn see_to(
    care: Care,
    client: &ClientConfig,
    context: &(impl ConsumerContext + Clone + 'static),
    topics: Vec<Topic>,
    tell: impl FnMut(&Risk),
) -> Result<Vec<(Topic, Applied)>, TopicError> {
    let cluster = Cluster::open(client, context)?;
    let topics = match care {
        Care::Make | Care::Verify => topics,
        Care::MakeWithoutSegments => topics.into_iter().map(Topic::without_segments).collect(),
    };
    let (outcomes, risks) = match care {
        Care::Make | Care::MakeWithoutSegments => apply(care, &cluster, &topics).await?,
        Care::Verify => {
            verify(&cluster, &topics).await?;
            (vec![Applied::Kept; topics.len()], cluster.risks(&topics).await?)
        }
    };
    risks.iter().for_each(tell);
    Ok(topics.into_iter().zip(outcomes).collect())
}

/// Checks that these topics are there with their partitions, for whoever may know no more of them.
///
/// # Errors
/// As [`TopicError`] says.
pub async fn look_for(
    client: &ClientConfig,
    context: &(impl ConsumerContext + Clone + 'static),
    topics: &[Topic],
) -> Result<(), TopicError> {
    verify(&Cluster::open(client, context)?, topics).await
}

/// Makes the missing ones of these topics, with the cluster's own replication factor, and waits until every partition
/// has a leader. Says what became of each, and which risk there is no help for.
///
/// # Errors
/// As [`see_to`].
async fn apply(
    care: Care,
    cluster: &Cluster<impl ConsumerContext + Clone + 'static>,
    topics: &[Topic],
) -> Result<(Vec<Applied>, BTreeSet<Risk>), TopicError> {
    let (missing, present) = cluster.look_up(topics).await?;
    cluster.check_settings(&present).await?;
    let mut risks = cluster.risks(&present).await?;
    refuse(&risks)?;
    let safe = match care {
        Care::Make if !missing.is_empty() => cluster.defaults().await?.settings()?,
        Care::Make | Care::MakeWithoutSegments | Care::Verify => Vec::new(),
    };
    cluster.make(&missing, &safe).await?;
    for Topic { name, partitions, .. } in &missing {
        cluster.await_leaders(name, *partitions).await?;
    }
    risks.extend(cluster.risks(&missing).await?);
    refuse(&risks)?;
    let outcome = |topic: &Topic| if missing.contains(topic) { Applied::Made } else { Applied::Kept };
    Ok((topics.iter().map(outcome).collect(), risks))
}

fn refuse(risks: &BTreeSet<Risk>) -> Result<(), Risk> {
    risks.iter().find(|risk| risk.can_be_mended()).cloned().map_or(Ok(()), Err)
}

/// Checks that these topics are there with their partitions. What they keep is not asked: a cluster that makes its
/// topics by other means need not tell.
///
/// # Errors
/// As [`TopicError`] says; nothing is made.
async fn verify(cluster: &Cluster<impl ConsumerContext + Clone + 'static>, topics: &[Topic]) -> Result<(), TopicError> {
    let (missing, _) = cluster.look_up(topics).await?;
    if missing.is_empty() { Ok(()) } else { Err(TopicError::Unmade(missing)) }
}

/// What may be done about a refusal.
const fn way_round(cause: RDKafkaErrorCode) -> &'static str {
    match cause {
        RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig => {
            "; a cluster that lets nobody choose such settings wants KAFKA_TOPICS=make-without-segments"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "; whoever may not make topics has KAFKA_TOPICS=verify"
        }
        _ => "",
    }
}

fn unmade(topics: &[Topic]) -> String {
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    let steps: Vec<String> = topics.iter().map(Topic::event_hub).collect();
    format!(
        "the cluster has no {}, and KAFKA_TOPICS=verify makes none; on Event Hubs do: {}",
        names.join(", "),
        steps.join(" && ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_care_is_known_by_its_name() {
        let names = ["make", "make-without-segments", "verify", "Verify", ""];
        let cares =
            [Ok(Care::Make), Ok(Care::MakeWithoutSegments), Ok(Care::Verify), Err(UnknownCare), Err(UnknownCare)];
        assert_eq!(names.map(str::parse), cares);
        assert_eq!(Care::default(), Care::Make);
    }

    /// What a broker's file holds is dropped as a whole, so a file may not outlast what the topic keeps.
    #[test]
    fn what_is_declared_is_sound() {
        for scale in [Scale::Production, Scale::Local] {
            let topics = declared(scale);
            assert_eq!(topics.len(), 4);
            for topic in &topics {
                assert!(topic.partitions > 0 && topic.segment_ms <= Some(topic.retention_ms), "{topic:?}");
            }
            let count = |name: &str| topics.iter().find(|topic| topic.name == name).map(|topic| topic.partitions);
            assert_eq!(count("chat-messages"), count("chat-messages-dlt"));
            let (letters, others): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| topic.name.ends_with("-dlt"));
            let room = letters.iter().map(|topic| topic.max_message_bytes).min();
            assert!(others.iter().all(|topic| Some(topic.max_message_bytes) < room), "for what is added to a letter");
        }
    }
}
