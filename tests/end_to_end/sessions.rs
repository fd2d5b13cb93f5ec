//! How many sessions somebody has, and what becomes of one too many.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::client::Closed;
use tests::deadline::eventually;
use tests::{Client, Person, Runtime, ghosts};

use crate::sweeper::signals_of;

/// The way a person comes in, however it ends.
async fn open(person: &Person) -> Result<Client, u16> {
    person.try_to_connect().await.map_err(|refused| refused.status)
}

/// Whether a client still speaks for somebody; one that does not has heard why.
async fn is_live(client: &mut Client, room: &str) -> bool {
    let id = client.ask(json!({"action": "history", "roomId": room, "limit": 1})).await;
    let Some(answer) = client.answer_or_fault(&id).await else {
        assert_replaced(client);
        return false;
    };
    assert_eq!(answer["type"], "history", "{answer}");
    true
}

fn assert_replaced(client: &Client) {
    let byes: Vec<&Value> = client.pushes().iter().filter(|push| push["type"] == "bye").collect();
    assert!(!byes.is_empty(), "closed without a word: {:?}", client.pushes());
    for bye in byes {
        let expected = json!({"type": "bye", "code": "session_replaced", "reconnect": "never", "retryAfterMs": 0});
        assert_eq!(*bye, expected);
    }
}

#[tokio::test]
async fn of_twenty_five_that_come_at_once_five_stay_and_the_others_hear_why() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let opened = join_all((0..25).map(|_| open(&alice))).await;
    let (mut live, mut replaced) = (Vec::new(), 0);
    for outcome in opened {
        match outcome {
            // Somebody newer took its place before it was open.
            Err(status) => {
                assert_eq!(status, 429);
                replaced += 1;
            }
            Ok(mut client) => {
                if is_live(&mut client, &room).await {
                    live.push(client);
                } else {
                    assert_eq!(client.closed().await, Closed { code: Some(1000) });
                    replaced += 1;
                }
            }
        }
    }
    assert_eq!((live.len(), replaced), (5, 20));
    eventually("five sessions", async || (madang.sessions_of(&alice).await.len() == 5).then_some(())).await;
    drop(live);
    eventually("no session", async || madang.sessions_of(&alice).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn the_oldest_session_gives_way_with_all_that_is_its() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_bob = bob.join(&room).await;
    let mut oldest = alice.join(&room).await;
    let connection = madang.connection_of(&alice, &room).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(alice.join(&room).await);
    }
    // The sixth shows its token later; until then it takes nobody's place.
    let mut sixth = alice.open("", &[]).await.unwrap();
    assert!(is_live(&mut oldest, &room).await);
    let answer = sixth.request(json!({"action": "auth", "token": alice.token})).await;
    assert_eq!(answer["type"], "authenticated", "{answer}");
    assert_eq!(oldest.closed().await, Closed { code: Some(1000) });
    assert_replaced(&oldest);
    eventually("the rows of the oldest gone", async || {
        (madang.rows_of_connection(&connection).await == 0).then_some(())
    })
    .await;
    at_bob.send(&room, "after", "who is still there?").await;
    for client in &mut others {
        client.message(&room, "after").await;
    }
    assert!(oldest.events(&room).is_empty());
    assert_eq!(madang.subscriptions(&room).await.len(), 5);
    // A fresh token is no new session.
    let answer = others[0].request(json!({"action": "auth", "token": alice.token})).await;
    assert_eq!(answer["type"], "authenticated", "{answer}");
    for client in others.iter_mut().chain([&mut sixth]) {
        assert!(is_live(client, &room).await);
    }
    assert_eq!(madang.sessions_of(&alice).await.len(), 5);
}

#[tokio::test]
async fn where_that_is_the_policy_the_new_one_is_refused() {
    let madang = Runtime::start_with::<&str>(&[], &[("SESSION_POLICY", "refuse"), ("SESSIONS_PER_USER", "3")]);
    let (alice, _bob, room) = madang.pair().await;
    let opened = join_all((0..25).map(|_| open(&alice))).await;
    let mut live: Vec<Client> = Vec::new();
    for outcome in opened {
        match outcome {
            Ok(client) => live.push(client),
            Err(status) => assert_eq!(status, 429),
        }
    }
    assert_eq!(live.len(), 3);
    let mut pending = alice.open("", &[]).await.unwrap();
    let error = pending.request(json!({"action": "auth", "token": alice.token})).await;
    let got = (&error["type"], &error["code"], &error["retryable"]);
    assert_eq!(got, (&json!("error"), &json!("session_limit"), &json!(false)));
    for client in &mut live {
        let answer = client.request(json!({"action": "auth", "token": alice.token})).await;
        assert_eq!(answer["type"], "authenticated", "{answer}");
        assert!(is_live(client, &room).await);
    }
    // One goes: there is room for one. No connection is pending for long.
    live.pop();
    eventually("a free slot", async || (madang.sessions_of(&alice).await.len() == 2).then_some(())).await;
    let mut pending = alice.open("", &[]).await.unwrap();
    let answer = pending.request(json!({"action": "auth", "token": alice.token})).await;
    assert_eq!(answer["type"], "authenticated", "{answer}");
    assert_eq!(open(&alice).await.err(), Some(429));
    assert_eq!(madang.sessions_of(&alice).await.len(), 3);
}

#[tokio::test]
async fn the_dead_do_not_keep_the_living_out() {
    let madang = Runtime::start_with::<&str>(&[], &ghosts::VARIABLES);
    ghosts::do_not_keep_the_living_out(&madang).await;
    let gone = async |function| madang.counted(function, &["Gone"]).await[0];
    let counted = async || {
        let (connect, message) = (gone("connect").await, gone("message").await);
        // One that does not answer in time counts as alive, and is found by whoever asks next.
        (connect >= 1.0 && message >= 1.0 && connect + message == 4.0).then_some(())
    };
    eventually("the dead that were found", counted).await;
}

/// A line that drops is not always reported: the device that lost it comes back, and must not cost another its place.
#[tokio::test]
async fn the_dead_give_way_before_the_oldest_of_the_living() {
    let madang = Runtime::start_with::<&str>(&[], &[("SESSIONS_PER_USER", "2")]);
    let (alice, bob, room) = madang.pair().await;
    madang.faults(json!({"dropDisconnect": true})).await;
    for (person, by_handshake) in [(&alice, true), (&bob, false)] {
        let mut oldest = person.join(&room).await;
        let living = madang.connection_of(person, &room).await;
        drop(person.connect().await);
        for connection in madang.sessions_of(person).await {
            if connection != living {
                eventually("the end of a connection", async || (!madang.is_open(&connection).await).then_some(()))
                    .await;
            }
            madang.age_session(person, &connection).await;
        }
        let mut newest = if by_handshake {
            person.connect().await
        } else {
            let mut pending = person.open("", &[]).await.unwrap();
            let answer = pending.request(json!({"action": "auth", "token": person.token})).await;
            assert_eq!(answer["type"], "authenticated", "{answer}");
            pending
        };
        assert!(is_live(&mut oldest, &room).await);
        assert!(is_live(&mut newest, &room).await);
        assert_eq!(madang.sessions_of(person).await.len(), 2);
        // With all of them alive it is the oldest.
        let mut third = person.connect().await;
        assert_eq!(oldest.closed().await, Closed { code: Some(1000) });
        assert_replaced(&oldest);
        assert!(is_live(&mut newest, &room).await);
        assert!(is_live(&mut third, &room).await);
    }
}

/// Each was told of by itself, and where Kafka was away each took its second: the handshake failed with the tenth.
#[tokio::test]
async fn the_ends_of_the_dead_are_told_at_once() {
    let madang = Runtime::start_with::<&str>(&[], &[("SESSIONS_PER_USER", "3")]);
    let alice = madang.person("alice").await;
    madang.faults(json!({"dropDisconnect": true})).await;
    drop(join_all((0..3).map(|_| alice.connect())).await);
    for connection in madang.sessions_of(&alice).await {
        eventually("the end of a connection", async || (!madang.is_open(&connection).await).then_some(())).await;
        madang.age_session(&alice, &connection).await;
    }
    let _living = alice.connect().await;
    let gone = async || (madang.counted("connect", &["Gone"]).await == [3.0]).then_some(());
    eventually("the dead that were found", gone).await;
    // A signal that took its time arrives all the same, and those of one connection in their order.
    let signals = eventually("the living one's", async || {
        let signals = signals_of(&madang, &alice).await;
        (signals.iter().filter(|kind| **kind == "session.opened").count() == 4).then_some(signals)
    })
    .await;
    assert_eq!(signals.iter().filter(|kind| **kind == "session.closed").count(), 1, "{signals:?}");
}

/// Dead connections counted against the limit for ever elsewhere: RocketChat/Rocket.Chat #6610 (case 65).
#[tokio::test]
async fn connections_whose_end_nobody_reported_give_way() {
    let madang = Runtime::alone().await;
    let alice = madang.person("alice").await;
    madang.faults(json!({"dropDisconnect": true})).await;
    drop(join_all((0..5).map(|_| alice.connect())).await);
    let dead: HashSet<String> = madang.sessions_of(&alice).await.into_iter().collect();
    assert_eq!(dead.len(), 5);
    let mut live = join_all((0..5).map(|_| alice.connect())).await;
    for client in &mut live {
        client.catch_up().await;
    }
    let sessions: HashSet<String> = madang.sessions_of(&alice).await.into_iter().collect();
    assert_eq!(sessions.len(), 5);
    assert!(sessions.is_disjoint(&dead));
    madang.faults(json!({})).await;
}
