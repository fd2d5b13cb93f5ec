//! The cache is wrong: it says yes of strangers, or holds what nobody has put there.

use serde_json::{Value, json};
use tests::client::send;
use tests::deadline::eventually;
use tests::redis::Redis;
use tests::{Person, Runtime};

use crate::{asked, asked_in_all, entry, entry_once_there, with_cache};

/// A system with a room of alice and bob, both known to the cache, and a stranger.
struct Yard {
    madang: Runtime,
    redis: Redis,
    alice: Person,
    bob: Person,
    mallory: Person,
    room: String,
}

impl Yard {
    async fn new() -> Self {
        let (madang, redis) = with_cache(&[]).await;
        let (alice, bob, room) = madang.pair().await;
        let mallory = madang.person("mallory").await;
        for person in [&alice, &bob] {
            person.connect().await.send(&room, "first", "hello").await;
            entry_once_there(&redis, &room, person).await;
        }
        Self { madang, redis, alice, bob, mallory, room }
    }

    /// Has the cache say that the stranger is a member, of this room or another.
    async fn poison(&self, room: &str) {
        let true_one = entry_once_there(&self.redis, &self.room, &self.alice).await;
        let false_one = true_one.replace(&self.room, room).replace(&self.alice.id, &self.mallory.id);
        self.redis.ask::<()>(&["COPY", &true_one, &false_one, "REPLACE"]).await;
        assert!(entry(&self.redis, room, &self.mallory).await.is_some());
    }

    /// Waits until the consumer has handled every record.
    async fn at_rest(&self) {
        eventually("every record handled", async || {
            let mut produced = 0.0;
            for function in ["connect", "message", "disconnect", "api", "sweeper"] {
                produced += self.madang.counted(function, &["Produces"]).await[0];
            }
            let handled = self.madang.counted("consumer", &["Records"]).await[0];
            (handled >= produced).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_stranger_whom_the_cache_takes_for_a_member_says_nothing() {
    let yard = Yard::new().await;
    let mut at_mallory = yard.mallory.connect().await;
    let [before, ..] = asked_in_all(&yard.madang, "message", 2.0).await;
    for (room, code) in [(yard.room.as_str(), "not_member"), ("nowhere", "room_not_found")] {
        yard.poison(room).await;
        let command = at_mallory.send(room, "let-me-in", "x").await["commandId"].clone();
        let nack = at_mallory.nack(&command).await;
        assert_eq!((&nack["code"], &nack["clientMessageId"]), (&json!(code), &json!("let-me-in")));
        // The refusal has corrected the entry.
        assert_eq!(entry(&yard.redis, room, &yard.mallory).await, None);
        at_mallory.refused(send(room, "let-me-in", "x"), code).await;

        yard.poison(room).await;
        let body = json!({"clientMessageId": "by-http", "content": "x"});
        let accepted = yard.mallory.http.post(&format!("/rooms/{room}/messages"), &body).await.good(202);
        let command = accepted["commandId"].as_str().unwrap();
        let path = format!("/rooms/{room}/commands/{command}?clientMessageId=by-http");
        eventually("the refusal", async || {
            let state = yard.mallory.http.get(&path).await.good(200);
            (state["state"] != "pending").then(|| assert_eq!(state, json!({"state": "refused", "code": code})))
        })
        .await;
    }
    // One yes for each room by the socket, and one by HTTP.
    let [hits, ..] = asked_in_all(&yard.madang, "message", 6.0).await;
    assert_eq!((hits - before, asked(&yard.madang, "api").await[0]), (2.0, 2.0));
    let messages = yard.alice.messages(&yard.room).await;
    let senders: Vec<&Value> = messages.iter().map(|message| &message["sender"]).collect();
    assert_eq!(senders, [&json!(yard.alice.id), &json!(yard.bob.id)]);
}

#[tokio::test]
async fn a_stranger_whom_the_cache_takes_for_a_member_gives_no_sign() {
    let yard = Yard::new().await;
    let (mut at_alice, mut at_mallory) = (yard.alice.connect().await, yard.mallory.connect().await);
    at_alice.subscribe_with(&yard.room, &["typing", "read", "presence"]).await;
    yard.poison(&yard.room).await;
    at_mallory.act(json!({"action": "typing", "roomId": yard.room})).await;
    at_mallory.act(json!({"action": "read", "roomId": yard.room, "seq": 2})).await;
    let path = format!("/rooms/{}/read", yard.room);
    yard.mallory.http.call("PUT", &path, &[], json!({"seq": 3}).to_string()).await.good(202);
    yard.at_rest().await;
    at_alice.catch_up().await;
    at_mallory.catch_up().await;
    let of_mallory = |push: &Value| push["userId"] == yard.mallory.id;
    assert!(!at_alice.pushes().iter().any(of_mallory), "{:?}", at_alice.pushes());
    assert!(at_mallory.pushes().is_empty(), "{:?}", at_mallory.pushes());
    assert!(yard.madang.knows_member(&yard.room, &yard.bob).await);
    assert!(!yard.madang.knows_member(&yard.room, &yard.mallory).await, "no marker makes a member");
    // A sign of a member does come.
    yard.bob.connect().await.act(json!({"action": "typing", "roomId": yard.room})).await;
    assert_eq!(at_alice.push("typing").await["userId"], json!(yard.bob.id));
}

/// What is read, subscribed to or changed is no matter of the cache.
#[tokio::test]
async fn a_stranger_whom_the_cache_takes_for_a_member_sees_nothing() {
    let yard = Yard::new().await;
    yard.poison(&yard.room).await;
    let mut at_mallory = yard.mallory.connect().await;
    let room = &yard.room;
    for frame in [
        json!({"action": "subscribe", "roomId": room}),
        json!({"action": "history", "roomId": room}),
        json!({"action": "rename", "roomId": room, "name": "mine"}),
        json!({"action": "invite", "roomId": room, "userIds": [yard.mallory.id]}),
        json!({"action": "leave", "roomId": room}),
    ] {
        at_mallory.refused(frame, "not_member").await;
    }
    for path in ["", "/members", "/messages", "/events"] {
        yard.mallory.http.get(&format!("/rooms/{room}{path}")).await.refused(403, "not_member");
    }
    assert_eq!(asked(&yard.madang, "api").await, [0.0; 3]);
    assert_eq!(yard.mallory.http.get("/rooms").await.good(200), json!({"rooms": []}));
}

/// Entries of other types, and with other contents: none of them is an answer, and none a failure.
#[tokio::test]
async fn odd_entries_are_none() {
    let yard = Yard::new().await;
    let mut at_alice = yard.alice.join(&yard.room).await;
    let name = entry_once_there(&yard.redis, &yard.room, &yard.alice).await;
    let long = "x".repeat(100_000);
    let odd: [&[&str]; 8] = [
        &["SET", &name, ""],
        &["SET", &name, "1"],
        &["SET", &name, "membership"],
        &["SET", &name, &long],
        &["RPUSH", &name, "member"],
        &["HSET", &name, "member", "member"],
        &["SADD", &name, "member"],
        &["XADD", &name, "*", "member", "member"],
    ];
    let before = asked_in_all(&yard.madang, "message", 2.0).await;
    for (number, command) in (1..).zip(odd) {
        yard.redis.ask::<()>(&["DEL", &name]).await;
        yard.redis.ask::<()>(command).await;
        let id = format!("odd-{number}");
        at_alice.send(&yard.room, &id, "text").await;
        at_alice.message(&yard.room, &id).await;
        assert_eq!(yard.redis.ask::<String>(&["TYPE", &name]).await, "string", "it is kept as it should be");
    }
    let after = asked_in_all(&yard.madang, "message", 2.0 + odd.len() as f64).await;
    assert_eq!([after[0] - before[0], after[1] - before[1], after[2]], [0.0, odd.len() as f64, 0.0]);
    at_alice.send(&yard.room, "good", "text").await;
    assert_eq!(asked_in_all(&yard.madang, "message", 3.0 + odd.len() as f64).await[0], before[0] + 1.0);
}
