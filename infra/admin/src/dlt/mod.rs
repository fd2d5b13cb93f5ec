//! Dead letters: records that no consumer could take, with where they came from and why.
//!
//! | command | what it does |
//! |---|---|
//! | `dlt list` | one line a letter ([`list`]) |
//! | `dlt show P:O` | one letter whole, its content only when asked for ([`show`]) |
//! | `dlt replay …` | puts the records back on the topics that they came from ([`replay`]) |
//!
//! Reading takes part in no consumer group and commits nothing. Kafka is reached by the functions' own settings.

mod escape;
mod json;
mod letter;
mod list;
mod reader;
mod replay;
mod selection;
mod show;

use std::io;

use clap::Subcommand;
use common::config::{ConfigError, Environment, KafkaConfig};
use common::producer::{ProduceError, ProducerError};
use common::record::DEAD_LETTER_TOPIC;
use common::record::origin::InvalidOrigin;
use rdkafka::error::KafkaError;
use topics::Scale;

use letter::LetterId;
use reader::ReadError;
use replay::Done;

/// What to do with the dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DltCommand {
    /// Print one line for each dead letter
    List(list::ListOptions),
    /// Print one dead letter with its headers, without its content unless asked for
    Show(show::ShowOptions),
    /// Put records back on the topics that they came from, in their order
    Replay(replay::ReplayOptions),
}

/// Something was not done. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DltError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the Kafka client cannot be made: {0}")]
    Client(#[from] KafkaError),
    #[error(transparent)]
    Producer(#[from] ProducerError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("letter {id} cannot be replayed: {cause}")]
    Unreplayable { id: LetterId, cause: Unreplayable },
    #[error("{0} letters cannot be replayed and were passed over")]
    PassedOver(u64),
    #[error(
        "{topic} has {found} partitions, but {configured} are configured: set KAFKA_PARTITIONS as the functions have it"
    )]
    Partitions { topic: String, found: usize, configured: i32 },
    #[error("letter {id} was not replayed to {topic} ({cause}); should it stand there all the same, a replay is safe")]
    Unacknowledged { id: LetterId, topic: String, cause: ProduceError },
    #[error("{cause}; {done}")]
    Stopped { cause: Box<Self>, done: Done },
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// A letter that has no topic to go back to, or no value to go back with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreplayable {
    #[error(transparent)]
    Origin(#[from] InvalidOrigin),
    #[error("its origin is not one of our topics")]
    ForeignTopic,
    #[error("its value of {0} bytes was too large for a letter and stands at its origin alone")]
    LeftOut(u64),
}

/// Carries a command out.
///
/// # Errors
/// As [`DltError`] says; that the reader of standard output has seen enough is none.
pub(crate) async fn run(command: &DltCommand) -> Result<(), DltError> {
    let config = KafkaConfig::new(&Environment::of_process())?;
    let mut output = io::stdout();
    let outcome = match command {
        DltCommand::List(options) => list::run(options, &config, &mut output),
        DltCommand::Show(options) => show::run(options, &config, &mut output),
        DltCommand::Replay(options) => return replay::run(options, config, &mut output).await,
    };
    match outcome {
        Err(DltError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Whether a record of this topic can be a dead letter, and go back: the closed list of `infra/topics.json`.
fn is_origin_topic(topic: &str) -> bool {
    let is_ours = topics::declared(Scale::Production).iter().any(|declared| declared.name == topic);
    is_ours && topic != DEAD_LETTER_TOPIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_back_to_our_topics_only() {
        let check = |topic: &str, expected: bool| assert_eq!(is_origin_topic(topic), expected, "{topic}");
        check("chat-messages", true);
        check("chat-read-events", true);
        check("chat-presence", true);
        check("chat-messages-dlt", false);
        check("__consumer_offsets", false);
        check("", false);
    }
}
