//! The tables are away for a while: nobody is told that something is safe which is not, and what was acked before is
//! committed when they come back, in order, once.

use serde_json::{Value, json};
use tests::Runtime;
use tests::client::send;
use tests::deadline::eventually;
use tests::gate::{Gate, Way};
use tests::person::assert_dense;

/// How many messages are acked before.
const ACKED: usize = 30;

async fn nothing_acked_is_lost_while_the_tables_are(away: Way, failures: usize) {
    let tables = Runtime::for_its_tables();
    let gate = Gate::to(&tables.endpoints.dynamodb).await;
    let madang = Runtime::start_with::<&str>(&[], &[("AWS_ENDPOINT_URL_DYNAMODB", &gate.url())]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    madang.faults(json!({"pauseEventSource": true})).await;
    for number in 1..=ACKED {
        at_alice.send(&room, &format!("m{number}"), "text").await;
    }
    gate.set(away);
    madang.faults(json!({})).await;
    let refused = at_alice.request(send(&room, "not-now", "x")).await;
    let told = (&refused["type"], &refused["code"], &refused["retryable"]);
    assert_eq!(told, (&json!("error"), &json!("unavailable"), &json!(true)), "{refused}");
    alice.http.get(&format!("/rooms/{room}/messages")).await.refused(503, "unavailable");
    eventually("failed batches", async || {
        let lines = ["records are left for another try", "records were not handled in time"];
        let failed: usize = lines.iter().map(|line| madang.log_lines_with(line)).sum();
        (failed >= failures).then_some(())
    })
    .await;
    gate.set(Way::Open);
    at_bob.message(&room, &format!("m{ACKED}")).await;
    let history = bob.messages_once_there(&room, ACKED).await;
    assert_dense(&history, 2);
    let ids: Vec<&Value> = history.iter().map(|message| &message["clientMessageId"]).collect();
    assert_eq!(
        ids,
        (1..=ACKED).map(|number| json!(format!("m{number}"))).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert_eq!(at_bob.hear_events(&room, ACKED).await, history);
    at_alice.send(&room, "not-now", "x").await;
    at_bob.message(&room, "not-now").await;
}

// The gate works while the start of the runtime blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_lost_while_the_tables_break_connections() {
    nothing_acked_is_lost_while_the_tables_are(Way::Broken, 3).await;
}

// The gate works while the start of the runtime blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_lost_while_the_tables_are_silent() {
    nothing_acked_is_lost_while_the_tables_are(Way::Silent, 1).await;
}
