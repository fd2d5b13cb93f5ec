//! Who is kept in the cache, and who is not any more.

use serde_json::{Value, json};
use tests::Person;
use tests::broker::{MESSAGES, command};
use tests::client::send;
use tests::person::seq_of;

use crate::{asked_in_all, entry, entry_once_there, with_cache};

fn kick(room: &str, user: &Person) -> Value {
    json!({"action": "kick", "roomId": room, "userId": user.id})
}

#[tokio::test]
async fn a_membership_is_kept_until_it_ends() {
    let (madang, redis) = with_cache(&[]).await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_bob.send(&room, "one", "hello").await;
    entry_once_there(&redis, &room, &bob).await;
    assert!(redis.ask::<i64>(&["TTL", &entry(&redis, &room, &bob).await.unwrap()]).await > 0, "it ends by itself");

    // Whoever is removed hears of it when the entry is gone.
    at_alice.act(kick(&room, &bob)).await;
    at_bob.notice(&room, "kicked").await;
    assert_eq!(entry(&redis, &room, &bob).await, None);
    at_bob.refused(send(&room, "two", "let me in"), "not_member").await;

    // Who is invited is known before the first word.
    at_alice.act(json!({"action": "invite", "roomId": room, "userIds": [bob.id]})).await;
    at_bob.notice(&room, "invited").await;
    let before = asked_in_all(&madang, "message", 2.0).await;
    at_bob.send(&room, "three", "hello again").await;
    let after = asked_in_all(&madang, "message", 3.0).await;
    assert_eq!((before, after), ([0.0, 2.0, 0.0], [1.0, 2.0, 0.0]));

    at_bob.act(json!({"action": "leave", "roomId": room})).await;
    at_alice.event(&room, "member.left").await;
    assert_eq!(entry(&redis, &room, &bob).await, None);
}

/// What holds behind a batch is kept, whatever has happened within it, also when it comes once more.
#[tokio::test]
async fn the_last_of_a_batch_holds() {
    let (madang, redis) = with_cache(&[]).await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.connect().await);
    at_bob.send(&room, "one", "hello").await;
    let name = entry_once_there(&redis, &room, &bob).await;
    madang.faults(json!({"pauseEventSource": true})).await;
    let kicked = at_alice.act(kick(&room, &bob)).await["commandId"].clone();
    // At the door Bob is still a member, so the invitation is made by hand.
    let invitation = json!({"kind": "member.invite", "userId": bob.id});
    madang.broker().append(MESSAGES, &[command(&room, &alice.id, &kicked, invitation)]).await;
    madang.faults(json!({})).await;
    let joined = seq_of(&at_bob.notice(&room, "invited").await["event"]);
    assert!(entry(&redis, &room, &bob).await.is_some());

    // The kick comes once more, and ends no later membership.
    redis.ask::<()>(&["DEL", &name]).await;
    madang.rewind().await;
    at_alice.send(&room, "fence", "behind everything").await;
    at_alice.message(&room, "fence").await;
    assert!(entry(&redis, &room, &bob).await.is_some());

    madang.faults(json!({"pauseEventSource": true})).await;
    at_bob.send(&room, "two", "my last word").await;
    at_alice.act(kick(&room, &bob)).await;
    madang.faults(json!({})).await;
    // Notices of the first kick have come, and perhaps more than once.
    let is_last = |push: &Value| push["kind"] == "kicked" && seq_of(&push["event"]) > joined;
    at_bob.push_where("the notice of the last kick", is_last).await;
    assert_eq!(entry(&redis, &room, &bob).await, None);
}

/// Whatever stands in an id, nobody is taken for somebody else.
#[tokio::test]
async fn odd_ids_are_ids() {
    let (madang, redis) = with_cache(&[]).await;
    let mut people: Vec<Person> = Vec::new();
    for id in ["a:b", "b", ":b", "* [a]?", "\"quoted\" 'x'", "{tag}", "지민 ☂", "$6 \\x00 \\r\\n"] {
        people.push(madang.somebody(id).await);
    }
    let others: Vec<&Person> = people.iter().skip(1).collect();
    let room = people[0].make_room(&others).await;
    for (number, person) in people.iter().enumerate() {
        person.connect().await.send(&room, "hello", "it is me").await;
        let messages = people[0].messages_once_there(&room, number + 1).await;
        assert_eq!(messages[number]["sender"], json!(person.id));
        entry_once_there(&redis, &room, person).await;
    }
    assert_eq!(redis.entries().await.len(), people.len());
}
