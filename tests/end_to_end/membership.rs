//! Who is not in a room neither speaks nor listens there.

use serde_json::{Value, json};
use tests::broker::{MESSAGES, StoredRecord};
use tests::client::send;
use tests::deadline::eventually;
use tests::trouble::TroubledWay;
use tests::{Person, Runtime, Stomp};

use crate::commands::once_decided;
use crate::dead_letters::record;

#[tokio::test]
async fn a_stranger_neither_speaks_nor_listens() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mallory = madang.person("mallory").await;
    let (mut at_alice, mut at_mallory) = (alice.join(&room).await, mallory.connect().await);
    let frames = |room: &str| {
        [
            send(room, "c1", "let me in"),
            json!({"action": "subscribe", "roomId": room}),
            json!({"action": "subscribe", "roomId": room, "after": {"epoch": "e", "seq": 0}}),
            json!({"action": "history", "roomId": room}),
            json!({"action": "history", "roomId": room, "after": 0, "limit": 100}),
        ]
    };
    for (room, code) in [(room.as_str(), "not_member"), ("nowhere", "room_not_found")] {
        for frame in frames(room) {
            let error = at_mallory.request(frame.clone()).await;
            let got = (&error["type"], &error["code"], &error["retryable"]);
            assert_eq!(got, (&json!("error"), &json!(code), &json!(false)), "{frame}");
        }
    }
    for (room, status, code) in [(room.as_str(), 403, "not_member"), ("nowhere", 404, "room_not_found")] {
        for path in ["", "/members", "/messages", "/messages?after=0", "/events", "/events?after=0"] {
            mallory.http.get(&format!("/rooms/{room}{path}")).await.refused(status, code);
        }
        let body = json!({"clientMessageId": "c2", "content": "let me in"});
        mallory.http.post(&format!("/rooms/{room}/messages"), &body).await.refused(status, code);
    }
    at_alice.send(&room, "among-us", "x").await;
    assert_eq!(bob.messages_once_there(&room, 1).await[0]["sender"], json!(alice.id));
}

/// How long a refusal took told whether there was a room, and how much stood in it; and it cost as much.
// The way works while the start of the runtime blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_reads_nothing_before_the_refusal() {
    let tables = Runtime::for_its_tables();
    let way = TroubledWay::to(&tables.endpoints.dynamodb).await;
    let arguments = ["--sweep-interval", "86400"];
    let madang = Runtime::start_with(&arguments, &[("AWS_ENDPOINT_URL_DYNAMODB", way.url().as_str())]);
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let mallory = madang.person("mallory").await;
    let direct = alice.http.put(&format!("/direct/{}", bob.id)).await.good(201)["roomId"].as_str().unwrap().to_owned();
    for number in 0..10 {
        let body = json!({"clientMessageId": format!("c{number}"), "content": "hello"});
        alice.http.post(&format!("/rooms/{direct}/messages"), &body).await.good(202);
    }
    // With the room's creation; from then on nobody reads but who asks.
    let handled = async || (madang.counted("consumer", &["Records"]).await == [11.0]).then_some(());
    eventually("everything handled", handled).await;
    for path in ["", "/members", "/messages", "/messages?after=0", "/events", "/events?after=0"] {
        let mut calls = Vec::new();
        for room in [direct.as_str(), "nowhere"] {
            let count = || ["Query", "GetItem", "BatchGetItem"].map(|operation| way.answered(operation));
            let before = count();
            mallory.http.get(&format!("/rooms/{room}{path}")).await.refused(404, "room_not_found");
            let after = count();
            assert_eq!(after[0], before[0], "{path}: nothing of the log or the list");
            calls.push((after[1] - before[1], after[2] - before[2]));
        }
        assert_eq!(calls[0], calls[1], "{path}");
    }
}

#[tokio::test]
async fn a_stranger_hears_nothing_of_a_talk() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mallory = madang.person("mallory").await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let mut at_mallory = mallory.connect().await;
    at_mallory.request(json!({"action": "subscribe", "roomIds": [room]})).await;
    for id in ["secret", "fence"] {
        at_alice.send(&room, id, "between us").await;
        at_bob.message(&room, id).await;
    }
    at_mallory.catch_up().await;
    assert!(at_mallory.events(&room).is_empty() && at_mallory.pushes().is_empty());
    assert_eq!(mallory.http.get("/rooms").await.good(200), json!({"rooms": []}));
    assert_eq!(madang.subscriptions(&room).await.len(), 2);
}

/// The room of two people, and a room that nobody has made.
async fn direct_and_none(alice: &Person, bob: &Person) -> [String; 2] {
    let room = alice.http.put(&format!("/direct/{}", bob.id)).await.good(201)["roomId"].as_str().unwrap().to_owned();
    let none = format!("{room}0");
    [room, none]
}

/// The same answer but for what is always another one.
fn without(mut answer: Value, fields: &[&str]) -> Value {
    fields.iter().for_each(|field| drop(answer.as_object_mut().unwrap().remove(*field)));
    answer
}

/// The id of a direct room follows from its two people: whoever asks for it must not learn whether they talk.
#[tokio::test]
async fn a_direct_room_is_to_strangers_as_if_it_were_not_there() {
    let madang = Runtime::shared().await;
    let (alice, bob, mallory) =
        (madang.person("alice").await, madang.person("bob").await, madang.person("mallory").await);
    let rooms = direct_and_none(&alice, &bob).await;
    let mut at_mallory = mallory.connect().await;
    let frames = |room: &String| {
        [
            send(room, "c1", "let me in"),
            json!({"action": "subscribe", "roomId": room}),
            json!({"action": "subscribe", "roomId": room, "after": {"epoch": "e", "seq": 0}, "signals": ["typing"]}),
            json!({"action": "history", "roomId": room}),
            json!({"action": "typing", "roomId": room}),
            json!({"action": "read", "roomId": room, "seq": 1}),
            json!({"action": "edit", "roomId": room, "messageId": "e.1", "content": "x"}),
            json!({"action": "delete", "roomId": room, "messageId": "e.1"}),
            json!({"action": "rename", "roomId": room, "name": "x"}),
            json!({"action": "invite", "roomId": room, "userIds": [mallory.id]}),
            json!({"action": "kick", "roomId": room, "userId": bob.id}),
            json!({"action": "role", "roomId": room, "userId": bob.id, "role": "admin"}),
            json!({"action": "leave", "roomId": room}),
        ]
    };
    let [of_direct, of_none] = rooms.each_ref().map(frames);
    for (direct, none) in of_direct.into_iter().zip(of_none) {
        let error = at_mallory.request(direct.clone()).await;
        assert_eq!(error["code"], "room_not_found", "{direct}");
        assert_eq!(without(error, &["id"]), without(at_mallory.request(none).await, &["id"]), "{direct}");
    }
    let answered = at_mallory.request(json!({"action": "subscribe", "roomIds": rooms})).await["rooms"].clone();
    let refused = |room: &String| json!({"roomId": room, "error": "room_not_found"});
    assert_eq!(answered, json!(rooms.each_ref().map(refused)));

    let [direct, none] = rooms.each_ref().map(|room| format!("/rooms/{room}"));
    let member = format!("/members/{}", bob.id);
    for (method, path, body) in [
        ("GET", "", json!(null)),
        ("GET", "/members", json!(null)),
        ("GET", "/messages", json!(null)),
        ("GET", "/events?after=0", json!(null)),
        ("PATCH", "", json!({"name": "x"})),
        ("POST", "/messages", json!({"clientMessageId": "c2", "content": "let me in"})),
        ("PATCH", "/messages/e.1", json!({"content": "x"})),
        ("DELETE", "/messages/e.1", json!(null)),
        ("PUT", "/read", json!({"seq": 1})),
        ("POST", "/members", json!({"userIds": [mallory.id]})),
        ("PATCH", member.as_str(), json!({"role": "admin"})),
        ("DELETE", member.as_str(), json!(null)),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let ask = async |room: &str| mallory.http.call(method, &format!("{room}{path}"), &[], body.clone()).await;
        let answer = ask(&direct).await;
        answer.refused(404, "room_not_found");
        let [answer, other] = [answer, ask(&none).await].map(|answer| without(answer.json(), &["requestId"]));
        assert_eq!(answer, other, "{method} {path}");
    }
    assert_eq!(alice.events(&rooms[0]).await.len(), 1, "nothing of this has happened");
}

#[tokio::test]
async fn a_direct_room_is_not_there_for_strangers_who_speak_stomp() {
    let madang = Runtime::shared().await;
    let (alice, bob, mallory) =
        (madang.person("alice").await, madang.person("bob").await, madang.person("mallory").await);
    let [room, _] = direct_and_none(&alice, &bob).await;
    let mut spy = Stomp::connect(&mallory).await;
    spy.subscribe_queue("q").await;
    for destination in [format!("/topic/rooms/{room}"), format!("/topic/rooms/{room}/signals")] {
        let error = spy.answer("SUBSCRIBE", &[("id", "x"), ("destination", &destination)], "").await;
        assert_eq!((error.header("type"), &error.json()["code"]), ("error", &json!("room_not_found")), "{destination}");
    }
    for (action, body) in [
        ("send", json!({"clientMessageId": "c1", "content": "let me in"})),
        ("edit", json!({"messageId": "e.1", "content": "x"})),
        ("delete", json!({"messageId": "e.1"})),
        ("rename", json!({"name": "x"})),
        ("invite", json!({"userIds": [mallory.id]})),
        ("kick", json!({"userId": bob.id})),
        ("role", json!({"userId": bob.id, "role": "admin"})),
        ("leave", json!({})),
        ("read", json!({"seq": 1})),
        ("typing", json!({})),
    ] {
        let destination = format!("/app/rooms/{room}/{action}");
        let error = spy.answer("SEND", &[("destination", &destination)], &body.to_string()).await;
        assert_eq!((error.header("type"), &error.json()["code"]), ("error", &json!("room_not_found")), "{action}");
    }
}

/// What gets past the door, as by a cache that is wrong, is refused with the same word.
#[tokio::test]
async fn the_commit_says_nothing_of_a_direct_room_either() {
    let madang = Runtime::shared().await;
    let (alice, bob, mallory) =
        (madang.person("alice").await, madang.person("bob").await, madang.person("mallory").await);
    for room in direct_and_none(&alice, &bob).await {
        let (id, value) = record(&room, &mallory.id, "c1", "let me in");
        madang.broker().produce(MESSAGES, 0, &[StoredRecord::new(Some(room.as_bytes()), Some(&value))]).await;
        let refused = once_decided(&mallory, &room, &json!(id), "c1").await;
        assert_eq!(refused, json!({"state": "refused", "code": "room_not_found"}));
    }
}
