//! Calls to the tables that go wrong as DynamoDB lets them go wrong: conflicts of transactions, throttling, batches that
//! are done in part, answers that get lost. Nobody hears of any, unless it does not end.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::client::send;
use tests::deadline::eventually;
use tests::person::{assert_dense, seq_of};
use tests::tables::OF_CONNECTION;
use tests::trouble::{Rule, Trouble, TroubledWay, When};
use tests::{Client, Person, Runtime};

use crate::auth::short_lived;

const ROOMS: usize = 3;
/// How many messages each of a room's people says.
const EACH: usize = 8;
/// What a function logs when it has given a table up.
const GIVEN_UP: [&str; 4] = [
    "a table call failed",
    "records are left for another try",
    "the connection cannot be read or written",
    "something that is due could not be done now",
];

/// The tables, a way to them on which things may happen, and a system whose functions take it.
type Troubled = (Runtime, TroubledWay, Runtime);

async fn troubled() -> Troubled {
    let tables = Runtime::for_its_tables();
    let way = TroubledWay::to(&tables.endpoints.dynamodb).await;
    let madang = Runtime::start_with::<&str>(&[], &[("AWS_ENDPOINT_URL_DYNAMODB", &way.url())]);
    (tables, way, madang)
}

/// A room, once all is said in it.
struct Said {
    room: String,
    alice: Person,
    bob: Person,
    at_alice: Client,
    at_bob: Client,
    at_carol: Client,
    further_sessions: Vec<Client>,
}

/// Opens a connection, as often as it needs.
async fn come_in(person: &Person) -> Client {
    eventually("a connection", async || match person.try_to_connect().await {
        Ok(client) => Some(client),
        Err(refused) => {
            assert_eq!(refused.status, 503, "{}", refused.body);
            None
        }
    })
    .await
}

async fn join(person: &Person, room: &str) -> Client {
    let mut client = come_in(person).await;
    client.insist(json!({"action": "subscribe", "roomId": room}), "subscribed").await;
    client
}

async fn make_room(owner: &Person, others: &[&Person]) -> String {
    let users: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
    let body = json!({"name": "Courtyard", "userIds": users}).to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", owner.id.as_str())];
    eventually("a room", async || {
        let answer = owner.http.call("POST", "/rooms", &headers, body.clone()).await;
        if [200, 201].contains(&answer.status) {
            return Some(answer.json()["roomId"].as_str().unwrap().to_owned());
        }
        answer.refused(503, "unavailable");
        None
    })
    .await
}

async fn talk(client: &mut Client, room: &str, speaker: &str) {
    for number in 1..=EACH {
        client.insist(send(room, &format!("{speaker}-{number}"), "hello"), "ack").await;
    }
}

async fn talk_and_read(client: &mut Client, room: &str, speaker: &str) {
    for number in 1..=EACH {
        let id = format!("{speaker}-{number}");
        client.insist(send(room, &id, "hello"), "ack").await;
        let seq = seq_of(&client.message(room, &id).await);
        client.insist(json!({"action": "read", "roomId": room, "seq": seq}), "ack").await;
    }
}

/// A room's life: people come in at once and talk, one is invited and talks, one is kicked.
async fn live(madang: &Runtime) -> Said {
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let (carol, dave) = (madang.person("carol").await, madang.person("dave").await);
    let room = make_room(&alice, &[&bob, &carol]).await;
    let (mut at_alice, mut at_bob, mut at_carol, further_sessions) = tokio::join!(
        join(&alice, &room),
        join(&bob, &room),
        join(&carol, &room),
        join_all([&alice, &alice, &bob].map(come_in)),
    );
    tokio::join!(
        talk(&mut at_alice, &room, "a"),
        talk_and_read(&mut at_bob, &room, "b"),
        talk(&mut at_carol, &room, "c"),
    );
    at_alice.insist(json!({"action": "invite", "roomId": room, "userIds": [dave.id]}), "ack").await;
    at_alice.event(&room, "member.invited").await;
    let mut at_dave = join(&dave, &room).await;
    let kick = json!({"action": "kick", "roomId": room, "userId": carol.id});
    tokio::join!(talk(&mut at_dave, &room, "d"), at_alice.insist(kick, "ack"));
    at_carol.event(&room, "member.kicked").await;
    at_alice.message(&room, &format!("d-{EACH}")).await;
    Said { room, alice, bob, at_alice, at_bob, at_carol, further_sessions }
}

/// Everything that was acked is there once, in order, and everybody has heard it so.
async fn assert_told_once_and_in_order(madang: &Runtime, said: Said) {
    let Said { room, alice, bob, mut at_alice, mut at_bob, mut at_carol, further_sessions } = said;
    let events = alice.events(&room).await;
    assert_dense(&events, 1);
    let ids: Vec<&str> = events.iter().filter_map(|event| event["clientMessageId"].as_str()).collect();
    for speaker in ["a", "b", "c", "d"] {
        let own: Vec<&str> = ids.iter().copied().filter(|id| id.starts_with(speaker)).collect();
        let expected: Vec<String> = (1..=EACH).map(|number| format!("{speaker}-{number}")).collect();
        assert_eq!(own, expected);
    }
    // What the members were told: the creation was before they came.
    let told: Vec<Value> = events[1..].to_vec();
    for client in [&mut at_alice, &mut at_bob] {
        assert_eq!(client.hear_events(&room, told.len()).await, told);
        assert!(client.pushes().iter().all(|push| push["type"] != "nack" && push.get("type").is_some()));
    }
    at_carol.catch_up().await;
    assert_eq!(at_carol.events(&room).last().unwrap()["kind"], "member.kicked");
    let read = seq_of(events.iter().find(|event| event["clientMessageId"] == format!("b-{EACH}")).unwrap());
    eventually("bob's marker", async || {
        let room = bob.http.get(&format!("/rooms/{room}")).await.good(200);
        (room["me"]["readSeq"] == read).then_some(())
    })
    .await;
    assert_eq!((madang.sessions_of(&alice).await.len(), madang.sessions_of(&bob).await.len()), (3, 2));
    drop(further_sessions);
}

/// Rooms live beside each other while these things happen; each of them must have.
async fn all_is_well_with(rules: &[Rule]) -> Troubled {
    let (tables, way, madang) = troubled().await;
    way.set(rules);
    let said = join_all((0..ROOMS).map(|_| live(&madang))).await;
    for (operation, trouble, _) in rules {
        assert_ne!(way.met(operation, *trouble), 0, "{operation} never met {trouble:?}");
    }
    way.set(&[]);
    for said in said {
        assert_told_once_and_in_order(&madang, said).await;
    }
    assert_eq!(madang.log_lines_with("timed out"), 0);
    (tables, way, madang)
}

/// The way is there until the log was looked at: who has just gone is still told of.
fn assert_nobody_gave_up((_tables, _way, madang): Troubled) {
    for line in GIVEN_UP {
        assert_eq!(madang.log_lines_with(line), 0, "{line}");
    }
}

// The way works while the start of the runtime blocks; so in every test here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_of_transactions_are_tried_again() {
    let rules = [
        ("TransactWriteItems", Trouble::Conflict, When::First(2)),
        ("UpdateItem", Trouble::Conflict, When::First(2)),
        ("DeleteItem", Trouble::Conflict, When::First(2)),
    ];
    assert_nobody_gave_up(all_is_well_with(&rules).await);
}

/// Whether it was done is not known: whoever asks again finds it done, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_whose_answers_are_lost_happen_once() {
    let rules = ["TransactWriteItems", "UpdateItem", "DeleteItem"]
        .map(|operation| (operation, Trouble::AnswerLost, When::First(1)));
    assert_nobody_gave_up(all_is_well_with(&rules).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_and_half_done_batches_are_waited_for() {
    let rules = [
        ("TransactWriteItems", Trouble::InProgress, When::First(1)),
        ("TransactWriteItems", Trouble::Throttled, When::First(2)),
        ("TransactWriteItems", Trouble::Exceeded, When::First(3)),
        ("BatchGetItem", Trouble::HalfDone, When::First(1)),
        ("GetItem", Trouble::Exceeded, When::First(1)),
        ("Query", Trouble::Throttled, When::First(1)),
        ("UpdateItem", Trouble::Fault, When::First(1)),
    ];
    assert_nobody_gave_up(all_is_well_with(&rules).await);
}

/// Here something may be given up and told as `unavailable`; whoever tries again succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_third_call_that_fails_loses_and_doubles_nothing() {
    all_is_well_with(&[
        ("TransactWriteItems", Trouble::Conflict, When::Every(3)),
        ("TransactWriteItems", Trouble::AnswerLost, When::Every(4)),
        ("UpdateItem", Trouble::Conflict, When::Every(3)),
        ("DeleteItem", Trouble::Conflict, When::Every(3)),
        ("BatchGetItem", Trouble::HalfDone, When::Every(3)),
        ("GetItem", Trouble::Fault, When::Every(5)),
        ("Query", Trouble::Exceeded, When::Every(5)),
    ])
    .await;
}

/// The last look at a connection comes when all is written: a client that was refused had a session more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_fails_at_its_end_leaves_no_session() {
    let (_tables, way, madang) = troubled().await;
    let alice = madang.person("alice").await;
    way.set(&[("GetItem", Trouble::Fault, When::With(OF_CONNECTION))]);
    let handshake = alice.try_to_connect().await;
    assert_eq!(handshake.err().map(|refused| refused.status), Some(503));
    assert_ne!((way.answered("TransactWriteItems"), way.met("GetItem", Trouble::Fault)), (0, 0));
    assert_eq!(madang.sessions_of(&alice).await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_that_does_not_end_is_told_in_time() {
    let (_tables, way, madang) = troubled().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    way.set(&["TransactWriteItems", "UpdateItem", "DeleteItem"].map(|name| (name, Trouble::Conflict, When::Every(1))));
    // What is acked needs no transaction yet.
    at_alice.send(&room, "acked", "hello").await;
    let handshake = bob.try_to_connect().await;
    assert_eq!(handshake.err().map(|refused| refused.status), Some(503));
    let told = at_alice.request(json!({"action": "subscribe", "roomId": room})).await;
    assert_eq!((&told["code"], &told["retryable"]), (&json!("unavailable"), &json!(true)), "{told}");
    alice.http.post("/rooms", &json!({"name": "Yard", "userIds": [bob.id]})).await.refused(503, "unavailable");
    eventually("failed batches", async || (madang.log_lines_with(GIVEN_UP[1]) >= 2).then_some(())).await;
    assert_eq!(madang.log_lines_with("timed out"), 0, "each end is the function's own");
    way.set(&[]);
    at_bob.message(&room, "acked").await;
    bob.connect().await.send(&room, "later", "hello").await;
    at_alice.message(&room, "later").await;
    assert_dense(&bob.messages_once_there(&room, 2).await, 2);
}

/// What was left of a removal was found by nobody: whatever was said in the room was posted to nobody, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_done_in_part_is_done_by_whoever_comes_next() {
    let (_tables, way, madang) = troubled().await;
    let (alice, bob, room) = madang.pair().await;
    let (at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    way.set(&[("BatchWriteItem", Trouble::HalfDone, When::Every(1))]);
    drop(at_alice);
    madang.log_says("the connection cannot be removed", 0).await;
    way.set(&[]);
    at_bob.send(&room, "anybody", "hello?").await;
    eventually("the end of a subscription", async || {
        let subscriptions = madang.subscriptions(&room).await;
        subscriptions.iter().all(|(user, _)| *user == bob.id).then_some(())
    })
    .await;
}

async fn refresh(madang: &Runtime, person: &Person) -> Value {
    json!({"action": "auth", "token": madang.token(&person.id).await})
}

/// A fresh token that had reached the connection, and not what it is subscribed to, left it open and deaf.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_token_that_is_taken_in_part_leaves_nobody_deaf() {
    let (_tables, way, madang) = troubled().await;
    let (alice, bob) = (short_lived(&madang, "alice").await, madang.person("bob").await);
    let room = bob.make_room(&[&alice]).await;
    let mut at_alice = alice.join(&room).await;
    way.set(&[("UpdateItem", Trouble::Fault, When::With("tokenExpiresAt"))]);
    at_alice.refused(refresh(&madang, &alice).await, "unavailable").await;
    assert_ne!(way.met("UpdateItem", Trouble::Fault), 0);
    way.set(&[]);
    let bye = madang.sweeping(at_alice.push("bye")).await;
    assert_eq!(bye["code"], "token_expired", "{bye}");
}

/// What was said between the end of the one token and the writing of the next was skipped, and nobody knew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_token_that_comes_in_time_and_is_taken_too_late_is_too_late() {
    let (_tables, way, madang) = troubled().await;
    let (alice, bob) = (short_lived(&madang, "alice").await, madang.person("bob").await);
    let room = bob.make_room(&[&alice]).await;
    let mut at_alice = alice.join(&room).await;
    let end = end_of(&alice.token);
    eventually("the last moments of the token", async || (unix_ms() + 500 > end).then_some(())).await;
    way.set(&[("TransactWriteItems", Trouble::Conflict, When::Every(1))]);
    at_alice.ask(refresh(&madang, &alice).await).await;
    eventually("the end of the token", async || (unix_ms() > end).then_some(())).await;
    way.set(&[]);
    // Whatever has become of the first.
    at_alice.ask(refresh(&madang, &alice).await).await;
    let bye = at_alice.push("bye").await;
    assert_eq!(bye["code"], "token_expired", "{bye}");
}

/// From when on a token opens nothing, leeway included.
fn end_of(token: &str) -> i64 {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    (claims["exp"].as_i64().unwrap() + 30) * 1_000
}

fn unix_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// It stood and was announced, and whoever had made it was told to try again: without a key that made another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_made_though_that_it_is_announced_cannot_be_noted() {
    let (_tables, way, madang) = troubled().await;
    let alice = madang.person("alice").await;
    way.set(&[("PutItem", Trouble::Throttled, When::Every(1))]);
    let room = alice.make_room(&[]).await;
    assert!(way.met("PutItem", Trouble::Throttled) > 0);
    way.set(&[]);
    let mut at_alice = alice.join(&room).await;
    at_alice.send(&room, "one", "hello").await;
    at_alice.message(&room, "one").await;
}
