//! Who is not in a room neither speaks nor listens there.

use serde_json::json;
use tests::Runtime;
use tests::client::send;

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
