//! Who comes and goes, and who types: told to those who asked, and kept nowhere.

use serde_json::{Value, json};
use tests::broker::{PRESENCE, StoredRecord, signal};
use tests::deadline::eventually;
use tests::runtime::unique;
use tests::{Client, Person, Runtime};

/// A time at which nothing is too late.
const FRESH: &str = "2099-01-01T00:00:00.000Z";
/// A time at which everything is.
const STALE: &str = "2026-01-01T00:00:00.000Z";

fn typing(room: &str) -> Value {
    json!({"action": "typing", "roomId": room})
}

/// A connection that is subscribed to a room with signals.
async fn listen(person: &Person, room: &str, signals: &[&str]) -> Client {
    let mut client = person.connect().await;
    client.subscribe_with(room, signals).await;
    client
}

/// The next frame about somebody's typing in a room.
async fn typed(listener: &mut Client, room: &str, typist: &Person) -> Value {
    let is_it = |push: &Value| push["type"] == "typing" && push["roomId"] == room && push["userId"] == typist.id;
    listener.push_where("typing", is_it).await
}

/// The next frame about somebody's presence.
async fn presence(listener: &mut Client, user: &Person) -> Value {
    let is_it = |push: &Value| push["type"] == "presence" && push["userId"] == user.id;
    listener.push_where("presence", is_it).await
}

/// The signals of a kind that were heard about somebody and not looked at.
fn unexpected(listener: &Client, kind: &str, user: &Person) -> Vec<Value> {
    let of_user = listener.pushes().iter().filter(|push| push["type"] == kind && push["userId"] == user.id);
    of_user.cloned().collect()
}

/// Records about a user's sessions, put on the topic behind the user's other ones.
async fn put_signals(madang: &Runtime, user: &Person, kinds: &[&str]) {
    let at = STALE;
    let records: Vec<StoredRecord> = kinds.iter().map(|kind| signal(&user.id, at, json!({"kind": kind}))).collect();
    madang.broker().append(PRESENCE, &records).await;
}

/// Waits until whatever was put there for a user is done with: the second of two signals that follow is in a later
/// batch.
async fn settled(madang: &Runtime, user: &Person, room: &str, listener: &mut Client) {
    for _ in 0..2 {
        let record = signal(&user.id, FRESH, json!({"kind": "typing", "roomId": room}));
        madang.broker().append(PRESENCE, &[record]).await;
        typed(listener, room, user).await;
    }
}

async fn until_no_session(madang: &Runtime, user: &Person) {
    eventually("no session", async || madang.sessions_of(user).await.is_empty().then_some(())).await;
}

/// What the members' list says of somebody.
async fn is_listed_online(member: &Person, room: &str, user: &Person) -> Value {
    let list = member.http.get(&format!("/rooms/{room}/members")).await.good(200);
    let mut members = list["members"].as_array().unwrap().iter();
    members.find(|member| member["userId"] == user.id).unwrap()["online"].clone()
}

#[tokio::test]
async fn typing_is_told_to_others_who_asked_for_it() {
    let madang = Runtime::shared().await;
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let mut at_alice = listen(&alice, &room, &["typing"]).await;
    let mut laptop = listen(&alice, &room, &["typing", "presence", "read"]).await;
    let mut at_bob = listen(&bob, &room, &["typing"]).await;
    let mut at_carol = listen(&carol, &room, &["presence", "read"]).await;
    let ack = at_alice.act(typing(&room)).await;
    assert_eq!(ack.get("commandId"), None, "{ack}");
    let heard = typed(&mut at_bob, &room, &alice).await;
    let expires = heard["expiresInMs"].as_u64().unwrap();
    assert!((1..=5_000).contains(&expires), "{heard}");
    assert_eq!(heard, json!({"type": "typing", "roomId": room, "userId": alice.id, "expiresInMs": expires}));

    at_alice.send(&room, "done", "hello").await;
    for client in [&mut at_alice, &mut laptop, &mut at_bob, &mut at_carol] {
        client.message(&room, "done").await;
        assert_eq!(unexpected(client, "typing", &alice), Vec::<Value>::new(), "{}", client.user);
    }
    assert_eq!(bob.events(&room).await.len(), 2, "it is kept nowhere");
}

#[tokio::test]
async fn typing_of_strangers_and_typing_of_long_ago_is_dropped() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mallory = madang.person("mallory").await;
    let (mut at_alice, mut at_mallory) = (alice.connect().await, mallory.connect().await);
    let mut at_bob = listen(&bob, &room, &["typing"]).await;
    at_mallory.refused(typing(&room), "not_member").await;
    at_mallory.refused(typing("nowhere"), "room_not_found").await;

    // Whoever was a member when they typed, and is none when it is told; and what lay on the topic for too long.
    let record = |user: &Person, at| signal(&user.id, at, json!({"kind": "typing", "roomId": room}));
    let broker = madang.broker();
    broker.produce(PRESENCE, 0, &[record(&mallory, FRESH)]).await;
    at_alice.act(typing(&room)).await;
    typed(&mut at_bob, &room, &alice).await;
    broker.append(PRESENCE, &[record(&alice, STALE), record(&mallory, FRESH), record(&alice, STALE)]).await;
    settled(&madang, &alice, &room, &mut at_bob).await;
    at_bob.catch_up().await;
    for user in [&alice, &mallory] {
        assert_eq!(unexpected(&at_bob, "typing", user), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_removed_member_hears_no_signals() {
    let madang = Runtime::shared().await;
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let mut at_alice = alice.join(&room).await;
    let mut at_bob = listen(&bob, &room, &["typing", "presence"]).await;
    let mut at_carol = listen(&carol, &room, &["typing", "presence"]).await;
    at_alice.act(typing(&room)).await;
    typed(&mut at_bob, &room, &alice).await;
    at_alice.act(json!({"action": "kick", "roomId": room, "userId": bob.id})).await;
    at_bob.notice(&room, "kicked").await;
    eventually("the end of the subscription", async || {
        let subscriptions = madang.subscriptions(&room).await;
        subscriptions.iter().all(|(user, _)| *user != bob.id).then_some(())
    })
    .await;
    typed(&mut at_carol, &room, &alice).await;
    at_alice.act(typing(&room)).await;
    typed(&mut at_carol, &room, &alice).await;
    at_bob.catch_up().await;
    assert_eq!(unexpected(&at_bob, "typing", &alice), Vec::<Value>::new());
}

/// A connection that does not take a signal goes without; it has no hole in its room, so no `resync` is due.
#[tokio::test]
async fn a_slow_connection_misses_a_signal_and_nothing_else() {
    let madang = Runtime::alone().await;
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let mut at_alice = alice.join(&room).await;
    let mut at_bob = listen(&bob, &room, &["typing"]).await;
    let mut at_carol = listen(&carol, &room, &["typing"]).await;
    let connection = madang.connection_of(&bob, &room).await;
    madang.faults(json!({"posts": "throttle", "connections": [connection]})).await;
    for _ in 0..2 {
        at_alice.act(typing(&room)).await;
        typed(&mut at_carol, &room, &alice).await;
    }
    madang.faults(json!({})).await;
    at_alice.send(&room, "event", "hello").await;
    at_bob.message(&room, "event").await;
    assert!(at_bob.pushes().iter().all(|push| push["type"] != "resync"), "{:?}", at_bob.pushes());
    at_alice.act(typing(&room)).await;
    typed(&mut at_bob, &room, &alice).await;
}

/// Signals are for rooms of at most 100 members.
#[tokio::test]
async fn a_room_of_more_than_a_hundred_has_no_signals() {
    let madang = Runtime::shared().await;
    let (alice, bob, small) = madang.pair().await;
    let mut users = vec![bob.id.clone()];
    users.extend((0..89).map(|_| unique("many")));
    let room = alice.http.post("/rooms", &json!({"name": "Market", "userIds": users})).await.good(201);
    let room = room["roomId"].as_str().unwrap().to_owned();
    let grow = async |by: usize, to: u64| {
        let users: Vec<String> = (0..by).map(|_| unique("more")).collect();
        alice.http.post(&format!("/rooms/{room}/members"), &json!({"userIds": users})).await.good(202);
        eventually(&format!("{to} members"), async || {
            let count = alice.http.get(&format!("/rooms/{room}")).await.good(200)["memberCount"].as_u64();
            (count == Some(to)).then_some(())
        })
        .await;
    };
    let mut at_alice = alice.connect().await;
    let mut at_bob = listen(&bob, &room, &["typing"]).await;
    at_bob.subscribe_with(&small, &["typing"]).await;
    grow(9, 100).await;
    at_alice.act(typing(&room)).await;
    typed(&mut at_bob, &room, &alice).await;
    grow(1, 101).await;
    at_alice.act(typing(&room)).await;
    settled(&madang, &alice, &small, &mut at_bob).await;
    // Neither is it told that somebody came, to a connection that asked for it here alone.
    let mut at_door = listen(&bob, &room, &["presence"]).await;
    let more = alice.connect().await;
    put_signals(&madang, &alice, &["session.opened"]).await;
    settled(&madang, &alice, &small, &mut at_bob).await;
    for client in [&mut at_bob, &mut at_door] {
        client.catch_up().await;
        for kind in ["typing", "presence"] {
            assert_eq!(unexpected(client, kind, &alice), Vec::<Value>::new());
        }
    }
    drop(more);
}

/// Others are told of the first session and of the last, once each, whatever records say and however often.
#[tokio::test]
async fn others_are_told_when_somebody_comes_and_goes() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let carol = madang.person("carol").await;
    let other_room = alice.make_room(&[&bob, &carol]).await;
    let mut at_bob = listen(&bob, &room, &["typing", "presence"]).await;
    at_bob.subscribe_with(&other_room, &["presence"]).await;
    let mut at_carol = listen(&carol, &other_room, &["typing", "read"]).await;

    let mut phone = listen(&alice, &room, &["presence"]).await;
    phone.act(typing(&room)).await;
    typed(&mut at_bob, &room, &alice).await;
    put_signals(&madang, &alice, &["session.opened"]).await;
    let online = presence(&mut at_bob, &alice).await;
    assert!(online["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{online}");
    let expected = json!({"type": "presence", "userId": alice.id, "online": true, "at": online["at"]});
    assert_eq!(online, expected, "once, although they share two rooms");

    let mut laptop = alice.connect().await;
    put_signals(&madang, &alice, &["session.opened", "session.check", "session.closed", "session.check"]).await;
    settled(&madang, &alice, &room, &mut at_bob).await;
    for client in [&mut at_bob, &mut at_carol, &mut phone, &mut laptop] {
        client.catch_up().await;
        assert_eq!(unexpected(client, "presence", &alice), Vec::<Value>::new(), "{}", client.user);
    }

    drop((phone, laptop));
    until_no_session(&madang, &alice).await;
    put_signals(&madang, &alice, &["session.closed", "session.opened", "session.closed"]).await;
    settled(&madang, &alice, &room, &mut at_bob).await;
    assert_eq!(unexpected(&at_bob, "presence", &alice), Vec::<Value>::new(), "she may be back in a minute");
    put_signals(&madang, &alice, &["session.closed", "session.check"]).await;
    assert_eq!(presence(&mut at_bob, &alice).await["online"], false);
    put_signals(&madang, &alice, &["session.opened", "session.check", "session.check"]).await;
    settled(&madang, &alice, &room, &mut at_bob).await;
    at_bob.catch_up().await;
    assert_eq!(unexpected(&at_bob, "presence", &alice), Vec::<Value>::new(), "late and doubled records");

    let _again = alice.connect().await;
    put_signals(&madang, &alice, &["session.opened"]).await;
    assert_eq!(presence(&mut at_bob, &alice).await["online"], true);
    at_carol.catch_up().await;
    assert_eq!(unexpected(&at_carol, "presence", &alice), Vec::<Value>::new(), "she did not ask");
}

/// A session that comes back within the grace goes unnoticed: API Gateway cuts every connection after two hours.
#[tokio::test]
async fn a_reconnect_goes_unnoticed() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = listen(&bob, &room, &["typing", "presence"]).await;
    let mut first = alice.connect().await;
    first.act(typing(&room)).await;
    put_signals(&madang, &alice, &["session.opened"]).await;
    assert_eq!(presence(&mut at_bob, &alice).await["online"], true);
    drop(first);
    until_no_session(&madang, &alice).await;
    put_signals(&madang, &alice, &["session.closed"]).await;
    let _second = alice.connect().await;
    // The check that the first one's end made due comes late.
    put_signals(&madang, &alice, &["session.opened", "session.check"]).await;
    settled(&madang, &alice, &room, &mut at_bob).await;
    at_bob.catch_up().await;
    assert_eq!(unexpected(&at_bob, "presence", &alice), Vec::<Value>::new());
}

/// Whoever asked for the list within the grace would have seen somebody offline for ever: nobody is told of a return.
#[tokio::test]
async fn whoever_may_come_back_unnoticed_is_listed_as_online() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = listen(&alice, &room, &["typing", "presence"]).await;
    assert_eq!(is_listed_online(&alice, &room, &bob).await, false);
    let first = bob.connect().await;
    assert_eq!(presence(&mut at_alice, &bob).await["online"], true);
    drop(first);
    until_no_session(&madang, &bob).await;
    settled(&madang, &bob, &room, &mut at_alice).await;
    assert_eq!(is_listed_online(&alice, &room, &bob).await, true);
    let second = bob.connect().await;
    put_signals(&madang, &bob, &["session.opened", "session.check"]).await;
    settled(&madang, &bob, &room, &mut at_alice).await;
    assert_eq!(unexpected(&at_alice, "presence", &bob), Vec::<Value>::new());
    assert_eq!(is_listed_online(&alice, &room, &bob).await, true);
    drop(second);
    until_no_session(&madang, &bob).await;
    put_signals(&madang, &bob, &["session.closed", "session.check"]).await;
    assert_eq!(presence(&mut at_alice, &bob).await["online"], false);
    settled(&madang, &bob, &room, &mut at_alice).await;
    assert_eq!(is_listed_online(&alice, &room, &bob).await, false);
}

/// The whole way, with no record of the test's own: the sweeper finds out that nobody came back.
#[tokio::test]
async fn whoever_leaves_is_gone_when_the_grace_is_over() {
    let madang = Runtime::start_with(&["--sweep-interval", "3600"], &[("PRESENCE_GRACE_SECONDS", "1")]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = listen(&bob, &room, &["typing", "presence"]).await;
    for _ in 0..2 {
        let mut at_alice = alice.connect().await;
        assert_eq!(presence(&mut at_bob, &alice).await["online"], true);
        at_alice.catch_up().await;
        drop(at_alice);
        assert_eq!(madang.sweeping(presence(&mut at_bob, &alice)).await["online"], false);
    }
}

/// An announcement costs a post for each connection that asked, however many rooms it shares, and what its rooms cost
/// to read; what says nothing costs one reading a batch.
#[tokio::test]
async fn presence_costs_what_a_change_is_worth() {
    const ROOMS: u32 = 30;
    const RECORDS: u32 = 40;
    let madang = Runtime::start(&["--batching-window-ms", "500"]);
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(alice.make_room(&[&bob, &carol]).await);
    }
    let (mut at_bob, mut at_carol) = (bob.connect().await, carol.connect().await);
    for room in &rooms {
        at_bob.subscribe_with(room, &["typing", "presence"]).await;
        at_carol.subscribe_with(room, &["presence"]).await;
    }
    // Read and write units, and posts, once so many records are handled.
    let once_handled = async |records: f64| {
        eventually(&format!("{records} records handled"), async || {
            let now = madang.counted("consumer", &["Records", "ReadHalfUnits", "WriteUnits", "Posts"]).await;
            assert!(now[0] <= records, "more records than expected: {now:?}");
            (now[0] == records).then(|| [now[1] / 2.0, now[2], now[3]])
        })
        .await
    };
    let differences = |before: [f64; 3], after: [f64; 3]| [0, 1, 2].map(|at| after[at] - before[at]);
    // The rooms' creations, and two sessions.
    let mut handled = f64::from(ROOMS) + 2.0;
    let before = once_handled(handled).await;
    let mut at_alice = alice.connect().await;
    for client in [&mut at_bob, &mut at_carol] {
        assert_eq!(presence(client, &alice).await["online"], true);
    }
    handled += 1.0;
    let after = once_handled(handled).await;
    let [read, write, posts] = differences(before, after);
    assert_eq!(posts, 2.0);
    assert_eq!(read, 1.5 + f64::from(3 * ROOMS), "the sessions, the index; head, membership and subscriptions of each");
    assert_eq!(write, 3.0, "the note, and its place in the index of what is due");

    at_alice.act(typing(&rooms[0])).await;
    typed(&mut at_bob, &rooms[0], &alice).await;
    handled += 1.0;
    let before = once_handled(handled).await;
    assert_eq!(differences(after, before), [3.0, 0.0, 1.0], "typing");
    let burst: Vec<&str> = (0..RECORDS).map(|n| if n % 2 == 0 { "session.opened" } else { "session.closed" }).collect();
    put_signals(&madang, &alice, &burst).await;
    handled += f64::from(RECORDS);
    let [read, write, posts] = differences(before, once_handled(handled).await);
    assert_eq!((write, posts), (0.0, 0.0));
    assert!(read <= 4.0, "{read} read units: {RECORDS} records are a batch or a few");
}
