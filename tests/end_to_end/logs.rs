//! What the functions log: lines of one schema, and nothing private.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::broker::{DEAD_LETTERS, MESSAGES, StoredRecord};
use tests::client::send;
use tests::deadline::eventually;
use tests::trouble::{Trouble, TroubledWay, When};
use tests::{Person, Runtime, Stomp};

/// What the line says that ends an invocation.
const HANDLED: &str = "an invocation is handled";

/// A line that is waited for: whose, what it says, and what else it names; null is a member that it does not have.
type Expected<'a> = (&'a str, &'a str, Value);

/// Waits for a line of a function.
async fn line(madang: &Runtime, (function, message, others): Expected<'_>) -> Value {
    let others = others.as_object().unwrap();
    let is_it = |line: &Value| {
        (line["function"] == function && line["message"] == message)
            && others.iter().all(|(name, value)| line.get(name).unwrap_or(&Value::Null) == value)
    };
    let what = format!("{message:?} of {function} with {others:?}");
    eventually(&what, async || madang.log_objects().into_iter().find(is_it)).await
}

/// A line within an invocation has all of the schema.
fn assert_is_of_an_invocation(line: &Value) {
    for (member, length) in [("request_id", 36), ("trace_id", 32)] {
        assert_eq!(line[member].as_str().map(str::len), Some(length), "{member}: {line}");
    }
    assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
}

/// Every line so far is one flat object of the schema, but for what is counted.
fn assert_all_of_one_schema(madang: &Runtime) {
    for line in madang.log_objects() {
        for member in ["timestamp", "level", "message", "function", "target"] {
            assert!(line[member].is_string(), "{member}: {line}");
        }
        let nested = line.as_object().unwrap().iter().filter(|(_, value)| value.is_object() || value.is_array());
        let nested: BTreeSet<&str> = nested.map(|(name, _)| name.as_str()).collect();
        assert!(nested.is_subset(&BTreeSet::from(["_aws", "DeliveryLatency", "CommitBatchSize"])), "{line}");
    }
}

#[tokio::test]
async fn every_invocation_ends_with_a_line_that_says_how_long_it_took() {
    let madang = Runtime::start(&["--log-level", "info"]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    let mut at_bob = Stomp::connect(&bob).await;
    at_bob.subscribe("room", &room).await;
    at_bob.send(&room, "b1", "hello").await;
    // Alone in its batch.
    at_alice.message(&room, "b1").await;
    let connection = madang.connection_of(&alice, &room).await;
    let with_stomp = json!({"connection_id": madang.connection_of(&bob, &room).await, "room_id": room});
    at_alice.send(&room, "c1", "hello").await;
    at_alice.message(&room, "c1").await;
    at_alice.request(json!({"action": "ping"})).await;
    drop(at_alice);
    madang.sweep().await;
    let of_socket = json!({"connection_id": connection, "room_id": null});
    let in_room = json!({"connection_id": connection, "room_id": room, "Accepted": 1});
    let nothing_counted = json!({"connection_id": connection, "_aws": null});
    let ends = [
        ("connect", HANDLED, of_socket.clone()),
        ("message", HANDLED, in_room),
        ("message", HANDLED, nothing_counted),
        ("message", HANDLED, with_stomp),
        ("disconnect", HANDLED, of_socket),
        ("api", HANDLED, json!({"connection_id": null, "room_id": room})),
        ("consumer", HANDLED, json!({"connection_id": null, "room_id": null, "Committed": 1})),
        ("sweeper", HANDLED, json!({"connection_id": null, "room_id": null})),
    ];
    for expected in ends {
        let line = line(&madang, expected).await;
        assert_is_of_an_invocation(&line);
        assert_eq!(line["level"], "INFO", "{line}");
        assert!(line["duration_ms"].is_u64(), "{line}");
    }
    let lines = madang.log_objects();
    let ends: Vec<&Value> = lines.iter().filter(|line| line["message"] == HANDLED).collect();
    let invocations: BTreeSet<&str> = ends.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(invocations.len(), ends.len(), "each ends once");
    assert_all_of_one_schema(&madang);
}

/// What is buried is in the log under its own trace, and its room's.
#[tokio::test]
async fn a_dead_letter_is_logged_with_its_room_and_its_trace() {
    let madang = Runtime::start::<&str>(&[]);
    let (_alice, _bob, room) = madang.pair().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = vec![("traceparent".to_owned(), Some(traceparent.into_bytes()))];
    let odd = StoredRecord { headers, ..StoredRecord::new(Some(room.as_bytes()), Some(b"{}")) };
    let offset = madang.broker().produce(MESSAGES, 0, &[odd]).await[0];
    let place = json!({"topic": MESSAGES, "partition": 0, "offset": offset, "room_id": room, "trace_id": trace});
    let line = line(&madang, ("consumer", "a record was put on the dead-letter topic", place)).await;
    assert_is_of_an_invocation(&line);
}

// The way works while the start of the runtime blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_names_its_room_and_its_connection_and_no_person() {
    let tables = Runtime::for_its_tables();
    let way = TroubledWay::to(&tables.endpoints.dynamodb).await;
    let madang = Runtime::start_with(&["--log-level", "info"], &[("AWS_ENDPOINT_URL_DYNAMODB", way.url().as_str())]);
    let ((alice, bob, room), carol) = (madang.pair().await, madang.person("carol").await);
    let (mut at_alice, at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let (of_alice, of_bob) = (madang.connection_of(&alice, &room).await, madang.connection_of(&bob, &room).await);
    madang.faults(json!({"pauseEventSource": true})).await;
    let (_silent, _at_carol) = (alice.open("", &[]).await.unwrap(), carol.connect().await);
    at_alice.send(&room, "c1", "hello").await;
    at_alice.act(json!({"action": "read", "roomId": room, "seq": 1})).await;

    let fails = |operation| (operation, Trouble::Fault, When::Every(1));
    way.set(&["TransactWriteItems", "UpdateItem", "DeleteItem", "BatchWriteItem"].map(fails));
    madang.faults(json!({})).await;
    drop(at_bob);
    let handshake = bob.open("", &[("authorization", &format!("Bearer {}", bob.token))]).await;
    assert_eq!(handshake.err().map(|refused| refused.status), Some(503));
    let left = |topic, room_id: Value| {
        ("consumer", "records are left for another try", json!({"topic": topic, "room_id": room_id}))
    };
    let mut failures = vec![
        line(&madang, ("connect", "the connection cannot be read or written", json!({"room_id": null}))).await,
        line(&madang, ("disconnect", "the connection cannot be removed", json!({"connection_id": of_bob}))).await,
        line(&madang, left(MESSAGES, json!(room))).await,
        line(&madang, left("chat-read-events", json!(room))).await,
        line(&madang, left("chat-presence", Value::Null)).await,
    ];
    let due = ("sweeper", "something that is due could not be done now", json!({"item": "connection"}));
    failures.push(madang.sweeping(line(&madang, due)).await);
    way.set(&["GetItem", "BatchGetItem", "Query", "TransactGetItems"].map(fails));
    at_alice.refused(send(&room, "c2", "hello"), "unavailable").await;
    alice.http.get(&format!("/rooms/{room}/messages")).await.refused(503, "unavailable");
    let failed = "a table call failed";
    failures.push(line(&madang, ("message", failed, json!({"connection_id": of_alice, "room_id": room}))).await);
    failures.push(line(&madang, ("api", failed, json!({"connection_id": null, "room_id": room}))).await);
    way.set(&[]);

    for line in &failures {
        assert_is_of_an_invocation(line);
        assert_eq!(line["level"], "ERROR", "{line}");
    }
    for of_connection in [&failures[0], &failures[5]] {
        assert!(of_connection["connection_id"].is_string(), "{of_connection}");
    }
    assert_all_of_one_schema(&madang);
    assert_names_nobody(&madang, &[&alice, &bob, &carol]);
}

fn assert_names_nobody(madang: &Runtime, people: &[&Person]) {
    for line in madang.log_objects() {
        let text = line.to_string();
        assert!(!people.iter().any(|person| text.contains(&person.id)), "{line}");
    }
}

/// Tokens and texts ended up in logs elsewhere: greeves89/AI-Employee #373, duplicati/duplicati #5550 (case 67).
async fn nothing_private_is_logged_at(level: &str) {
    const SECRET: &str = "PII-9c1";
    let mut madang = Runtime::start(&["--log-level", level]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.open(&format!("?token={}", alice.token), &[]).await.unwrap();
    at_alice.subscribe_with(&room, &["typing", "read", "presence"]).await;
    let mut at_bob = bob.open("", &[]).await.unwrap();
    at_bob.request(json!({"action": "auth", "token": bob.token})).await;
    let bad = format!("{}{SECRET}", bob.token);
    assert!(bob.open(&format!("?token={bad}"), &[]).await.is_err());
    assert_eq!(at_bob.request(json!({"action": "auth", "token": bad})).await["code"], "token_invalid");
    at_alice.send(&room, "c1", SECRET).await;
    at_alice.message(&room, "c1").await;
    at_alice.send(&room, "c1", "PII-9c1 again").await;
    at_alice.push("nack").await;
    for _ in 0..2 {
        // The second one moves nothing.
        at_bob.act(json!({"action": "read", "roomId": room, "seq": 2})).await;
    }
    at_bob.say(format!(r#"{{"action":"{SECRET}"}}"#)).await;
    at_bob.say(SECRET).await;
    at_bob.push("error").await;
    bob.http.get(&format!("/rooms/{room}/messages?cursor={SECRET}")).await.refused(400, "bad_cursor");
    let value = format!(r#"{{"v":1,"content":"{SECRET}"}}"#);
    let odd = StoredRecord::new(Some(room.as_bytes()), Some(value.as_bytes()));
    let broker = madang.broker();
    broker.produce(MESSAGES, 0, &[odd]).await;
    tokio::task::spawn_blocking(move || broker.read_until(DEAD_LETTERS, |letters| !letters.is_empty())).await.unwrap();
    at_bob.close(4000, SECRET).await;
    line(&madang, ("disconnect", "disconnected", json!({"code": 4000}))).await;
    madang.sweep().await;
    madang.terminate();
    let log = madang.ended().await.log;
    assert!(log.iter().any(|line| line.contains("dead-letter")), "something is logged at all: {log:#?}");
    let secrets: Vec<&str> = alice.token.split('.').chain(bob.token.split('.')).chain([SECRET]).collect();
    for line in log {
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
    assert_names_nobody(&madang, &[&alice, &bob]);
}

#[tokio::test]
async fn nothing_private_is_logged() {
    nothing_private_is_logged_at("info").await;
}

#[tokio::test]
async fn nothing_private_is_logged_at_the_most_verbose_level_either() {
    nothing_private_is_logged_at("debug").await;
}
