//! The operators' command line, run as a process.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde::Deserialize;

use crate::deadline::within;
use crate::runtime::Ended;
use crate::workspace;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Topic {
    local_partitions: i32,
}

/// The variables that lead to the broker of a local runtime.
///
/// # Panics
/// The data file of the topics cannot be read.
#[must_use]
pub fn local_variables(bootstrap_servers: &str) -> BTreeMap<String, String> {
    let topics: BTreeMap<String, Topic> =
        serde_json::from_str(include_str!("../../infra/topics.json")).expect("the topics");
    let partitions: Vec<String> =
        topics.iter().map(|(name, topic)| format!("{name}:{}", topic.local_partitions)).collect();
    let variables = [
        ("KAFKA_BOOTSTRAP_SERVERS", bootstrap_servers.to_owned()),
        ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT".to_owned()),
        ("KAFKA_PARTITIONS", partitions.join(",")),
    ];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Runs a command with these variables alone, to its end.
///
/// # Panics
/// It does not end in time.
pub async fn run(variables: &BTreeMap<String, String>, arguments: &[&str]) -> Ended {
    let program = tokio::task::spawn_blocking(|| workspace::program().with_file_name("admin"));
    let mut command = tokio::process::Command::new(program.await.expect("the programs are built"));
    command.args(arguments).env_clear().envs(variables).stdin(Stdio::null()).kill_on_drop(true);
    let what = format!("the end of admin {}", arguments.join(" "));
    let ended = within(&what, command.output()).await.expect("the program was just built");
    let lines = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect();
    Ended { code: ended.status.code(), output: lines(ended.stdout), log: lines(ended.stderr) }
}
