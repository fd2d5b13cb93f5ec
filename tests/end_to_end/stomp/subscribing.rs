//! SUBSCRIBE and UNSUBSCRIBE: ids, copies, acknowledgements, and destinations that are nobody's or somebody else's.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::stomp::{Frame, write};
use tests::{Runtime, Stomp};

#[tokio::test]
async fn each_subscription_gets_a_copy_of_its_own() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut stomp, mut at_bob) = (Stomp::connect(&alice).await, bob.join(&room).await);
    let topic = format!("/topic/rooms/{room}");
    stomp.ask("SUBSCRIBE", &[("id", "one"), ("destination", &topic)], "").await;
    stomp.ask("SUBSCRIBE", &[("id", "t:w\\o\n안"), ("destination", &topic), ("ack", "client-individual")], "").await;
    at_bob.send(&room, "c1", "hi").await;
    let (one, two) = (stomp.message("one", "c1").await, stomp.message("t:w\\o\n안", "c1").await);
    assert_eq!(one.body, two.body);
    assert_ne!(one.header("message-id"), two.header("message-id"));
    assert_eq!((one.get("ack"), two.get("ack")), (None, Some(two.header("message-id"))));
    stomp.ask("ACK", &[("id", two.header("ack"))], "").await;
    stomp.ask("UNSUBSCRIBE", &[("id", "one")], "").await;
    at_bob.send(&room, "c2", "hi").await;
    stomp.message("t:w\\o\n안", "c2").await;
    stomp.catch_up().await;
    assert!(stomp.heard().all(|frame| frame.get("subscription") != Some("one")));
}

/// Some clients escape nothing, and look for their own words: webstomp-client, stompjs in 1.1.
#[tokio::test]
async fn ids_and_receipts_come_back_as_they_were_written() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    let topic = format!("/topic/rooms/{room}");
    stomp.say_text(&format!("SUBSCRIBE\nid:a:b\\\\c\nreceipt:r:\\c:1\ndestination:{topic}\n\n\0")).await;
    let text = stomp.text_with("RECEIPT\n").await;
    assert!(text.contains("\nreceipt-id:r:\\c:1\n"), "{text}");
    stomp
        .say_text(&format!(
            "SEND\ndestination:/app/rooms/{room}/send\ncontent-type:text/plain;charset=UTF-8\n\n{}\0",
            json!({"clientMessageId": "c", "content": "hi"})
        ))
        .await;
    let text = stomp.text_with("MESSAGE\n").await;
    assert!(text.contains("\nsubscription:a:b\\\\c\n"), "{text}");
}

#[tokio::test]
async fn an_id_names_one_subscription() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let topic = format!("/topic/rooms/{room}");
    for first in [topic.as_str(), "/user/queue/events"] {
        for second in [topic.as_str(), "/user/queue/events", "/topic/rooms/*"] {
            let mut stomp = Stomp::connect(&alice).await;
            stomp.ask("SUBSCRIBE", &[("id", "1"), ("destination", first)], "").await;
            stomp.say("SUBSCRIBE", &[("id", "1"), ("destination", second), ("receipt", "r")], "").await;
            let error = stomp.ended().await;
            assert_eq!((error.header("code"), error.header("receipt-id")), ("protocol_error", "r"));
        }
    }
}

/// Anybody could listen in elsewhere: spring-guides/gs-messaging-stomp-websocket#18, dojot/dojot#2529.
#[tokio::test]
async fn nobody_listens_where_they_are_no_member() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mallory = madang.person("mallory").await;
    let mine = mallory.make_room(&[]).await;
    let mut spy = Stomp::connect(&mallory).await;
    spy.subscribe_queue("q").await;
    let others = format!("/user/{}/queue/events", alice.id);
    for (destination, code) in [
        (format!("/topic/rooms/{room}"), "not_member"),
        (format!("/topic/rooms/{room}/signals"), "not_member"),
        ("/topic/rooms/no-such-room".to_owned(), "room_not_found"),
        ("/topic/rooms/*".to_owned(), "invalid_field"),
        ("/topic/rooms/>".to_owned(), "invalid_field"),
        ("/topic/rooms/**".to_owned(), "invalid_field"),
        (format!("/topic/rooms/{mine},/topic/rooms/{room}"), "invalid_field"),
        (format!("/topic/rooms/{mine}/../{room}"), "invalid_field"),
        ("/topic/**".to_owned(), "forbidden"),
        (others, "forbidden"),
        ("/queue/events".to_owned(), "forbidden"),
        ("/elsewhere".to_owned(), "invalid_field"),
    ] {
        let error = spy.answer("SUBSCRIBE", &[("id", "x"), ("destination", &destination)], "").await;
        assert_eq!((error.header("type"), &error.json()["code"]), ("error", &json!(code)), "{destination}");
    }
    let body = json!({"clientMessageId": "c", "content": "raw"}).to_string();
    for (destination, code) in [
        (format!("/topic/rooms/{room}"), "forbidden"),
        (format!("/app/rooms/{room}/send"), "not_member"),
        ("/user/queue/events".to_owned(), "forbidden"),
        (format!("/user/{}/queue/events", alice.id), "forbidden"),
        ("/app/rooms/*/send".to_owned(), "invalid_field"),
        (format!("/app/rooms/{mine}/sing"), "unknown_action"),
    ] {
        let error = spy.answer("SEND", &[("destination", &destination)], &body).await;
        assert_eq!((error.header("type"), &error.json()["code"]), ("error", &json!(code)), "{destination}");
    }
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "secret", "between us").await;
    at_bob.message(&room, "secret").await;
    spy.catch_up().await;
    assert!(spy.heard().all(|frame| frame.get("type") != Some("event")));
    assert!(alice.messages(&room).await.iter().all(|message| message["content"] != "raw"));
}

/// Without a place to be told it, whoever is refused must not take silence for success.
#[tokio::test]
async fn a_refusal_without_a_queue_is_an_error_and_the_end() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mallory = madang.person("mallory").await;
    let mut spy = Stomp::connect(&mallory).await;
    spy.say("SUBSCRIBE", &[("id", "1"), ("destination", &format!("/topic/rooms/{room}")), ("receipt", "r")], "").await;
    let error = spy.ended().await;
    assert_eq!((error.header("code"), error.header("receipt-id")), ("not_member", "r"));
    assert_eq!(error.json()["code"], "not_member");
    for (body, code) in [
        (json!({"clientMessageId": "c", "content": " "}), "content_empty"),
        (json!({"content": "hi"}), "invalid_field"),
        (json!([]), "bad_json"),
    ] {
        let mut stomp = Stomp::connect(&alice).await;
        stomp.say("SEND", &[("destination", &format!("/app/rooms/{room}/send"))], &body.to_string()).await;
        assert_eq!(stomp.ended().await.header("code"), code);
    }
}

/// Clients say all of it in one tick, and each message is an invocation of its own: the refusal waits for the queue.
#[tokio::test]
async fn a_refusal_waits_for_a_queue_that_is_on_its_way() {
    let madang = Runtime::shared().await;
    let (_alice, _bob, room) = madang.pair().await;
    let mallory = madang.person("mallory").await;
    let topic = format!("/topic/rooms/{room}");
    for _ in 0..6 {
        let mut spy = Stomp::connect(&mallory).await;
        spy.say("SUBSCRIBE", &[("id", "q"), ("destination", "/user/queue/events"), ("receipt", "q")], "").await;
        spy.say("SUBSCRIBE", &[("id", "r"), ("destination", &topic), ("receipt", "r")], "").await;
        let refused = spy.frame_where("the refusal", |frame| frame.get("receipt-id") == Some("r")).await;
        assert_eq!((refused.header("type"), refused.header("subscription")), ("error", "q"));
        spy.catch_up().await;
    }
}

/// The log's refusal finds a queue that the command did not know of yet.
#[tokio::test]
async fn a_refusal_by_the_log_finds_a_queue_that_came_later() {
    let madang = Runtime::alone().await;
    let (_alice, bob, room) = madang.pair().await;
    let mut at_bob = Stomp::connect(&bob).await;
    at_bob.send(&room, "c", "one").await;
    madang.faults(json!({"pauseEventSource": true})).await;
    let body = json!({"clientMessageId": "c", "content": "two"}).to_string();
    at_bob.say("SEND", &[("destination", &format!("/app/rooms/{room}/send")), ("receipt", "s")], &body).await;
    at_bob.frame_where("the receipt", |frame| frame.command == "RECEIPT" && frame.header("receipt-id") == "s").await;
    at_bob.subscribe_queue("q").await;
    madang.faults(json!({})).await;
    let nack = at_bob.frame_where("the nack", |frame| frame.get("type") == Some("nack")).await;
    assert_eq!((nack.header("receipt-id"), nack.header("subscription")), ("s", "q"));
}

/// Pages that mount twice, and that subscribe anew under the same id, say both in one tick.
#[tokio::test]
async fn what_is_said_in_one_tick_ends_as_if_it_were_said_in_turn() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = bob.join(&room).await;
    let topic = format!("/topic/rooms/{room}");
    let mut stomp = Stomp::connect(&alice).await;
    stomp.ask("SUBSCRIBE", &[("id", "g"), ("destination", &topic)], "").await;
    for round in 0..6 {
        let first = format!("g{round}");
        stomp.say("UNSUBSCRIBE", &[("id", "g"), ("receipt", "1")], "").await;
        stomp.say("SUBSCRIBE", &[("id", "g"), ("destination", &topic), ("receipt", "2")], "").await;
        stomp.say("SUBSCRIBE", &[("id", &first), ("destination", &topic), ("receipt", "3")], "").await;
        stomp.say("UNSUBSCRIBE", &[("id", &first), ("receipt", "4")], "").await;
        for receipt in ["1", "2", "3", "4"] {
            let frame = stomp.frame_where(receipt, |frame| frame.get("receipt-id") == Some(receipt)).await;
            assert_eq!(frame.command, "RECEIPT", "{frame:?}");
        }
        let name = format!("m{round}");
        at_bob.send(&room, &name, "who hears?").await;
        stomp.message("g", &name).await;
        stomp.catch_up().await;
        assert!(stomp.heard().all(|frame| frame.get("client-message-id") != Some(&name)), "one copy");
    }
}

/// A late UNSUBSCRIBE, which had waited for its own SUBSCRIBE, ended the next one of that id, which had its RECEIPT.
#[tokio::test]
async fn an_unsubscribe_ends_nothing_that_is_said_behind_it() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = bob.join(&room).await;
    let mut stomp = Stomp::connect(&alice).await;
    // No such subscription: a kick has ended it, say.
    stomp.say("UNSUBSCRIBE", &[("id", "again"), ("receipt", "ended")], "").await;
    stomp.catch_up().await;
    // Clearly behind it, while it waits for its SUBSCRIBE.
    let said = Instant::now();
    while said.elapsed() < Duration::from_millis(200) {
        stomp.catch_up().await;
    }
    stomp.subscribe("again", &room).await;
    stomp.frame_where("the end's receipt", |frame| frame.get("receipt-id") == Some("ended")).await;
    at_bob.send(&room, "c", "who hears?").await;
    stomp.message("again", "c").await;
}

/// Each was waited for by itself, together for longer than an invocation may take.
#[tokio::test]
async fn many_unknown_ids_in_one_message_cost_no_more_time_than_one() {
    let madang = Runtime::shared().await;
    let mut stomp = Stomp::connect(&madang.person("alice").await).await;
    let ids: Vec<String> = (0..20).map(|id| id.to_string()).collect();
    let frames = ids.iter().map(|id| write("UNSUBSCRIBE", &[("id", id), ("receipt", id)], ""));
    stomp.say_text(&frames.collect::<String>()).await;
    for id in &ids {
        let receipt = stomp.frame_where(id, |frame| frame.get("receipt-id") == Some(id)).await;
        assert_eq!(receipt.command, "RECEIPT", "{receipt:?}");
    }
}

/// That the room was made may still be told before.
fn is_notice(frame: &Frame) -> bool {
    frame.get("type") == Some("notice") && frame.json()["kind"] == "role"
}

/// Two messages are two invocations: neither subscription may get lost.
#[tokio::test]
async fn queues_that_are_subscribed_at_once_are_all_there() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.connect().await;
    for role in ["admin", "member", "admin", "member"] {
        let mut at_bob = Stomp::connect(&bob).await;
        for id in ["1", "2", "3"] {
            let headers = [("id", id), ("destination", "/user/queue/events"), ("receipt", id)];
            at_bob.say("SUBSCRIBE", &headers, "").await;
        }
        for id in ["1", "2", "3"] {
            let receipt = at_bob.frame_where(id, |frame| frame.get("receipt-id") == Some(id)).await;
            assert_eq!(receipt.command, "RECEIPT", "{receipt:?}");
        }
        at_alice.act(json!({"action": "role", "roomId": room, "userId": bob.id, "role": role})).await;
        for id in ["1", "2", "3"] {
            at_bob.frame_where(id, |frame| is_notice(frame) && frame.header("subscription") == id).await;
        }
    }
}

#[tokio::test]
async fn queues_are_few_and_each_gets_its_copy() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, Stomp::connect(&bob).await);
    for id in ["1", "2", "3", "4"] {
        at_bob.ask("SUBSCRIBE", &[("id", id), ("destination", "/user/queue/events"), ("ack", "client")], "").await;
    }
    let fifth = at_bob.answer("SUBSCRIBE", &[("id", "5"), ("destination", "/user/queue/events")], "").await;
    assert_eq!(fifth.json()["code"], "limit_reached");
    at_bob.ask("UNSUBSCRIBE", &[("id", "2")], "").await;
    at_alice.act(json!({"action": "role", "roomId": room, "userId": bob.id, "role": "admin"})).await;
    for id in ["1", "3", "4"] {
        let is_it =
            |frame: &Frame| is_notice(frame) && frame.header("subscription") == id && frame.get("ack").is_some();
        at_bob.frame_where(id, is_it).await;
    }
    assert!(at_bob.heard().all(|frame| !is_notice(frame)), "{:?}", at_bob.heard().collect::<Vec<_>>());
    // The copies of one event came in one WebSocket message, however long that was.
    at_bob.send(&room, "long", &"가".repeat(1_000)).await;
    for id in ["1", "3", "4"] {
        let is_it = |frame: &Frame| frame.get("type") == Some("events") && frame.header("subscription") == id;
        at_bob.frame_where(id, is_it).await;
    }
    assert!(at_bob.longest_bytes() <= 8_192, "{}", at_bob.longest_bytes());
}

/// Each copy of an event was one more in the consumer's memory, for up to 500 subscriptions to one room.
#[tokio::test]
async fn subscriptions_to_one_room_are_few() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let other = alice.make_room(&[]).await;
    let (mut stomp, mut at_bob) = (Stomp::connect(&alice).await, bob.join(&room).await);
    stomp.subscribe_queue("q").await;
    let (topic, signals) = (format!("/topic/rooms/{room}"), format!("/topic/rooms/{room}/signals"));
    for (id, destination) in [("1", &topic), ("2", &topic), ("3", &signals), ("4", &topic)] {
        stomp.ask("SUBSCRIBE", &[("id", id), ("destination", destination)], "").await;
    }
    for destination in [&topic, &signals] {
        let fifth = stomp.answer("SUBSCRIBE", &[("id", "5"), ("destination", destination)], "").await;
        assert_eq!((fifth.header("type"), &fifth.json()["code"]), ("error", &json!("limit_reached")));
    }
    stomp.subscribe("elsewhere", &other).await;
    stomp.ask("UNSUBSCRIBE", &[("id", "2")], "").await;
    stomp.subscribe("5", &room).await;
    at_bob.send(&room, "c1", "hi").await;
    for id in ["1", "4", "5"] {
        stomp.message(id, "c1").await;
    }
    stomp.catch_up().await;
    assert!(stomp.heard().all(|frame| frame.get("client-message-id") != Some("c1")), "three copies");
}
