//! A cluster's answers and changes, topic by topic.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, ConfigResourceResult, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::OnceCell;

use crate::durability::{DEFAULT_REPLICATION, Defaults, MIN_IN_SYNC_REPLICAS, Risk, Told, UNCLEAN_LEADER_ELECTION};
use crate::{Topic, TopicError, entry_advice};

/// How long the cluster may take for an answer, and to give a new topic its leaders.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const LEADERS_LIMIT: Duration = Duration::from_secs(30);
const LEADERS_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long events are listened to for the cause, when no answer came.
const EVENTS_LIMIT: Duration = Duration::from_millis(500);

/// Where each partition ends: the offset of its next record.
pub(crate) type Ends = Vec<i64>;

/// A connection to a cluster.
pub(crate) struct Cluster<C: ConsumerContext + 'static> {
    /// Asks: unlike an admin client it never makes a topic by asking for it, and it tells why nobody answers.
    consumer: Arc<BaseConsumer<C>>,
    /// Makes and changes, and asks about settings.
    admin: OnceCell<AdminClient<C>>,
    servers: String,
    client: ClientConfig,
    context: C,
}

impl<C: ConsumerContext + Clone + 'static> Cluster<C> {
    /// Makes the client that asks; nothing is asked yet.
    pub(crate) fn open(client: &ClientConfig, context: &C) -> Result<Self, TopicError> {
        let mut client = client.clone();
        client.set("enable.metrics.push", "false").set("reconnect.backoff.max.ms", "1000");
        let servers = client.get("bootstrap.servers").unwrap_or_default().to_owned();
        let mut asking = client.clone();
        // Without a group's name the client takes no assignment; it never joins the group.
        asking.set("group.id", "madang-topics").set("allow.auto.create.topics", "false");
        let consumer = Arc::new(asking.create_with_context(context.clone())?);
        Ok(Self { consumer, admin: OnceCell::new(), servers, client, context: context.clone() })
    }

    async fn admin(&self) -> Result<&AdminClient<C>, TopicError> {
        self.admin.get_or_try_init(async || self.make_admin()).await
    }

    /// It asks for no token by itself, so it is given one, which outlasts all that is done with it.
    fn make_admin(&self) -> Result<AdminClient<C>, TopicError> {
        let admin: AdminClient<C> = self.client.create_with_context(self.context.clone())?;
        if self.client.get("sasl.mechanism") == Some("OAUTHBEARER") {
            let token =
                self.context.generate_oauth_token(None).map_err(|error| TopicError::NoToken(error.to_string()))?;
            kafka_token::hand_over(admin.inner(), &token)?;
        }
        Ok(admin)
    }

    /// Tells topics that are missing from those that are there, with their number of partitions.
    ///
    /// # Errors
    /// A topic has another number of partitions, or the cluster does not answer.
    pub(crate) async fn look_up(&self, topics: &[Topic]) -> Result<(Vec<Topic>, Vec<Topic>), TopicError> {
        let metadata = self.metadata().await?;
        let (mut missing, mut present) = (Vec::new(), Vec::new());
        for topic in topics {
            match partition_count(&metadata, &topic.name) {
                0 => missing.push(topic.clone()),
                found => {
                    check_partitions(&topic.name, topic.partitions, found)?;
                    present.push(topic.clone());
                }
            }
        }
        Ok((missing, present))
    }

    /// Checks what topics keep, and in which files.
    ///
    /// # Errors
    /// A setting is another one than declared, or the cluster does not tell.
    pub(crate) async fn check_settings(&self, topics: &[Topic]) -> Result<(), TopicError> {
        if topics.is_empty() {
            return Ok(());
        }
        for (topic, answer) in topics.iter().zip(self.settings(topics).await?) {
            let settings = answer.ok().filter(|settings| !settings.entries.is_empty());
            let settings = settings.ok_or_else(|| TopicError::Untold(topic.name.clone()))?;
            for (setting, declared) in topic.settings() {
                let found = settings.get(setting).and_then(|entry| entry.value.clone()).unwrap_or_default();
                if found != declared.to_string() {
                    return Err(TopicError::Setting { topic: topic.name.clone(), setting, found, declared });
                }
            }
        }
        Ok(())
    }

    /// How the records of topics may be lost, as far as the cluster tells.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(crate) async fn risks(&self, topics: &[Topic]) -> Result<BTreeSet<Risk>, TopicError> {
        if topics.is_empty() {
            return Ok(BTreeSet::new());
        }
        let metadata = self.metadata().await?;
        let replicas: Vec<usize> = topics.iter().map(|topic| replica_count(&metadata, &topic.name)).collect();
        // Of single replicas there is nothing to ask, and an embedded broker would not answer.
        let answers = if replicas.iter().any(|replicas| *replicas > 1) {
            // Whoever may not know a topic's settings may well use it.
            self.settings(topics).await.unwrap_or_default()
        } else {
            Vec::new()
        };
        let mut answers = answers.into_iter().map(Result::ok);
        let risks = topics.iter().zip(replicas).flat_map(|(topic, replicas)| {
            let settings = answers.next().flatten();
            let told = Told {
                brokers: metadata.brokers().len(),
                replicas,
                min_in_sync_replicas: value(settings.as_ref(), MIN_IN_SYNC_REPLICAS),
                unclean_leader_election: value(settings.as_ref(), UNCLEAN_LEADER_ELECTION),
            };
            told.risks(&topic.name)
        });
        Ok(risks.collect())
    }

    /// What topics are given that say nothing of it, as far as the cluster tells.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(crate) async fn defaults(&self) -> Result<Defaults, TopicError> {
        let metadata = self.metadata().await?;
        let brokers: Vec<i32> = metadata.brokers().iter().map(|broker| broker.id()).collect();
        let settings = match brokers.as_slice() {
            // All have the same configuration.
            [first, _, ..] => {
                let first = [ResourceSpecifier::Broker(*first)];
                let answers = self.admin().await?.describe_configs(&first, &options()).await;
                answers.unwrap_or_default().pop().and_then(Result::ok)
            }
            // One has one replica to give, whatever is set.
            _ => None,
        };
        Ok(Defaults {
            brokers: brokers.len(),
            replicas: value(settings.as_ref(), DEFAULT_REPLICATION),
            min_in_sync_replicas: value(settings.as_ref(), MIN_IN_SYNC_REPLICAS),
        })
    }

    /// What the cluster says of topics' settings, in their order. The client passes over refusals: of a topic that this
    /// user may not look at it gives no setting.
    async fn settings(&self, topics: &[Topic]) -> Result<Vec<ConfigResourceResult>, TopicError> {
        let specifiers: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        Ok(self.admin().await?.describe_configs(&specifiers, &options()).await?)
    }

    /// Makes topics, each with these settings beside its own. One that somebody else has made meanwhile is taken as it
    /// is.
    ///
    /// # Errors
    /// The cluster refuses one, or does not answer.
    pub(crate) async fn make(&self, topics: &[Topic], more: &[(&'static str, String)]) -> Result<(), TopicError> {
        if topics.is_empty() {
            return Ok(());
        }
        let texts = |topic: &Topic| {
            let own = topic.settings().map(|(name, value)| (name, value.to_string()));
            own.chain(more.iter().cloned()).collect()
        };
        let settings: Vec<Vec<(&str, String)>> = topics.iter().map(texts).collect();
        let new = topics.iter().zip(&settings).map(|(topic, settings)| {
            let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(-1));
            settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        for answer in self.admin().await?.create_topics(&new, &options()).await? {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, cause)) => return Err(TopicError::Refused { topic, cause }),
            }
        }
        Ok(())
    }

    /// Waits until a topic can be used.
    ///
    /// # Errors
    /// It has no leaders in time, or another number of partitions because somebody else has made it.
    pub(crate) async fn await_leaders(&self, topic: &str, partitions: i32) -> Result<(), TopicError> {
        let deadline = Instant::now() + LEADERS_LIMIT;
        loop {
            let metadata = self.metadata().await?;
            if has_leaders(&metadata, topic) {
                return check_partitions(topic, partitions, partition_count(&metadata, topic));
            }
            if Instant::now() > deadline {
                return Err(TopicError::NoLeader(topic.to_owned()));
            }
            tokio::time::sleep(LEADERS_POLL_INTERVAL).await;
        }
    }

    /// How many partitions a topic has; none when there is no such topic.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(crate) async fn partition_count(&self, topic: &str) -> Result<usize, TopicError> {
        Ok(partition_count(&self.metadata().await?, topic))
    }

    /// Where the partitions of a topic end.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(crate) async fn ends(&self, topic: &str, partitions: usize) -> Result<Ends, TopicError> {
        let (consumer, topic) = (self.consumer(), topic.to_owned());
        let end = move |partition| consumer.fetch_watermarks(&topic, partition, ANSWER_LIMIT).map(|(_, end)| end);
        blocking(move || (0..).take(partitions).map(end).collect::<KafkaResult<Ends>>()).await
    }

    /// How many records before these ends a group has not committed.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(crate) async fn lag(&self, topic: &str, group: &str, ends: &Ends) -> Result<i64, TopicError> {
        // Asked by a member's name alone: it joins nothing.
        let mut client = self.client.clone();
        client.set("group.id", group).set("allow.auto.create.topics", "false");
        let consumer: BaseConsumer<C> = client.create_with_context(self.context.clone())?;
        serve(&consumer);
        let (topic, ends) = (topic.to_owned(), ends.clone());
        let lag = move || -> KafkaResult<i64> {
            let mut question = TopicPartitionList::new();
            question.add_partition_range(&topic, 0, i32::try_from(ends.len()).unwrap_or(i32::MAX) - 1);
            let committed = consumer.committed_offsets(question, ANSWER_LIMIT)?;
            let mut lag = 0;
            for (partition, end) in (0..).zip(&ends) {
                let (begin, _) = consumer.fetch_watermarks(&topic, partition, ANSWER_LIMIT)?;
                let place = match committed.find_partition(&topic, partition).map(|found| found.offset()) {
                    Some(Offset::Offset(offset)) => offset.max(begin),
                    // Nothing was ever committed: everything that is kept waits.
                    _ => begin,
                };
                lag += (end - place).max(0);
            }
            Ok(lag)
        };
        blocking(lag).await
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// The cluster refuses, or does not answer.
    pub(crate) async fn add_partitions(&self, topic: &str, partitions: usize) -> Result<(), TopicError> {
        let new = [NewPartitions::new(topic, partitions)];
        for answer in self.admin().await?.create_partitions(&new, &options()).await? {
            answer.map_err(|(topic, cause)| TopicError::Refused { topic, cause })?;
        }
        Ok(())
    }

    /// The client that asks, with a token that lasts where it needs one.
    fn consumer(&self) -> Arc<BaseConsumer<C>> {
        serve(&self.consumer);
        Arc::clone(&self.consumer)
    }

    /// What the cluster says of all its topics: to ask for one that is missing could make it.
    async fn metadata(&self) -> Result<Metadata, TopicError> {
        let (consumer, servers) = (self.consumer(), self.servers.clone());
        let client = self.client.clone();
        let ask = move || {
            consumer.fetch_metadata(None, ANSWER_LIMIT).map_err(|error| {
                let cause = cause(&consumer, &error);
                entry_advice(&client, cause).map_or(TopicError::NoBroker { servers, cause }, TopicError::Entry)
            })
        };
        tokio::task::spawn_blocking(ask).await.map_err(|_| TopicError::Interrupted)?
    }
}

/// librdkafka's questions block.
async fn blocking<T: Send + 'static>(
    question: impl FnOnce() -> KafkaResult<T> + Send + 'static,
) -> Result<T, TopicError> {
    Ok(tokio::task::spawn_blocking(question).await.map_err(|_| TopicError::Interrupted)??)
}

/// A client asks for a token when it is polled, and these are not polled otherwise.
fn serve(consumer: &BaseConsumer<impl ConsumerContext>) {
    // What else there is to tell comes again, when a question fails.
    drop(consumer.poll(Duration::ZERO));
}

/// The client tells the cause by events, and the call itself only that nothing came of it.
fn cause(consumer: &BaseConsumer<impl ConsumerContext>, error: &KafkaError) -> RDKafkaErrorCode {
    use RDKafkaErrorCode::{Authentication, Resolve, SSL};
    let code = |error: &KafkaError| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
    let deadline = Instant::now() + EVENTS_LIMIT;
    // An event that is none for us ends a poll, too.
    while Instant::now() < deadline {
        let event = consumer.poll(deadline.saturating_duration_since(Instant::now()));
        let told = event.and_then(Result::err).as_ref().map(code);
        if let Some(told @ (Authentication | Resolve | SSL)) = told {
            return told;
        }
    }
    code(error)
}

fn partition_count(metadata: &Metadata, topic: &str) -> usize {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    found.map_or(0, |found| found.partitions().len())
}

/// The replicas of the partition that has fewest.
fn replica_count(metadata: &Metadata, topic: &str) -> usize {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.map(|found| found.partitions()).unwrap_or_default();
    partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default()
}

/// What a setting is, where it is told.
fn value<T: FromStr>(settings: Option<&ConfigResource>, name: &str) -> Option<T> {
    settings?.get(name)?.value.as_ref()?.parse().ok()
}

fn has_leaders(metadata: &Metadata, topic: &str) -> bool {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.map(|found| found.partitions()).unwrap_or_default();
    let has_leader = |partition: &rdkafka::metadata::MetadataPartition| partition.leader() >= 0;
    !partitions.is_empty() && partitions.iter().all(has_leader)
}

fn check_partitions(topic: &str, wanted: i32, found: usize) -> Result<(), TopicError> {
    let topic = topic.to_owned();
    match usize::try_from(wanted).unwrap_or_default() {
        count if found < count => Err(TopicError::TooFewPartitions { topic, found, wanted }),
        count if found > count => Err(TopicError::TooManyPartitions { topic, found, wanted }),
        _ => Ok(()),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_LIMIT)).operation_timeout(Some(ANSWER_LIMIT))
}
