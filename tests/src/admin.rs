//! The operators' command line, run as a process.

use std::process::Stdio;

use crate::cluster::Variables;
use crate::deadline::within;
use crate::runtime::Ended;
use crate::workspace;

/// Runs a command with these variables alone, to its end.
///
/// # Panics
/// It does not end in time.
pub async fn run(variables: &Variables, arguments: &[&str]) -> Ended {
    let program = tokio::task::spawn_blocking(|| workspace::program().with_file_name("admin"));
    let mut command = tokio::process::Command::new(program.await.expect("the programs are built"));
    command.args(arguments).env_clear().envs(variables).stdin(Stdio::null()).kill_on_drop(true);
    let what = format!("the end of admin {}", arguments.join(" "));
    let ended = within(&what, command.output()).await.expect("the program was just built");
    let lines = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect();
    Ended { code: ended.status.code(), output: lines(ended.stdout), log: lines(ended.stderr) }
}
