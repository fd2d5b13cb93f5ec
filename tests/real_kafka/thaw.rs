//! Functions that are frozen for so long that the broker closes their connections, and then thawed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tests::Runtime;
use tests::deadline::eventually_in;
use tests::tcp::{State, connections_of};

use crate::talk::{Progress, Talk};
use crate::turn;

const ROUNDS: usize = 20;
/// Longer than the idle limit of the brokers (`--idle-ms`), which look for idle connections now and then.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// Connections that were lost while a process stood still made producers fail elsewhere: tulios/kafkajs #1435,
/// dpkp/kafka-python #2386, confluentinc/librdkafka #3633.
#[tokio::test]
async fn a_function_that_is_frozen_past_the_idle_limit_loses_and_doubles_nothing() {
    let _turn = turn().await;
    let madang = Runtime::start(&["--freeze"]);
    let ports: Vec<u16> = madang.kafka["KAFKA_BOOTSTRAP_SERVERS"]
        .split(',')
        .map(|server| server.rsplit(':').next().unwrap().parse().unwrap())
        .collect();
    let mut talk = Talk::begin(&madang).await;
    let progress = Progress::default();
    let mut slowest = Duration::ZERO;
    for round in 1..=ROUNDS {
        let start = Instant::now();
        talk.say(round, &progress).await;
        slowest = slowest.max(start.elapsed());
        eventually_in(CLOSE_LIMIT, "frozen producers whose connections the broker has closed", async || {
            let processes = madang.processes_of("message").await;
            let connections: Vec<State> = processes.iter().flat_map(|pid| connections_of(*pid, &ports)).collect();
            let are_closed = connections.iter().all(|state| *state == State::ClosedByPeer);
            (are_closed && !connections.is_empty()).then_some(())
        })
        .await;
    }
    talk.check([ROUNDS, 0]).await;
    let refused = progress.refused.load(Ordering::Relaxed);
    eprintln!("{ROUNDS} thaws, {refused} messages retried, the slowest was acked after {slowest:?}");
    assert_eq!(refused, 0, "the producer connects anew before it gives up");
}
