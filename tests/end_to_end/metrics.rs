//! The figures that the functions write for CloudWatch, as the local runtime shows them to Prometheus.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;
use tests::Runtime;
use tests::broker::{MESSAGES, StoredRecord};
use tests::deadline::eventually;

/// The samples of `/metrics`, by name and labels.
struct Samples(HashMap<String, f64>);

impl Samples {
    async fn read(madang: &Runtime) -> Self {
        let answer = madang.http().get("/metrics").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let samples = answer.text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
        });
        Self(samples.collect())
    }

    /// Read once everything that was produced is handled.
    async fn at_rest(madang: &Runtime) -> Self {
        eventually("everything handled", async || {
            let samples = Self::read(madang).await;
            let produced: f64 = samples.of_all_functions("madang_produces_total");
            (produced > 0.0 && samples.of("madang_records_total", "consumer") >= produced).then_some(samples)
        })
        .await
    }

    fn series(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn of(&self, name: &str, function: &str) -> f64 {
        self.0.get(&format!("{name}{{function=\"{function}\"}}")).copied().unwrap_or_default()
    }

    fn of_all_functions(&self, name: &str) -> f64 {
        let start = format!("{name}{{");
        self.0.iter().filter(|(name, _)| name.starts_with(&start)).map(|(_, value)| value).sum()
    }
}

#[tokio::test]
async fn what_was_sent_is_counted() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.join(&room).await);
    let before = Samples::at_rest(&madang).await;
    for id in ["a", "b", "c", "a"] {
        at_alice.send(&room, id, "hello").await;
    }
    at_bob.hear_events(&room, 3).await;
    at_alice.push("duplicate").await;
    // A signal that was given up may have arrived all the same: then more is handled than was counted as produced.
    let after = eventually("the last command counted", async || {
        let samples = Samples::read(&madang).await;
        let more = |name: &str, function: &str| samples.of(name, function) - before.of(name, function);
        let is_last =
            more("madang_accepted_total", "message") >= 4.0 && more("madang_duplicates_total", "consumer") >= 1.0;
        is_last.then_some(samples)
    })
    .await;
    let counted = |name: &str, function: &str| after.of(name, function) - before.of(name, function);
    assert_eq!(counted("madang_accepted_total", "message"), 4.0);
    assert_eq!(counted("madang_committed_total", "consumer"), 3.0);
    assert_eq!(counted("madang_duplicates_total", "consumer"), 1.0);
    assert_eq!(counted("madang_posted_events_total", "consumer"), 6.0, "to bob, and to alice's own connection");
    assert_eq!(counted("madang_commit_batch_size_sum", "consumer"), 3.0);
    assert_eq!(counted("madang_delivery_latency_milliseconds_count", "consumer"), 3.0);
    assert!(counted("madang_delivery_latency_milliseconds_sum", "consumer") >= 3.0, "no delivery takes no time");
    assert_eq!(after.of_all_functions("madang_dead_letters_total"), 0.0);
}

#[tokio::test]
async fn trouble_is_counted() {
    let madang = Runtime::start(&["--sweep-interval", "3600"]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let connection = madang.connection_of(&bob, &room).await;
    at_alice.send(&room, "a", "hello").await;
    let conflict = at_alice.send(&room, "a", "something else").await;
    at_alice.nack(&conflict["commandId"]).await;
    madang.broker().append(MESSAGES, &[StoredRecord::new(Some(room.as_bytes()), Some(b"null"))]).await;
    madang.faults(json!({"posts": "throttle", "connections": [connection]})).await;
    at_alice.send(&room, "b", "not heard by bob").await;
    eventually("the mark", async || madang.is_lagged(&room, &connection, "json").await.then_some(())).await;
    madang.faults(json!({})).await;
    madang.sweeping(at_bob.push("resync")).await;
    for (name, function) in [("nacks", "consumer"), ("dead_letters", "consumer"), ("lagged", "consumer")] {
        let counted = async || Samples::read(&madang).await.of(&format!("madang_{name}_total"), function);
        eventually(name, async || (counted().await >= 1.0).then_some(())).await;
        assert_eq!(counted().await, 1.0, "{name}");
    }
    // What is told of sessions may be swept, too.
    eventually("swept", async || {
        (Samples::read(&madang).await.of("madang_swept_total", "sweeper") >= 1.0).then_some(())
    })
    .await;
}

/// To `increase()` a series that appears with a value has not increased: the first trouble would go unseen. And what
/// people do adds none (case 69).
#[tokio::test]
async fn every_series_is_there_from_the_start() {
    let madang = Runtime::start::<&str>(&[]);
    let before = Samples::read(&madang).await;
    for (name, function) in [("dead_letters", "consumer"), ("lagged", "consumer"), ("gone", "sweeper")] {
        let sample = format!("madang_{name}_total{{function=\"{function}\"}}");
        assert_eq!(before.0.get(&sample), Some(&0.0), "{sample}");
    }
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    for id in ["a", "a"] {
        at_alice.send(&room, id, "hello").await;
    }
    at_bob.message(&room, "a").await;
    at_bob.act(json!({"action": "read", "roomId": room, "seq": 2})).await;
    drop(at_bob);
    madang.sweep().await;
    let after = Samples::at_rest(&madang).await;
    assert_eq!(after.series(), before.series());
    assert!(after.series().len() < 300, "{}", after.series().len());
}

/// The README's table: with the connection that is looked up for every frame.
#[tokio::test]
async fn a_subscribe_costs_what_the_readme_says_and_a_ping_nothing() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, _bob, room) = madang.pair().await;
    let mut client = alice.connect().await;
    let units = async || madang.counted("message", &["ReadHalfUnits", "WriteUnits"]).await;
    client.request(json!({"action": "history", "roomId": room})).await;
    let before = eventually("the history counted", async || {
        let units = units().await;
        (units[0] > 0.0).then_some(units)
    })
    .await;
    for _ in 0..5 {
        client.catch_up().await;
    }
    client.subscribe(&room).await;
    let after = eventually("the subscribe counted", async || {
        let units = units().await;
        (units[1] > before[1]).then_some(units)
    })
    .await;
    assert_eq!([(after[0] - before[0]) / 2.0, after[1] - before[1]], [4.0, 8.0]);
}
