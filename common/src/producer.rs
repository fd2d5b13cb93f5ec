//! The Kafka producer: idempotent, `acks=all`, one record at a time, each delivery awaited before the handler returns
//! (between invocations a function is frozen, so nothing may be left in flight). [`Producer::close`] is for the end of the
//! process.
//!
//! The partition is chosen here, by Java's murmur2 of the key and the **configured** number of partitions: a stale
//! answer of a broker never sends one room to two partitions.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::sync::watch;
use tokio::time::Instant;
use topics::advice;

use crate::complaint::Complaint;
use crate::config::{KafkaConfig, TopicPrefix};
use crate::kafka_client::KafkaContext;
use crate::metrics::{Count, Metrics};
use crate::record::{DEAD_LETTER_TOPIC, OnTopic as _, Record};

mod delivery;

use delivery::Deliveries;

/// How long a record may be on its way: less than a function's timeout, so that the client hears of a failure.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(6);
/// How often the end of the process looks for what is still on its way.
const CLOSING_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A record was not acknowledged. It may stand on the topic all the same: the caller's retry carries the same identity.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Broker away, too slow, or refusing for now.
    #[error("the record was not acknowledged: {0}")]
    Unacknowledged(KafkaError),
    /// Its topic never takes one of this size.
    #[error("the record is too large for its topic")]
    TooLarge,
    /// Nothing new is let in for now.
    #[error("ingress is closed")]
    Closed,
    /// The process ends, before the brokers have acknowledged it.
    #[error("the process ends")]
    Ending,
    /// The topic is not in the configuration.
    #[error("the topic has no configured number of partitions")]
    UnknownTopic,
}

/// The client could not be made: librdkafka refuses a setting.
#[derive(thiserror::Error)]
#[error("the Kafka client cannot be made of the KAFKA_ settings: {0}")]
pub struct ProducerError(#[from] KafkaError);

/// As a sentence: what `main` returns is printed so.
impl std::fmt::Debug for ProducerError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

/// What becomes of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// They are taken.
    Open,
    /// No more are; those on their way are waited for.
    Closing,
    /// Nobody waits any more.
    Closed,
}

type KafkaProducer = FutureProducer<KafkaContext>;

/// Produces records.
pub struct Producer {
    config: ClientConfig,
    context: KafkaContext,
    partitions: HashMap<String, i32>,
    topic_prefix: TopicPrefix,
    ingress_closed: bool,
    stage: watch::Sender<Stage>,
    inner: RwLock<Option<Arc<KafkaProducer>>>,
    deliveries: Deliveries,
    complaint: Complaint,
    metrics: Arc<Metrics>,
}

impl Producer {
    /// Makes the client, for a function that produces in nearly every invocation: a fresh one has to ask Kafka for its id
    /// first, which takes up to a second.
    ///
    /// # Errors
    /// librdkafka refuses a setting.
    pub fn new(config: KafkaConfig, metrics: Arc<Metrics>) -> Result<Self, ProducerError> {
        let producer = Self::lazy(config, metrics);
        producer.client()?;
        Ok(producer)
    }

    /// Makes the client when it first produces, for a function that may never do.
    #[must_use]
    pub fn lazy(config: KafkaConfig, metrics: Arc<Metrics>) -> Self {
        let KafkaConfig { mut client, context, partitions, topic_prefix, ingress_closed } = config;
        client.set("message.timeout.ms", MESSAGE_TIMEOUT.as_millis().to_string());
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // A dead socket after a thaw is found by this alone.
            ("socket.timeout.ms", "3000"),
            ("socket.connection.setup.timeout.ms", "3000"),
            ("socket.keepalive.enable", "true"),
            ("socket.nagle.disable", "true"),
            ("connections.max.idle.ms", "180000"),
            ("reconnect.backoff.ms", "50"),
            ("reconnect.backoff.max.ms", "1000"),
            ("retry.backoff.ms", "50"),
            // Topics are made before anything is produced; one that is missing is told as that before its record times out.
            ("topic.metadata.propagation.max.ms", "3000"),
            ("linger.ms", "0"),
            // As much as the dead-letter topic takes: any record of the others with what is added to it, unless it was
            // compressed there.
            ("message.max.bytes", "2097152"),
            ("log.connection.close", "false"),
            ("enable.metrics.push", "false"),
        ] {
            client.set(name, value);
        }
        Self {
            config: client,
            context,
            partitions,
            topic_prefix,
            ingress_closed,
            stage: watch::Sender::new(Stage::Open),
            inner: RwLock::default(),
            deliveries: Deliveries::default(),
            complaint: Complaint::new(),
            metrics,
        }
    }

    fn client(&self) -> Result<Arc<KafkaProducer>, KafkaError> {
        if let Some(client) = &*self.inner.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(client));
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match &*inner {
            Some(client) => Ok(Arc::clone(client)),
            None => {
                let client = Arc::new(self.fresh()?);
                *inner = Some(Arc::clone(&client));
                Ok(client)
            }
        }
    }

    fn fresh(&self) -> Result<KafkaProducer, KafkaError> {
        self.config.create_with_context(self.context.clone())
    }

    /// Checks that anything is let in, for those who write something before they produce.
    ///
    /// # Errors
    /// Nothing is.
    pub const fn check_ingress(&self) -> Result<(), ProduceError> {
        if self.ingress_closed { Err(ProduceError::Closed) } else { Ok(()) }
    }

    /// Produces one record to one of our topics and waits until all in-sync replicas have it.
    ///
    /// # Errors
    /// It was not acknowledged in time; a retry with the same identity is safe.
    pub async fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[crate::kafka_event::Header],
    ) -> Result<(), ProduceError> {
        // What is let in already may still have to be buried.
        if topic != DEAD_LETTER_TOPIC {
            self.check_ingress()?;
        }
        if *self.stage.borrow() != Stage::Open {
            return Err(ProduceError::Ending);
        }
        let count = *self.partitions.get(topic).ok_or(ProduceError::UnknownTopic)?;
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        let partition = partition(key.unwrap_or_default(), count);
        let is_command = topic == Record::TOPIC;
        let topic = self.topic_prefix.with(topic);
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).partition(partition).headers(headers);
        (record.key, record.payload) = (key, value);
        for (client, error) in self.deliveries.take_failed() {
            self.note_failure(&client, &error);
        }
        let client = self.client().map_err(ProduceError::Unacknowledged)?;
        let arrived = tokio::select! {
            // What has arrived at the very end has arrived.
            biased;
            arrived = self.deliveries.deliver(&client, record) => arrived,
            () = self.closed() => return Err(ProduceError::Ending),
        };
        match arrived {
            Ok(()) => {
                self.metrics.add(Count::Produces, 1);
                self.metrics.add(Count::Accepted, is_command.into());
                self.context.forget_cause();
                self.complaint.settle();
                Ok(())
            }
            Err(error) => {
                self.note_failure(&client, &error);
                Err(match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => ProduceError::TooLarge,
                    _ => ProduceError::Unacknowledged(error),
                })
            }
        }
    }

    fn note_failure(&self, client: &Arc<KafkaProducer>, error: &KafkaError) {
        let causes = [error.rdkafka_error_code(), self.context.cause()];
        if let Some(sentence) = causes.into_iter().flatten().find_map(|code| advice(&self.config, code)) {
            self.complaint.say(sentence);
        }
        self.replace_if_spent(client, error);
    }

    /// Takes no more records, and waits until those on their way have arrived, no longer than this: whoever still waits
    /// for one is told then that the process ends. Tells whether any was on its way.
    pub async fn close(&self, limit: Duration) -> bool {
        self.stage.send_replace(Stage::Closing);
        let client = self.inner.read().unwrap_or_else(PoisonError::into_inner).clone();
        let was_busy = client.as_ref().is_some_and(|client| client.in_flight_count() > 0);
        if let Some(client) = client {
            drain(&client, limit).await;
        }
        self.stage.send_replace(Stage::Closed);
        was_busy
    }

    /// Waits until nobody waits for records any more.
    async fn closed(&self) {
        // The sender lives in `self`, so the channel cannot be closed.
        drop(self.stage.subscribe().wait_for(|stage| *stage == Stage::Closed).await);
    }

    /// After a fatal error librdkafka refuses everything for ever; a record that timed out leaves a gap in an idempotent
    /// producer's numbers, from which it was seen to recover only after minutes; and a topic that is missing is missing
    /// for as long, though it has been made: a fresh producer takes the place, once.
    fn replace_if_spent(&self, failed: &Arc<KafkaProducer>, error: &KafkaError) {
        let spent = error.rdkafka_error_code().filter(|code| is_lasting(*code)).map(|code| (code, error.to_string()));
        let Some((code, reason)) = failed.client().fatal_error().or(spent) else { return };
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if !inner.as_ref().is_some_and(|inner| Arc::ptr_eq(inner, failed)) {
            return;
        }
        tracing::warn!(?code, reason, "the producer is replaced");
        match self.fresh() {
            Ok(fresh) => *inner = Some(Arc::new(fresh)),
            Err(error) => tracing::error!(%error, "no producer can be made"),
        }
    }
}

/// Waits until nothing is on its way, no longer than this.
async fn drain(client: &KafkaProducer, limit: Duration) {
    let deadline = Instant::now() + limit;
    while client.in_flight_count() > 0 && Instant::now() < deadline {
        tokio::time::sleep(CLOSING_POLL_INTERVAL).await;
    }
}

/// Whether librdkafka goes on failing after this.
const fn is_lasting(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{MessageTimedOut, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, MessageTimedOut | UnknownTopic | UnknownTopicOrPartition | UnknownPartition)
}

/// The partition of a key, as Java's default partitioner chooses it.
#[must_use]
pub fn partition(key: &[u8], count: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff).cast_signed() % count.max(1)
}

/// Austin Appleby's `MurmurHash2` with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "keys are short, and the algorithm takes the length modulo 2^32"
    )]
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::code::ErrorCode;
    use crate::failure::Failure;

    async fn send(producer: &Producer) -> Result<(), ErrorCode> {
        let sent = producer.send(Record::TOPIC, Some(b"room"), Some(b"{}"), &[]).await;
        sent.map_err(|error| Failure::from(error).answer().code)
    }

    fn on(cluster: &MockCluster<'_, DefaultProducerContext>) -> KafkaConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", cluster.bootstrap_servers());
        KafkaConfig {
            client,
            context: KafkaContext::default(),
            partitions: HashMap::from([(Record::TOPIC.to_owned(), 1)]),
            topic_prefix: TopicPrefix::default(),
            ingress_closed: false,
        }
    }

    /// Sends a record that the broker answers with these errors first, and one more.
    async fn check(errors: &[RDKafkaRespErr], expected: Result<(), ErrorCode>) {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic(Record::TOPIC, 1, 1).unwrap();
        let producer = Producer::new(on(&cluster), Arc::default()).unwrap();
        assert_eq!(send(&producer).await, Ok(()));
        cluster.request_errors(RDKafkaApiKey::Produce, errors);
        assert_eq!(send(&producer).await, expected, "{errors:?}");
        cluster.clear_request_errors(RDKafkaApiKey::Produce);
        assert_eq!(send(&producer).await, Ok(()), "after {errors:?}");
    }

    /// What librdkafka tries again by itself, until the record times out.
    #[tokio::test]
    async fn a_broker_that_is_not_ready_is_asked_again() {
        check(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3], Ok(())).await;
        check(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3], Ok(())).await;
        check(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR], Ok(())).await;
        check(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT], Ok(())).await;
    }

    /// What librdkafka takes as final for the record, though a later one may pass.
    #[tokio::test]
    async fn a_refused_record_is_unavailable_and_the_next_one_passes() {
        for error in [
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
        ] {
            check(&[error], Err(ErrorCode::Unavailable)).await;
        }
    }

    /// What ends an idempotent producer: another one takes its place.
    #[tokio::test]
    async fn a_producer_that_failed_for_good_is_replaced() {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        check(&[error], Err(ErrorCode::Unavailable)).await;
    }

    /// A producer on a broker of its own, which takes this long for each answer from now on.
    async fn on_slow_broker(answer_after: Duration) -> (MockCluster<'static, DefaultProducerContext>, Producer) {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic(Record::TOPIC, 1, 1).unwrap();
        let producer = Producer::new(on(&cluster), Arc::default()).unwrap();
        assert_eq!(send(&producer).await, Ok(()));
        cluster.broker_round_trip_time(1, answer_after).unwrap();
        (cluster, producer)
    }

    #[tokio::test]
    async fn what_is_on_its_way_arrives_before_the_end() {
        let (_cluster, producer) = on_slow_broker(Duration::from_secs(1)).await;
        let sent = send(&producer);
        tokio::pin!(sent);
        assert!(futures_util::poll!(&mut sent).is_pending());
        assert!(producer.close(Duration::from_secs(10)).await);
        assert_eq!(sent.await, Ok(()));
        assert_eq!(send(&producer).await, Err(ErrorCode::Unavailable), "nothing is taken any more");
        assert!(!producer.close(Duration::from_secs(10)).await, "nothing is on its way");
    }

    /// As a session's signal is left to itself when it takes too long.
    #[tokio::test]
    async fn what_nobody_waits_for_any_more_arrives_too() {
        let (_cluster, producer) = on_slow_broker(Duration::from_secs(1)).await;
        abandon(&producer).await;
        assert!(producer.close(Duration::from_secs(10)).await);
        assert_eq!(producer.client().unwrap().in_flight_count(), 0);
    }

    /// Sends a record and stops waiting for it.
    async fn abandon(producer: &Producer) {
        let abandoned = send(producer);
        tokio::pin!(abandoned);
        assert!(futures_util::poll!(abandoned).is_pending());
    }

    /// The gap in an idempotent producer's numbers, found while nobody waited.
    #[tokio::test]
    async fn a_producer_that_failed_with_an_abandoned_record_is_replaced() {
        let (cluster, producer) = on_slow_broker(Duration::from_millis(100)).await;
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        abandon(&producer).await;
        drain(&producer.client().unwrap(), Duration::from_secs(10)).await;
        assert_eq!(send(&producer).await, Ok(()));
    }

    /// Abandons a record in an outage, as a session's signal is, and sends another after it. The time of the first is over
    /// before the broker is back.
    async fn check_after_outage(pass_time: impl AsyncFnOnce(&Producer)) {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        cluster.create_topic(Record::TOPIC, 1, 1).unwrap();
        let producer = Producer::lazy(on(&cluster), Arc::default());
        assert_eq!(send(&producer).await, Ok(()));
        let spent = producer.client().unwrap();
        cluster.broker_down(1).unwrap();
        abandon(&producer).await;
        pass_time(&producer).await;
        cluster.broker_up(1).unwrap();
        assert_eq!(send(&producer).await, Ok(()));
        assert!(!Arc::ptr_eq(&spent, &producer.client().unwrap()), "whether it would have recovered is luck");
    }

    #[tokio::test]
    async fn a_producer_whose_abandoned_record_timed_out_is_replaced() {
        // As librdkafka tells, or before it tells, as after a freeze.
        check_after_outage(async |producer| drain(&producer.client().unwrap(), Duration::from_secs(30)).await).await;
        check_after_outage(async |producer| producer.deliveries.abandoned()[0].since -= MESSAGE_TIMEOUT).await;
    }

    /// As long as it may still arrive.
    #[tokio::test]
    async fn an_abandoned_record_is_left_its_time() {
        let (_cluster, producer) = on_slow_broker(Duration::from_millis(100)).await;
        let client = producer.client().unwrap();
        abandon(&producer).await;
        for _ in 0..2 {
            assert_eq!(send(&producer).await, Ok(()));
            assert!(Arc::ptr_eq(&client, &producer.client().unwrap()));
        }
        assert!(producer.deliveries.abandoned().is_empty(), "it has arrived");
    }

    #[tokio::test]
    async fn whoever_waits_at_the_end_is_told() {
        let (_cluster, producer) = on_slow_broker(Duration::from_secs(60)).await;
        let sent = send(&producer);
        tokio::pin!(sent);
        assert!(futures_util::poll!(&mut sent).is_pending());
        assert!(producer.close(Duration::from_millis(100)).await);
        assert_eq!(sent.await, Err(ErrorCode::Unavailable));
    }

    /// What the operator reads at last: which setting leads nowhere.
    #[tokio::test]
    async fn a_broker_that_is_not_there_is_told_by_its_setting() {
        for servers in ["127.0.0.1:1", "nowhere.invalid:9092"] {
            let mut client = ClientConfig::new();
            client.set("bootstrap.servers", servers);
            let partitions = HashMap::from([(Record::TOPIC.to_owned(), 1)]);
            let config = KafkaConfig {
                client,
                partitions,
                topic_prefix: TopicPrefix::default(),
                ingress_closed: false,
                context: KafkaContext::default(),
            };
            let mut producer = Producer::lazy(config, Arc::default());
            producer.config.set("message.timeout.ms", "1000");
            assert_eq!(send(&producer).await, Err(ErrorCode::Unavailable));
            let advice = async {
                loop {
                    // The answer of a resolver may come behind the end of the record.
                    if let Some(advice) = producer.context.cause().and_then(|code| advice(&producer.config, code)) {
                        return advice;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let advice = tokio::time::timeout(Duration::from_secs(30), advice).await.unwrap();
            assert!(advice.contains("KAFKA_BOOTSTRAP_SERVERS"), "{servers}: {advice}");
        }
    }

    /// The expected hashes stand in Apache Kafka's own test of its `Utils.murmur2`.
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        let check = |key: &str, expected: i32| assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }

    #[test]
    fn partitions_are_in_range() {
        for index in 0..1_000 {
            let key = format!("room-{index}");
            assert!((0..12).contains(&partition(key.as_bytes(), 12)));
        }
    }
}
