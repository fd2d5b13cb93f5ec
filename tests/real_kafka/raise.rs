//! `admin topics raise-partitions`: a topic gets more partitions between two deployments, and no room notices.

use serde_json::json;
use tests::client::send;
use tests::cluster::Variables;
use tests::person::{assert_dense, seq_of};
use tests::runtime::Ended;
use tests::{Person, Runtime};

use crate::turn;

const ROOMS: usize = 12;
const RAISE: [&str; 4] = ["topics", "raise-partitions", "chat-messages", "7"];
/// A test's own functions end within that, and nobody else writes to its topics.
const TIMEOUTS: [&str; 6] = ["--ingress-timeout", "2", "--consumer-timeout", "1", "--drain-limit", "5"];

async fn raise(madang: &Runtime) -> Ended {
    madang.admin(&[RAISE.as_slice(), &TIMEOUTS].concat()).await
}

async fn refused(madang: &Runtime, sentence: &str) {
    let Ended { code, output, log } = raise(madang).await;
    assert_eq!((code, output.as_slice()), (Some(1), [].as_slice()), "{log:?}");
    assert!(log.last().is_some_and(|line| line.contains(sentence)), "{log:#?}");
}

/// The same system started anew, with changes of its settings.
async fn again(mut madang: Runtime, directory: &std::path::Path, changes: &[(&str, &str)]) -> Runtime {
    madang.terminate();
    assert_eq!(madang.ended().await.code, Some(0));
    let own: Variables = madang.kafka.clone();
    let kept = own.iter().filter(|(name, _)| *name == "KAFKA_TOPIC_PREFIX");
    let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
    let variables: Vec<(&str, &str)> = kept.chain(changes.iter().copied()).collect();
    Runtime::start_with(&["--data", directory.to_str().unwrap()], &variables)
}

/// Each room's people say this, and everything before it is in order.
async fn say_everywhere(madang: &Runtime, rooms: &[(Person, String)], id: &str, count: usize) {
    for (person, room) in rooms {
        let person = madang.somebody(&person.id).await;
        let mut client = person.join(room).await;
        client.send(room, id, "hello").await;
        assert_eq!(seq_of(&client.message(room, id).await), count as u64 + 1);
        assert_dense(&person.messages_once_there(room, count).await, 2);
    }
}

#[tokio::test]
async fn a_raise_between_two_deployments_keeps_the_order_of_every_room() {
    let _turn = turn().await;
    let directory = tempfile::tempdir().unwrap();
    let madang = Runtime::start_with(&["--data", directory.path().to_str().unwrap()], &[]);
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let (alice, _, room) = madang.pair().await;
        rooms.push((alice, room));
    }
    say_everywhere(&madang, &rooms, "before", 1).await;

    // Records that the consumers have not come to.
    madang.faults(json!({"pauseEventSource": true})).await;
    let (alice, room) = &rooms[0];
    let mut at_alice = alice.join(room).await;
    at_alice.send(room, "waiting", "hello").await;
    refused(&madang, "1 records of ").await;
    madang.faults(json!({})).await;
    at_alice.message(room, "waiting").await;
    // Somebody who still lets something in.
    let writing = async {
        for number in 0.. {
            at_alice.send(room, &format!("early-{number}"), "hello").await;
            if number == 20_000 {
                break;
            }
        }
    };
    tokio::select! {
        () = refused(&madang, "is still written to: close ingress first") => {}
        () = writing => panic!("the raise did not notice who writes"),
    }
    drop(at_alice);

    let madang = again(madang, directory.path(), &[("INGRESS_CLOSED", "true")]).await;
    let (alice, room) = &rooms[0];
    let alice = madang.somebody(&alice.id).await;
    let answer = alice.join(room).await.request(send(room, "closed", "hello")).await;
    assert_eq!((&answer["code"], &answer["retryable"]), (&json!("unavailable"), &json!(true)), "{answer}");
    let heard = alice.messages(room).await;
    assert_dense(&heard, 2);
    let ended = raise(&madang).await;
    let name = format!("{}chat-messages", madang.kafka["KAFKA_TOPIC_PREFIX"]);
    assert_eq!((ended.code, ended.output), (Some(0), vec![format!("{name} has 7 partitions")]), "{:?}", ended.log);
    // An operator who is not sure does it again.
    assert_eq!(raise(&madang).await.code, Some(0));

    let madang = again(madang, directory.path(), &[("KAFKA_PARTITIONS", "chat-messages:7")]).await;
    say_everywhere(&madang, &rooms[1..], "after", 2).await;
    say_everywhere(&madang, &rooms[..1], "after", heard.len() + 1).await;
    let broker = madang.broker();
    let ids = rooms.iter().map(|(_, room)| room.clone()).collect::<Vec<_>>();
    let moved = tokio::task::spawn_blocking(move || broker.partitions_of("chat-messages", &ids)).await.unwrap();
    assert!(moved.iter().any(|partitions| partitions.len() == 2), "some room has moved: {moved:?}");
}

/// Whether a producer still has the brokers' old answer or their new one, it keeps to the number that is configured.
#[tokio::test]
async fn a_producer_that_is_not_deployed_anew_keeps_its_rooms_where_they_were() {
    let _turn = turn().await;
    let madang = Runtime::start::<&str>(&[]);
    let mut talks = Vec::new();
    for _ in 0..ROOMS {
        let (alice, _, room) = madang.pair().await;
        let mut at_alice = alice.join(&room).await;
        at_alice.send(&room, "before", "hello").await;
        at_alice.message(&room, "before").await;
        talks.push((alice, room, at_alice));
    }
    assert_eq!(raise(&madang).await.code, Some(0));
    for (_, room, at_alice) in &mut talks {
        at_alice.send(room, "old-answer", "hello").await;
        at_alice.message(room, "old-answer").await;
    }
    madang.crash("message").await;
    for (alice, room, at_alice) in &mut talks {
        at_alice.send(room, "new-answer", "hello").await;
        at_alice.message(room, "new-answer").await;
        assert_dense(&alice.messages_once_there(room, 3).await, 2);
    }
    let (broker, rooms) = (madang.broker(), talks.iter().map(|(_, room, _)| room.clone()).collect::<Vec<_>>());
    let places = tokio::task::spawn_blocking(move || broker.partitions_of("chat-messages", &rooms)).await.unwrap();
    assert!(places.iter().all(|partitions| partitions.len() == 1), "{places:?}");
}
