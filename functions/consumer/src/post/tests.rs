//! The post office, in front of a management API that this test serves.

use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::cache::Cache;
use common::codec::Form;
use common::command::Signals;
use common::config::{Environment, KafkaConfig, OutboundConfig, StoreConfig};
use common::metrics::Metrics;
use common::outbound::Outbound;
use common::producer::Producer;
use common::store::{Store, Terms};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, Semaphore};

use super::*;

const FRAME: &str = "the frame";
const LIMIT: usize = 4;

/// A management API that answers posts in groups, each after a while, and how many there ever were at once.
struct Management {
    group: Barrier,
    takes: Duration,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

impl Management {
    fn new(group: usize, takes: Duration) -> Arc<Self> {
        let (group, in_flight, most) = (Barrier::new(group), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { group, takes, in_flight, most })
    }

    /// Starts one; its address.
    async fn start(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let management = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let management = Arc::clone(&management);
                tokio::spawn(async move { management.answer(stream).await });
            }
        });
        endpoint
    }

    async fn answer(&self, mut stream: TcpStream) {
        loop {
            let mut request = Vec::new();
            while !request.ends_with(FRAME.as_bytes()) {
                if stream.read_buf(&mut request).await.unwrap() == 0 {
                    return;
                }
            }
            let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(in_flight, Ordering::Relaxed);
            self.group.wait().await;
            tokio::time::sleep(self.takes).await;
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    }
}

/// Tables that take every write; how many there were.
async fn tables() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (endpoint, count) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut request = String::new();
                let mut part = [0; 4_096];
                while let Ok(length @ 1..) = stream.read(&mut part).await {
                    request.push_str(&String::from_utf8_lossy(&part[..length]));
                    // The last of what a write says, so that it has been read to its end.
                    if request.contains("laggedSeq") && request.ends_with('}') {
                        request.clear();
                        counted.fetch_add(1, Ordering::Relaxed);
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                    }
                }
            });
        }
    });
    (endpoint, count)
}

/// A consumer that reaches nothing but this management API.
fn consumer(endpoint: &str) -> Consumer {
    consumer_with(endpoint, "http://127.0.0.1:1")
}

fn consumer_with(endpoint: &str, tables: &str) -> Consumer {
    let environment = Environment::of_pairs(&[
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("MANAGEMENT_ENDPOINT", endpoint),
        ("CHAT_TABLE", "chat"),
        ("CONNECTIONS_TABLE", "connections"),
        ("AWS_ENDPOINT_URL_DYNAMODB", tables),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
    ]);
    let (metrics, kafka) = (Arc::new(Metrics::new("consumer".to_owned())), KafkaConfig::new(&environment).unwrap());
    Consumer {
        store: Store::new(StoreConfig::new(&environment).unwrap(), Arc::clone(&metrics)),
        cache: Cache::new(None, Arc::clone(&metrics)),
        topic_prefix: kafka.topic_prefix.clone(),
        producer: Producer::new(kafka, Arc::clone(&metrics)).unwrap(),
        outbound: Outbound::new(OutboundConfig::new(&environment).unwrap(), Arc::clone(&metrics)),
        posts: Semaphore::new(LIMIT),
        partial_batch_responses: false,
        stomp_message_bytes: 8_192,
        metrics,
    }
}

const NOW: Time = Time::from_unix_ms(1_800_000_000_000);
/// A machine that stands still for longer than a post may take decides nothing: it is tried once more.
const ROUNDS: usize = 20;

fn connection(id: &str) -> ConnectionId {
    id.parse().unwrap()
}

/// Frames that are no events.
fn frames(count: usize) -> Parcel {
    Parcel { frames: iter::repeat_with(|| Frames::One(FRAME.into())).take(count).collect(), ..Parcel::default() }
}

fn is_lagged(consumer: &Consumer) -> bool {
    consumer.metrics.take().contains_key("Lagged")
}

/// How many posts of four rooms there were at once; none if one took too long.
async fn most_at_once() -> Option<usize> {
    let management = Management::new(LIMIT, Duration::ZERO);
    let consumer = consumer(&management.start().await);
    let post_office = PostOffice::new(&consumer, NOW, Instant::now() + 10 * CONNECTION_BUDGET);
    let rooms = ["one", "two", "three", "four"].map(|room| room.parse::<RoomId>().unwrap());
    let posts = rooms.iter().map(|room| {
        let parcels = (0..LIMIT).map(|number| (connection(&format!("{room}-{number}")), frames(1)));
        post_office.post_all(room, parcels.collect(), NOW)
    });
    try_join_all(posts).await.unwrap();
    (!is_lagged(&consumer)).then(|| management.most.load(Ordering::Relaxed))
}

/// Sixteen rooms with 64 posts each had a socket for every one of them, and an environment has 1,024 at most.
#[tokio::test]
async fn rooms_share_what_may_be_posted_at_once() {
    for _ in 0..ROUNDS {
        if let Some(most) = most_at_once().await {
            assert_eq!(most, LIMIT);
            return;
        }
    }
    panic!("posts never come {LIMIT} at once");
}

/// Together they took longer than one may, and the last ones were left out, though each had been taken at once.
#[tokio::test]
async fn outcomes_may_take_longer_than_one_of_them() {
    let room = "room".parse().unwrap();
    for _ in 0..ROUNDS {
        let consumer = consumer(&Management::new(1, UNMARKED_BUDGET.mul_f32(0.4)).start().await);
        let post_office = PostOffice::new(&consumer, NOW, Instant::now() + 10 * CONNECTION_BUDGET);
        post_office.post_all(&room, Parcels::from([(connection("c"), frames(3))]), NOW).await.unwrap();
        if !is_lagged(&consumer) {
            return;
        }
    }
    panic!("the last ones never come");
}

/// An event on a subscription.
fn event(connection: &ConnectionId) -> Parcel {
    let subscription = RoomSubscription {
        connection: connection.clone(),
        user: "bob".parse().unwrap(),
        joined_seq: Seq::ZERO,
        terms: Terms { form: Form::Json, events: true, signals: Signals::default() },
        lagged_seq: None,
    };
    Parcel { events: 1, subscriptions: vec![(subscription, None)], ..frames(1) }
}

/// A batch whose posts outlast its invocation came again and again, to the same end: nobody was too slow, and all of them
/// together were.
#[tokio::test]
async fn whoever_there_is_no_time_for_is_told_to_resync() {
    const CONNECTIONS: usize = 40;
    let room: RoomId = "room".parse().unwrap();
    let (tables, marks) = tables().await;
    let management = Management::new(LIMIT, Duration::from_millis(600));
    let consumer = consumer_with(&management.start().await, &tables);
    let post_office = PostOffice::new(&consumer, NOW, Instant::now() + NOTES_MARGIN + Duration::from_secs(3));
    let connections = (0..CONNECTIONS).map(|number| connection(&format!("c-{number}")));
    let parcels: Parcels = connections.map(|connection| (connection.clone(), event(&connection))).collect();
    post_office.post_all(&room, parcels, NOW).await.unwrap();
    let posted = consumer.metrics.take().get("PostedEvents").and_then(serde_json::Value::as_u64).unwrap_or_default();
    assert_eq!(usize::try_from(posted).unwrap() + marks.load(Ordering::Relaxed), CONNECTIONS);
    assert!(marks.load(Ordering::Relaxed) > 0);
    // What has not begun is tried as a whole by another invocation.
    assert!(post_office.post_all(&room, Parcels::new(), NOW).await.is_err());
    assert!(post_office.post_signals(Parcels::new(), NOW).await.is_err());
}

/// With each try of a batch there is less to do: who was left out is told last, and not noted once more.
#[tokio::test]
async fn whoever_was_left_out_is_noted_once_and_comes_last() {
    let room: RoomId = "room".parse().unwrap();
    let (tables, marks) = tables().await;
    let consumer = consumer_with("http://127.0.0.1:1", &tables);
    let post_office = PostOffice::new(&consumer, NOW, Instant::now() + 10 * CONNECTION_BUDGET);
    let seq = |number| Seq::new(number).unwrap();
    let lagged = |lagged| {
        let mut parcel = Parcel { last_seq: seq(5), ..event(&connection("c")) };
        for (subscription, resync) in &mut parcel.subscriptions {
            (subscription.lagged_seq, *resync) = (lagged, lagged);
        }
        parcel
    };
    for (parcel, expected) in [(lagged(None), 1), (lagged(Some(seq(4))), 2), (lagged(Some(seq(5))), 2)] {
        post_office.note_lag(&room, &parcel, NOW).await.unwrap();
        assert_eq!(marks.load(Ordering::Relaxed), expected);
    }
    let last = Parcel { last_frame: Some(FRAME.into()), ..lagged(None) };
    assert_eq!([frames(1), last, lagged(None), lagged(Some(seq(5)))].map(|parcel| parcel.turn()), [0, 0, 1, 2]);
}
