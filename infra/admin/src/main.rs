//! Madang's command line for operators: development tokens ([`token`]), load ([`load`]), the figures of the function
//! binaries ([`measure`]), dead letters ([`dlt`]) and topics ([`topic`]). Results stand on standard output, everything else
//! on standard error.

#![expect(clippy::print_stdout, reason = "a command-line tool prints its results")]

mod dlt;
mod load;
mod measure;
mod runtime;
mod table;
mod token;
mod topic;

use std::error::Error;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// Madang's command line for operators.
#[derive(Debug, Parser)]
#[command(name = "admin")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a token: from the local runtime, or signed here with a key
    Token(token::TokenOptions),
    /// Put load on a running local runtime and print what it held
    Load(load::LoadOptions),
    /// Print size, resident memory and cold start of each function
    Measure(measure::MeasureOptions),
    /// List, show or replay the records that no consumer could take
    #[command(subcommand)]
    Dlt(dlt::DltCommand),
    /// Make and check the topics
    #[command(subcommand)]
    Topics(topic::TopicsCommand),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let outcome = match arguments.command {
        Command::Token(options) => token::run(&options).await.map_err(Box::<dyn Error>::from),
        Command::Load(options) => load::run(&options).await.map_err(Box::from),
        Command::Measure(options) => measure::run(&options).await.map_err(Box::from),
        Command::Dlt(command) => dlt::run(&command).await.map_err(Box::from),
        Command::Topics(command) => topic::run(&command).await.map_err(Box::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("admin: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Bad arguments are one sentence; help is printed as it comes.
fn explain(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    if !error.use_stderr() {
        println!("{}", text.trim_end());
        return ExitCode::SUCCESS;
    }
    let sentence = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if text.contains("admin dlt") => {
            "name a command: dlt list, dlt show or dlt replay".to_owned()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if text.contains("admin topics") => {
            "name a command: topics apply or topics raise-partitions".to_owned()
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "name a command: token, load, measure, dlt or topics".to_owned()
        }
        _ => sentence(&text),
    };
    eprintln!("admin: {sentence} (--help names the arguments)");
    ExitCode::from(2)
}

/// The first paragraph of clap's message on one line.
fn sentence(text: &str) -> String {
    let paragraph = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bad_arguments_are_one_sentence() {
        let check = |arguments: &[&str], expected: &str| {
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            assert_eq!(sentence(&error.to_string()), expected);
        };
        check(&["admin", "token", "--url", "http://localhost"], {
            "the following required arguments were not provided: --sub <SUBJECT>"
        });
        check(&["admin", "load", "--url", "http://192.0.2.1:80"], {
            "invalid value 'http://192.0.2.1:80' for '--url <URL>': not a loopback address: this tool only ever \
             talks to this machine"
        });
        check(&["admin", "load", "--url", "http://[::1]:80", "--users", "0"], {
            "invalid value '0' for '--users <USERS>': 0 is not in 1..=10000"
        });
        check(&["admin", "dlt", "show", "17"], {
            "invalid value '17' for '<P:O>': a letter is named by partition and offset, such as 0:17"
        });
        check(&["admin", "dlt", "list", "--topic", "chat-messages-dlt"], {
            "invalid value 'chat-messages-dlt' for '--topic <TOPIC>': not a topic of ours that letters come from"
        });
        check(&["admin", "dlt", "replay"], {
            "the following required arguments were not provided: <P:O|--all|--reason <REASON>>"
        });
    }
}
