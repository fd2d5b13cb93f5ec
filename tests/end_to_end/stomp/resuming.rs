//! Coming back: what was missed comes on the new subscription, or a `resync`.

use serde_json::json;
use tests::{Runtime, Stomp};

#[tokio::test]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, Stomp::connect(&bob).await);
    at_bob.subscribe("1", &room).await;
    at_alice.send(&room, "before", "one").await;
    let last = at_bob.message("1", "before").await;
    drop(at_bob);
    // More than one WebSocket message holds.
    at_alice.send_many(&room, "missed", 40).await;
    at_alice.hear_events(&room, 41).await;
    let mut back = Stomp::connect(&bob).await;
    let (topic, epoch) = (format!("/topic/rooms/{room}"), last.header("epoch"));
    let after = |seq| [("id", "1"), ("destination", topic.as_str()), ("epoch", epoch), ("after-seq", seq)];
    back.ask("SUBSCRIBE", &after(last.header("seq")), "").await;
    at_alice.send(&room, "live", "two").await;
    let mut expected: u64 = last.header("seq").parse().unwrap();
    let mut seqs = Vec::new();
    for name in (1..=40).map(|number| format!("missed{number}")).chain(["live".to_owned()]) {
        let frame = back.message("1", &name).await;
        expected += 1;
        seqs.push(frame.header("seq").parse::<u64>().unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (expected - 40..=expected).collect::<Vec<u64>>());
    back.catch_up().await;
    assert_eq!(back.heard().count(), 0, "nothing twice");
    assert!(back.longest_bytes() <= 8_192, "{}", back.longest_bytes());

    // Nothing was missed.
    let mut again = Stomp::connect(&bob).await;
    again.ask("SUBSCRIBE", &after(&expected.to_string()), "").await;
    again.catch_up().await;
    assert_eq!(again.heard().count(), 0);
}

#[tokio::test]
async fn what_does_not_continue_is_a_resync() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    at_alice.send_many(&room, "m", 310).await;
    let last = at_alice.hear_events(&room, 310).await[309]["seq"].clone();
    let epoch = bob.http.get(&format!("/rooms/{room}")).await.good(200)["epoch"].clone();
    let (topic, beyond) = (format!("/topic/rooms/{room}"), (last.as_u64().unwrap() + 1).to_string());
    for (other, seq) in
        [("another-epoch", "1"), (epoch.as_str().unwrap(), beyond.as_str()), (epoch.as_str().unwrap(), "0")]
    {
        let mut stomp = Stomp::connect(&bob).await;
        let headers = [("id", "1"), ("destination", topic.as_str()), ("epoch", other), ("after-seq", seq)];
        stomp.ask("SUBSCRIBE", &headers, "").await;
        let frame = stomp.frame("MESSAGE").await;
        assert_eq!((frame.header("type"), frame.header("subscription")), ("resync", "1"));
        assert_eq!(frame.json(), json!({"type": "resync", "roomId": room, "epoch": epoch, "lastSeq": last}));
        assert!(stomp.heard().all(|frame| frame.command != "MESSAGE"), "{seq}");
    }
}

/// One that is too slow is told to fetch, on the subscription that lags.
#[tokio::test]
async fn a_slow_connection_is_told_to_fetch() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, Stomp::connect(&bob).await);
    at_bob.subscribe("a#b", &room).await;
    let connection = madang.connection_of(&bob, &room).await;
    madang.faults(json!({"posts": "hold", "connections": [connection]})).await;
    at_alice.send(&room, "c1", "one").await;
    at_alice.message(&room, "c1").await;
    tests::deadline::eventually("the mark", async || madang.is_lagged(&room, &connection, "a#b").await.then_some(()))
        .await;
    madang.faults(json!({})).await;
    at_alice.send(&room, "c2", "two").await;
    let resync = at_bob.frame_where("the resync", |frame| frame.get("type") == Some("resync"));
    // Where it did not take that in time either, the sweeper says so.
    assert_eq!(madang.sweeping(resync).await.header("subscription"), "a#b");
}
