//! Madang on one machine: API Gateway, Lambda and the Kafka event source in front of the real functions, with an
//! embedded Kafka broker and an embedded DynamoDB behind them.
//!
//! It knows the system only from outside: event JSON, the functions' environment, sockets, the data files of `infra/`.
//!
//! | module | what it is |
//! |---|---|
//! | [`gateway`] | API Gateway: WebSocket API, `@connections`, HTTP API |
//! | [`lambda`] | Lambda: the functions' processes behind the Runtime API |
//! | [`event_source`] | the Kafka event source of the consumer |
//! | [`embedded`] | the broker and the tables of a machine that has neither |
//! | [`schedule`] | EventBridge: the schedule of the sweeper |
//! | [`dev`] | what only this runtime has: the page, tokens, switches for tests |
//! | [`exposition`] | the functions' figures for Prometheus |
//! | [`asker`] | who asks: a program of this machine, or a page |
//!
//! Order of start: the port, the functions' build, broker and tables, the processes, the gateway, the event source, the
//! schedule.
//! [`runtime`] has it, and the order of the end.

mod announcement;
mod asker;
mod cli;
mod dev;
mod embedded;
mod event_source;
mod exposition;
mod faults;
mod gateway;
mod identifier;
mod kafka;
mod lambda;
mod provision;
mod runtime;
mod schedule;
mod stack;
mod token;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use cli::{Arguments, LogLevel};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == lambda::WATCHDOG_ARGUMENT) {
        return lambda::run_watchdog();
    }
    let arguments = Arguments::parse();
    log(arguments.log_level);
    let ended = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(tasks) => {
            let ended = tasks.block_on(runtime::run(&arguments));
            // Whatever still runs was given up on by a signal.
            tasks.shutdown_background();
            ended
        }
        Err(error) => Err(format!("the runtime's threads did not start: {error}")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // Nobody may read standard error; there is nowhere else to say it.
            drop(writeln!(io::stderr(), "{sentence}"));
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error. This runtime tells what it does unless it is asked for less; its libraries only when
/// they are asked to.
fn log(level: LogLevel) {
    let own = if level == LogLevel::Warn { LogLevel::Info } else { level };
    let libraries = if level == LogLevel::Error { level } else { LogLevel::Warn };
    let filter = Targets::new()
        .with_default(libraries.filter())
        .with_target("local", own.filter())
        // The table server warns of every conditional write that fails, which is the commit's everyday life.
        .with_target("dynoxide", LevelFilter::ERROR);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}
