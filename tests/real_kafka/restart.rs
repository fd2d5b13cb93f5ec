//! Brokers that are restarted in the middle of traffic: with one the cluster is away meanwhile, with several its
//! partitions get other leaders.

use std::sync::atomic::Ordering;

use tests::Runtime;
use tests::cluster::Brokers;
use tests::deadline::eventually;

use crate::talk::{Progress, Talk};
use crate::turn;

const ROUNDS: usize = 20;
/// How much is said between two restarts.
const BETWEEN: usize = 20;

#[tokio::test]
async fn restarts_in_the_middle_of_traffic_lose_and_double_nothing() {
    let _turn = turn().await;
    let brokers = Brokers::of_this_run();
    let madang = Runtime::start::<&str>(&[]);
    let mut talks = [Talk::begin(&madang).await, Talk::begin(&madang).await];
    let progress = Progress::default();
    let restarts = async {
        for round in 0..ROUNDS {
            let before = progress.acked.load(Ordering::Relaxed);
            eventually("more talk", async || {
                (progress.acked.load(Ordering::Relaxed) >= before + BETWEEN).then_some(())
            })
            .await;
            brokers.restart(round % brokers.count()).await;
        }
        progress.is_over.store(true, Ordering::Relaxed);
    };
    let [first, second] = &mut talks;
    let (first_said, second_said, ()) = tokio::join!(first.go_on(&progress), second.go_on(&progress), restarts);
    first.check(first_said).await;
    second.check(second_said).await;
    let acked = progress.acked.load(Ordering::Relaxed);
    assert_eq!(acked, first_said.iter().chain(&second_said).sum::<usize>());
    eprintln!("{ROUNDS} restarts, {acked} messages acked, {} retried", progress.refused.load(Ordering::Relaxed));
}
