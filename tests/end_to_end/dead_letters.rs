//! Records that are not ours, among ours.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::Runtime;
use tests::broker::{DEAD_LETTERS, MESSAGES, StoredRecord};
use tests::person::assert_dense;
use tokio::task::spawn_blocking;

/// A record of ours as it stands on the topic: its id and its value.
pub(crate) fn record(room: &str, sender: &str, client_message_id: &str, content: &str) -> (String, Vec<u8>) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!("01HQ03A7757ME9PZJT5{:07}", COUNT.fetch_add(1, Ordering::Relaxed));
    let value = json!({
        "v": 1, "id": id, "kind": "message.send", "roomId": room, "sender": sender, "clientMessageId": client_message_id,
        "content": content, "receivedAt": "2026-02-19T07:12:02.789Z",
    });
    (id, value.to_string().into_bytes())
}

/// Odd records of every kind, with the reason that each is buried with.
fn odd_records(room: &str, sender: &str) -> Vec<(StoredRecord, &'static str)> {
    let key = Some(room.as_bytes());
    let good: Value = serde_json::from_slice(&record(room, sender, "odd", "never stored").1).unwrap();
    let changed = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed.to_string().into_bytes()
    };
    let mut without_room = good.clone();
    without_room.as_object_mut().unwrap().remove("roomId");
    let schema = "the value does not follow the schema";
    let mut with_headers = StoredRecord::new(key, Some(b"\xff\xfe\0"));
    with_headers.headers = vec![
        ("traceparent".to_owned(), Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_vec())),
        ("bytes".to_owned(), Some(vec![0, 127, 128, 255])),
        ("empty".to_owned(), Some(Vec::new())),
    ];
    vec![
        (with_headers, schema),
        (StoredRecord::new(key, Some(&changed("v", json!(2)))), "the value has an unknown schema version"),
        (StoredRecord::new(key, Some(without_room.to_string().as_bytes())), schema),
        (StoredRecord::new(key, None), "the record has no value"),
        (StoredRecord::new(key, Some(b"")), "the record has no value"),
        (StoredRecord::new(None, Some(good.to_string().as_bytes())), "the key is not the one of the value"),
        (
            StoredRecord::new(Some(b"elsewhere"), Some(good.to_string().as_bytes())),
            "the key is not the one of the value",
        ),
        (StoredRecord::new(key, Some(&changed("kind", json!("message.sing")))), schema),
        (StoredRecord::new(key, Some(&changed("content", json!("\u{200b}")))), schema),
        (StoredRecord::new(key, Some(&changed("sender", json!("")))), schema),
        (StoredRecord::new(key, Some(&changed("id", json!("x")))), schema),
        (StoredRecord::new(key, Some("[".repeat(20_000).as_bytes())), schema),
        (StoredRecord::new(key, Some(b"null")), schema),
        // As large as a producer may send it: there must be room for what a letter says beside it.
        (StoredRecord::new(key, Some(&[b'x'; 999_800])), schema),
    ]
}

/// One record that could not be decoded blocked its partition or took its batch along elsewhere: dapr/dapr #8284,
/// spring-projects/spring-kafka #3297, Azure/azure-sdk-for-java #49268,
/// aws-powertools/powertools-lambda-typescript #4988 (cases 7, 22, 24).
#[tokio::test]
async fn odd_records_are_buried_and_their_neighbours_stored() {
    let madang = Runtime::alone().await;
    bury_among_neighbours(&madang).await;
}

/// The same where the platform retries whole batches only.
#[tokio::test]
async fn odd_records_are_buried_without_partial_responses_too() {
    let madang = Runtime::start(&["--no-partial-responses", "--split-partitions"]);
    bury_among_neighbours(&madang).await;
}

async fn bury_among_neighbours(madang: &Runtime) {
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let odd = odd_records(&room, &alice.id);
    let count = odd.len();
    let mut all = Vec::new();
    for (number, (odd, _)) in odd.iter().enumerate() {
        let (_, good) = record(&room, &alice.id, &format!("good-{number}"), "between the odd ones");
        all.extend([StoredRecord::new(Some(room.as_bytes()), Some(&good)), odd.clone()]);
    }
    let broker = madang.broker();
    let before = broker.count(DEAD_LETTERS);
    let offsets = broker.produce(MESSAGES, 1, &all).await;
    let stored = at_bob.hear_events(&room, count).await;
    assert_dense(&stored, 2);
    for (number, message) in stored.iter().enumerate() {
        assert_eq!(message["clientMessageId"], format!("good-{number}"));
    }

    // One more odd record behind them all: when it is buried, so are the others.
    let fence = StoredRecord::new(Some(room.as_bytes()), Some(b"the last one"));
    broker.produce(MESSAGES, 1, std::slice::from_ref(&fence)).await;
    let letters = spawn_blocking(move || {
        let is_fence = |record: &StoredRecord| record.value == fence.value;
        let letters = broker.read_until(DEAD_LETTERS, |records| {
            records.iter().any(is_fence)
                && i64::try_from(records.len()).unwrap() > before + i64::try_from(count).unwrap()
        });
        let total = broker.count(DEAD_LETTERS);
        assert_eq!(total - before, i64::try_from(count).unwrap() + 1, "each is buried once: {letters:#?}");
        letters
    });
    let letters = letters.await.unwrap();
    let by_offset: BTreeMap<String, &StoredRecord> =
        letters.iter().filter_map(|letter| Some((letter.header("madang-origin-offset")?, letter))).collect();
    for ((odd, reason), offset) in odd.iter().zip(offsets.iter().skip(1).step_by(2)) {
        let letter = by_offset[&offset.to_string()];
        assert_eq!((&letter.key, &letter.value), (&odd.key, &odd.value), "as it was");
        assert_eq!(letter.header("madang-origin-topic").as_deref(), Some(MESSAGES));
        assert_eq!(letter.header("madang-origin-partition").as_deref(), Some("1"));
        assert_eq!(letter.header("madang-origin-reason").as_deref(), Some(*reason));
        assert!(letter.header("madang-origin-time").is_some_and(|time| time.ends_with('Z')), "{letter:?}");
        for header in &odd.headers {
            assert!(letter.headers.contains(header), "{header:?}: {letter:?}");
        }
    }

    // After a crash nothing is processed again, and the room goes on. What comes behind a batch shows that it has ended.
    let broker = madang.broker();
    let (_, behind) = record(&room, &alice.id, "behind", "behind them all");
    broker.produce(MESSAGES, 1, &[StoredRecord::new(Some(room.as_bytes()), Some(&behind))]).await;
    at_bob.message(&room, "behind").await;
    madang.crash("consumer").await;
    at_alice.send(&room, "on", "and on").await;
    at_bob.message(&room, "on").await;
    assert_eq!(alice.messages_once_there(&room, count + 2).await, at_bob.events(&room));
    assert_eq!(broker.count(DEAD_LETTERS) - before, i64::try_from(count).unwrap() + 1);
}

/// A broker limits what it is sent, not what that becomes: such a record blocked its partition, since no letter took it.
#[tokio::test]
async fn a_record_too_large_for_a_letter_is_buried_without_its_value() {
    // Whoever rewinds a topic reads such records again, and an embedded broker takes none meanwhile.
    let madang = Runtime::start::<&str>(&[]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = bob.join(&room).await;
    let mut large = StoredRecord::new(Some(room.as_bytes()), Some(&[b'x'; 3_000_000]));
    large.headers = vec![("own".to_owned(), Some(b"kept".to_vec()))];
    let mut with_large_key = StoredRecord::new(Some(&[b'k'; 3_000_000]), Some(b"small"));
    with_large_key.headers = large.headers.clone();
    let broker = madang.broker();
    let before = usize::try_from(broker.count(DEAD_LETTERS)).unwrap();
    let (_, good) = record(&room, &alice.id, "good", "behind the large ones");
    let good = StoredRecord::new(Some(room.as_bytes()), Some(&good));
    // All in one: an embedded broker takes no more while the large ones are not handled.
    let offsets = broker.produce_compressed(MESSAGES, 1, &[large.clone(), with_large_key, good]).await;
    at_bob.message(&room, "good").await;

    let letters = spawn_blocking(move || {
        let letters = broker.read_until(DEAD_LETTERS, |records| records.len() >= before + 2);
        assert_eq!(usize::try_from(broker.count(DEAD_LETTERS)).unwrap(), before + 2, "each is buried once");
        letters
    });
    let letters = letters.await.unwrap();
    for ((offset, key), (own, bytes)) in
        offsets.iter().zip([&large.key, &None]).zip([(large.headers.as_slice(), "3000000"), (&[], "5")])
    {
        let is_it = |letter: &&StoredRecord| letter.header("madang-origin-offset") == Some(offset.to_string());
        let letter = letters.iter().find(is_it).unwrap();
        assert_eq!((&letter.key, &letter.value), (key, &None));
        assert_eq!((letter.headers.len(), &letter.headers[..own.len()]), (own.len() + 6, own));
        assert_eq!(letter.header("madang-origin-partition").as_deref(), Some("1"));
        assert_eq!(letter.header("madang-origin-value-bytes").as_deref(), Some(bytes));
    }
}

/// Where the dead-letter topic could not be written, the offset was committed all the same and the record was gone:
/// dapr/dapr #8284 (case 22).
#[tokio::test]
async fn with_the_dead_letter_topic_away_nothing_is_skipped() {
    away_and_back(&Runtime::start::<&str>(&[])).await;
}

/// The same where the platform retries whole batches only.
#[tokio::test]
async fn with_the_dead_letter_topic_away_nothing_is_skipped_without_partial_responses_too() {
    away_and_back(&Runtime::start(&["--no-partial-responses"])).await;
}

async fn away_and_back(madang: &Runtime) {
    const NOT_BURIED: &str = "a record cannot be put on the dead-letter topic";
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = bob.join(&room).await;
    madang.faults(json!({"topicsAway": [DEAD_LETTERS]})).await;
    let good = |number: usize| {
        let (_, value) = record(&room, &alice.id, &format!("good-{number}"), "beside the odd one");
        StoredRecord::new(Some(room.as_bytes()), Some(&value))
    };
    let mut odd = StoredRecord::new(Some(room.as_bytes()), Some(b"\xff\xfe\0"));
    odd.headers = vec![("own".to_owned(), Some(b"kept".to_vec()))];
    let broker = madang.broker();
    let offsets = broker.produce(MESSAGES, 1, &[good(1), odd.clone(), good(2), good(3)]).await;

    // It is tried, and tried again, and said each time.
    let failures = madang.log_says(NOT_BURIED, 0).await;
    madang.log_says(NOT_BURIED, failures).await;
    madang.faults(json!({})).await;
    let letters = spawn_blocking(move || broker.read_until(DEAD_LETTERS, |records| !records.is_empty()));
    for letter in letters.await.unwrap() {
        assert_eq!((&letter.key, &letter.value, &letter.headers[0]), (&odd.key, &odd.value, &odd.headers[0]));
        assert_eq!(letter.header("madang-origin-offset"), Some(offsets[1].to_string()));
    }
    let stored = at_bob.hear_events(&room, 3).await;
    assert_dense(&stored, 2);
    let ids: Vec<&Value> = stored.iter().map(|message| &message["clientMessageId"]).collect();
    assert_eq!(ids, ["good-1", "good-2", "good-3"]);
    assert_eq!(alice.messages_once_there(&room, 3).await, stored);
}
