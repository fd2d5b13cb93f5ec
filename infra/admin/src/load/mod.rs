//! Load on a running local runtime: users in rooms, one WebSocket connection each, messages at a fixed rate whatever
//! the system does (an open loop), and what became of every one of them.

mod counters;
mod frame;
mod histogram;
mod log;
mod member;
mod report;
mod run;
mod search;
mod tally;

use clap::Args;
use clap::value_parser;
use common::limits::ROOM_CREATE_MAX_USERS;

use crate::runtime::{RuntimeError, RuntimeUrl};
use member::JoinError;
use report::Outcome;
use run::Crowd;
use search::Search;

/// What load is put on what.
#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    /// A running local runtime, such as http://127.0.0.1:8787
    #[arg(long)]
    pub(crate) url: RuntimeUrl,
    /// Users, each with one connection
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=10_000))]
    users: u32,
    /// Rooms that the users are spread over
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=10_000))]
    rooms: u32,
    /// Messages a second in all; with --ramp the first rate to try
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How long messages are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = value_parser!(u32).range(1..=600))]
    duration_s: u32,
    /// How long messages are sent before that
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = value_parser!(u32).range(0..=60))]
    warmup_s: u32,
    /// Length of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = value_parser!(u32).range(1..=4_000))]
    content_bytes: u32,
    /// Search for the highest rate at which 99 % of all copies arrive within a second
    #[arg(long)]
    ramp: bool,
    /// Print one JSON object a run instead of the table
    #[arg(long)]
    json: bool,
}

/// Most people of a new room: who makes it, and whom they name.
const ROOM_MAX_USERS: usize = ROOM_CREATE_MAX_USERS + 1;

/// No load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("--rooms is above --users: a room would be empty")]
    EmptyRoom,
    #[error("--users over --rooms is above {ROOM_MAX_USERS}, the most that a new room takes")]
    FullRoom,
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("a message did not arrive, arrived twice, or was refused: see the table")]
    Incomplete,
}

/// Runs the load and prints what it came to.
///
/// # Errors
/// Bad options, a runtime that is not there, or (without `--ramp`) a message that did not arrive exactly once.
pub(crate) async fn run(options: &LoadOptions) -> Result<(), LoadError> {
    if options.rooms > options.users {
        return Err(LoadError::EmptyRoom);
    }
    if options.users.div_ceil(options.rooms) as usize > ROOM_MAX_USERS {
        return Err(LoadError::FullRoom);
    }
    eprintln!("admin: {} users join {} rooms", options.users, options.rooms);
    let mut crowd = Crowd::gather(options).await?;
    let mut outcomes = Vec::new();
    let mut search = Search::default();
    let mut next = Some(options.rate);
    while let Some(rate) = next {
        eprintln!("admin: {rate} messages a second for {} s + {} s", options.warmup_s, options.duration_s);
        let outcome = crowd.run(options, rate).await;
        if options.json {
            println!("{}", outcome.json());
        }
        // What one run has left undelivered would be measured in the next.
        let drained = outcome.tally.missing() == 0;
        next = if options.ramp { search.next(rate, outcome.held()).filter(|_| drained) } else { None };
        outcomes.push(outcome);
    }
    if !options.json {
        print(options, &outcomes, search.highest());
    }
    let complete = options.ramp || outcomes.iter().all(Outcome::is_complete);
    if complete { Ok(()) } else { Err(LoadError::Incomplete) }
}

fn print(options: &LoadOptions, outcomes: &[Outcome], highest: Option<u32>) {
    println!(
        "{} users, {} rooms, {} bytes a message, {} s; latencies in ms, from the time a message was due\n\n{}",
        options.users,
        options.rooms,
        options.content_bytes,
        options.duration_s,
        report::table(outcomes)
    );
    for outcome in outcomes.iter().filter(|outcome| !options.ramp || Some(outcome.rate) == highest) {
        println!("{}", outcome.details());
    }
    if options.ramp {
        match highest {
            Some(rate) => println!("highest rate that held: {rate} messages a second"),
            None => println!("no rate held"),
        }
    }
}
