//! The event source against the real embedded broker and real producers; only the function is a stand-in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer},
    types::RDKafkaErrorCode,
};
use serde_json::{Value, json};
use topics::Scale;

use super::{backlog::Backlog, *};
use crate::embedded::Broker;

const TOPIC: &str = "chat-messages";
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    broker: Broker,
    kafka: Kafka,
    producer: FutureProducer,
}

/// A record as a function sees it: partition, offset, value.
type Seen = (i64, i64, Option<String>);

type Answer = dyn Fn(&Value) -> Result<Bytes, InvokeError> + Send + Sync;

/// Keeps every event; what it answers is up to each test.
struct Function {
    events: Mutex<Vec<Value>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    overlapped: AtomicBool,
    partitions_running: Mutex<BTreeSet<String>>,
    answer: Box<Answer>,
    duration: Duration,
}

impl Cluster {
    fn start(partitions: i32) -> Self {
        let mut topics = topics::declared(Scale::Local);
        topics.iter_mut().for_each(|topic| topic.partitions = partitions);
        let broker = Broker::start(&topics).unwrap();
        let kafka = Kafka::plaintext(broker.bootstrap_servers());
        let mut client = kafka.client();
        client.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "0");
        let producer = client.set("message.timeout.ms", "5000").create().unwrap();
        Self { broker, kafka, producer }
    }

    fn config(&self) -> EventSourceConfig {
        EventSourceConfig {
            kafka: self.kafka.clone(),
            topics: vec![TOPIC.into()],
            gate: Some(self.broker.gate()),
            batch_size: 100,
            window: Duration::ZERO,
            pollers: 3,
            partitions_in_payload: PartitionsInPayload::Merged,
            responses: Responses::Whole,
        }
    }

    async fn send(&self, partition: i32, value: &str) -> Result<i64, KafkaError> {
        let record = FutureRecord::<str, str>::to(TOPIC).key("room").payload(value).partition(partition);
        self.producer.send(record, Duration::ZERO).await.map(|delivery| delivery.offset).map_err(|(error, _)| error)
    }

    async fn send_all(&self, partition: i32, values: impl IntoIterator<Item = usize>) {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        for sent in join_all(values.iter().map(|value| self.send(partition, value))).await {
            sent.unwrap();
        }
    }

    /// The group's offsets as another client reads them.
    async fn committed(&self) -> BTreeMap<i32, i64> {
        let mut client: ClientConfig = self.kafka.client();
        let consumer: BaseConsumer = client.set("group.id", format!("madang-{TOPIC}")).create().unwrap();
        tokio::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(TOPIC, 0, 2);
            let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
            let elements = committed.elements_for_topic(TOPIC);
            let offsets = elements.iter().filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            });
            offsets.collect()
        })
        .await
        .unwrap()
    }
}

impl Function {
    fn new(answer: impl Fn(&Value) -> Result<Bytes, InvokeError> + Send + Sync + 'static) -> Arc<Self> {
        Self::slow(Duration::ZERO, answer)
    }

    fn slow(
        duration: Duration,
        answer: impl Fn(&Value) -> Result<Bytes, InvokeError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            events: Mutex::default(),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            overlapped: AtomicBool::new(false),
            partitions_running: Mutex::default(),
            answer: Box::new(answer),
            duration,
        })
    }

    fn succeeding() -> Arc<Self> {
        Self::new(|_| Ok(Bytes::from_static(b"null")))
    }

    async fn attach(self: &Arc<Self>, config: EventSourceConfig) -> EventSource {
        let function = self.clone();
        start(config, move |payload| function.clone().invoke(payload)).await.unwrap()
    }

    /// Starts to deliver when this many records have been read, so that batches are as large as they can be.
    async fn attach_after_reading(self: &Arc<Self>, config: EventSourceConfig, record_count: usize) -> EventSource {
        let source = self.attach(config).await;
        source.pause();
        until_read(&source, record_count).await;
        source.resume();
        source
    }

    async fn invoke(self: Arc<Self>, payload: Bytes) -> Result<Bytes, InvokeError> {
        let event: Value = serde_json::from_slice(&payload).unwrap();
        let partitions: Vec<String> = event["records"].as_object().unwrap().keys().cloned().collect();
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        for partition in &partitions {
            if !self.partitions_running.lock().unwrap().insert(partition.clone()) {
                self.overlapped.store(true, Ordering::SeqCst);
            }
        }
        tokio::time::sleep(self.duration).await;
        let answer = (self.answer)(&event);
        partitions.iter().for_each(|partition| assert!(self.partitions_running.lock().unwrap().remove(partition)));
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.events.lock().unwrap().push(event);
        answer
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }

    /// Every record of every event, in the order of delivery.
    fn seen(&self) -> Vec<Seen> {
        self.events().iter().flat_map(seen).collect()
    }

    fn seen_of(&self, partition: i64) -> Vec<Seen> {
        self.seen().into_iter().filter(|(of, ..)| *of == partition).collect()
    }
}

fn seen(event: &Value) -> Vec<Seen> {
    let lists = event["records"].as_object().unwrap().values();
    let records = lists.flat_map(|list| list.as_array().unwrap());
    let value = |record: &Value| {
        let bytes = BASE64_STANDARD.decode(record["value"].as_str()?).unwrap();
        Some(String::from_utf8(bytes).unwrap())
    };
    records
        .map(|record| (record["partition"].as_i64().unwrap(), record["offset"].as_i64().unwrap(), value(record)))
        .collect()
}

fn expected(partition: i64, values: impl IntoIterator<Item = usize>) -> Vec<Seen> {
    let values = values.into_iter().enumerate();
    values.map(|(offset, value)| (partition, i64::try_from(offset).unwrap(), Some(value.to_string()))).collect()
}

/// Waits until this holds.
/// Waits until so many records have been read that are not delivered yet.
async fn until_read(source: &EventSource, record_count: usize) {
    let waiting_count =
        || source.topics.iter().flat_map(|topic| &topic.backlogs).map(Backlog::waiting_count).sum::<usize>();
    until("everything is read", || waiting_count() == record_count).await;
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn failed() -> Result<Bytes, InvokeError> {
    Err(InvokeError::Failed { error_type: "Broken".into(), message: "on purpose".into() })
}

#[tokio::test]
async fn events_have_the_fields_and_types_of_the_sample() {
    let cluster = Cluster::start(3);
    let header = |key, value: Option<&'static [u8]>| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("traceparent", Some(b"00-a")))
        .insert(header("bytes", Some(&[0, 127, 128, 255])))
        .insert(header("empty", Some(&[])))
        .insert(header("absent", None));
    let full = FutureRecord::to(TOPIC).key("마당").payload(&[0, 255]).partition(1).timestamp(7).headers(headers);
    cluster.producer.send(full, Duration::ZERO).await.unwrap();
    let bare = FutureRecord::<[u8], [u8]>::to(TOPIC).partition(1);
    cluster.producer.send(bare, Duration::ZERO).await.unwrap();
    let function = Function::succeeding();
    let source = function.attach(cluster.config()).await;
    assert!(source.drained(PATIENCE).await);
    source.stop().await;

    let events = function.events();
    let records: Vec<&Value> =
        events.iter().flat_map(|event| event["records"]["chat-messages-1"].as_array().unwrap()).collect();
    let [full, bare] = records[..] else { panic!("{events:?}") };
    assert_eq!(
        *full,
        json!({
            "topic": "chat-messages", "partition": 1, "offset": 0, "timestamp": 7, "timestampType": "CREATE_TIME",
            "key": BASE64_STANDARD.encode("마당"), "value": "AP8=",
            "headers": [{"traceparent": [48, 48, 45, 97]}, {"bytes": [0, 127, -128, -1]}, {"empty": []}, {}],
        })
    );
    assert_eq!((&bare["key"], &bare["value"], &bare["headers"]), (&Value::Null, &Value::Null, &json!([])));

    let sample: Value = serde_json::from_str(include_str!("../../../../events/kafka-batch.json")).unwrap();
    assert_eq!(shape(&events[0]), shape(&sample));
    assert_eq!(events[0]["eventSource"], sample["eventSource"]);
    assert_eq!(events[0]["bootstrapServers"], cluster.broker.bootstrap_servers());
    let sample_record = &sample["records"]["chat-messages-0"][0];
    assert_eq!(shape(full), shape(sample_record));
    assert_eq!(shape(&full["headers"][0]["traceparent"]), shape(&sample_record["headers"][0]["traceparent"]));
}

/// Field names, in order, and JSON types of one level.
fn shape(value: &Value) -> Vec<(String, &'static str)> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), kind(value))).collect(),
        Value::Array(list) => list.first().map(|first| (String::new(), kind(first))).into_iter().collect(),
        other => vec![(String::new(), kind(other))],
    }
}

#[tokio::test]
async fn records_come_in_order_in_batches_of_the_configured_size() {
    let cluster = Cluster::start(3);
    for partition in 0..3 {
        cluster.send_all(partition, 0..250).await;
    }
    let function = Function::succeeding();
    let source = function.attach(cluster.config()).await;
    assert!(source.drained(PATIENCE).await);
    for partition in 0..3 {
        assert_eq!(function.seen_of(partition), expected(partition, 0..250));
    }
    assert!(function.events().iter().all(|event| seen(event).len() <= 100));
    assert_eq!(cluster.committed().await, BTreeMap::from([(0, 250), (1, 250), (2, 250)]));
    let counts = source.counts();
    assert_eq!((counts.records, counts.failures, counts.lost), (750, 0, 0));
    assert_eq!(counts.batches, u64::try_from(function.events().len()).unwrap());
    source.stop().await;
}

#[tokio::test]
async fn a_failing_batch_is_delivered_again_unchanged_and_holds_up_its_partition_alone() {
    let cluster = Cluster::start(3);
    let broken = Arc::new(AtomicBool::new(true));
    let still_broken = broken.clone();
    let function = Function::new(move |event| {
        let poisoned = event["records"].get("chat-messages-0").is_some();
        if poisoned && still_broken.load(Ordering::SeqCst) { failed() } else { Ok(Bytes::new()) }
    });
    cluster.send_all(0, 0..5).await;
    let config = EventSourceConfig { batch_size: 4, ..cluster.config() };
    let source = function.attach_after_reading(config, 5).await;
    until("three attempts", || source.counts().failures >= 3).await;
    cluster.send_all(0, 5..10).await;
    cluster.send_all(1, 0..10).await;
    until("the other partition", || function.seen_of(1) == expected(1, 0..10)).await;
    until("two more attempts", || source.counts().failures >= 5).await;
    let held_up: Vec<Value> = function
        .events()
        .into_iter()
        .filter(|event| !seen(event).iter().any(|(partition, ..)| *partition == 1))
        .collect();
    assert!(held_up.iter().all(|event| *event == held_up[0]), "the same payload each time");
    assert_eq!(seen(&held_up[0]), expected(0, 0..4));
    let other = async { while cluster.committed().await != BTreeMap::from([(1, 10)]) {} };
    tokio::time::timeout(PATIENCE, other).await.expect("the other partition's offset");
    assert!(!source.drained(Duration::ZERO).await);

    broken.store(false, Ordering::SeqCst);
    assert!(source.drained(PATIENCE).await);
    let after: Vec<Seen> = function.seen_of(0).into_iter().skip(4 * (held_up.len())).collect();
    assert!(after.ends_with(&expected(0, 0..10)[4..]));
    assert_eq!(cluster.committed().await, BTreeMap::from([(0, 10), (1, 10)]));
    source.stop().await;
}

#[tokio::test]
async fn a_partial_response_commits_what_precedes_the_first_failure() {
    let cluster = Cluster::start(3);
    let broken = Arc::new(AtomicBool::new(true));
    let still_broken = broken.clone();
    let function = Function::new(move |event| {
        let failures: Vec<Value> = seen(event)
            .iter()
            .filter(|(partition, offset, _)| *partition == 0 && *offset >= 4 && still_broken.load(Ordering::SeqCst))
            .map(|(_, offset, _)| json!({"itemIdentifier": {"partition": "chat-messages-0", "offset": offset}}))
            .collect();
        Ok(json!({"batchItemFailures": failures}).to_string().into())
    });
    cluster.send_all(0, 0..10).await;
    cluster.send_all(1, 0..10).await;
    // One poller has both partitions in its payloads.
    let config = EventSourceConfig { responses: Responses::Partial, pollers: 1, ..cluster.config() };
    let source = function.attach_after_reading(config, 20).await;
    until("three attempts", || source.counts().failures >= 3).await;
    cluster.send_all(1, 10..20).await;
    until("the other partition", || function.seen_of(1) == expected(1, 0..20)).await;
    // A commit follows the answer to the invocation that was seen.
    let offsets = BTreeMap::from([(0, 4), (1, 20)]);
    let committed = async { while cluster.committed().await != offsets {} };
    tokio::time::timeout(PATIENCE, committed).await.expect("what precedes the failure, and all of the other partition");
    broken.store(false, Ordering::SeqCst);
    assert!(source.drained(PATIENCE).await);
    let of_first = function.seen_of(0);
    assert_eq!(of_first[..10], expected(0, 0..10));
    assert_eq!(of_first.iter().filter(|(_, offset, _)| *offset < 4).count(), 4, "committed records do not return");
    assert!(of_first.ends_with(&expected(0, 0..10)[4..]));
    source.stop().await;
}

#[tokio::test]
async fn without_partial_responses_the_answer_is_not_looked_at() {
    let cluster = Cluster::start(3);
    cluster.send_all(0, 0..10).await;
    let function = Function::new(|_| {
        let failure = json!({"itemIdentifier": {"partition": "chat-messages-0", "offset": 0}});
        Ok(json!({"batchItemFailures": [failure]}).to_string().into())
    });
    let source = function.attach(cluster.config()).await;
    assert!(source.drained(PATIENCE).await);
    assert_eq!(function.seen(), expected(0, 0..10));
    source.stop().await;
}

#[tokio::test]
async fn an_unreadable_partial_response_fails_the_whole_batch() {
    let cluster = Cluster::start(3);
    cluster.send_all(0, 0..3).await;
    let calls = AtomicUsize::new(0);
    let function = Function::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Ok(Bytes::from_static(br#"{"batchItemFailures":[{"itemIdentifier":"1"}]}"#)),
        _ => Ok(Bytes::from_static(br#"{"batchItemFailures":[]}"#)),
    });
    let source = function.attach(EventSourceConfig { responses: Responses::Partial, ..cluster.config() }).await;
    assert!(source.drained(PATIENCE).await);
    assert_eq!(source.counts().failures, 1);
    assert!(function.seen().ends_with(&expected(0, 0..3)));
    source.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_at_the_committed_offset() {
    let cluster = Cluster::start(3);
    cluster.send_all(0, 0..20).await;
    let first = Function::succeeding();
    let source = first.attach(cluster.config()).await;
    assert!(source.drained(PATIENCE).await);
    source.stop().await;
    cluster.send_all(0, 20..30).await;
    cluster.send_all(2, 0..5).await;

    let second =
        Function::new(
            |event| {
                if event["records"].get("chat-messages-2").is_some() { failed() } else { Ok(Bytes::new()) }
            },
        );
    let source = second.attach(cluster.config()).await;
    until("the rest of the first partition", || second.seen_of(0) == expected(0, 0..30)[20..]).await;
    until("a failure", || source.counts().failures >= 1).await;
    source.stop().await;

    let third = Function::succeeding();
    let source = third.attach(cluster.config()).await;
    assert!(source.drained(PATIENCE).await);
    assert_eq!(third.seen(), expected(2, 0..5));
    source.stop().await;
}

#[tokio::test]
async fn a_rewind_delivers_everything_again_and_gives_up_a_failing_batch() {
    let cluster = Cluster::start(3);
    cluster.send_all(0, 0..120).await;
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = broken.clone();
    let function = Function::new(move |_| if is_broken.load(Ordering::SeqCst) { failed() } else { Ok(Bytes::new()) });
    let source = function.attach(cluster.config()).await;
    assert!(source.drained(PATIENCE).await);
    for round in 0..3 {
        broken.store(round == 1, Ordering::SeqCst);
        if round == 1 {
            let before = source.counts().failures;
            cluster.send_all(0, 120..130).await;
            until("a failure", || source.counts().failures > before).await;
        }
        source.rewind().await.unwrap();
        broken.store(false, Ordering::SeqCst);
        assert!(source.drained(PATIENCE).await);
        let total = if round == 0 { 120 } else { 130 };
        assert!(function.seen().ends_with(&expected(0, 0..total)), "round {round}");
        assert_eq!(cluster.committed().await[&0], i64::try_from(total).unwrap());
    }
    assert_eq!(source.counts().lost, 0);
    source.stop().await;
}

#[tokio::test]
async fn a_pause_holds_everything_until_it_ends() {
    let cluster = Cluster::start(3);
    let function = Function::succeeding();
    let source = function.attach(cluster.config()).await;
    source.pause();
    cluster.send_all(1, 0..10).await;
    assert!(!source.drained(Duration::from_millis(200)).await);
    assert!(function.seen().is_empty());
    source.resume();
    assert!(source.drained(PATIENCE).await);
    assert_eq!(function.seen(), expected(1, 0..10));
    source.stop().await;
}

#[tokio::test]
async fn a_window_collects_records_from_its_first_on() {
    let cluster = Cluster::start(3);
    let function = Function::succeeding();
    let config = EventSourceConfig { window: Duration::from_secs(2), batch_size: 50, ..cluster.config() };
    let source = function.attach(config).await;
    let started = std::time::Instant::now();
    cluster.send_all(0, 0..10).await;
    assert!(source.drained(PATIENCE).await);
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert_eq!(function.events().len(), 1);
    assert_eq!(function.seen(), expected(0, 0..10));

    // A full batch does not wait.
    source.pause();
    cluster.send_all(0, 10..110).await;
    until_read(&source, 100).await;
    source.resume();
    until("two full batches", || function.events().len() >= 3).await;
    assert!(source.drained(PATIENCE).await);
    assert_eq!(function.events().len(), 3);
    source.stop().await;
}

/// How many partitions stood in each payload.
async fn concurrency(partitions_in_payload: PartitionsInPayload) -> Vec<usize> {
    let cluster = Cluster::start(6);
    let function = Function::slow(Duration::from_millis(20), |_| Ok(Bytes::new()));
    for partition in 0..6 {
        cluster.send_all(partition, 0..60).await;
    }
    let source = function.attach(EventSourceConfig { batch_size: 20, partitions_in_payload, ..cluster.config() }).await;
    assert!(source.drained(PATIENCE).await);
    source.stop().await;
    assert_eq!(function.most_running.load(Ordering::SeqCst), 3);
    assert!(!function.overlapped.load(Ordering::SeqCst));
    for partition in 0..6 {
        assert_eq!(function.seen_of(partition), expected(partition, 0..60));
    }
    function.events().iter().map(|event| event["records"].as_object().unwrap().len()).collect()
}

#[tokio::test]
async fn three_invocations_share_six_partitions_without_overlap() {
    let merged = concurrency(PartitionsInPayload::Merged).await;
    assert_eq!(merged.iter().max(), Some(&2), "a poller has two partitions");
    let split = concurrency(PartitionsInPayload::Split).await;
    assert_eq!(split.iter().max(), Some(&1));
}

#[tokio::test]
async fn split_payloads_confine_a_failure_to_its_partition() {
    let cluster = Cluster::start(6);
    let function =
        Function::new(
            |event| {
                if event["records"].get("chat-messages-0").is_some() { failed() } else { Ok(Bytes::new()) }
            },
        );
    for partition in 0..6 {
        cluster.send_all(partition, 0..10).await;
    }
    let split = PartitionsInPayload::Split;
    let source =
        function.attach(EventSourceConfig { partitions_in_payload: split, pollers: 1, ..cluster.config() }).await;
    until("the others", || (1..6).all(|partition| function.seen_of(partition) == expected(partition, 0..10))).await;
    until("a failure", || source.counts().failures >= 2).await;
    source.stop().await;
}

#[tokio::test]
async fn payloads_stay_below_six_megabytes() {
    let cluster = Cluster::start(3);
    let function = Function::succeeding();
    let value = "x".repeat(900_000);
    for partition in 0..3 {
        for _ in 0..3 {
            cluster.send(partition, &value).await.unwrap();
        }
    }
    let source = function.attach_after_reading(EventSourceConfig { pollers: 1, ..cluster.config() }, 9).await;
    assert!(source.drained(PATIENCE).await);
    let counts: Vec<usize> = function.events().iter().map(|event| seen(event).len()).collect();
    assert_eq!(counts, [5, 4], "1.2 MB each in base64");
    for partition in 0..3 {
        assert_eq!(function.seen_of(partition).len(), 3);
    }
    source.stop().await;
}

#[tokio::test]
async fn a_large_backlog_refuses_records_and_loses_none() {
    let cluster = Cluster::start(3);
    let function = Function::succeeding();
    let source = function.attach(cluster.config()).await;
    source.pause();
    let value = "x".repeat(20_000);
    let mut sent_count = 0;
    let refused = loop {
        match cluster.send(0, &value).await {
            Ok(_) => sent_count += 1,
            Err(error) => break error,
        }
        assert!(sent_count < 300, "never refused");
        until_read(&source, sent_count).await;
    };
    assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::ThrottlingQuotaExceeded));
    assert!(sent_count * value.len() > BACKLOG_HIGH_BYTES * 9 / 10);
    // The gate knows no topics. What comes while it sees to its refusals slips through.
    let mut slipped = 0;
    while cluster.send(1, "x").await.is_ok() {
        slipped += 1;
        assert!(slipped <= 1, "not refused");
    }
    source.resume();
    assert!(source.drained(PATIENCE).await);
    let deadline = Instant::now() + PATIENCE;
    while cluster.send(0, "again").await.is_err() {
        assert!(Instant::now() < deadline, "still refused");
    }
    assert!(source.drained(PATIENCE).await);
    assert_eq!(function.seen_of(0).len(), sent_count + 1);
    assert_eq!(source.counts().lost, 0);
    assert!(cluster.producer.client().fatal_error().is_none());
    source.stop().await;
}

/// A function that cannot get past its batch without writing a record itself must not wait for its own progress.
#[tokio::test]
async fn a_repeated_batch_may_write_records_although_they_are_refused() {
    let failed_item = || {
        Ok(json!({"batchItemFailures": [{"itemIdentifier": {"partition": "chat-messages-0", "offset": 0}}]})
            .to_string()
            .into())
    };
    may_write_records_although_they_are_refused(Responses::Whole, failed).await;
    may_write_records_although_they_are_refused(Responses::Partial, failed_item).await;
}

async fn may_write_records_although_they_are_refused(
    responses: Responses,
    failure: fn() -> Result<Bytes, InvokeError>,
) {
    let cluster = Cluster::start(3);
    cluster.send_all(0, 0..3).await;
    cluster.broker.gate().refuse("other");
    let deadline = Instant::now() + PATIENCE;
    while cluster.send(0, "x").await.is_ok() {
        assert!(Instant::now() < deadline, "never refused");
    }
    let producer = cluster.producer.clone();
    let write_dead_letter = move |_| {
        let producer = producer.clone();
        async move {
            let record = FutureRecord::<str, str>::to("chat-messages-dlt").key("room").payload("poison").partition(0);
            let sent = producer.send(record, Duration::ZERO).await;
            if sent.is_ok() { Ok(Bytes::from_static(br#"{"batchItemFailures":[]}"#)) } else { failure() }
        }
    };
    let source = start(EventSourceConfig { responses, ..cluster.config() }, write_dead_letter).await.unwrap();
    assert!(source.drained(PATIENCE).await);
    assert!(source.counts().failures >= 1);
    source.stop().await;
}
