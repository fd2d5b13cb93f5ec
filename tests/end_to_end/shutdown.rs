//! Processes that are asked to end: the functions by SIGTERM, as Lambda does it, and the local runtime by Ctrl-C.

use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use tests::client::{Closed, send};
use tests::cluster;
use tests::deadline::eventually;
use tests::person::assert_dense;
use tests::runtime::{UnixSignal, runs, signal_all};
use tests::trouble::TroubledWay;
use tests::{Client, Person, Runtime};

/// What the local runtime logs of a function's process that ended by itself and in order.
const IN_ORDER: &str = "ending=exit status: 0";
/// How often what a machine that stands still decides is tried.
const ROUNDS: usize = 5;

/// Asks every process of a function to end, twice, and waits until all have.
async fn end_function(madang: &Runtime, name: &str) {
    let pids = madang.signal_function(name, UnixSignal::TERM).await;
    // The same ones: others that have taken their place may be beginning, and end by any signal.
    signal_all(&pids, UnixSignal::TERM);
    eventually(&format!("the end of {name}"), async || (!pids.iter().any(|pid| runs(*pid))).then_some(())).await;
    eventually(&format!("the end of {name} in the log"), async || {
        let own = format!("function=\"{name}\"");
        let ends =
            madang.log().into_iter().filter(|line| line.contains(&own) && line.contains("another one is started"));
        let ends: Vec<String> = ends.collect();
        for end in &ends {
            assert!(end.contains(IN_ORDER), "{end}");
        }
        (ends.len() >= pids.len()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_function_ends_by_itself_and_another_one_goes_on() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    at_alice.send(&room, "before", "hello").await;
    at_alice.message(&room, "before").await;
    for name in ["connect", "message", "disconnect", "consumer", "api", "sweeper"] {
        end_function(&madang, name).await;
    }
    let mut at_bob = bob.join(&room).await;
    at_bob.send(&room, "after", "hello").await;
    at_bob.message(&room, "after").await;
    assert_dense(&alice.messages_once_there(&room, 2).await, 2);
}

/// What a function that ends while the broker is slow answers. A machine that stands still has the process end before: then
/// it is tried once more.
async fn answer_of_a_function_that_ends(broker_delay_ms: u64) -> Value {
    for _ in 0..ROUNDS {
        if let Some(answer) = try_to_end_a_function(broker_delay_ms).await {
            return answer;
        }
    }
    panic!("a function that ends never answers");
}

/// Says something while the broker is slow, ends the functions in the middle of it, and gives what was answered, if anything
/// was; then says it again until it is acked.
async fn try_to_end_a_function(broker_delay_ms: u64) -> Option<Value> {
    let tables = Runtime::for_its_tables();
    let way = TroubledWay::to(&tables.endpoints.dynamodb).await;
    let madang = Runtime::start_with::<&str>(&[], &[("AWS_ENDPOINT_URL_DYNAMODB", &way.url())]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "warm", "hello").await;
    at_bob.message(&room, "warm").await;
    // The room's creation, two sessions, and that: from now on nobody reads but for what is said.
    let handled = async || (madang.counted("consumer", &["Records"]).await == [4.0]).then_some(());
    eventually("everything handled", handled).await;
    madang.faults(json!({"brokerDelayMs": broker_delay_ms})).await;
    let read_before = way.answered("GetItem");
    let id = at_alice.ask(send(&room, "held", "hello")).await;
    // The connection, then the membership; what follows is the record.
    eventually("an invocation", async || (way.answered("GetItem") >= read_before + 2).then_some(())).await;
    end_function(&madang, "message").await;
    let answer = at_alice.answer_or_fault(&id).await.filter(|answer| answer.get("type").is_some());
    madang.faults(json!({})).await;
    at_alice.insist(send(&room, "held", "hello"), "ack").await;
    at_alice.insist(send(&room, "last", "hello"), "ack").await;
    at_bob.message(&room, "last").await;
    let history = bob.messages_once_there(&room, 3).await;
    assert_dense(&history, 2);
    assert_eq!(at_bob.hear_events(&room, 3).await, history);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_its_way_is_acked_or_unavailable() {
    let answer = answer_of_a_function_that_ends(150).await;
    let is_unavailable = (&answer["code"], &answer["retryable"]) == (&json!("unavailable"), &json!(true));
    assert!(answer["type"] == "ack" || is_unavailable, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_held_up_longer_is_unavailable() {
    let answer = answer_of_a_function_that_ends(2_000).await;
    assert_eq!((&answer["code"], &answer["retryable"]), (&json!("unavailable"), &json!(true)), "{answer}");
}

#[tokio::test]
async fn either_signal_closes_sockets_and_leaves_nothing_over() {
    for signal in [UnixSignal::INT, UnixSignal::TERM] {
        let directory = tempfile::tempdir().unwrap();
        let mut madang = Runtime::start_with::<&str>(&[], &[("TMPDIR", directory.path().to_str().unwrap())]);
        let (alice, _bob, room) = madang.pair().await;
        let mut at_alice = alice.join(&room).await;
        at_alice.send(&room, "hello", "hello").await;
        let family = madang.family();
        // Itself, its watchdog, and at least one process of each function.
        assert!(family.len() >= 8, "{family:?}");
        madang.signal(signal);
        assert_eq!(at_alice.closed().await, Closed { code: Some(1001) });
        let endpoints = madang.endpoints.clone();
        let ended = madang.ended().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        eventually("the end of every process", async || (!family.iter().any(|pid| runs(*pid))).then_some(())).await;
        // A cluster goes on.
        let broker = (!cluster::is_used()).then_some(endpoints.kafka);
        for address in [endpoints.http, endpoints.dynamodb].into_iter().chain(broker) {
            let address = address.trim_start_matches("http://");
            assert!(TcpStream::connect(address).is_err(), "somebody listens at {address}");
        }
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A system where forty messages of a person are acked, and no consumer has seen any.
async fn with_much_acked_and_nothing_stored(directory: &Path) -> (Runtime, Person, Client, String) {
    let madang = Runtime::start_in(directory);
    let (alice, _bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    madang.faults(json!({"pauseEventSource": true})).await;
    at_alice.send_many(&room, "m", 40).await;
    (madang, alice, at_alice, room)
}

/// `timeout` sends its signal to the process and to the group, and npm repeats what a terminal has sent.
#[tokio::test]
async fn a_signal_that_comes_twice_loses_nothing_that_was_acked() {
    let directory = tempfile::tempdir().unwrap();
    let (mut madang, alice, _at_alice, room) = with_much_acked_and_nothing_stored(directory.path()).await;
    for signal in [UnixSignal::TERM, UnixSignal::INT, UnixSignal::TERM] {
        madang.signal(signal);
    }
    let ended = madang.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let madang = Runtime::start_in(directory.path());
    assert_dense(&madang.somebody(&alice.id).await.messages_once_there(&room, 40).await, 2);
}

/// Asks it to end, again and again, until a line of its log says so much.
async fn interrupt_until(madang: &Runtime, line: &str) {
    eventually(line, async || {
        if madang.log_lines_with(line) == 0 {
            madang.signal(UnixSignal::INT);
            return None;
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_waits_for_no_answer_and_loses_nothing_that_was_acked() {
    let directory = tempfile::tempdir().unwrap();
    let (mut madang, alice, mut at_alice, room) = with_much_acked_and_nothing_stored(directory.path()).await;
    // An answer that does not come before the function's time is over.
    let family = madang.family();
    madang.signal_function("message", UnixSignal::STOP).await;
    at_alice.ask(send(&room, "late", "hello")).await;
    interrupt_until(&madang, "waiting no longer").await;
    let ended = madang.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    eventually("the end of every process", async || (!family.iter().any(|pid| runs(*pid))).then_some(())).await;
    let madang = Runtime::start_in(directory.path());
    assert_dense(&madang.somebody(&alice.id).await.messages_once_there(&room, 40).await, 2);
}

#[tokio::test]
async fn a_third_signal_waits_for_nothing_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (mut madang, _alice, _at_alice, _room) = with_much_acked_and_nothing_stored(directory.path()).await;
    let family = madang.family();
    madang.signal_function("consumer", UnixSignal::STOP).await;
    interrupt_until(&madang, "ended at once").await;
    let ended = madang.ended().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    eventually("the end of every process", async || (!family.iter().any(|pid| runs(*pid))).then_some(())).await;
}
