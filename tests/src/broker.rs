//! Records straight to and from the topics, as another program with access to the broker would put them there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::cluster::Variables;
use crate::deadline::PATIENCE;

/// The topic of commands that change a room.
pub const MESSAGES: &str = "chat-messages";
/// The topic of what users' sessions do, and of typing.
pub const PRESENCE: &str = "chat-presence";
/// The topic of records that no consumer could take.
pub const DEAD_LETTERS: &str = "chat-messages-dlt";

/// What a client is told: variable, property.
const PROPERTIES: [(&str, &str); 9] = [
    ("KAFKA_BOOTSTRAP_SERVERS", "bootstrap.servers"),
    ("KAFKA_SECURITY_PROTOCOL", "security.protocol"),
    ("KAFKA_SASL_MECHANISM", "sasl.mechanism"),
    ("KAFKA_SASL_USERNAME", "sasl.username"),
    ("KAFKA_SASL_PASSWORD", "sasl.password"),
    ("KAFKA_SSL_CA_PEM", "ssl.ca.pem"),
    ("KAFKA_SSL_CERTIFICATE_PEM", "ssl.certificate.pem"),
    ("KAFKA_SSL_KEY_PEM", "ssl.key.pem"),
    ("KAFKA_SSL_KEY_PASSWORD", "ssl.key.password"),
];

/// How long one look at a topic takes at most.
const LOOK: Duration = Duration::from_millis(100);

/// A record of a command in a room, as if it had been let in: its id is the one of an earlier command, turned into
/// another one.
///
/// # Panics
/// The earlier command has no id.
#[must_use]
pub fn command(room: &str, sender: &str, earlier: &Value, body: Value) -> StoredRecord {
    let earlier = earlier.as_str().expect("a command's id");
    let (rest, last) = earlier.split_at(earlier.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    let mut record = json!({
        "v": 1, "id": format!("{rest}{other}"), "roomId": room, "sender": sender,
        "receivedAt": "2026-01-01T00:00:00.000Z",
    });
    let fields = record.as_object_mut().expect("an object");
    fields.extend(body.as_object().expect("a body").clone());
    StoredRecord::new(Some(room.as_bytes()), Some(record.to_string().as_bytes()))
}

/// A broker, seen by its protocol.
#[derive(Clone)]
pub struct Broker {
    config: ClientConfig,
    topic_prefix: String,
}

/// A record as it stands on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A signal of a user as it stands on its topic: `session.opened` and the like, or `typing` with its `roomId`.
#[must_use]
pub fn signal(user: &str, at: &str, body: Value) -> StoredRecord {
    let mut record = json!({"v": 1, "userId": user, "at": at});
    let fields = record.as_object_mut().expect("an object");
    fields.extend(body.as_object().expect("a body").clone());
    StoredRecord::new(Some(user.as_bytes()), Some(record.to_string().as_bytes()))
}

impl StoredRecord {
    /// A record without headers.
    #[must_use]
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        Self { key: key.map(<[u8]>::to_vec), value: value.map(<[u8]>::to_vec), headers: Vec::new() }
    }

    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(other, _)| other == name)?;
        Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
    }
}

impl Broker {
    /// A broker by the variables that lead to it.
    #[must_use]
    pub fn new(variables: &Variables) -> Self {
        let mut config = ClientConfig::new();
        for (variable, property) in PROPERTIES {
            if let Some(value) = variables.get(variable) {
                config.set(property, value);
            }
        }
        Self { config, topic_prefix: variables.get("KAFKA_TOPIC_PREFIX").cloned().unwrap_or_default() }
    }

    /// How a client of the broker is made.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        self.config.clone()
    }

    /// The name of a topic on the broker.
    fn name_of(&self, topic: &str) -> String {
        format!("{}{topic}", self.topic_prefix)
    }

    /// Puts records on one partition of a topic, in order; their offsets.
    ///
    /// # Panics
    /// The broker does not take them.
    pub async fn produce(&self, topic: &str, partition: i32, records: &[StoredRecord]) -> Vec<i64> {
        self.produce_with(&mut self.client(), topic, partition, records).await
    }

    /// The same, with each record compressed: what a broker limits is the size that one has then.
    ///
    /// # Panics
    /// The broker does not take them.
    pub async fn produce_compressed(&self, topic: &str, partition: i32, records: &[StoredRecord]) -> Vec<i64> {
        let mut client = self.client();
        client.set("compression.codec", "gzip").set("message.max.bytes", "10000000");
        self.produce_with(&mut client, topic, partition, records).await
    }

    async fn produce_with(
        &self,
        client: &mut ClientConfig,
        topic: &str,
        partition: i32,
        records: &[StoredRecord],
    ) -> Vec<i64> {
        let producer: FutureProducer = client.set("message.timeout.ms", "15000").create().expect("a producer");
        let (topic, mut deliveries) = (self.name_of(topic), Vec::new());
        for StoredRecord { key, value, headers } in records {
            let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            });
            let mut record: FutureRecord<'_, [u8], [u8]> =
                FutureRecord::to(&topic).partition(partition).headers(headers);
            (record.key, record.payload) = (key.as_deref(), value.as_deref());
            deliveries.push(producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue"));
        }
        let mut offsets = Vec::new();
        for delivery in deliveries {
            offsets.push(delivery.await.expect("a producer").expect("a delivery").offset);
        }
        offsets
    }

    /// Puts records behind those that have the same key, in order. Blocks until one of those is found.
    ///
    /// # Panics
    /// There is none.
    pub async fn append(&self, topic: &str, records: &[StoredRecord]) {
        let key = records.first().and_then(|record| record.key.clone()).expect("a key");
        let (broker, name) = (self.clone(), topic.to_owned());
        let find = tokio::task::spawn_blocking(move || broker.partition_of(&name, &key));
        let partition = find.await.expect("a partition");
        self.produce(topic, partition, records).await;
    }

    fn partition_of(&self, topic: &str, key: &[u8]) -> i32 {
        let consumer = self.consumer_of(topic);
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "no record with the key on {topic} within {PATIENCE:?}");
            if let Some(message) = consumer.poll(LOOK) {
                let message = message.expect("a record");
                if message.key() == Some(key) {
                    return message.partition();
                }
            }
        }
    }

    /// A consumer that stands before the first record of every partition.
    fn consumer_of(&self, topic: &str) -> BaseConsumer {
        let consumer: BaseConsumer = self
            .config
            .clone()
            .set("group.id", "end-to-end")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let topic = &self.name_of(topic);
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics().first().expect("the topic").partitions() {
            partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("an offset");
        }
        consumer.assign(&partitions).expect("an assignment");
        consumer
    }

    /// Everything on a topic, from its first record, until there is what is waited for. Blocks.
    ///
    /// # Panics
    /// It does not come in time.
    #[must_use]
    pub fn read_until(&self, topic: &str, is_enough: impl Fn(&[StoredRecord]) -> bool) -> Vec<StoredRecord> {
        let consumer = self.consumer_of(topic);
        let (start, mut records) = (Instant::now(), Vec::new());
        while !is_enough(&records) {
            assert!(start.elapsed() < PATIENCE, "not all of {topic} within {PATIENCE:?}: {records:#?}");
            if let Some(message) = consumer.poll(LOOK) {
                let message = message.expect("a record");
                let headers = message.headers().map(|headers| {
                    let header = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
                    headers.iter().map(header).collect()
                });
                records.push(StoredRecord {
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers.unwrap_or_default(),
                });
            }
        }
        records
    }

    /// The partitions that have records with each of these keys. Blocks.
    ///
    /// # Panics
    /// The broker does not say.
    #[must_use]
    pub fn partitions_of(&self, topic: &str, keys: &[String]) -> Vec<BTreeSet<i32>> {
        let (consumer, count) = (self.consumer_of(topic), self.count(topic));
        let (start, mut partitions) = (Instant::now(), vec![BTreeSet::new(); keys.len()]);
        let mut seen = 0;
        while seen < count {
            assert!(start.elapsed() < PATIENCE, "{seen} of {count} records on {topic} within {PATIENCE:?}");
            if let Some(message) = consumer.poll(LOOK) {
                let message = message.expect("a record");
                seen += 1;
                let its = keys.iter().zip(&mut partitions).find(|(key, _)| message.key() == Some(key.as_bytes()));
                if let Some((_, partitions)) = its {
                    partitions.insert(message.partition());
                }
            }
        }
        partitions
    }

    /// How many records a topic has. Blocks.
    ///
    /// # Panics
    /// The broker does not say.
    #[must_use]
    pub fn count(&self, topic: &str) -> i64 {
        let consumer: BaseConsumer = self.config.clone().set("group.id", "end-to-end").create().expect("a consumer");
        let topic = &self.name_of(topic);
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let partitions = metadata.topics().first().expect("the topic").partitions();
        let count = |partition: i32| {
            let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("watermarks");
            high - low
        };
        partitions.iter().map(|partition| count(partition.id())).sum()
    }
}
