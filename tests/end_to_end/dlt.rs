//! What operators do with dead letters.

use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};
use tests::admin::run;
use tests::broker::{DEAD_LETTERS, MESSAGES, StoredRecord};
use tests::cluster::{Variables, as_operator, of_local_runtime};
use tests::runtime::{Ended, unique};
use tests::{Person, Runtime};
use tokio::task::spawn_blocking;

use crate::dead_letters::record;

const SCHEMA: &str = "the value does not follow the schema";

/// Runs a command that does what it should; its lines.
async fn good(madang: &Runtime, arguments: &[&str]) -> Vec<String> {
    let ended = madang.admin(arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.output
}

/// Checks that a command failed with one sentence and did not print anything else.
fn refused(ended: &Ended, code: i32, sentence: &str) {
    assert_eq!((ended.code, ended.output.as_slice()), (Some(code), [].as_slice()), "{ended:?}");
    let [line] = ended.log.as_slice() else { panic!("more than a sentence: {ended:?}") };
    assert!(line.starts_with("admin: ") && line.contains(sentence), "{sentence:?}: {line}");
}

/// The letters with a key, as `dlt list` tells them.
async fn listed(madang: &Runtime, key: &str) -> Vec<Value> {
    let lines = good(madang, &["dlt", "list", "--json"]).await;
    let letters = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    letters.filter(|letter| letter["key"] == key).collect()
}

/// Waits until a value stands on a topic so many times.
async fn stands(madang: &Runtime, topic: &'static str, value: &[u8], times: usize) -> Vec<StoredRecord> {
    let (broker, value) = (madang.broker(), value.to_vec());
    let is_it = move |record: &&StoredRecord| record.value.as_deref() == Some(&value);
    let found = spawn_blocking(move || {
        let all = broker.read_until(topic, |records| records.iter().filter(&is_it).count() >= times);
        all.into_iter().filter(|record| is_it(&record)).collect::<Vec<_>>()
    });
    let found = found.await.unwrap();
    assert_eq!(found.len(), times, "{found:#?}");
    found
}

/// A letter as the consumer would have put it there.
fn letter(room: &str, value: &[u8]) -> StoredRecord {
    let mut letter = StoredRecord::new(Some(room.as_bytes()), Some(value));
    letter.headers = [
        ("own", "kept"),
        ("madang-origin-topic", MESSAGES),
        ("madang-origin-partition", "1"),
        ("madang-origin-offset", "1234567"),
        ("madang-origin-reason", "impossible"),
        ("madang-origin-time", "2026-02-19T07:12:02.789Z"),
    ]
    .map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())))
    .to_vec();
    letter
}

/// Puts letters on the dead-letter topic by hand; their ids.
async fn bury(madang: &Runtime, letters: &[StoredRecord]) -> Vec<String> {
    let offsets = madang.broker().produce(DEAD_LETTERS, 1, letters).await;
    offsets.iter().map(|offset| format!("1:{offset}")).collect()
}

fn good_letter(room: &str, sender: &Person, client_message_id: &str) -> StoredRecord {
    letter(room, &record(room, &sender.id, client_message_id, "buried by a bug").1)
}

async fn said(person: &Person, room: &str, count: usize) -> Vec<Value> {
    let messages = person.messages_once_there(room, count).await;
    messages.iter().map(|message| message["clientMessageId"].clone()).collect()
}

#[tokio::test]
async fn letters_are_listed_and_shown_with_origin_reason_and_bytes() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut bytes = StoredRecord::new(Some(room.as_bytes()), Some(b"\xff\xfe\0 \x1b[2J"));
    bytes.headers = vec![("own".to_owned(), Some(vec![0, 127, 255])), ("empty".to_owned(), Some(Vec::new()))];
    let secret = unique("secret");
    let mut later: Value = serde_json::from_slice(&record(&room, &alice.id, "c1", &secret).1).unwrap();
    later["v"] = json!(2);
    let later = StoredRecord::new(Some(room.as_bytes()), Some(later.to_string().as_bytes()));
    let broker = madang.broker();
    let offsets = broker.produce(MESSAGES, 1, &[bytes.clone(), later.clone()]).await;
    stands(&madang, DEAD_LETTERS, later.value.as_deref().unwrap(), 1).await;

    let letters = listed(&madang, &room).await;
    let expected = [(SCHEMA, &bytes), ("the value has an unknown schema version", &later)];
    assert_eq!(letters.len(), expected.len(), "{letters:#?}");
    for ((letter, (reason, record)), offset) in letters.iter().zip(expected).zip(offsets) {
        let size = record.value.as_ref().unwrap().len();
        let mut known = letter.clone();
        let (id, time) = (known["id"].take(), known["time"].take());
        assert!(time.as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{letter}");
        let origin = json!({"topic": MESSAGES, "partition": 1, "offset": offset});
        let expected = json!({
            "id": null, "time": null, "origin": origin, "reason": reason, "key": room, "valueBytes": size,
            "leftOutBytes": null, "decodable": false,
        });
        assert_eq!(known, expected);
        let lines = good(&madang, &["dlt", "list", "--reason", reason, "--topic", MESSAGES]).await;
        let line = lines.iter().find(|line| line.starts_with(&format!("{} ", id.as_str().unwrap()))).unwrap();
        assert!(line.contains(&format!("{MESSAGES}/1/{offset} ")) && line.ends_with(reason), "{line}");
    }
    assert_eq!(good(&madang, &["dlt", "list", "--json", "--limit", "1"]).await.len(), 1);
    assert_eq!(good(&madang, &["dlt", "list", "--json", "--reason", "none has this"]).await.len(), 0);

    let id = letters[0]["id"].as_str().unwrap();
    let shown = good(&madang, &["dlt", "show", id, "--value"]).await;
    let has = |line: &str| assert!(shown.iter().any(|shown| shown == line), "{line}: {shown:#?}");
    has(r#"header     own = "\0\u{7f}\xff""#);
    has(r#"header     empty = """#);
    has(&format!("reason     {SCHEMA}"));
    has("00000000  ff fe 00 20 1b 5b 32 4a                          |... .[2J|");

    let id = letters[1]["id"].as_str().unwrap();
    let shown = good(&madang, &["dlt", "show", id]).await.join("\n");
    assert!(!shown.contains(&secret) && shown.contains(&format!(r#"sender = "{}""#, alice.id)), "{shown}");
    let shown = good(&madang, &["dlt", "show", id, "--value"]).await.join("\n");
    assert!(shown.contains(&format!(r#"  "content": "{secret}""#)), "{shown}");
}

#[tokio::test]
async fn a_replayed_letter_is_one_event_however_often_it_goes_back() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let buried = good_letter(&room, &alice, "buried");
    let [id] = bury(&madang, std::slice::from_ref(&buried)).await.try_into().unwrap();
    let dry = good(&madang, &["dlt", "replay", &id, "--dry-run"]).await;
    assert_eq!(dry, [format!("{id} would go back to {MESSAGES}")]);
    at_alice.send(&room, "first", "nothing went back yet").await;
    at_bob.message(&room, "first").await;

    for times in 1..=3 {
        let lines = good(&madang, &["dlt", "replay", &id]).await;
        assert_eq!(lines, [format!("{id} went back to {MESSAGES}")]);
        let replayed = stands(&madang, MESSAGES, buried.value.as_deref().unwrap(), times).await;
        for record in replayed {
            assert_eq!(record.key, buried.key);
            let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
            assert_eq!(record.headers, [header("own", "kept"), header("madang-replayed-from", &id)]);
        }
    }
    assert_eq!(at_bob.message(&room, "buried").await["content"], "buried by a bug");
    at_alice.send(&room, "last", "behind all that").await;
    at_bob.message(&room, "last").await;
    assert_eq!(said(&bob, &room, 3).await, ["first", "buried", "last"]);
    assert_eq!(at_bob.hear_events(&room, 3).await, bob.messages(&room).await);
    // The letter stays where it is.
    let letters = listed(&madang, &room).await;
    assert_eq!(letters.len(), 1, "{letters:#?}");
    assert_eq!((&letters[0]["id"], &letters[0]["decodable"]), (&json!(id), &json!(true)));
}

#[tokio::test]
async fn letters_go_back_in_their_order_and_garbage_comes_again() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let garbage = unique("garbage").into_bytes();
    let letters = [
        good_letter(&room, &alice, "one"),
        letter(&room, &garbage),
        good_letter(&room, &alice, "two"),
        good_letter(&room, &alice, "three"),
    ];
    let ids = bury(&madang, &letters).await;
    // Named in another order, and one twice.
    let named = [&ids[3], &ids[1], &ids[0], &ids[2], &ids[0]].map(String::as_str);
    let lines = good(&madang, &[["dlt", "replay"].as_slice(), &named].concat()).await;
    assert_eq!(lines, ids.iter().map(|id| format!("{id} went back to {MESSAGES}")).collect::<Vec<_>>());
    assert_eq!(said(&alice, &room, 3).await, ["one", "two", "three"]);

    let both = stands(&madang, DEAD_LETTERS, &garbage, 2).await;
    let again = both.iter().find(|letter| letter.header("madang-replayed-from").is_some()).unwrap();
    assert_eq!(again.header("madang-replayed-from").as_ref(), Some(&ids[1]));
    assert_eq!(again.header("madang-origin-reason").as_deref(), Some(SCHEMA));
    let origins = again.headers.iter().filter(|(name, _)| name.starts_with("madang-origin-"));
    assert_eq!(origins.count(), 5, "{again:?}");
    assert_eq!(listed(&madang, &room).await.len(), 5);
}

#[tokio::test]
async fn what_cannot_go_back_is_told_and_left() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, _bob, room) = madang.pair().await;
    let origin_of = |topic: &str| {
        let mut letter = good_letter(&room, &alice, "never");
        letter.headers[1].1 = Some(topic.as_bytes().to_vec());
        letter.headers[4].1 = Some(b"another reason".to_vec());
        letter
    };
    let mut without = good_letter(&room, &alice, "never");
    without.headers.truncate(1);
    let letters = [without, origin_of(DEAD_LETTERS), origin_of("\u{1b}[2J"), good_letter(&room, &alice, "good")];
    let ids = bury(&madang, &letters).await;
    let sentences =
        ["the header madang-origin-topic is missing", "its origin is not one of our topics", "its origin is not one"];
    for (id, sentence) in ids.iter().zip(sentences) {
        refused(&madang.admin(&["dlt", "replay", &ids[3], id]).await, 1, sentence);
    }
    assert!(alice.messages(&room).await.is_empty(), "all of the named, or none");

    let ended = madang.admin(&["dlt", "replay", "--all"]).await;
    assert_eq!((ended.code, ended.output), (Some(1), vec![format!("{} went back to {MESSAGES}", ids[3])]));
    let last = "admin: 3 letters cannot be replayed and were passed over; 1 letter was replayed: ";
    assert_eq!(ended.log.last(), Some(&format!("{last}{}", ids[3])), "{:#?}", ended.log);
    assert_eq!((ended.log.len(), said(&alice, &room, 1).await), (4, vec![json!("good")]));

    let reason = good(&madang, &["dlt", "replay", "--reason", "impossible", "--dry-run"]).await;
    assert_eq!(reason, [format!("{} would go back to {MESSAGES}", ids[3])]);
}

#[tokio::test]
async fn a_replay_ends_at_the_first_failure_and_says_what_went_back() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, _bob, room) = madang.pair().await;
    let mut elsewhere = good_letter(&room, &alice, "never");
    elsewhere.headers[1].1 = Some(b"chat-presence".to_vec());
    let letters = [good_letter(&room, &alice, "one"), elsewhere, good_letter(&room, &alice, "behind")];
    let ids = bury(&madang, &letters).await;
    madang.faults(json!({"topicsAway": ["chat-presence"]})).await;
    let ended = madang.admin(&["dlt", "replay", "--all"]).await;
    assert_eq!(
        (ended.code, &ended.output),
        (Some(1), &vec![format!("{} went back to {MESSAGES}", ids[0])]),
        "{ended:?}"
    );
    let [line] = ended.log.as_slice() else { panic!("more than a sentence: {:#?}", ended.log) };
    assert!(line.starts_with(&format!("admin: letter {} was not replayed to chat-presence (", ids[1])), "{line}");
    assert!(line.ends_with(&format!("; 1 letter was replayed: {}", ids[0])), "{line}");
    madang.faults(json!({})).await;
    assert_eq!(said(&alice, &room, 1).await, ["one"]);
    good(&madang, &["dlt", "replay", &ids[0], &ids[2]]).await;
    assert_eq!(said(&alice, &room, 2).await, ["one", "behind"]);
}

#[tokio::test]
async fn what_a_newcomer_meets_is_one_sentence() {
    let madang = Runtime::start::<&str>(&[]);
    let [id] = bury(&madang, &[letter("room", b"x")]).await.try_into().unwrap();
    let check = async |arguments: &[&str], code: i32, sentence: &str| {
        refused(&madang.admin(arguments).await, code, sentence);
    };
    check(&["dlt"], 2, "name a command: dlt list, dlt show or dlt replay").await;
    check(&["dlt", "show", "17"], 2, "a letter is named by partition and offset, such as 0:17").await;
    check(&["dlt", "show"], 2, "required arguments were not provided: <P:O>").await;
    check(&["dlt", "replay"], 2, "required arguments were not provided").await;
    check(&["dlt", "replay", &id, "--all"], 2, "cannot be used with").await;
    check(&["dlt", "list", "--limit", "0"], 2, "0 is not in 1..").await;
    check(&["dlt", "list", "--topic", "chat"], 2, "not a topic of ours").await;
    check(&["dlt", "show", "3:0"], 1, "there is no letter 3:0: the dead-letter topic has 3 partitions, from 0").await;
    check(&["dlt", "show", "1:1"], 1, "there is no letter 1:1: its partition ends before 1").await;
    check(&["dlt", "replay", &id, "0:0"], 1, "there is no letter 0:0").await;

    let mut variables = as_operator(&madang.kafka);
    variables.insert("KAFKA_PARTITIONS".to_owned(), "chat-messages:4".to_owned());
    let sentence = "chat-messages has 3 partitions, but 4 are configured: set KAFKA_PARTITIONS";
    refused(&run(&variables, &["dlt", "replay", &id]).await, 1, sentence);
    variables.remove("KAFKA_BOOTSTRAP_SERVERS");
    let sentence = "the environment variable KAFKA_BOOTSTRAP_SERVERS is not set";
    refused(&run(&variables, &["dlt", "list"]).await, 1, sentence);
    let sentence = "no broker answers at 127.0.0.1:1, which KAFKA_BOOTSTRAP_SERVERS names";
    refused(&run(&of_local_runtime("127.0.0.1:1", Variables::new()), &["dlt", "list"]).await, 1, sentence);
    let empty = MockCluster::new(1).unwrap();
    let variables = of_local_runtime(&empty.bootstrap_servers(), Variables::new());
    refused(&run(&variables, &["dlt", "list"]).await, 1, "the broker has no topic chat-messages-dlt");
}

/// Too large for a letter, it stands at its origin alone.
#[tokio::test]
async fn a_value_that_was_left_out_is_told_and_cannot_go_back() {
    let madang = Runtime::shared().await;
    let (_alice, _bob, room) = madang.pair().await;
    let mut letter = letter(&room, b"");
    letter.value = None;
    letter.headers.push(("madang-origin-value-bytes".to_owned(), Some(b"3000000".to_vec())));
    let [id] = bury(&madang, &[letter]).await.try_into().unwrap();
    let letters = listed(&madang, &room).await;
    let [listed] = letters.as_slice() else { panic!("not one: {letters:#?}") };
    assert_eq!((&listed["valueBytes"], &listed["leftOutBytes"]), (&Value::Null, &json!(3_000_000)));
    let lines = good(&madang, &["dlt", "list"]).await;
    assert!(lines.iter().any(|line| line.starts_with(&format!("{id} ")) && line.contains(" left out ")), "{lines:#?}");
    let shown = good(&madang, &["dlt", "show", &id]).await.join("\n");
    assert!(shown.contains("no value: its 3000000 bytes stand at the origin alone, and cannot be replayed"), "{shown}");
    let sentence = "its value of 3000000 bytes was too large for a letter and stands at its origin alone";
    refused(&madang.admin(&["dlt", "replay", &id]).await, 1, sentence);
}
