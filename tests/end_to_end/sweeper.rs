//! What nobody else ends or says.

use serde_json::{Value, json};
use tests::broker::PRESENCE;
use tests::client::Closed;
use tests::deadline::eventually;
use tests::{Client, Person, Runtime};

use crate::auth::short_lived;

async fn hears(client: &mut Client, code: &str, reconnect: &str) {
    let bye = client.push("bye").await;
    assert_eq!((&bye["code"], &bye["reconnect"]), (&json!(code), &json!(reconnect)), "{bye}");
    assert_eq!(client.closed().await, Closed { code: Some(1000) });
}

/// Two in a room that goes quiet, and the last word of which one of them was too slow for.
struct TooSlow {
    _at_alice: Client,
    at_bob: Client,
    room: String,
    /// Bob's.
    connection: String,
}

impl TooSlow {
    async fn begin(madang: &Runtime) -> Self {
        let (alice, bob, room) = madang.pair().await;
        let (mut at_alice, at_bob) = (alice.join(&room).await, bob.join(&room).await);
        let connection = madang.connection_of(&bob, &room).await;
        madang.faults(json!({"posts": "throttle", "connections": [connection]})).await;
        at_alice.send(&room, "c1", "a last word").await;
        at_alice.message(&room, "c1").await;
        eventually("the mark", async || madang.is_lagged(&room, &connection, "json").await.then_some(())).await;
        Self { _at_alice: at_alice, at_bob, room, connection }
    }
}

#[tokio::test]
async fn whoever_does_not_say_who_they_are_is_sent_away() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let mut silent = alice.open("", &[]).await.unwrap();
    let mut late = alice.open("", &[]).await.unwrap();
    let mut in_time = alice.open("", &[]).await.unwrap();
    let answer = in_time.request(json!({"action": "auth", "token": alice.token})).await;
    assert_eq!(answer["type"], "authenticated", "{answer}");
    // It talks, but not of a token.
    assert_eq!(late.request(json!({"action": "ping"})).await["type"], "pong");
    madang.sweeping(async { tokio::join!(hears(&mut silent, "auth_timeout", "backoff"), late.closed()) }).await;
    hears(&mut late, "auth_timeout", "backoff").await;
    in_time.catch_up().await;
    assert_eq!(madang.sessions_of(&alice).await.len(), 1);
}

#[tokio::test]
async fn whoever_does_not_refresh_is_sent_away() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let (bob, carol) = (short_lived(&madang, "bob").await, short_lived(&madang, "carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let (mut at_bob, mut at_carol) = (bob.join(&room).await, carol.join(&room).await);
    let connection = madang.connection_of(&bob, &room).await;
    let fresh = madang.token(&carol.id).await;
    let answer = at_carol.request(json!({"action": "auth", "token": fresh})).await;
    assert_eq!(answer["type"], "authenticated", "{answer}");
    madang.sweeping(hears(&mut at_bob, "token_expired", "now")).await;
    eventually("nothing left of bob", async || {
        let rows = madang.rows_of_connection(&connection).await;
        (rows == 0 && madang.sessions_of(&bob).await.is_empty()).then_some(())
    })
    .await;
    // Carol's time is over by now, too, but for her fresh token.
    madang.sweep().await;
    at_carol.send(&room, "carol", "still here").await;
    at_carol.message(&room, "carol").await;
    assert_eq!(madang.subscriptions(&room).await.len(), 1);
}

#[tokio::test]
async fn a_slow_connection_of_a_room_gone_quiet_is_told_to_resync() {
    let madang = Runtime::alone().await;
    let TooSlow { _at_alice, mut at_bob, room, connection } = TooSlow::begin(&madang).await;
    madang.faults(json!({})).await;
    let resync = madang.sweeping(at_bob.push("resync")).await;
    assert_eq!((&resync["roomId"], &resync["lastSeq"]), (&json!(room), &json!(2)), "{resync}");
    eventually("the mark cleared", async || (!madang.is_lagged(&room, &connection, "json").await).then_some(())).await;
    madang.sweep().await;
    at_bob.catch_up().await;
    assert!(!at_bob.pushes().iter().any(|push| push["type"] == "resync"), "one is enough");
}

/// Nobody else would find it: its room is quiet.
#[tokio::test]
async fn a_slow_connection_that_is_gone_is_removed_and_counted() {
    let madang = Runtime::alone().await;
    let gone = async || madang.counted("sweeper", &["Gone"]).await[0];
    let TooSlow { _at_alice, at_bob, connection, .. } = TooSlow::begin(&madang).await;
    let before = gone().await;
    madang.faults(json!({"dropDisconnect": true})).await;
    drop(at_bob);
    let removed = async || (madang.rows_of_connection(&connection).await == 0).then_some(());
    madang.sweeping(eventually("nothing left of the connection", removed)).await;
    // Those that other tests have left may be found gone as well.
    eventually("the connection counted", async || (gone().await > before).then_some(())).await;
    madang.faults(json!({})).await;
}

/// The row that is due is all that is left: it was found due for as long as its token was good.
#[tokio::test]
async fn what_a_gone_connection_left_due_is_removed() {
    let madang = Runtime::alone().await;
    let TooSlow { _at_alice, at_bob, room, connection } = TooSlow::begin(&madang).await;
    madang.faults(json!({"dropDisconnect": true})).await;
    drop(at_bob);
    eventually("the end of the connection", async || (!madang.is_open(&connection).await).then_some(())).await;
    madang.orphan_subscriptions(&connection).await;
    let removed = async || (madang.subscriptions(&room).await.len() == 1).then_some(());
    madang.sweeping(eventually("the row gone", removed)).await;
    madang.faults(json!({})).await;
}

/// What kinds of signals of somebody stand on their topic.
pub(crate) async fn signals_of(madang: &Runtime, person: &Person) -> Vec<Value> {
    let (broker, user) = (madang.broker(), person.id.clone());
    let read = tokio::task::spawn_blocking(move || {
        let count = usize::try_from(broker.count(PRESENCE)).unwrap();
        broker.read_until(PRESENCE, |records| records.len() >= count)
    });
    let records = read.await.unwrap().into_iter();
    let records = records.filter(|record| record.key.as_deref() == Some(user.as_bytes()));
    let values = records.map(|record| serde_json::from_slice::<Value>(&record.value.unwrap()).unwrap());
    values.map(|mut value| value["kind"].take()).collect()
}

/// A lost record is made good: what others were told is not what is, so the user's consumer is asked to look.
#[tokio::test]
async fn sessions_that_nobody_was_told_of_are_looked_at() {
    let madang = Runtime::start_with(&["--sweep-interval", "3600"], &[("PRESENCE_GRACE_SECONDS", "1")]);
    madang.faults(json!({"pauseEventSource": true})).await;
    let alice = madang.person("alice").await;
    let mut at_alice = alice.connect().await;
    let kinds = async || signals_of(&madang, &alice).await;
    eventually("the session", async || (kinds().await == ["session.opened"]).then_some(())).await;
    madang.sweeping(eventually("the check", async || (kinds().await.len() == 2).then_some(()))).await;
    assert_eq!(kinds().await, ["session.opened", "session.check"], "one, however often is swept");
    at_alice.catch_up().await;
    drop(at_alice);
    eventually("the end", async || {
        (kinds().await == ["session.opened", "session.check", "session.closed"]).then_some(())
    })
    .await;
    madang.faults(json!({})).await;
}
