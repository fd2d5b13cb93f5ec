//! Processes that die in the middle of their work.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::client::send;
use tests::deadline::eventually;
use tests::person::assert_dense;
use tests::{Client, Person, Runtime};

/// Says so many things in a room, each until it is acked, whatever happens meanwhile.
async fn talk(client: &mut Client, room: &str, prefix: &str, count: usize, acked: &AtomicUsize) {
    for number in 1..=count {
        let frame = send(room, &format!("{prefix}-{number}"), &format!("{prefix} says {number}"));
        loop {
            let id = client.ask(frame.clone()).await;
            let answer = client.answer_or_fault(&id).await.expect("the connection stays open");
            match answer["type"].as_str() {
                Some("ack") => break,
                // What may succeed later, or the gateway's own frame for a function that failed.
                Some("error") if answer["retryable"] == true => {}
                None => assert_eq!(answer["message"], "Internal server error", "{answer}"),
                Some(_) => panic!("{answer}"),
            }
        }
        acked.fetch_add(1, Ordering::Relaxed);
    }
}

async fn acked_at_least(acked: &AtomicUsize, count: usize) {
    eventually(&format!("{count} acks"), async || (acked.load(Ordering::Relaxed) >= count).then_some(())).await;
}

fn ids(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["clientMessageId"].as_str().unwrap()).collect()
}

/// Checks that a room has exactly what two people said, each once, in the order of each.
fn assert_complete(history: &[Value], count: usize) {
    assert_dense(history, 2);
    for speaker in ["a", "b"] {
        let prefix = format!("{speaker}-");
        let said: Vec<&str> = ids(history).into_iter().filter(|id| id.starts_with(&prefix)).collect();
        let expected: Vec<String> = (1..=count).map(|number| format!("{speaker}-{number}")).collect();
        assert_eq!(said, expected);
    }
}

#[tokio::test]
async fn crashes_in_the_middle_of_traffic_lose_and_double_nothing() {
    const ROOMS: usize = 4;
    const EACH: usize = 25;
    let madang = Runtime::alone().await;
    let acked = AtomicUsize::new(0);
    let mut talks: Vec<(Person, String, [Client; 3])> = Vec::new();
    for _ in 0..ROOMS {
        let (alice, bob, room) = madang.pair().await;
        let clients = [alice.join(&room).await, bob.join(&room).await, bob.join(&room).await];
        talks.push((alice, room, clients));
    }
    let traffic = talks.iter_mut().map(|(_, room, [at_alice, at_bob, listener])| {
        let acked = &acked;
        async move {
            tokio::join!(
                talk(at_alice, room, "a", EACH, acked),
                talk(at_bob, room, "b", EACH, acked),
                listener.hear_events(room, 2 * EACH),
            );
        }
    });
    let crashes = async {
        for (count, function) in
            [(20, "consumer"), (60, "message"), (90, "consumer"), (130, "message"), (150, "consumer")]
        {
            acked_at_least(&acked, count).await;
            madang.crash(function).await;
        }
    };
    tokio::join!(futures_util::future::join_all(traffic), crashes);
    assert_eq!(acked.load(Ordering::Relaxed), ROOMS * EACH * 2);
    for (alice, room, clients) in &mut talks {
        let history = alice.messages_once_there(room, 2 * EACH).await;
        assert_complete(&history, EACH);
        for client in clients {
            assert_eq!(client.hear_events(room, 2 * EACH).await, history);
        }
    }
}

/// What was marked as done before it was done was never done after a crash elsewhere:
/// aws-powertools/powertools-lambda-python #738, powertools-lambda #53 (case 20).
#[tokio::test]
async fn a_crash_between_store_and_broadcast_still_broadcasts() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let connection_of_bob = madang.connection_of(&bob, &room).await;
    // First nobody has been posted to when it dies, then half of them.
    for (id, held) in [("nobody", None), ("half", Some(connection_of_bob))] {
        let mut switches = json!({"posts": "hold"});
        if let Some(connection) = held {
            switches["connections"] = json!([connection]);
        }
        madang.faults(switches).await;
        at_alice.send(&room, id, "hello").await;
        let stored = eventually("the message in the table", async || {
            alice.messages(&room).await.into_iter().find(|message| message["clientMessageId"] == id)
        })
        .await;
        if id == "half" {
            assert_eq!(at_alice.message(&room, id).await, stored);
        }
        madang.crash("consumer").await;
        madang.faults(json!({})).await;
        for client in [&mut at_alice, &mut at_bob] {
            assert_eq!(client.message(&room, id).await, stored);
        }
    }
    assert_eq!(ids(&alice.messages_once_there(&room, 2).await), ["nobody", "half"]);
}

#[tokio::test]
async fn a_rewound_topic_doubles_nothing() {
    let madang = Runtime::alone().await;
    let mut talks = Vec::new();
    for _ in 0..6 {
        let (alice, bob, room) = madang.pair().await;
        let (mut at_alice, at_bob) = (alice.join(&room).await, bob.join(&room).await);
        at_alice.send_many(&room, "c", 10).await;
        at_alice.send(&room, "c1", "message 1").await;
        at_alice.send(&room, "c1", "something else").await;
        at_alice.push("duplicate").await;
        at_alice.push("nack").await;
        let history = alice.messages_once_there(&room, 10).await;
        talks.push((alice, room, at_alice, at_bob, history));
    }
    madang.rewind().await;
    for (alice, room, at_alice, at_bob, mut history) in talks {
        let (mut at_alice, mut at_bob) = (at_alice, at_bob);
        at_alice.send(&room, "fence", "behind all that").await;
        history.push(at_bob.message(&room, "fence").await);
        assert_eq!(alice.messages_once_there(&room, 11).await, history);
        for client in [&mut at_alice, &mut at_bob] {
            assert_eq!(client.hear_events(&room, 11).await, history);
        }
        let seqs: HashSet<u64> = history.iter().map(tests::person::seq_of).collect();
        assert_eq!(seqs.len(), 11);
    }
}
