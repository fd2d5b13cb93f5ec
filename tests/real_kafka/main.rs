//! What only a real Kafka cluster has: topics that are made by asking, rights, sign-ins that are refused, brokers that
//! restart, connections that brokers close. The cluster is harmed, so the tests take turns.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test, in its helpers too")]

mod iam;
mod raise;
mod restart;
mod rights;
mod talk;
mod thaw;
mod topics;
mod wrong;

use tests::cluster::Brokers;
use tokio::sync::{Mutex, MutexGuard};

/// The right to harm the cluster, which is there.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    drop(Brokers::of_this_run());
    TURN.lock().await
}
