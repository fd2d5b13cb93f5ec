//! People who talk.

use serde_json::{Value, json};
use tests::Runtime;
use tests::client::send;
use tests::person::assert_dense;

#[tokio::test]
async fn two_people_talk() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let lines = ["안녕하세요 👋", "반가워요, 앨리스 😊", "مرحبا", "see you"];
    let mut commands = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let id = format!("line-{number}");
        let speaker = if number % 2 == 0 { &mut at_alice } else { &mut at_bob };
        let ack = speaker.send(&room, &id, line).await;
        assert_eq!(ack.as_object().map(serde_json::Map::len), Some(4), "{ack}");
        commands.push(ack["commandId"].clone());
        for listener in [&mut at_alice, &mut at_bob] {
            let event = listener.message(&room, &id).await;
            assert_eq!((event["content"].as_str(), &event["commandId"]), (Some(*line), &commands[number]));
        }
    }
    let live = at_bob.hear_events(&room, lines.len()).await;
    assert_eq!(live, at_alice.events(&room));
    // The room's creation is event 1.
    assert_dense(&live, 2);
    let senders: Vec<&Value> = live.iter().map(|event| &event["sender"]).collect();
    assert_eq!(senders, [&alice.id, &bob.id, &alice.id, &bob.id].map(|id| json!(id)).iter().collect::<Vec<_>>());

    // History, catch-up and live frames show the same objects.
    assert_eq!(bob.messages(&room).await, live);
    assert_eq!(alice.events(&room).await.get(1..), Some(live.as_slice()));
    let mut history = at_alice.request(json!({"action": "history", "roomId": room})).await;
    let mut newest_first: Vec<Value> = serde_json::from_value(history["messages"].take()).unwrap();
    newest_first.reverse();
    assert_eq!((history["type"].as_str(), newest_first), (Some("history"), live));
}

#[tokio::test]
async fn an_event_says_what_the_protocol_says() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = bob.join(&room).await;
    let ack = alice.connect().await.send(&room, "c1", "hello").await;
    let event = at_bob.message(&room, "c1").await;
    let (at, id) = (event["at"].clone(), event["messageId"].clone());
    let expected = json!({
        "seq": 2, "kind": "message", "roomId": room, "at": at, "sender": alice.id, "commandId": ack["commandId"],
        "messageId": id, "clientMessageId": "c1", "content": "hello",
    });
    assert_eq!(event, expected);
    let epoch = bob.http.get(&format!("/rooms/{room}")).await.good(200)["epoch"].as_str().unwrap().to_owned();
    assert_eq!(id, format!("{epoch}.2"));
    let at = at.as_str().unwrap();
    assert!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[19] == b'.', "RFC 3339 with milliseconds: {at}");
    assert_eq!(ack["commandId"].as_str().unwrap().len(), 26);
    let created = &bob.events(&room).await[0];
    assert_eq!(
        (&created["kind"], &created["seq"], &created["name"]),
        (&json!("room.created"), &json!(1), &json!("Courtyard"))
    );
    assert_eq!(created["userIds"], json!([alice.id, bob.id]));
}

/// Another device of the sender never got the message, or an echo could not be matched: deltachat/deltachat-desktop
/// #1405, element-hq/element-x-ios #4242 (case 58).
#[tokio::test]
async fn every_device_of_the_sender_hears_the_message_once() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut phone, mut laptop, mut at_bob) = (alice.join(&room).await, alice.join(&room).await, bob.join(&room).await);
    let ack = phone.send(&room, "c1", "from the phone").await;
    let mut copies = Vec::new();
    for client in [&mut phone, &mut laptop, &mut at_bob] {
        copies.push(client.message(&room, "c1").await);
        client.catch_up().await;
        assert_eq!(client.events(&room).len(), 1);
        assert_eq!(client.pushes_beside_notices(), [] as [&Value; 0]);
    }
    assert!(copies.iter().all(|copy| *copy == copies[0]));
    assert_eq!(copies[0]["commandId"], ack["commandId"]);

    // A device that was cut off between sending and hearing finds the message once, with its own id.
    let ask = send(&room, "c2", "and gone");
    phone.request(ask).await;
    drop(phone);
    let history = alice.messages_once_there(&room, 2).await;
    assert_eq!(history[1]["clientMessageId"], "c2");
}

#[tokio::test]
async fn a_sender_that_is_not_subscribed_hears_only_its_own_events() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.join(&room).await);
    at_alice.send(&room, "mine", "one").await;
    let own = at_alice.message(&room, "mine").await;
    at_bob.send(&room, "theirs", "two").await;
    at_bob.message(&room, "theirs").await;
    at_alice.send(&room, "mine-too", "three").await;
    let last = at_alice.message(&room, "mine-too").await;
    assert_eq!(at_alice.events(&room), [own, last]);
    assert_eq!(at_bob.hear_events(&room, 3).await[1]["clientMessageId"], "theirs");
}

#[tokio::test]
async fn without_an_id_only_errors_are_answered() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.say(r#"{"action":"ping"}"#).await;
    at_alice.say(json!({"action": "subscribe", "roomId": room}).to_string()).await;
    at_alice.say(send(&room, "quiet", "no answer, please").to_string()).await;
    at_bob.message(&room, "quiet").await;
    at_alice.message(&room, "quiet").await;
    at_alice.say(send(&room, "bad id!", "x").to_string()).await;
    let error = at_alice.push("error").await;
    assert_eq!((&error["code"], error.get("id")), (&json!("invalid_field"), None), "{error}");
    at_alice.catch_up().await;
    assert_eq!(at_alice.pushes_beside_notices(), [] as [&Value; 0]);

    // With an id there is exactly one answer, errors too; the client checks that there is no second one.
    let error = at_alice.request(send(&room, "bad id!", "x")).await;
    assert_eq!(
        (&error["type"], &error["code"], &error["field"]),
        (&json!("error"), &json!("invalid_field"), &json!("clientMessageId"))
    );
    let error =
        at_alice.request(json!({"action": "send", "roomId": room, "clientMessageId": "good", "content": ""})).await;
    assert_eq!((&error["code"], &error["clientMessageId"]), (&json!("content_empty"), &json!("good")));
    for id in [json!(""), json!("x".repeat(65)), json!(5), json!({})] {
        at_alice.say(json!({"action": "ping", "id": id}).to_string()).await;
        let error = at_alice.push("error").await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("id")), "{id}");
    }
    at_alice.say(json!({"action": "ping", "id": "x".repeat(64)}).to_string()).await;
    assert_eq!(at_alice.answer(&"x".repeat(64)).await["type"], "pong");
}

/// The client's clock decided about the order elsewhere: pingdotgg/t3code #3983, ShieldBattery/ShieldBattery #139
/// (case 54). And nobody speaks as somebody else, whatever stands in the frame.
#[tokio::test]
async fn what_a_frame_claims_beyond_the_protocol_is_ignored() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let claims = [
        json!({"at": "2099-01-01T00:00:00.000Z", "timestamp": 4_102_444_800_000_u64}),
        json!({"at": 0, "timestamp": -1}),
        json!({"sender": bob.id, "userId": bob.id, "user": {"id": bob.id}, "seq": 9, "messageId": "e.9"}),
        json!({"at": "abc", "commandId": "01HQ03A7757ME9PZJT5X08GSGM", "kind": "room.created", "type": "events"}),
        json!({"at": "1999-12-31T23:59:59.000Z", "epoch": "e", "replyTo": {"connection": "x"}, "v": 7}),
    ];
    for (number, claim) in claims.iter().enumerate() {
        let mut frame = send(&room, &format!("c{number}"), "it is me");
        frame.as_object_mut().unwrap().extend(claim.as_object().unwrap().clone());
        let ack = at_alice.request(frame).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        let event = at_bob.message(&room, &format!("c{number}")).await;
        assert_eq!((&event["sender"], &event["kind"]), (&json!(alice.id), &json!("message")));
        assert_eq!(event["commandId"], ack["commandId"]);
    }
    let heard = at_bob.hear_events(&room, claims.len()).await;
    assert_dense(&heard, 2);
    let times: Vec<&str> = heard.iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times[0].starts_with("20"), "{times:?}");
    assert_eq!(bob.messages(&room).await, heard);
}
