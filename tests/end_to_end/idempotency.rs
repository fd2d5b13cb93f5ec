//! A message that is sent twice stands once.

use serde_json::{Value, json};
use tests::client::{Client, send};
use tests::runtime::unique;
use tests::{Person, Runtime};

use crate::commands::once_decided;

/// Sends over HTTP; the command's id.
async fn send_by_http(person: &Person, room: &str, client_message_id: &str, content: &str) -> String {
    let body = json!({"clientMessageId": client_message_id, "content": content});
    let accepted = person.http.post(&format!("/rooms/{room}/messages"), &body).await.good(202);
    accepted["commandId"].as_str().unwrap().to_owned()
}

async fn pushed(client: &mut Client, kind: &str, command: &Value) -> Value {
    client.push_where(kind, |push| push["type"] == kind && push["commandId"] == *command).await
}

#[tokio::test]
async fn a_retry_is_told_the_original_place() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "c1", "hello").await;
    let original = at_alice.message(&room, "c1").await;
    let ack = at_alice.send(&room, "c1", "hello").await;
    assert_ne!(ack["commandId"], original["commandId"], "a retry is a command of its own");
    let duplicate = pushed(&mut at_alice, "duplicate", &ack["commandId"]).await;
    let expected = json!({
        "type": "duplicate", "roomId": room, "commandId": ack["commandId"], "clientMessageId": "c1",
        "messageId": original["messageId"], "seq": original["seq"],
    });
    assert_eq!(duplicate, expected);
    // By the other door it is the same message, too.
    send_by_http(&alice, &room, "c1", "hello").await;
    at_alice.send(&room, "c2", "and on").await;
    at_bob.message(&room, "c2").await;
    assert_eq!(at_bob.events(&room).len(), 2);
    assert_eq!(bob.messages_once_there(&room, 2).await, at_bob.events(&room));
}

#[tokio::test]
async fn the_same_id_with_other_content_is_a_conflict() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    at_alice.send(&room, "c1", "hello").await;
    let original = at_alice.message(&room, "c1").await;
    for content in ["hello!", "Hello", "hello "] {
        let ack = at_alice.send(&room, "c1", content).await;
        let nack = pushed(&mut at_alice, "nack", &ack["commandId"]).await;
        let expected = json!({
            "type": "nack", "roomId": room, "commandId": ack["commandId"], "clientMessageId": "c1",
            "code": "idempotency_conflict", "retryable": false,
        });
        assert_eq!(nack, expected);
    }
    assert_eq!(alice.messages_once_there(&room, 1).await, [original]);
}

/// Keys were global elsewhere: another user's same key returned the first user's result (case 56; nensii21/devlink
/// #773, jox-sm/deepslate-rpg #104, arun0009/idempotent PR #217).
#[tokio::test]
async fn an_id_belongs_to_its_sender_in_its_room() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let rooms = [alice.make_room(&[&bob]).await, alice.make_room(&[&bob]).await];
    let mut acks = Vec::new();
    for (number, person) in [&alice, &bob].into_iter().enumerate() {
        let mut client = person.connect().await;
        for room in &rooms {
            let content = format!("secret {number} of {room}");
            let ack = client.send(room, "1", &content).await;
            assert!(!ack.to_string().contains("secret"));
            let event = client.message(room, "1").await;
            assert_eq!((&event["sender"], &event["content"]), (&json!(person.id), &json!(content)));
            acks.push(ack["commandId"].clone());
        }
    }
    for room in &rooms {
        assert_eq!(alice.messages_once_there(room, 2).await.len(), 2);
    }
    acks.sort_by_key(Value::to_string);
    acks.dedup();
    assert_eq!(acks.len(), 4);
    // Upper and lower case are different ids.
    let mut at_alice = alice.join(&rooms[0]).await;
    at_alice.send(&rooms[0], "Case", "upper").await;
    at_alice.send(&rooms[0], "case", "lower").await;
    assert_eq!(at_alice.hear_events(&rooms[0], 2).await.len(), 2);
}

#[tokio::test]
async fn an_id_that_is_none_is_refused() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    let odd = [
        json!(""),
        json!("x".repeat(65)),
        json!("x".repeat(10_000)),
        json!("a/b#c"),
        json!("a b"),
        json!("a\0b"),
        json!("é"),
        json!(5),
        json!(null),
        json!(["a"]),
    ];
    for id in odd {
        let mut frame = send(&room, "", "hello");
        frame["clientMessageId"] = id.clone();
        let error = at_alice.request(frame.clone()).await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("clientMessageId")), "{id}");
        let path = format!("/rooms/{room}/messages");
        alice.http.post(&path, &frame).await.refused(400, "invalid_field");
    }
    at_alice.send(&room, &"x".repeat(64), "the longest").await;
    at_alice.send(&room, "A-z.0_9~", "every character").await;
    assert_eq!(at_alice.hear_events(&room, 2).await.len(), 2);
}

#[tokio::test]
async fn two_copies_in_one_batch_are_one_message() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    madang.faults(json!({"pauseEventSource": true})).await;
    let id = unique("c");
    let first = at_alice.send(&room, &id, "hello").await;
    let second = at_alice.send(&room, &id, "hello").await;
    let conflict = at_alice.send(&room, &id, "bye").await;
    let by_http = send_by_http(&alice, &room, &id, "hello").await;
    madang.faults(json!({})).await;
    let event = at_bob.message(&room, &id).await;
    assert_eq!(event["commandId"], first["commandId"]);
    let duplicate = pushed(&mut at_alice, "duplicate", &second["commandId"]).await;
    assert_eq!((&duplicate["seq"], &duplicate["messageId"]), (&event["seq"], &event["messageId"]));
    assert_eq!(pushed(&mut at_alice, "nack", &conflict["commandId"]).await["code"], "idempotency_conflict");
    assert_eq!(alice.messages_once_there(&room, 1).await, [event]);
    let state = once_decided(&alice, &room, &json!(by_http), &id).await;
    assert_eq!(state, json!({"state": "duplicate", "seq": 2}));
    at_bob.catch_up().await;
    assert_eq!(at_bob.events(&room).len(), 1);
}
