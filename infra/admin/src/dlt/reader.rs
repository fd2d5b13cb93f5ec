//! Reads the dead-letter topic, partition after partition, each in its order, up to where it ended when it was looked
//! at. The client is assigned partitions by hand: it joins no group and commits nothing. Only committed records are read.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::config::{KafkaConfig, TopicPrefix};
use common::kafka_client::KafkaContext;
use common::record::DEAD_LETTER_TOPIC;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};
use topics::entry_advice;

use super::letter::{Letter, LetterId};

/// How long the broker may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// How long events are listened to for the cause, when no answer came.
const EVENTS_LIMIT: Duration = Duration::from_millis(500);

/// The letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("no broker answers at {servers}, which KAFKA_BOOTSTRAP_SERVERS names: {cause}")]
    NoBroker { servers: String, cause: RDKafkaErrorCode },
    #[error("{0}")]
    Setting(&'static str),
    #[error("the broker has no topic {0}")]
    NoTopic(String),
    #[error("the broker does not let this user read {0}")]
    NotAllowed(String),
    #[error("partition {partition} of the dead-letter topic cannot be read: {cause}")]
    Partition { partition: i32, cause: RDKafkaErrorCode },
    #[error("there is no letter {id}: the dead-letter topic has {count} partitions, from 0")]
    NoPartition { id: LetterId, count: usize },
    #[error("letter {id} is not kept any more: its partition begins at {begin}")]
    Expired { id: LetterId, begin: i64 },
    #[error("there is no letter {id}: its partition ends before {end}")]
    NotYet { id: LetterId, end: i64 },
    #[error("there is no letter {0}: the offset is none of a record")]
    Gap(LetterId),
    #[error("the Kafka client fails: {0}")]
    Client(#[from] KafkaError),
}

/// Part of a partition: the first offset, and the one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    partition: i32,
    begin: i64,
    end: i64,
}

/// A client that reads letters.
pub(crate) struct Reader {
    consumer: BaseConsumer<KafkaContext>,
    client: ClientConfig,
    topic_prefix: TopicPrefix,
    partition_count: usize,
}

/// Letters one after the other.
pub(crate) struct Walk<'a> {
    consumer: &'a BaseConsumer<KafkaContext>,
    topic: String,
    waiting: VecDeque<Range>,
    current: Option<Range>,
}

impl Reader {
    /// Connects, and looks the dead-letter topic up.
    pub(crate) fn open(config: &KafkaConfig) -> Result<Self, ReadError> {
        let mut client = config.client.clone();
        for (name, value) in [
            // Without a group's name the client takes no assignment; the group itself never comes to be.
            ("group.id", "madang-admin"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            ("allow.auto.create.topics", "false"),
            ("socket.connection.setup.timeout.ms", "5000"),
            ("enable.metrics.push", "false"),
        ] {
            client.set(name, value);
        }
        let topic_prefix = config.topic_prefix.clone();
        let consumer: BaseConsumer<KafkaContext> = client.create_with_context(config.context.clone())?;
        // A client asks for a token when it is polled, and there is nothing to read yet.
        drop(consumer.poll(Duration::ZERO));
        let mut reader = Self { consumer, client, topic_prefix, partition_count: 0 };
        reader.partition_count = reader.partition_count(DEAD_LETTER_TOPIC)?;
        Ok(reader)
    }

    /// How many partitions one of our topics has now.
    pub(crate) fn partition_count(&self, topic: &str) -> Result<usize, ReadError> {
        let topic = &self.topic_prefix.with(topic);
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER_LIMIT);
        let metadata = metadata.map_err(|error| self.no_broker(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| (found.error().map(RDKafkaErrorCode::from), found.partitions().len())) {
            Some((Some(RDKafkaErrorCode::TopicAuthorizationFailed), _)) => Err(ReadError::NotAllowed(topic.to_owned())),
            Some((None | Some(RDKafkaErrorCode::LeaderNotAvailable), count @ 1..)) => Ok(count),
            _ => Err(ReadError::NoTopic(topic.to_owned())),
        }
    }

    /// All that stands on the topic now.
    pub(crate) fn all(&self) -> Result<Vec<Range>, ReadError> {
        let partitions = (0..).take(self.partition_count);
        partitions.map(|partition| self.range(partition)).collect()
    }

    /// One letter.
    pub(crate) fn one(&self, id: LetterId) -> Result<Range, ReadError> {
        if !usize::try_from(id.partition).is_ok_and(|partition| partition < self.partition_count) {
            return Err(ReadError::NoPartition { id, count: self.partition_count });
        }
        let Range { begin, end, .. } = self.range(id.partition)?;
        match id.offset {
            offset if offset < begin => Err(ReadError::Expired { id, begin }),
            offset if offset >= end => Err(ReadError::NotYet { id, end }),
            begin => Ok(Range { partition: id.partition, begin, end: begin + 1 }),
        }
    }

    /// These letters, each once, in the order of the topic.
    pub(crate) fn letters(&self, ids: &[LetterId]) -> Result<Vec<Letter>, ReadError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let letter = |id: LetterId| self.walk(vec![self.one(id)?]).next()?.ok_or(ReadError::Gap(id));
        ids.into_iter().map(letter).collect()
    }

    /// The letters of these ranges.
    pub(crate) fn walk(&self, ranges: Vec<Range>) -> Walk<'_> {
        Walk { consumer: &self.consumer, topic: self.topic(), waiting: ranges.into(), current: None }
    }

    /// The name of the dead-letter topic on the cluster.
    fn topic(&self) -> String {
        self.topic_prefix.with(DEAD_LETTER_TOPIC)
    }

    fn range(&self, partition: i32) -> Result<Range, ReadError> {
        let marks = self.consumer.fetch_watermarks(&self.topic(), partition, ANSWER_LIMIT);
        let (begin, end) = marks.map_err(|error| ReadError::Partition { partition, cause: code(&error) })?;
        Ok(Range { partition, begin, end })
    }

    /// The client tells the cause by events, and the call itself only that nothing came of it.
    fn no_broker(&self, error: &KafkaError) -> ReadError {
        let mut cause = code(error);
        let deadline = Instant::now() + EVENTS_LIMIT;
        // An event that is none for us ends a poll, too.
        while Instant::now() < deadline {
            let event = self.consumer.poll(deadline.saturating_duration_since(Instant::now()));
            let told = event.and_then(Result::err).as_ref().map(code).filter(|told| {
                use RDKafkaErrorCode::{Authentication, Resolve, SSL};
                matches!(told, Authentication | Resolve | SSL)
            });
            if let Some(told) = told {
                cause = told;
                break;
            }
        }
        let servers = || self.client.get("bootstrap.servers").unwrap_or_default().to_owned();
        entry_advice(&self.client, cause)
            .map_or_else(|| ReadError::NoBroker { servers: servers(), cause }, ReadError::Setting)
    }
}

impl Walk<'_> {
    /// The next letter; none behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<Letter>, ReadError> {
        loop {
            let range = match self.current {
                Some(range) if range.begin < range.end => range,
                Some(_) | None => match self.waiting.pop_front() {
                    Some(range) => {
                        self.begin(range)?;
                        continue;
                    }
                    None => return Ok(None),
                },
            };
            let Some(letter) = self.read(range)? else {
                self.current = None;
                continue;
            };
            self.current = Some(Range { begin: letter.id.offset + 1, ..range });
            return Ok(Some(letter));
        }
    }

    fn begin(&mut self, range: Range) -> Result<(), ReadError> {
        self.current = Some(range);
        if range.begin < range.end {
            let mut assignment = TopicPartitionList::new();
            assignment.add_partition_offset(&self.topic, range.partition, Offset::Offset(range.begin))?;
            self.consumer.assign(&assignment)?;
        }
        Ok(())
    }

    /// The first letter of what is left of a range; none when its other offsets are no records.
    fn read(&self, range: Range) -> Result<Option<Letter>, ReadError> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut cause = RDKafkaErrorCode::OperationTimedOut;
        loop {
            match self.consumer.poll(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(message)) if message.partition() == range.partition && message.offset() >= range.begin => {
                    return Ok((message.offset() < range.end).then(|| Letter::of(&message)));
                }
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(partition))) if partition == range.partition => return Ok(None),
                Some(Err(error)) if code(&error) == RDKafkaErrorCode::TopicAuthorizationFailed => {
                    return Err(ReadError::NotAllowed(self.topic.clone()));
                }
                // The client tries again by itself, until it is too late.
                Some(Err(error)) => cause = code(&error),
                None => return Err(ReadError::Partition { partition: range.partition, cause }),
            }
        }
    }
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}
