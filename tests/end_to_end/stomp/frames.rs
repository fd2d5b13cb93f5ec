//! Frames as they stand in WebSocket messages: several, cut, too long, or none at all.

use serde_json::json;
use tests::broker::MESSAGES;
use tests::client::Closed;
use tests::stomp::write;
use tests::{Person, Runtime, Stomp};

fn destination(room: &str) -> String {
    format!("/app/rooms/{room}/send")
}

fn message(room: &str, client_message_id: &str, content: &str) -> String {
    let body = json!({"clientMessageId": client_message_id, "content": content}).to_string();
    write("SEND", &[("destination", &destination(room))], &body)
}

/// What a connection is told that says a text and nothing good.
async fn refused(person: &Person, text: &str) -> tests::stomp::Frame {
    let mut stomp = Stomp::connect(person).await;
    stomp.say_text(text).await;
    let error = stomp.ended().await;
    assert_eq!(error.header("code"), "protocol_error", "{text:.80}");
    error
}

/// Only the first of several frames was obeyed elsewhere: projectodd/stilts#24, jmesnil/stomp-websocket#55.
#[tokio::test]
async fn several_frames_of_a_message_are_obeyed_in_order() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut stomp, mut at_bob) = (Stomp::open(&alice, &[]).await.unwrap(), bob.join(&room).await);
    let connect = write("CONNECT", &[("accept-version", "1.2"), ("passcode", &alice.token)], "");
    let subscribe = write("SUBSCRIBE", &[("id", "1"), ("destination", &format!("/topic/rooms/{room}"))], "");
    let sends: String =
        (1..=3).map(|number| format!("\n\r\n{}\n", message(&room, &format!("m{number}"), "hi"))).collect();
    stomp.say_text(&format!("{connect}{subscribe}{sends}")).await;
    stomp.frame("CONNECTED").await;
    for number in 1..=3 {
        let name = format!("m{number}");
        let seq = (number + 1).to_string();
        assert_eq!(stomp.message("1", &name).await.header("seq"), seq);
        at_bob.message(&room, &name).await;
    }
}

/// What precedes the end is told before it.
#[tokio::test]
async fn a_bad_frame_ends_the_connection_behind_the_answers_of_the_good_ones() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    let body = json!({"clientMessageId": "good", "content": "hi"}).to_string();
    let good = write("SEND", &[("destination", &destination(&room)), ("receipt", "r")], &body);
    stomp.say_text(&format!("{good}SING\n\n\0{}", message(&room, "never", "hi"))).await;
    assert_eq!(stomp.frame("RECEIPT").await.header("receipt-id"), "r");
    stomp.ended().await;
    let messages = alice.messages_once_there(&room, 1).await;
    assert_eq!(messages[0]["clientMessageId"], "good");
}

/// Bytes were counted as characters elsewhere: stomp-js/stompjs#367, jmesnil/stomp-websocket#44 and #74.
#[tokio::test]
async fn content_length_counts_bytes() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let content = "€uro 👨‍👩‍👧‍👦".repeat(10);
    let frame = |name: &str, length: Option<i64>| {
        let body = json!({"clientMessageId": name, "content": content}).to_string();
        let right = i64::try_from(body.len()).unwrap();
        let length = length.map(|more| format!("content-length:{}\n", right + more)).unwrap_or_default();
        format!("SEND\ndestination:{}\n{length}\n{body}\0", destination(&room))
    };
    let mut stomp = Stomp::connect(&alice).await;
    stomp.subscribe("1", &room).await;
    stomp.say_text(&format!("{}{}", frame("right", Some(0)), frame("none", None))).await;
    for name in ["right", "none"] {
        // The reader counts the bytes of what comes.
        assert_eq!(stomp.message("1", name).await.json()["content"], content.as_str());
    }
    for wrong in [-2, -1, 1, 1_000_000] {
        refused(&alice, &format!("{}{}", frame("wrong", Some(wrong)), frame("behind", Some(0)))).await;
    }
    let messages = alice.messages_once_there(&room, 2).await;
    assert!(messages.iter().all(|message| message["content"] == content.as_str()));
}

/// Halves were stored, or the tail taken for a command: traffic-hunter/titan PR #128.
#[tokio::test]
async fn a_frame_that_is_split_over_messages_is_refused_with_the_way_out() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let frame = message(&room, "split", "one half and the other");
    let (half, _) = frame.split_at(frame.len() - 10);
    let error = refused(&alice, half).await;
    assert!(error.header("message").contains("maxWebSocketFrameSize"), "{error:?}");
    assert!(error.header("message").contains("splitLargeFrames"), "{error:?}");
    assert!(alice.messages(&room).await.is_empty());
}

#[tokio::test]
async fn what_is_no_frame_is_refused() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let head = format!("SEND\ndestination:{}\n", destination(&room));
    for text in [
        "{\"action\":\"history\"}",
        "GET / HTTP/1.1\r\n\r\n\0",
        "\0",
        "SEND\n\0",
        "send\n\n\0",
        "CONNECTED\n\n\0",
        "SEND\n\n{}\0",
        "SEND\nno colon\n\n{}\0",
        "SUBSCRIBE\ndestination:/topic/rooms/x\n\n\0",
        "SUBSCRIBE\nid:1\n\n\0",
        &format!("ACK\nid:1\nreceipt:{}\n\n\0", "r".repeat(129)),
        "UNSUBSCRIBE\n\n\0",
        "ACK\n\n\0",
        "SUBSCRIBE\nid:1\ndestination:/x\n\nbody\0",
        "BEGIN\ntransaction:1\n\n\0",
        "COMMIT\ntransaction:1\n\n\0",
        "ABORT\ntransaction:1\n\n\0",
        &format!("{head}transaction:1\n\n{{}}\0"),
        &format!("{head}x:\\t\n\n{{}}\0"),
        &format!("{head}content-length:-1\n\n{{}}\0"),
        &format!("{head}content-length:6x\n\n{{}}\0"),
        &format!("{head}{}\n{{}}\0", "a:b\n".repeat(1_000)),
        &format!("{head}a:{}\n\n{{}}\0", "b".repeat(20_000)),
        &"ACK\nid:1\n\n\0".repeat(101),
    ] {
        refused(&alice, text).await;
    }
    assert!(alice.messages(&room).await.is_empty());
}

/// The hundredth was one too many.
#[tokio::test]
async fn a_message_has_a_hundred_frames() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let mut stomp = Stomp::connect(&alice).await;
    for behind in ["", "\n", "\r\n\n"] {
        stomp.say_text(&format!("{}{behind}", "ACK\nid:1\n\n\0".repeat(100))).await;
        stomp.catch_up().await;
    }
}

/// Receipts came for SEND alone, or with another id: go-stomp/stomp#65, stomp-php/stomp-php#148.
#[tokio::test]
async fn every_frame_may_ask_for_a_receipt_whatever_it_is_called() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    let body = json!({"clientMessageId": "c", "content": "hi"}).to_string();
    let (topic, application) = (format!("/topic/rooms/{room}"), destination(&room));
    for (command, headers, body) in [
        ("SUBSCRIBE", vec![("id", "a:b\\n\n안"), ("destination", topic.as_str())], ""),
        ("SEND", vec![("destination", application.as_str())], body.as_str()),
        ("ACK", vec![("id", "x")], ""),
        ("NACK", vec![("id", "x")], ""),
        ("UNSUBSCRIBE", vec![("id", "a:b\\n\n안")], ""),
        ("UNSUBSCRIBE", vec![("id", "a:b\\n\n안")], ""),
        ("DISCONNECT", vec![], ""),
    ] {
        let receipt = "r:1\\c\n:안";
        let mut all = vec![("receipt", receipt)];
        all.extend(headers);
        stomp.say(command, &all, body).await;
        assert_eq!(stomp.frame("RECEIPT").await.header("receipt-id"), receipt, "{command}");
    }
}

/// A RECEIPT means that the message stands in Kafka.
#[tokio::test]
async fn no_receipt_without_the_broker() {
    let madang = Runtime::alone().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.subscribe_queue("q").await;
    madang.faults(json!({"topicsAway": ["chat-messages"]})).await;
    let body = json!({"clientMessageId": "c", "content": "hi"}).to_string();
    let answer = stomp.answer("SEND", &[("destination", &destination(&room))], &body).await;
    assert_eq!((answer.header("type"), &answer.json()["code"]), ("error", &json!("unavailable")));
    assert_eq!(answer.json()["clientMessageId"], "c");
    madang.faults(json!({})).await;
    stomp.send(&room, "c", "hi").await;
    alice.messages_once_there(&room, 1).await;
}

#[tokio::test]
async fn a_binary_frame_is_refused_by_the_gateway() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.say_binary(b"ACK\nid:1\n\n\0").await;
    assert_eq!(stomp.closed().await, Closed { code: Some(1003) });
}

/// A hundred frames of a hundred people each were 10,000 records, and as many reads before.
#[tokio::test]
async fn the_invitations_of_one_message_are_no_more_than_one_in_json() {
    let madang = Runtime::alone().await;
    let alice = madang.person("alice").await;
    let room = alice.make_room(&[]).await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.subscribe_queue("q").await;
    let destination = format!("/app/rooms/{room}/invite");
    let invite = |receipt: &str| {
        let users: Vec<String> = (0..100).map(|number| format!("{receipt}-{number}")).collect();
        let headers = [("destination", destination.as_str()), ("receipt", receipt)];
        write("SEND", &headers, &json!({"userIds": users}).to_string())
    };
    let before = madang.broker().count(MESSAGES);
    stomp.say_text(&(invite("first") + &invite("second"))).await;
    let answer = async |stomp: &mut Stomp, receipt: &str| {
        stomp.frame_where(receipt, |frame| frame.get("receipt-id") == Some(receipt)).await
    };
    let receipt = answer(&mut stomp, "first").await;
    assert_eq!(receipt.header("command-ids").split(',').count(), 100);
    let refused = answer(&mut stomp, "second").await;
    assert_eq!((refused.header("type"), &refused.json()["code"]), ("error", &json!("limit_reached")));
    assert_eq!(madang.broker().count(MESSAGES) - before, 100);
    // The next message begins anew.
    stomp.say_text(&invite("third")).await;
    assert_eq!(answer(&mut stomp, "third").await.command, "RECEIPT");
}
