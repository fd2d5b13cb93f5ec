//! Whoever was removed hears nothing that follows, and whoever comes back hears again.

use serde_json::{Value, json};
use tests::broker::{MESSAGES, command};
use tests::client::send;
use tests::deadline::eventually;
use tests::person::seq_of;
use tests::{Client, Person, Runtime};

use crate::auth::short_lived;

fn kick(room: &str, user: &Person) -> Value {
    json!({"action": "kick", "roomId": room, "userId": user.id})
}

fn invite(room: &str, user: &Person) -> Value {
    json!({"action": "invite", "roomId": room, "userIds": [user.id]})
}

async fn no_subscriptions(madang: &Runtime, room: &str, user: &Person) {
    eventually("the end of the subscriptions", async || {
        let subscriptions = madang.subscriptions(room).await;
        subscriptions.iter().all(|(other, _)| *other != user.id).then_some(())
    })
    .await;
}

/// Checks that a connection heard nothing of a room past its member's removal.
async fn heard_nothing_past_the_kick(client: &mut Client, room: &str) {
    client.catch_up().await;
    let heard = client.events(room);
    let kicked = heard.iter().find(|event| event["kind"] == "member.kicked").map(seq_of);
    let last = heard.last().map(seq_of);
    assert!(kicked.is_none() || kicked == last, "{heard:?}");
}

#[tokio::test]
async fn a_kick_ends_what_a_connection_hears() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut phone, mut laptop) = (alice.join(&room).await, bob.join(&room).await, bob.connect().await);
    at_alice.send(&room, "before", "one").await;
    phone.message(&room, "before").await;
    at_alice.act(kick(&room, &bob)).await;
    let kicked = phone.event(&room, "member.kicked").await;
    assert_eq!((&kicked["userId"], &kicked["sender"]), (&json!(bob.id), &json!(alice.id)));
    for device in [&mut phone, &mut laptop] {
        let notice = device.notice(&room, "kicked").await;
        assert_eq!(notice["event"], kicked);
    }
    no_subscriptions(&madang, &room, &bob).await;
    at_alice.send(&room, "after", "two").await;
    at_alice.message(&room, "after").await;
    heard_nothing_past_the_kick(&mut phone, &room).await;
    // Neither does any question help.
    let after = json!({"epoch": kicked["commandId"], "seq": 1});
    for frame in [
        send(&room, "c1", "let me in"),
        json!({"action": "subscribe", "roomId": room, "after": after}),
        json!({"action": "history", "roomId": room}),
        json!({"action": "read", "roomId": room, "seq": 1}),
        json!({"action": "typing", "roomId": room}),
        json!({"action": "leave", "roomId": room}),
    ] {
        phone.refused(frame, "not_member").await;
    }
    for path in ["", "/members", "/messages", "/events"] {
        bob.http.get(&format!("/rooms/{room}{path}")).await.refused(403, "not_member");
    }

    // After a new invitation the same connection subscribes and hears again.
    at_alice.act(invite(&room, &bob)).await;
    phone.notice(&room, "invited").await;
    phone.subscribe(&room).await;
    at_alice.send(&room, "again", "three").await;
    phone.message(&room, "again").await;
    assert_eq!(bob.messages(&room).await.len(), 3, "members read everything");
}

/// A fresh token that was on its way would have brought the subscription back.
#[tokio::test]
async fn a_kick_ends_what_a_connection_would_hear_with_a_fresh_token() {
    // A sweep would close his connection.
    let madang = Runtime::start(&["--sweep-interval", "3600"]);
    let (alice, bob) = (madang.person("alice").await, short_lived(&madang, "bob").await);
    let room = alice.make_room(&[&bob]).await;
    let (mut at_alice, _at_bob) = (alice.join(&room).await, bob.join(&room).await);
    eventually("the end of the token", async || {
        let answer = bob.http.get("/rooms").await;
        (answer.status == 401).then_some(())
    })
    .await;
    at_alice.act(kick(&room, &bob)).await;
    no_subscriptions(&madang, &room, &bob).await;
}

/// The log decides: what stands before the kick is kept, what stands behind it is refused, although both were acked.
#[tokio::test]
async fn a_message_behind_the_kick_in_the_log_is_refused() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    madang.faults(json!({"pauseEventSource": true})).await;
    at_bob.send(&room, "kept", "before").await;
    at_alice.act(kick(&room, &bob)).await;
    let late = at_bob.send(&room, "late", "behind").await["commandId"].clone();
    at_alice.send(&room, "not-for-bob", "between us").await;
    madang.faults(json!({})).await;
    let nack = at_bob.nack(&late).await;
    assert_eq!((&nack["code"], &nack["clientMessageId"]), (&json!("not_member"), &json!("late")));
    at_alice.message(&room, "not-for-bob").await;
    let kinds: Vec<Value> = at_alice.events(&room).iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, [json!("message"), json!("member.kicked"), json!("message")]);
    at_bob.notice(&room, "kicked").await;
    heard_nothing_past_the_kick(&mut at_bob, &room).await;
    assert_eq!(at_bob.events(&room).len(), 2, "his own message, and the kick");
    let path = format!("/rooms/{room}/commands/{}?clientMessageId=late", late.as_str().unwrap());
    assert_eq!(bob.http.get(&path).await.good(200), json!({"state": "refused", "code": "not_member"}));
}

/// Kicked and invited again within one batch: the old subscription ends with the kick, whatever follows.
#[tokio::test]
async fn a_kick_and_an_invitation_in_one_batch() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    madang.faults(json!({"pauseEventSource": true})).await;
    let kicked = at_alice.act(kick(&room, &bob)).await["commandId"].clone();
    // At the door Bob is still a member, so the invitation is made by hand.
    at_alice.refused(invite(&room, &bob), "no_change").await;
    let invitation = json!({"kind": "member.invite", "userId": bob.id});
    madang.broker().append(MESSAGES, &[command(&room, &alice.id, &kicked, invitation)]).await;
    madang.faults(json!({})).await;
    at_bob.notice(&room, "kicked").await;
    at_bob.notice(&room, "invited").await;
    no_subscriptions(&madang, &room, &bob).await;
    heard_nothing_past_the_kick(&mut at_bob, &room).await;
    at_bob.subscribe(&room).await;
    at_alice.send(&room, "hello", "again").await;
    at_bob.message(&room, "hello").await;

    // A clean-up that comes once more spares the new membership.
    madang.rewind().await;
    at_alice.send(&room, "fence", "behind everything").await;
    at_bob.message(&room, "fence").await;
    assert_eq!(madang.subscriptions(&room).await.len(), 2);
    at_alice.send(&room, "last", "still here").await;
    at_bob.message(&room, "last").await;
}

/// Subscribing, refreshing and reading while being kicked: none of it leaves a way to hear on.
#[tokio::test]
async fn nothing_slips_through_while_being_kicked() {
    let madang = Runtime::shared().await;
    for round in 0..8 {
        let (alice, bob, room) = madang.pair().await;
        let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.connect().await);
        let token = madang.token(&bob.id).await;
        let hammer = async {
            let mut reads = 0;
            loop {
                let subscribe = json!({"action": "subscribe", "roomId": room, "after": {"epoch": "x", "seq": 0}});
                let subscribed = at_bob.request(subscribe).await;
                at_bob.request(json!({"action": "auth", "token": token})).await;
                let history = at_bob.request(json!({"action": "history", "roomId": room})).await;
                reads += 1;
                match (subscribed["code"].as_str(), history["code"].as_str()) {
                    (Some("not_member"), Some("not_member")) => break reads,
                    (None | Some("unavailable" | "not_member"), None | Some("not_member")) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        let kicking = async {
            for number in 0..round {
                at_alice.send(&room, &format!("m{number}"), "text").await;
            }
            at_alice.act(kick(&room, &bob)).await;
            at_alice.event(&room, "member.kicked").await;
            for number in 0..4 {
                at_alice.send(&room, &format!("secret-{number}"), "between us").await;
            }
            at_alice.message(&room, "secret-3").await;
        };
        let (reads, ()) = tokio::join!(hammer, kicking);
        assert!(reads > 0);
        heard_nothing_past_the_kick(&mut at_bob, &room).await;
        let secrets = |event: &Value| event["clientMessageId"].as_str().is_some_and(|id| id.starts_with("secret"));
        assert!(!at_bob.events(&room).iter().any(secrets));
        no_subscriptions(&madang, &room, &bob).await;
    }
}

/// The process that committed a kick dies before it has cleaned up.
#[tokio::test]
async fn a_kick_whose_clean_up_died_is_cleaned_up_later() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let connection = madang.connection_of(&bob, &room).await;
    madang.faults(json!({"posts": "hold", "connections": [connection]})).await;
    at_alice.act(kick(&room, &bob)).await;
    at_alice.event(&room, "member.kicked").await;
    madang.crash("consumer").await;
    madang.faults(json!({})).await;
    at_alice.send(&room, "secret", "between us").await;
    at_alice.message(&room, "secret").await;
    no_subscriptions(&madang, &room, &bob).await;
    at_bob.notice(&room, "kicked").await;
    heard_nothing_past_the_kick(&mut at_bob, &room).await;
}
