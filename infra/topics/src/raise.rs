//! More partitions for a topic without breaking a room's order.
//!
//! A room's records stand on one partition because its key leads there; with more partitions it may lead elsewhere. So
//! the old partition has to be worked off before the new one gets its first record, and no producer may still count
//! the old number:
//!
//! 1. The operator closes ingress (`INGRESS_CLOSED=true` for every function and for `dlt replay`).
//! 2. No record arrives for as long as an invocation of a function may last: none of them is still open.
//! 3. The consumers come to the end of every partition.
//! 4. They stay there for as long as an invocation of the consumer may last, and still no record arrives: none of
//!    theirs is still open either.
//! 5. The partitions are added, and have leaders.
//! 6. The operator deploys the new number (`KAFKA_PARTITIONS`) and opens ingress again.
//!
//! This does steps 2 to 5, and ends without a change when one of them does not hold.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::ConsumerContext;

use crate::TopicError;
use crate::cluster::{Cluster, Ends};

const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What is raised, and what is waited for.
#[derive(Debug, Clone)]
pub struct Raise {
    /// The topic's name on the cluster.
    pub topic: String,
    /// How many partitions it is to have.
    pub partitions: i32,
    /// The consumer group that has to come to its end; none for a topic that no function reads.
    pub group: Option<String>,
    /// The longest time that an invocation of a producing function lasts.
    pub ingress_timeout: Duration,
    /// The longest time that an invocation of the consumer lasts.
    pub consumer_timeout: Duration,
    /// How long the consumers may take to come to the end.
    pub drain_limit: Duration,
}

impl Raise {
    /// Waits, checks and adds the partitions; tells each step before it begins. A topic that has so many already is as
    /// wanted: an earlier raise that ended half way can be repeated.
    ///
    /// # Errors
    /// As [`TopicError`] says; nothing was changed then, unless the new partitions have no leaders.
    pub async fn carry_out(
        &self,
        client: &ClientConfig,
        context: &(impl ConsumerContext + Clone + 'static),
        mut tell: impl FnMut(&str),
    ) -> Result<(), TopicError> {
        let cluster = Cluster::open(client, context)?;
        let found = cluster.partition_count(&self.topic).await?;
        let wanted = usize::try_from(self.partitions).unwrap_or_default();
        if found == 0 {
            return Err(TopicError::Missing(self.topic.clone()));
        }
        if found > wanted {
            return Err(TopicError::TooManyPartitions { topic: self.topic.clone(), found, wanted: self.partitions });
        }
        if found < wanted {
            tell(&format!("watching for {:?} that nobody writes to {}", self.ingress_timeout, self.topic));
            let ends = cluster.ends(&self.topic, found).await?;
            self.stay_quiet(&cluster, &ends, self.ingress_timeout).await?;
            if self.group.is_some() {
                tell("waiting for the consumers to come to the end");
                self.await_end(&cluster, &ends).await?;
                tell(&format!("watching for {:?} that they stay there", self.consumer_timeout));
                self.stay_quiet(&cluster, &ends, self.consumer_timeout).await?;
                self.await_end(&cluster, &ends).await?;
            }
            tell(&format!("raising {} from {found} to {wanted} partitions", self.topic));
            cluster.add_partitions(&self.topic, wanted).await?;
        }
        cluster.await_leaders(&self.topic, self.partitions).await
    }

    /// Nothing is written for so long.
    async fn stay_quiet(
        &self,
        cluster: &Cluster<impl ConsumerContext + Clone + 'static>,
        ends: &Ends,
        time: Duration,
    ) -> Result<(), TopicError> {
        let deadline = Instant::now() + time;
        loop {
            if cluster.ends(&self.topic, ends.len()).await? != *ends {
                return Err(TopicError::StillWritten(self.topic.clone()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(POLL_INTERVAL)).await;
        }
    }

    async fn await_end(
        &self,
        cluster: &Cluster<impl ConsumerContext + Clone + 'static>,
        ends: &Ends,
    ) -> Result<(), TopicError> {
        let Some(group) = &self.group else { return Ok(()) };
        let deadline = Instant::now() + self.drain_limit;
        loop {
            let lag = cluster.lag(&self.topic, group, ends).await?;
            if lag == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(TopicError::Lag { topic: self.topic.clone(), group: group.clone(), lag });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
