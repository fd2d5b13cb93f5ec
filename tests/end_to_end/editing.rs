//! Edits and deletions: every answer shows a message as it stands now, and what was taken back stands nowhere.

use serde_json::{Value, json};
use tests::broker::{MESSAGES, command};
use tests::deadline::eventually;
use tests::{Person, Runtime};

fn edit(room: &str, message: &Value, content: &str) -> Value {
    json!({"action": "edit", "roomId": room, "messageId": message["messageId"], "content": content})
}

fn delete(room: &str, message: &Value) -> Value {
    json!({"action": "delete", "roomId": room, "messageId": message["messageId"]})
}

#[tokio::test]
async fn an_edit_leaves_no_old_text_behind() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "c1", "first wording").await;
    let message = at_bob.message(&room, "c1").await;
    let ack = at_alice.act(edit(&room, &message, "second wording ✏️")).await;
    let edited = at_bob.event(&room, "message.edited").await;
    let expected = json!({
        "seq": 3, "kind": "message.edited", "roomId": room, "at": edited["at"], "sender": alice.id,
        "commandId": ack["commandId"], "messageId": message["messageId"], "targetSeq": 2,
        "content": "second wording ✏️",
    });
    assert_eq!(edited, expected);
    let history = bob.messages(&room).await;
    assert_eq!(history.len(), 1, "an edit is no message");
    assert_eq!((&history[0]["content"], &history[0]["editedAt"]), (&json!("second wording ✏️"), &edited["at"]));
    assert_eq!((&history[0]["seq"], &history[0]["at"]), (&message["seq"], &message["at"]));

    // Both edits show what the message says now, also to whoever catches up.
    at_alice.act(edit(&room, &message, "third wording")).await;
    at_bob.event_where(&room, "the second edit", |event| event["seq"] == 4).await;
    let epoch = bob.http.get(&format!("/rooms/{room}")).await.good(200)["epoch"].clone();
    let subscribe = json!({"action": "subscribe", "roomId": room, "after": {"epoch": epoch, "seq": 1}});
    let caught_up = at_bob.request(subscribe).await["events"].take();
    assert_eq!(caught_up, json!(bob.events(&room).await[1..]));
    let texts: Vec<&Value> = caught_up.as_array().unwrap().iter().map(|event| &event["content"]).collect();
    assert_eq!(texts, [&json!("third wording"); 3]);
    let rooms = bob.http.get("/rooms").await.good(200);
    assert_eq!(rooms["rooms"][0]["lastMessage"]["content"], "third wording");
    assert_eq!(madang.items_with("first wording").await, 0);
}

#[tokio::test]
async fn a_deleted_text_is_gone_from_everywhere() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "c1", "hush-hush").await;
    let message = at_bob.message(&room, "c1").await;
    at_alice.act(edit(&room, &message, "hush-hush again")).await;
    at_bob.event(&room, "message.edited").await;
    let ack = at_alice.act(delete(&room, &message)).await;
    let deleted = at_bob.event(&room, "message.deleted").await;
    let expected = json!({
        "seq": 4, "kind": "message.deleted", "roomId": room, "at": deleted["at"], "sender": alice.id,
        "commandId": ack["commandId"], "messageId": message["messageId"], "targetSeq": 2,
    });
    assert_eq!(deleted, expected);
    let tombstone = json!({
        "seq": 2, "kind": "message", "roomId": room, "at": message["at"], "sender": alice.id,
        "commandId": message["commandId"], "messageId": message["messageId"], "clientMessageId": "c1",
        "deleted": true,
    });
    assert_eq!(bob.messages(&room).await, std::slice::from_ref(&tombstone));
    assert_eq!(bob.http.get("/rooms").await.good(200)["rooms"][0]["lastMessage"], tombstone);
    let log = bob.events(&room).await;
    assert_eq!((&log[2]["kind"], log[2].get("content")), (&json!("message.edited"), None));
    assert_eq!(madang.items_with("hush-hush").await, 0);
    for frame in [edit(&room, &message, "back again"), delete(&room, &message)] {
        at_alice.refused(frame, "message_not_found").await;
    }

    // A rewound consumer group brings nothing back, to no table and to no client.
    let mut late = bob.join(&room).await;
    madang.rewind().await;
    at_alice.send(&room, "fence", "behind everything").await;
    late.message(&room, "fence").await;
    assert!(!json!(late.events(&room)).to_string().contains("hush-hush"));
    assert_eq!(madang.items_with("hush-hush").await, 0);
    assert_eq!(madang.log_lines_with("hush-hush"), 0);
    // The same message once more is the one that was deleted.
    let again = at_alice.send(&room, "c1", "hush-hush").await;
    let is_it = |push: &Value| push["type"] == "duplicate" && push["commandId"] == again["commandId"];
    let duplicate = at_alice.push_where("the duplicate", is_it).await;
    assert_eq!(duplicate["seq"], 2);
}

/// Said, changed and taken back before anybody looked: nobody ever sees the text.
#[tokio::test]
async fn what_is_deleted_within_its_batch_is_never_shown() {
    let madang = Runtime::start(&["--batching-window-ms", "10000"]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let epoch = bob.http.get(&format!("/rooms/{room}")).await.good(200)["epoch"].as_str().unwrap().to_owned();
    madang.faults(json!({"pauseEventSource": true})).await;
    let said = at_alice.send(&room, "c1", "never seen").await["commandId"].clone();
    // At the door there is no such message yet, so the record is made by hand.
    let message = json!({"messageId": format!("{epoch}.2")});
    at_alice.refused(delete(&room, &message), "message_not_found").await;
    let deletion = json!({"kind": "message.delete", "messageId": message["messageId"]});
    madang.broker().append(MESSAGES, &[command(&room, &alice.id, &said, deletion)]).await;
    madang.faults(json!({})).await;
    for client in [&mut at_alice, &mut at_bob] {
        let heard = client.hear_events(&room, 2).await;
        assert_eq!((&heard[0]["deleted"], &heard[1]["targetSeq"]), (&json!(true), &json!(2)));
        assert!(!json!(heard).to_string().contains("never seen"));
    }
    assert_eq!(madang.items_with("never seen").await, 0);
}

#[tokio::test]
async fn what_is_edited_and_then_deleted_within_a_batch_is_never_shown() {
    // Whatever comes within ten seconds is one batch.
    let madang = Runtime::start(&["--batching-window-ms", "10000"]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "c1", "at first").await;
    let message = at_bob.message(&room, "c1").await;
    at_alice.message(&room, "c1").await;
    madang.faults(json!({"pauseEventSource": true})).await;
    at_alice.act(edit(&room, &message, "hardly said")).await;
    at_alice.act(delete(&room, &message)).await;
    madang.faults(json!({})).await;
    for client in [&mut at_alice, &mut at_bob] {
        let edited = client.event(&room, "message.edited").await;
        assert_eq!(edited["deleted"], true, "{edited}");
        client.event(&room, "message.deleted").await;
        assert!(!json!(client.events(&room)).to_string().contains("hardly said"));
    }
    assert_eq!(madang.items_with("hardly said").await, 0);
}

#[tokio::test]
async fn one_changes_ones_own_and_admins_delete() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let carol = madang.person("carol").await;
    let (mut at_alice, mut at_bob, mut at_carol) =
        (alice.join(&room).await, bob.join(&room).await, carol.connect().await);
    at_alice.send(&room, "hers", "alice's").await;
    at_bob.send(&room, "his", "bob's").await;
    let (hers, his) = (at_bob.message(&room, "hers").await, at_alice.message(&room, "his").await);
    at_bob.refused(edit(&room, &hers, "mine now"), "forbidden").await;
    at_bob.refused(delete(&room, &hers), "forbidden").await;
    at_alice.refused(edit(&room, &his, "mine now"), "forbidden").await;
    at_carol.refused(delete(&room, &his), "not_member").await;
    at_bob.refused(edit(&room, &his, "bob's"), "no_change").await;
    at_bob.refused(edit(&room, &his, " \u{200b} "), "content_empty").await;
    at_bob.refused(edit(&room, &his, &"x".repeat(4_001)), "content_too_long").await;
    for other in ["e.2", "e.999", &format!("{}9", his["messageId"].as_str().unwrap())] {
        at_bob.refused(edit(&room, &json!({"messageId": other}), "x"), "message_not_found").await;
    }
    // One's own message of another room is none of this one's, whatever the body names (case 47).
    let elsewhere = bob.make_room(&[]).await;
    at_bob.subscribe(&elsewhere).await;
    at_bob.send(&elsewhere, "there", "another").await;
    let another = at_bob.message(&elsewhere, "there").await;
    at_bob.refused(edit(&room, &another, "x"), "message_not_found").await;
    at_bob.refused(delete(&room, &another), "message_not_found").await;
    let path = |room: &str| format!("/rooms/{room}/messages/{}", another["messageId"].as_str().unwrap());
    bob.http.call("DELETE", &path(&room), &[], "").await.refused(404, "message_not_found");
    let (body, json_type) = (json!({"content": "x", "roomId": elsewhere}), [("content-type", "application/json")]);
    bob.http.call("PATCH", &path(&room), &json_type, body.to_string()).await.refused(404, "message_not_found");
    assert_eq!(bob.messages(&elsewhere).await[0]["content"], "another");
    // The room's creation and another edit are no messages.
    let epoch = his["messageId"].as_str().unwrap().rsplit_once('.').unwrap().0.to_owned();
    at_bob.refused(delete(&room, &json!({"messageId": format!("{epoch}.1")})), "message_not_found").await;
    at_alice.act(delete(&room, &his)).await;
    at_bob.event(&room, "message.deleted").await;
    at_bob.refused(edit(&room, &his, "back"), "message_not_found").await;
    at_bob.send(&room, "last", "bob's last").await;
    let last = at_bob.message(&room, "last").await;
    at_bob.act(json!({"action": "leave", "roomId": room})).await;
    at_bob.event(&room, "member.left").await;
    at_bob.refused(delete(&room, &last), "not_member").await;
}

/// In a direct room nobody is an admin.
#[tokio::test]
async fn over_http_and_in_a_direct_room() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let room = alice.http.put(&format!("/direct/{}", bob.id)).await.good(201)["roomId"].as_str().unwrap().to_owned();
    let mut at_bob = bob.join(&room).await;
    let json_type = [("content-type", "application/json")];
    let body = json!({"clientMessageId": "c1", "content": "one"});
    alice.http.post(&format!("/rooms/{room}/messages"), &body).await.good(202);
    let message = at_bob.message(&room, "c1").await;
    let path = format!("/rooms/{room}/messages/{}", message["messageId"].as_str().unwrap());
    bob.http.call("DELETE", &path, &[], "").await.refused(403, "forbidden");
    bob.http.call("PATCH", &path, &json_type, r#"{"content":"two"}"#).await.refused(403, "forbidden");
    alice.http.call("PATCH", &path, &json_type, r#"{"content":"two"}"#).await.good(202);
    at_bob.event(&room, "message.edited").await;
    let accepted = alice.http.call("DELETE", &path, &[], "").await.good(202);
    at_bob.event(&room, "message.deleted").await;
    let command = format!("/rooms/{room}/commands/{}", accepted["commandId"].as_str().unwrap());
    assert_eq!(alice.http.get(&command).await.good(200), json!({"state": "committed", "seq": 4}));
    alice.http.call("DELETE", &path, &[], "").await.refused(404, "message_not_found");
    assert_eq!(last_message(&bob).await["deleted"], true);
}

async fn last_message(person: &Person) -> Value {
    eventually("a last message", async || {
        let rooms = person.http.get("/rooms").await.good(200);
        rooms["rooms"][0].get("lastMessage").cloned()
    })
    .await
}
