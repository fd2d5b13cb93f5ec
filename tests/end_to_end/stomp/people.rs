//! The same person, or the same room, in both protocols: what holds in one holds in the other.

use serde_json::json;
use tests::stomp::Frame;
use tests::{Runtime, Stomp};

/// A removed user's connection heard and posted on elsewhere: RocketChat/Rocket.Chat#11322, socketio/socket.io#4550.
#[tokio::test]
async fn a_removal_ends_both_connections_of_a_person() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let carol = madang.person("carol").await;
    let mut at_alice = alice.join(&room).await;
    at_alice.act(json!({"action": "invite", "roomId": room, "userIds": [carol.id]})).await;
    at_alice.event(&room, "member.invited").await;
    let mut at_carol = carol.join(&room).await;
    let (mut json, mut stomp) = (bob.join(&room).await, Stomp::connect(&bob).await);
    stomp.subscribe("1", &room).await;
    stomp.subscribe_queue("q").await;
    madang.faults(json!({"pauseEventSource": true})).await;
    stomp.send(&room, "m1", "before").await;
    at_alice.act(json!({"action": "kick", "roomId": room, "userId": bob.id})).await;
    at_carol.send(&room, "m2", "behind").await;
    madang.faults(json!({})).await;
    at_carol.message(&room, "m2").await;
    // What stands before the removal in the log is kept, and heard; then the removal, once, and nothing more.
    stomp.message("1", "m1").await;
    stomp.event("1", "member.kicked").await;
    json.event(&room, "member.kicked").await;
    for (action, body) in [
        ("send", json!({"clientMessageId": "m3", "content": "let me in"})),
        ("read", json!({"seq": 1})),
        ("typing", json!({})),
    ] {
        let destination = format!("/app/rooms/{room}/{action}");
        let refused = stomp.answer("SEND", &[("destination", &destination)], &body.to_string()).await;
        assert_eq!(refused.json()["code"], "not_member", "{action}");
    }
    json.refused(json!({"action": "history", "roomId": room}), "not_member").await;
    let is_notice = |frame: &Frame| frame.get("type") == Some("notice") && frame.json()["kind"] == "kicked";
    stomp.frame_where("the notice", is_notice).await;
    stomp.catch_up().await;
    assert!(!stomp.heard().any(is_notice));
    assert!(stomp.heard().all(|frame| frame.get("client-message-id") != Some("m2")));
    assert!(json.events(&room).iter().all(|event| event["clientMessageId"] != "m2"));
}

/// The sender's other device heard nothing, or twice, elsewhere: deltachat/deltachat-desktop#1405, boxdot/gurk-rs#56.
#[tokio::test]
async fn all_devices_of_a_person_hear_each_message_once() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut phone, mut laptop) = (alice.join(&room).await, Stomp::connect(&alice).await);
    laptop.subscribe("1", &room).await;
    let mut at_bob = Stomp::connect(&bob).await;
    at_bob.subscribe("1", &room).await;
    phone.send(&room, "c1", "from the phone").await;
    laptop.send(&room, "c2", "from the laptop").await;
    for name in ["c1", "c2"] {
        let event = phone.message(&room, name).await;
        for stomp in [&mut laptop, &mut at_bob] {
            assert_eq!(stomp.message("1", name).await.json(), event);
        }
    }
    for stomp in [&mut laptop, &mut at_bob] {
        stomp.catch_up().await;
        assert!(stomp.heard().all(|frame| frame.get("type") != Some("event")), "one copy of each");
    }
    // One's own message under one's own id: another's use of it is another message.
    at_bob.send(&room, "c1", "mine").await;
    assert_eq!(at_bob.message("1", "c1").await.json()["content"], "mine");
}

/// A deleted message was still to be had elsewhere: NodeBB/NodeBB#11961, telegramdesktop/tdesktop#2607.
#[tokio::test]
async fn late_comers_find_nothing_of_what_was_deleted() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.subscribe("1", &room).await;
    stomp.send(&room, "m1", "old").await;
    stomp.send(&room, "m2", "SECRET-7f3").await;
    let message = stomp.message("1", "m2").await;
    let id = message.json()["messageId"].clone();
    stomp.act(&room, "delete", &json!({"messageId": id})).await;
    assert_eq!(stomp.event("1", "message.deleted").await.json()["messageId"], id);
    let mut late = Stomp::connect(&bob).await;
    let topic = format!("/topic/rooms/{room}");
    let headers =
        [("id", "1"), ("destination", topic.as_str()), ("epoch", message.header("epoch")), ("after-seq", "0")];
    late.ask("SUBSCRIBE", &headers, "").await;
    assert_eq!(late.message("1", "m2").await.json()["deleted"], true);
    late.event("1", "message.deleted").await;
    assert!(late.heard().all(|frame| !frame.body.contains("SECRET")));
}

/// Escaped once, or not at all, and never twice: what was said is what is heard, also after it was said again.
#[tokio::test]
async fn what_looks_like_markup_comes_back_as_it_was() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut stomp, mut json) = (Stomp::connect(&alice).await, bob.join(&room).await);
    stomp.subscribe("1", &room).await;
    let texts = ["<script>alert(1)</script>", "a < b && c > d", "&lt;b&gt;", "\"'`", "javascript:x", "\\u0000 \\n \\c"];
    for (number, text) in texts.iter().enumerate() {
        let (first, second) = (format!("a{number}"), format!("b{number}"));
        stomp.send(&room, &first, text).await;
        let heard = json.message(&room, &first).await["content"].as_str().unwrap().to_owned();
        json.send(&room, &second, &heard).await;
        assert_eq!(stomp.message("1", &second).await.json()["content"], *text);
    }
    // Nothing to see, a NUL, or too much: the same refusals as everywhere.
    stomp.subscribe_queue("q").await;
    for (content, code) in
        [(" \u{200b}", "content_empty"), ("a\u{0}b", "invalid_field"), (&"x".repeat(4_001), "content_too_long")]
    {
        let body = json!({"clientMessageId": "odd", "content": content}).to_string();
        let refused = stomp.answer("SEND", &[("destination", &format!("/app/rooms/{room}/send"))], &body).await;
        let over_json =
            json.request(json!({"action": "send", "roomId": room, "clientMessageId": "odd", "content": content}));
        assert_eq!(refused.json()["code"], over_json.await["code"], "{code}");
        assert_ne!(refused.json()["code"], "internal");
    }
}

/// Tokens ended up in logs elsewhere: greeves89/AI-Employee#373, bitwarden/clients#4290.
#[tokio::test]
async fn no_token_and_no_text_is_logged() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, _bob, room) = madang.pair().await;
    let bearer = format!("Bearer {}", alice.token);
    let bad = format!("Bearer {}x", alice.token);
    let mut stomp = Stomp::connect(&alice).await;
    stomp.subscribe("1", &room).await;
    stomp.send(&room, "c", "PII-9c1").await;
    stomp.message("1", "c").await;
    for (name, value) in [("Authorization", bad.as_str()), ("passcode", &bad), ("Authorization", &bearer)] {
        let mut other = Stomp::open(&alice, &[]).await.unwrap();
        other.say("CONNECT", &[("accept-version", "1.2"), (name, value)], "").await;
        other.frame_where("an answer", |_| true).await;
        other.say_text("SING\n\n\0").await;
        other.closed().await;
    }
    let signature = alice.token.rsplit('.').next().unwrap();
    for secret in [alice.token.as_str(), signature, "PII-9c1"] {
        assert_eq!(madang.log_lines_with(secret), 0, "{secret}");
    }
}

/// However many rooms are shared: what it says holds for all.
#[tokio::test]
async fn presence_comes_once_a_connection() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let other = alice.make_room(&[&bob]).await;
    let mut at_bob = Stomp::connect(&bob).await;
    for (id, room) in [("1", &room), ("2", &other)] {
        at_bob.ask("SUBSCRIBE", &[("id", id), ("destination", &format!("/topic/rooms/{room}/signals"))], "").await;
    }
    let mut at_alice = Stomp::connect(&alice).await;
    let is_presence = |frame: &Frame| frame.get("type") == Some("presence") && frame.json()["userId"] == alice.id;
    let presence = at_bob.frame_where("presence", is_presence).await;
    assert_eq!((presence.command.as_str(), &presence.json()["online"]), ("MESSAGE", &json!(true)));
    // Behind it on the topic, and told behind it.
    at_alice.ask("SEND", &[("destination", &format!("/app/rooms/{room}/typing"))], "").await;
    at_bob.frame_where("typing", |frame| frame.get("type") == Some("typing")).await;
    assert!(!at_bob.heard().any(is_presence));
}
