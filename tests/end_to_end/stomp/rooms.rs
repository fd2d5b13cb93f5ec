//! Talking in rooms: the same commands and events as in JSON, beside people who speak that.

use serde_json::json;
use tests::client::send;
use tests::deadline::eventually;
use tests::stomp::Frame;
use tests::{Runtime, Stomp};

#[tokio::test]
async fn people_of_both_protocols_see_the_same_room() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut stomp, mut json) = (Stomp::connect(&alice).await, bob.join(&room).await);
    stomp.subscribe("1", &room).await;
    let texts =
        ["안녕하세요", "مرحبا", "👨‍👩‍👧‍👦 <b>&amp;", "a:b\\n\nc\r\n\u{0}x".trim_end_matches("\u{0}x"), &"가".repeat(4_000)];
    for (number, text) in texts.iter().enumerate() {
        stomp.send(&room, &format!("s{number}"), text).await;
        json.send(&room, &format!("j{number}"), text).await;
    }
    for (number, text) in texts.iter().enumerate() {
        for name in [format!("s{number}"), format!("j{number}")] {
            let (frame, event) = (stomp.message("1", &name).await, json.message(&room, &name).await);
            assert_eq!(frame.json(), event);
            assert_eq!(event["content"], *text);
            assert_eq!(frame.header("sender").replace("%40", "@"), event["sender"].as_str().unwrap());
        }
    }
    let messages = alice.messages_once_there(&room, texts.len() * 2).await;
    assert_eq!(messages.len(), texts.len() * 2);
}

#[tokio::test]
async fn every_action_is_a_send() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let carol = madang.person("carol").await;
    let (mut at_alice, mut at_bob) = (Stomp::connect(&alice).await, Stomp::connect(&bob).await);
    at_alice.subscribe("1", &room).await;
    at_bob.subscribe_queue("q").await;
    at_bob.ask("SUBSCRIBE", &[("id", "s"), ("destination", &format!("/topic/rooms/{room}/signals"))], "").await;
    at_alice.send(&room, "c1", "one").await;
    let message = at_alice.message("1", "c1").await.json();
    at_alice.act(&room, "edit", &json!({"messageId": message["messageId"], "content": "two"})).await;
    assert_eq!(at_alice.event("1", "message.edited").await.json()["content"], "two");
    at_alice.act(&room, "delete", &json!({"messageId": message["messageId"]})).await;
    at_alice.event("1", "message.deleted").await;
    at_alice.act(&room, "rename", &json!({"name": "Courtyard two"})).await;
    assert_eq!(at_alice.event("1", "room.renamed").await.json()["name"], "Courtyard two");
    let (invite, people) = (format!("/app/rooms/{room}/invite"), json!({"userIds": [carol.id]}).to_string());
    let receipt = at_alice.answer("SEND", &[("destination", &invite)], &people).await;
    let invited = at_alice.event("1", "member.invited").await;
    assert_eq!(invited.json()["commandId"], receipt.header("command-ids"));
    at_alice.act(&room, "role", &json!({"userId": bob.id, "role": "admin"})).await;
    at_alice.event("1", "member.role").await;
    // That the room was made may still be told before.
    let is_notice = |frame: &Frame| frame.get("type") == Some("notice") && frame.json()["kind"] == "role";
    let notice = at_bob.frame_where("the notice", is_notice).await;
    assert_eq!((notice.header("subscription"), notice.header("destination")), ("q", "/user/queue/events"));
    at_alice.act(&room, "read", &json!({"seq": 3})).await;
    let read = at_bob.frame_where("the receipt", |frame| frame.get("type") == Some("read")).await;
    assert_eq!(read.header("destination"), format!("/topic/rooms/{room}/signals"));
    assert_eq!(read.json(), json!({"type": "read", "roomId": room, "userId": alice.id, "seq": 3}));
    let typing = format!("/app/rooms/{room}/typing");
    at_alice.ask("SEND", &[("destination", &typing)], "").await;
    let frame = at_bob.frame_where("typing", |frame| frame.get("type") == Some("typing")).await;
    assert_eq!((frame.header("subscription"), &frame.json()["userId"]), ("s", &json!(alice.id)));
    at_alice.act(&room, "kick", &json!({"userId": carol.id})).await;
    at_alice.event("1", "member.kicked").await;
    at_bob.act(&room, "leave", &json!({})).await;
    at_alice.event("1", "member.left").await;
    // Signals alone were subscribed to.
    assert!(at_bob.heard().all(|frame| frame.get("type") != Some("event")), "{:?}", at_bob.heard().collect::<Vec<_>>());
}

/// Retries and conflicts are told on the queue, as the command's own frame is called.
#[tokio::test]
async fn what_became_of_a_command_is_told_on_the_queue() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, Stomp::connect(&bob).await);
    at_bob.subscribe_queue("q").await;
    let destination = format!("/app/rooms/{room}/send");
    let say = async |at_bob: &mut Stomp, receipt: &str, content: &str| {
        let body = json!({"clientMessageId": "c", "content": content}).to_string();
        at_bob.say("SEND", &[("destination", &destination), ("receipt", receipt)], &body).await;
        at_bob.frame_where("RECEIPT", |frame| frame.command == "RECEIPT" && frame.header("receipt-id") == receipt).await
    };
    let receipt = say(&mut at_bob, "first", "one").await;
    // The queue alone is subscribed: one's own event comes there.
    let own = at_bob.frame_where("events", |frame| frame.get("type") == Some("events")).await;
    let event = &own.json()["events"][0];
    assert_eq!((&event["clientMessageId"], &event["commandId"]), (&json!("c"), &json!(receipt.header("command-id"))));
    say(&mut at_bob, "again", "one").await;
    let duplicate = at_bob.frame_where("duplicate", |frame| frame.get("type") == Some("duplicate")).await;
    assert_eq!((duplicate.header("receipt-id"), &duplicate.json()["seq"]), ("again", &json!(2)));
    say(&mut at_bob, "other", "two").await;
    let nack = at_bob.frame_where("nack", |frame| frame.get("type") == Some("nack")).await;
    assert_eq!((nack.header("receipt-id"), &nack.json()["code"]), ("other", &json!("idempotency_conflict")));
    // Refused at once, whatever about it is wrong: what the client calls it is all that names it without a receipt.
    let empty = json!({"clientMessageId": "empty", "content": ""}).to_string();
    at_bob.say("SEND", &[("destination", &destination)], &empty).await;
    let refused = at_bob.frame_where("error", |frame| frame.get("type") == Some("error")).await.json();
    assert_eq!((&refused["code"], &refused["clientMessageId"]), (&json!("content_empty"), &json!("empty")));

    // Acked, and then refused by the log.
    madang.faults(json!({"pauseEventSource": true})).await;
    at_alice.act(json!({"action": "kick", "roomId": room, "userId": bob.id})).await;
    let body = json!({"clientMessageId": "late", "content": "late"}).to_string();
    at_bob.ask("SEND", &[("destination", &destination)], &body).await;
    madang.faults(json!({})).await;
    let nack = at_bob.frame_where("nack", |frame| frame.get("type") == Some("nack")).await;
    assert_eq!((&nack.json()["code"], &nack.json()["clientMessageId"]), (&json!("not_member"), &json!("late")));
}

/// Nobody listens for the nack: it must not be lost in silence.
#[tokio::test]
async fn a_nack_without_a_queue_ends_the_connection() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.send(&room, "c", "one").await;
    stomp.send(&room, "c", "one").await;
    stomp.send(&room, "c", "two").await;
    let error = stomp.ended().await;
    assert_eq!((error.header("code"), error.header("receipt-id")), ("idempotency_conflict", "q3"));
    assert_eq!(error.json()["type"], "nack");
}

#[tokio::test]
async fn a_kick_ends_the_subscription_and_an_invitation_opens_the_room_again() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, Stomp::connect(&bob).await);
    at_bob.subscribe("1", &room).await;
    at_bob.subscribe("2", &room).await;
    at_bob.subscribe_queue("q").await;
    at_bob.ask("SUBSCRIBE", &[("id", "s"), ("destination", &format!("/topic/rooms/{room}/signals"))], "").await;
    at_alice.act(json!({"action": "kick", "roomId": room, "userId": bob.id})).await;
    for subscription in ["1", "2"] {
        assert_eq!(at_bob.event(subscription, "member.kicked").await.json()["userId"], bob.id.as_str());
    }
    eventually("the end of the subscriptions", async || {
        let left = madang.subscriptions(&room).await;
        left.iter().all(|(user, _)| *user != bob.id).then_some(())
    })
    .await;
    at_alice.send(&room, "secret", "between us").await;
    at_alice.message(&room, "secret").await;
    at_alice.act(json!({"action": "typing", "roomId": room})).await;
    let (topic, signals) = (format!("/topic/rooms/{room}"), format!("/topic/rooms/{room}/signals"));
    let (application, body) = (format!("/app/rooms/{room}/send"), send(&room, "c", "let me in").to_string());
    for (command, headers, body) in [
        ("SUBSCRIBE", vec![("id", "3"), ("destination", topic.as_str())], ""),
        ("SUBSCRIBE", vec![("id", "3"), ("destination", signals.as_str())], ""),
        ("SEND", vec![("destination", application.as_str())], body.as_str()),
    ] {
        let error = at_bob.answer(command, &headers, body).await;
        assert_eq!((error.header("type"), &error.json()["code"]), ("error", &json!("not_member")));
    }
    // A subscription that the kick has ended may be ended once more.
    at_bob.ask("UNSUBSCRIBE", &[("id", "2")], "").await;
    at_alice.act(json!({"action": "invite", "roomId": room, "userIds": [bob.id]})).await;
    at_bob
        .frame_where("the invitation", |frame| frame.get("type") == Some("notice") && frame.json()["kind"] == "invited")
        .await;
    at_bob.subscribe("1", &room).await;
    at_alice.send(&room, "again", "welcome back").await;
    at_bob.message("1", "again").await;
    let secret =
        |frame: &&Frame| frame.get("client-message-id") == Some("secret") || frame.get("type") == Some("typing");
    assert_eq!(at_bob.heard().find(secret), None);
}

/// Many events in one batch: few WebSocket messages, none above what a Spring client on Tomcat takes.
#[tokio::test]
async fn frames_share_messages_up_to_the_limit() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, Stomp::connect(&bob).await);
    at_bob.subscribe("1", &room).await;
    madang.faults(json!({"pauseEventSource": true})).await;
    at_alice.send_many(&room, "m", 60).await;
    madang.faults(json!({})).await;
    for number in 1..=60 {
        at_bob.message("1", &format!("m{number}")).await;
    }
    assert!(at_bob.longest_bytes() <= 8_192, "{}", at_bob.longest_bytes());
    assert!(at_bob.texts() < 20, "{} messages", at_bob.texts());
}
