//! The whole end-to-end suite on a system whose every call to AWS is written down, function by function, what that does
//! only where it refuses sessions, and on a cluster every topic that a function writes to: together they are what
//! [`tests::permitted`] has, to which `tests/template` holds the roles. So no function is granted what it never does, and
//! none does what it is not granted.

use std::collections::BTreeSet;
use std::process::Command;

use tests::cluster;
use tests::ledger::Ledger;
use tests::permitted::{Call, permitted};
use tests::{Runtime, ghosts};

/// Tests that take one topic of an embedded broker away, or slow it down: a cluster has no such switches.
const OF_AN_EMBEDDED_BROKER: [&str; 5] = [
    "dead_letters::with_the_dead_letter_topic_away",
    "dlt::a_replay_ends_at_the_first_failure",
    "rooms::a_room_whose_maker_has_to_try_again",
    "shutdown::a_record_",
    "stomp::frames::no_receipt_without_the_broker",
];

/// The suite's exit code, run on a system.
async fn run_suite(madang: &Runtime) -> Option<i32> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Built with the workspace's features, as all else.
    cargo.args(["test", "--workspace", "--test", "end_to_end", "--"]);
    cargo.env("MADANG_ENDPOINTS", madang.endpoints.line()).envs(&madang.kafka);
    if cluster::is_used() {
        cargo.args(OF_AN_EMBEDDED_BROKER.iter().flat_map(|test| ["--skip", test]));
    }
    let status = tokio::task::spawn_blocking(move || cargo.status()).await.expect("the suite's own panics are its own");
    status.expect("cargo runs this test, too").code()
}

// The ledgers write while the start of the runtime blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_do_what_they_may_and_nothing_else() {
    let store = Runtime::for_its_tables();
    let (tables, connections) = (Ledger::open().await, Ledger::open().await);
    tables.leads_to(&store.endpoints.dynamodb);
    let variables =
        [("AWS_ENDPOINT_URL_DYNAMODB", tables.url()), ("MANAGEMENT_ENDPOINT", format!("{}/local", connections.url()))];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let madang = Runtime::start_with::<&str>(&[], &variables);
    connections.leads_to(madang.endpoints.management.trim_end_matches("/local"));
    assert_eq!(run_suite(&madang).await, Some(0), "the suite fails on this system");
    drop(madang);
    let refusing = Runtime::start_with::<&str>(&[], &[&variables[..], &ghosts::VARIABLES].concat());
    connections.leads_to(refusing.endpoints.management.trim_end_matches("/local"));
    ghosts::do_not_keep_the_living_out(&refusing).await;

    let mut seen: BTreeSet<Call> = tables.calls().into_iter().chain(connections.calls()).collect();
    // An embedded broker does not tell who writes to a topic, and no broker who has made it.
    let mut untold = vec!["topics, made"];
    if cluster::is_used() {
        seen.extend(cluster::written());
    } else {
        untold.push("topics");
    }
    let permitted: BTreeSet<Call> =
        permitted().into_iter().filter(|call| !untold.contains(&call.on.as_str())).collect();
    let forbidden: Vec<&Call> = seen.difference(&permitted).collect();
    assert!(forbidden.is_empty(), "done, but not permitted: {forbidden:#?}");
    let idle: Vec<&Call> = permitted.difference(&seen).collect();
    assert!(idle.is_empty(), "permitted, but never done: {idle:#?}");
}
