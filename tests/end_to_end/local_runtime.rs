//! The local runtime itself: its starts, its ends, its modes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tests::client::send;
use tests::deadline::eventually;
use tests::person::assert_dense;
use tests::{Client, Person, Runtime};

/// Twenty messages, each awaited.
async fn say_twenty(client: &mut Client, room: &str, prefix: &str) {
    for number in 1..=20 {
        client.send(room, &format!("{prefix}-{number}"), "hello").await;
    }
}

#[tokio::test]
async fn a_restart_with_the_same_directory_goes_on_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut madang = Runtime::start_in(directory.path());
    let (alice, bob, room) = madang.pair().await;
    say_twenty(&mut alice.connect().await, &room, "first").await;
    madang.terminate();
    let ended = madang.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.output.len(), 1, "exactly one line, ever: {:?}", ended.output);

    let mut madang = Runtime::start_in(directory.path());
    // Its key is a new one: the old token opens nothing.
    let old = madang.with_token(&alice.id, &alice.token);
    old.http.get("/rooms").await.refused(401, "token_invalid");
    let (alice, bob) = (madang.somebody(&alice.id).await, madang.somebody(&bob.id).await);
    let mut at_bob = bob.join(&room).await;
    say_twenty(&mut alice.connect().await, &room, "second").await;
    let history = alice.messages_once_there(&room, 40).await;
    assert_dense(&history, 2);
    assert_eq!(at_bob.hear_events(&room, 20).await, history.get(20..).unwrap());
    // What was said before the restart is still known.
    let mut at_alice = alice.connect().await;
    at_alice.send(&room, "first-7", "hello").await;
    assert_eq!(at_alice.push("duplicate").await["seq"], 8);
    madang.terminate();
    assert_eq!(madang.ended().await.code, Some(0));
}

/// What talkers have come to.
#[derive(Default)]
struct Traffic {
    joined: AtomicUsize,
    acked: AtomicUsize,
}

/// Talks until the connection ends; what was acked.
async fn talk_to_the_end(person: &Person, room: &str, prefix: &str, traffic: &Traffic) -> Vec<String> {
    let mut client = person.join(room).await;
    traffic.joined.fetch_add(1, Ordering::Relaxed);
    let mut ids = Vec::new();
    for number in 1.. {
        let client_message_id = format!("{prefix}-{number}");
        let id = client.ask(send(room, &client_message_id, "hello")).await;
        match client.answer_or_fault(&id).await {
            Some(answer) if answer["type"] == "ack" => {
                ids.push(client_message_id);
                traffic.acked.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {}
            None => break,
        }
    }
    ids
}

#[tokio::test]
async fn an_end_in_the_middle_of_traffic_loses_nothing_that_was_acked() {
    let directory = tempfile::tempdir().unwrap();
    let mut madang = Runtime::start_in(directory.path());
    let traffic = Traffic::default();
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(madang.pair().await);
    }
    let talks = rooms.iter().flat_map(|(alice, bob, room)| {
        [talk_to_the_end(alice, room, "a", &traffic), talk_to_the_end(bob, room, "b", &traffic)]
    });
    let end = async {
        // Everybody is in, however slow.
        let is_busy = || traffic.joined.load(Ordering::Relaxed) == 6 && traffic.acked.load(Ordering::Relaxed) >= 60;
        eventually("some traffic", async || is_busy().then_some(())).await;
        madang.terminate();
    };
    let (said, ()) = tokio::join!(futures_util::future::join_all(talks), end);
    let ended = madang.ended().await;
    assert_eq!((ended.code, ended.output.len()), (Some(0), 1), "{ended:?}");

    let madang = Runtime::start_in(directory.path());
    for ((alice, _, room), said) in rooms.iter().zip(said.chunks(2)) {
        let history = madang.somebody(&alice.id).await.messages(room).await;
        assert_dense(&history, 2);
        let stored: Vec<&str> = history.iter().map(|message| message["clientMessageId"].as_str().unwrap()).collect();
        let distinct: HashSet<&str> = stored.iter().copied().collect();
        assert_eq!(distinct.len(), stored.len(), "nothing doubled");
        for id in said.iter().flatten() {
            assert!(distinct.contains(id.as_str()), "{id} was acked and is lost");
        }
    }
}

#[tokio::test]
async fn a_second_one_runs_beside_the_first() {
    let first = Runtime::shared().await;
    let second = Runtime::start::<&str>(&[]);
    assert_ne!(first.endpoints.http, second.endpoints.http);
    let (alice, bob, room) = first.pair().await;
    let (same_alice, same_bob) = (second.somebody(&alice.id).await, second.somebody(&bob.id).await);
    let other_room = same_alice.make_room(&[&same_bob]).await;
    let (mut here, mut there) = (bob.join(&room).await, same_bob.join(&other_room).await);
    alice.connect().await.send(&room, "c", "here").await;
    same_alice.connect().await.send(&other_room, "c", "there").await;
    assert_eq!(here.message(&room, "c").await["content"], "here");
    assert_eq!(there.message(&other_room, "c").await["content"], "there");
    // They know nothing of each other.
    same_alice.http.get(&format!("/rooms/{room}")).await.refused(404, "room_not_found");
    second.with_token(&alice.id, &alice.token).http.get("/rooms").await.refused(401, "token_invalid");
}

#[tokio::test]
async fn a_taken_port_is_one_clear_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = Runtime::fail_to_start(&["--json", "--port", &port]).await;
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    assert!(ended.output.is_empty(), "{ended:?}");
    assert_eq!(ended.log.len(), 1, "{ended:?}");
    assert!(ended.log[0].contains(&port) && ended.log[0].contains("--port 0"), "{ended:?}");
}

#[tokio::test]
async fn it_serves_a_page_and_its_own_calls() {
    let madang = Runtime::shared().await;
    let page = madang.http().get("/").await;
    assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("<html"), "{}", page.text);
    for name in ["connect", "message", "disconnect", "consumer", "api", "sweeper"] {
        assert!(!madang.processes_of(name).await.is_empty(), "{name}");
    }
    for path in ["/dev/token", "/dev/token?sub=", "/dev/token?sub=a&expiresIn=soon"] {
        assert_eq!(madang.http().get(path).await.status, 400, "{path}");
    }
    // A name that leads here by DNS rebinding, and pages of other servers, get nothing.
    for header in [("host", "rebound.example"), ("origin", "https://evil.example")] {
        assert_eq!(madang.http().call("GET", "/dev/token?sub=alice", &[header], "").await.status, 403, "{header:?}");
    }
    let refused = madang.http().call("PUT", "/dev/faults", &[], json!({"post": "hold"}).to_string()).await;
    assert_eq!(refused.status, 400);
}

/// A producer that was kept while its process was frozen lost its socket elsewhere: dpkp/kafka-python #2274,
/// confluentinc/librdkafka #3633 (case 1).
#[tokio::test]
async fn people_talk_in_every_mode() {
    let modes: [&[&str]; 3] = [
        &["--freeze"],
        &["--concurrency", "4", "--batch-size", "1"],
        &["--batching-window-ms", "500", "--split-partitions"],
    ];
    for mode in modes {
        let madang = Runtime::start(mode);
        let (alice, bob, room) = madang.pair().await;
        let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
        say_twenty(&mut at_alice, &room, "alice").await;
        at_bob.send_many(&room, "bob-", 20).await;
        let history = alice.messages_once_there(&room, 40).await;
        assert_dense(&history, 2);
        assert_eq!(at_bob.hear_events(&room, 40).await, history, "{mode:?}");
        assert_eq!(at_alice.hear_events(&room, 40).await, history, "{mode:?}");
    }
}
