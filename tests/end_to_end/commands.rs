//! What became of a command.

use serde_json::{Value, json};
use tests::broker::{MESSAGES, StoredRecord};
use tests::client::send;
use tests::deadline::eventually;
use tests::{Person, Runtime};

use crate::dead_letters::record;

async fn state(person: &Person, room: &str, command: &Value, client_message_id: &str) -> Value {
    let command = command.as_str().expect("a command id");
    person.http.get(&format!("/rooms/{room}/commands/{command}?clientMessageId={client_message_id}")).await.good(200)
}

pub(crate) async fn once_decided(person: &Person, room: &str, command: &Value, client_message_id: &str) -> Value {
    eventually("a decision", async || {
        let state = state(person, room, command, client_message_id).await;
        (state["state"] != "pending").then_some(state)
    })
    .await
}

#[tokio::test]
async fn a_command_is_pending_then_committed() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    madang.faults(json!({"pauseEventSource": true})).await;
    let ack = at_alice.send(&room, "c1", "hello").await;
    assert_eq!(state(&alice, &room, &ack["commandId"], "c1").await, json!({"state": "pending"}));
    assert!(alice.messages(&room).await.is_empty());
    madang.faults(json!({})).await;
    at_alice.message(&room, "c1").await;
    assert_eq!(state(&alice, &room, &ack["commandId"], "c1").await, json!({"state": "committed", "seq": 2}));
    // Nobody learns of another's command.
    assert_eq!(state(&bob, &room, &ack["commandId"], "c1").await, json!({"state": "pending"}));
}

/// What came in over HTTP is told here alone, and a message whose id stands for another one must not seem to be said.
#[tokio::test]
async fn a_retry_is_a_duplicate_and_a_conflict_is_refused() {
    let madang = Runtime::alone().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    at_alice.send(&room, "c1", "hello").await;
    at_alice.message(&room, "c1").await;
    madang.faults(json!({"pauseEventSource": true})).await;
    let messages = format!("/rooms/{room}/messages");
    let other = json!({"clientMessageId": "c1", "content": "other"});
    let conflict = alice.http.post(&messages, &other).await.good(202)["commandId"].clone();
    assert_eq!(state(&alice, &room, &conflict, "c1").await, json!({"state": "pending"}));
    let ack = at_alice.request(send(&room, "c1", "hello")).await;
    madang.faults(json!({})).await;
    at_alice.push("duplicate").await;
    let refused = json!({"state": "refused", "code": "idempotency_conflict"});
    assert_eq!(state(&alice, &room, &conflict, "c1").await, refused);
    let duplicate = once_decided(&alice, &room, &ack["commandId"], "c1").await;
    assert_eq!(duplicate, json!({"state": "duplicate", "seq": 2}));
}

/// Acked, then refused at the commit: it is never dropped in silence.
#[tokio::test]
async fn a_refusal_can_be_looked_up_without_membership() {
    let madang = Runtime::shared().await;
    let (_alice, _bob, room) = madang.pair().await;
    let mallory = madang.person("mallory").await;
    let (id, value) = record(&room, &mallory.id, "c1", "let me in");
    let broker = madang.broker();
    broker.produce(MESSAGES, 0, &[StoredRecord::new(Some(room.as_bytes()), Some(&value))]).await;
    let id = json!(id);
    let refused = once_decided(&mallory, &room, &id, "c1").await;
    assert_eq!(refused, json!({"state": "refused", "code": "not_member"}));
}

#[tokio::test]
async fn odd_commands_are_refused() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let path = |command: &str| format!("/rooms/{room}/commands/{command}");
    for command in ["x", "01HQ03A7757ME9PZJT5X08GSG", "01hq03a7757me9pzjt5x08gsgm", "81HQ03A7757ME9PZJT5X08GSGM"] {
        alice.http.get(&path(command)).await.refused(400, "invalid_field");
    }
    let unknown = path("01HQ03A7757ME9PZJT5X08GSGM");
    assert_eq!(alice.http.get(&unknown).await.good(200), json!({"state": "pending"}));
    alice.http.get(&format!("{unknown}?clientMessageId=a%20b")).await.refused(400, "invalid_field");
}
