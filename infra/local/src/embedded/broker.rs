//! The embedded Kafka broker: librdkafka's mock cluster, one broker on a loopback port.
//!
//! What it can do (seen in librdkafka 2.12): produce with acknowledgements, idempotent producers, fetch, group offset
//! commit and fetch, balanced groups. What it cannot: CreateTopics, so topics are made when it starts; SASL; topic
//! settings. Nothing survives its end.
//!
//! It keeps 5 MB and 100,000 record sets a partition in memory and drops older ones in silence. So the event source
//! reads eagerly, and shuts the [`Gate`] while a topic's backlog is large.
//!
//! The cluster may not leave the thread that made it, so a thread of its own owns it and takes commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpStream,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::{
    error::KafkaError,
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::sync::oneshot;
use topics::Topic;

/// Errors that lie ready for the next Produce requests while the gate is shut. The broker takes one for each request
/// and moves the rest, so the number is a compromise; it is filled up every [`REFILL_INTERVAL`].
const REFUSALS_READY_COUNT: usize = 10_000;
const REFILL_INTERVAL: Duration = Duration::from_millis(250);

/// What a refused producer is told. librdkafka takes it as final for the records of that request: their delivery
/// fails at once, the producer takes a new epoch and works on. (`NOT_ENOUGH_REPLICAS` and its like would be retried
/// until the records time out, `OUT_OF_ORDER_SEQUENCE_NUMBER` and its like would end an idempotent producer.)
const REFUSAL: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED;

/// The one broker of the cluster.
const BROKER_ID: i32 = 1;

/// How long a row of operations may lie still before somebody connects.
const WAKE_INTERVAL: Duration = Duration::from_millis(20);

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// The running broker; it ends, with all its records, when this is dropped.
pub(crate) struct Broker {
    bootstrap_servers: String,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// Refuses and accepts what producers send, and takes whole topics away. A clone acts on the same broker.
///
/// A shut gate refuses **every** topic: the broker's error injection knows kinds of requests, not topics. Fetches and
/// commits go on.
#[derive(Clone)]
pub(crate) struct Gate {
    commands: Sender<Command>,
}

/// While this lives, the gate is open whatever was refused.
pub(crate) struct Lift {
    commands: Sender<Command>,
}

/// Why there is no embedded broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    /// The operating system gave no thread.
    #[error("the embedded broker's thread did not start: {0}")]
    Thread(#[from] std::io::Error),
    /// librdkafka refused to make the cluster or a topic.
    #[error("the embedded broker did not start: {0}")]
    Cluster(#[from] KafkaError),
    /// The thread ended before it reported.
    #[error("the embedded broker's thread ended")]
    Ended,
}

enum Command {
    Refuse(String),
    Accept(String),
    Lift,
    Lower,
    TakeAway(BTreeSet<String>),
    Delay(Duration),
    Tell(oneshot::Sender<()>),
    Stop,
}

impl Broker {
    /// Starts a broker with these topics, each with its number of partitions.
    ///
    /// # Errors
    /// As [`BrokerError`] says.
    pub(crate) fn start(topics: &[Topic]) -> Result<Self, BrokerError> {
        let topics: BTreeMap<String, i32> = topics.iter().map(|topic| (topic.name.clone(), topic.partitions)).collect();
        let (commands, received) = mpsc::channel();
        let (started, report) = mpsc::sync_channel(1);
        let thread =
            thread::Builder::new().name("kafka-broker".into()).spawn(move || run(&topics, &started, &received))?;
        let bootstrap_servers = report.recv().map_err(|_| BrokerError::Ended)??;
        Ok(Self { bootstrap_servers, commands, thread: Some(thread) })
    }

    /// `host:port` of the broker.
    pub(crate) fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// The gate that producers pass.
    pub(crate) fn gate(&self) -> Gate {
        Gate { commands: self.commands.clone() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        send(&self.commands, Command::Stop);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the embedded broker's thread panicked");
        }
    }
}

impl Gate {
    /// Shuts the gate because of this topic; soon after, produces fail with `THROTTLING_QUOTA_EXCEEDED`.
    pub(crate) fn refuse(&self, topic: &str) {
        send(&self.commands, Command::Refuse(topic.into()));
    }

    /// Takes this topic's reason away; the gate opens when no topic has one.
    pub(crate) fn accept(&self, topic: &str) {
        send(&self.commands, Command::Accept(topic.into()));
    }

    /// Takes exactly these topics away and brings every other back: a topic that is away keeps its records, but no
    /// partition of it has a leader, so that nobody can produce to it or read it.
    pub(crate) fn take_away(&self, topics: BTreeSet<String>) {
        send(&self.commands, Command::TakeAway(topics));
    }

    /// Has the broker take so long for each answer from now on; what it is asked is done at once all the same.
    pub(crate) fn delay(&self, answers: Duration) {
        send(&self.commands, Command::Delay(answers));
    }

    /// Returns when everything that was asked of the gate before holds.
    pub(crate) async fn settled(&self) {
        let (told, holds) = oneshot::channel();
        send(&self.commands, Command::Tell(told));
        // A broker that has ended has nothing to settle.
        drop(holds.await);
    }

    /// Opens the gate for as long as the answer is kept, and gives it once the gate is open.
    pub(crate) async fn lift(&self) -> Lift {
        send(&self.commands, Command::Lift);
        let lift = Lift { commands: self.commands.clone() };
        self.settled().await;
        lift
    }
}

impl Drop for Lift {
    fn drop(&mut self) {
        send(&self.commands, Command::Lower);
    }
}

/// A broker that has ended needs no command any more.
fn send(commands: &Sender<Command>, command: Command) {
    drop(commands.send(command));
}

fn run(topics: &BTreeMap<String, i32>, started: &SyncSender<Result<String, KafkaError>>, commands: &Receiver<Command>) {
    let report = match open(topics) {
        Ok(cluster) => {
            drop(started.send(Ok(cluster.bootstrap_servers())));
            return serve(&cluster, topics, commands);
        }
        Err(error) => Err(error),
    };
    drop(started.send(report));
}

fn open(topics: &BTreeMap<String, i32>) -> Result<Cluster, KafkaError> {
    let cluster = MockCluster::new(1)?;
    awake(&cluster, || {
        // From the versions that follow these the broker names the new leader to whom it is none of a partition, and
        // crashes where there is no leader at all (a topic that is away).
        cluster.apiversion(RDKafkaApiKey::Produce, Some(0), Some(9))?;
        cluster.apiversion(RDKafkaApiKey::Fetch, Some(0), Some(11))?;
        topics.iter().try_for_each(|(name, partitions)| cluster.create_topic(name, *partitions, 1))
    })?;
    Ok(cluster)
}

/// Does operations in a row without the pauses of a second that the cluster makes by itself: its thread serves its queue
/// and empties its pipe of wake-ups then, so that it sleeps over an operation that comes in between. A connection wakes it.
fn awake<T>(cluster: &Cluster, operations: impl FnOnce() -> T) -> T {
    let address = cluster.bootstrap_servers();
    thread::scope(|scope| {
        let (done, end) = mpsc::channel::<()>();
        scope.spawn(move || {
            while end.recv_timeout(WAKE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                drop(TcpStream::connect(&address));
            }
        });
        let outcome = operations();
        drop(done);
        outcome
    })
}

fn serve(cluster: &Cluster, partitions: &BTreeMap<String, i32>, commands: &Receiver<Command>) {
    let mut refusing: BTreeSet<String> = BTreeSet::new();
    let mut away: BTreeSet<String> = BTreeSet::new();
    let mut lifts = 0_usize;
    let mut shut = false;
    loop {
        let command = if shut {
            commands.recv_timeout(REFILL_INTERVAL)
        } else {
            commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match command {
            Ok(Command::Refuse(topic)) => drop(refusing.insert(topic)),
            Ok(Command::Accept(topic)) => drop(refusing.remove(&topic)),
            Ok(Command::Lift) => lifts += 1,
            Ok(Command::Lower) => lifts = lifts.saturating_sub(1),
            Ok(Command::TakeAway(topics)) => {
                awake(cluster, || {
                    set_leaders(cluster, partitions, away.difference(&topics), Some(BROKER_ID));
                    set_leaders(cluster, partitions, topics.difference(&away), None);
                });
                away = topics;
            }
            Ok(Command::Delay(answers)) => {
                if let Err(error) = cluster.broker_round_trip_time(BROKER_ID, answers) {
                    tracing::error!(%error, "the embedded broker does not change its pace");
                }
            }
            // Whoever asked may have left.
            Ok(Command::Tell(told)) => drop(told.send(())),
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let was_shut = shut;
        shut = !refusing.is_empty() && lifts == 0;
        if shut || was_shut {
            awake(cluster, || {
                cluster.clear_request_errors(RDKafkaApiKey::Produce);
                if shut {
                    cluster.request_errors(RDKafkaApiKey::Produce, &[REFUSAL; REFUSALS_READY_COUNT]);
                }
            });
        }
    }
}

/// Gives every partition of these topics this leader, or none.
fn set_leaders<'a>(
    cluster: &Cluster,
    partitions: &BTreeMap<String, i32>,
    topics: impl Iterator<Item = &'a String>,
    leader: Option<i32>,
) {
    for topic in topics {
        for partition in 0..partitions.get(topic).copied().unwrap_or_default() {
            if let Err(error) = cluster.partition_leader(topic, partition, leader) {
                tracing::error!(%error, topic, partition, "the embedded broker's partition keeps its leader");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rdkafka::{
        ClientConfig, Message as _,
        consumer::{BaseConsumer, Consumer as _},
        producer::{FutureProducer, FutureRecord, Producer},
        topic_partition_list::{Offset, TopicPartitionList},
        types::RDKafkaErrorCode,
    };
    use topics::Scale;

    use super::*;

    fn producer(broker: &Broker) -> FutureProducer {
        ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap_servers())
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.timeout.ms", "5000")
            .create()
            .unwrap()
    }

    async fn produce(producer: &FutureProducer, topic: &str, value: &[u8]) -> Result<i64, KafkaError> {
        let record = FutureRecord::<str, [u8]>::to(topic).key("room").payload(value).partition(0);
        producer.send(record, Duration::ZERO).await.map(|delivery| delivery.offset).map_err(|(error, _)| error)
    }

    /// Produces until the outcome is as wanted.
    async fn until(producer: &FutureProducer, topic: &str, wanted: bool) -> Result<i64, KafkaError> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let outcome = produce(producer, topic, b"x").await;
            if outcome.is_ok() == wanted {
                return outcome;
            }
            assert!(Instant::now() < deadline, "still {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_shut_gate_fails_records_at_once_and_an_idempotent_producer_recovers() {
        let broker = Broker::start(&topics::declared(Scale::Local)).unwrap();
        let (gate, sender, other) = (broker.gate(), producer(&broker), producer(&broker));
        assert_eq!(produce(&sender, "chat-messages", b"first").await, Ok(0));
        for round in 0..3 {
            gate.refuse("chat-messages");
            gate.refuse("chat-presence");
            let refused = until(&sender, "chat-messages", false).await.unwrap_err();
            assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::ThrottlingQuotaExceeded), "round {round}");
            assert!(until(&other, "chat-messages", false).await.is_err());
            let mut slipped = 0;
            for _ in 0..50 {
                slipped += u32::from(produce(&sender, "chat-messages", b"x").await.is_ok());
            }
            gate.accept("chat-presence");
            slipped += u32::from(produce(&sender, "chat-messages", b"x").await.is_ok());
            // One that comes just while it sees to its refusals.
            assert!(slipped <= 1, "{slipped} of 51");
            let lift = gate.lift().await;
            produce(&sender, "chat-messages", b"x").await.unwrap();
            drop(lift);
            until(&sender, "chat-messages", false).await.unwrap_err();
            gate.accept("chat-messages");
            until(&sender, "chat-messages", true).await.unwrap();
            until(&other, "chat-messages", true).await.unwrap();
            let next = produce(&sender, "chat-messages", b"x").await.unwrap();
            assert_eq!(produce(&sender, "chat-messages", b"x").await, Ok(next + 1));
        }
        assert_eq!(sender.client().fatal_error(), None);
    }

    #[tokio::test]
    async fn a_topic_that_is_away_takes_nothing_while_others_do_and_comes_back() {
        let broker = Broker::start(&topics::declared(Scale::Local)).unwrap();
        let sender = producer(&broker);
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap_servers())
            .set("group.id", "reader")
            .create()
            .unwrap();
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset("chat-presence", 0, Offset::Beginning).unwrap();
        reader.assign(&partition).unwrap();
        let read = |wanted: &[u8]| {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                assert!(Instant::now() < deadline, "nothing was read");
                if let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) {
                    return assert_eq!(message.payload(), Some(wanted));
                }
            }
        };
        // Whoever has used the topic before is told, too.
        assert_eq!(produce(&sender, "chat-presence", b"first").await, Ok(0));
        read(b"first");
        broker.gate().take_away(BTreeSet::from(["chat-presence".to_owned()]));
        let refused = until(&sender, "chat-presence", false).await.unwrap_err();
        assert_eq!(refused.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageTimedOut));
        assert_eq!(produce(&sender, "chat-messages", b"x").await, Ok(0));
        broker.gate().take_away(BTreeSet::new());
        until(&sender, "chat-presence", true).await.unwrap();
    }

    #[tokio::test]
    async fn records_of_a_megabyte_are_taken() {
        let broker = Broker::start(&topics::declared(Scale::Local)).unwrap();
        let sender = producer(&broker);
        for offset in 0..8 {
            assert_eq!(produce(&sender, "chat-messages-dlt", &vec![b'x'; 999_000]).await, Ok(offset));
        }
    }
}
