//! The topics of `infra/topics.json` on the cluster that the functions use, reached by the functions' own settings and
//! with the number of partitions that those name.

use clap::Subcommand;
use common::config::{ConfigError, Environment, KafkaConfig};
use topics::{Applied, Scale, Topic, TopicError};

/// What to do with the topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Make the topics that are missing; check the others, and change nothing when one is not as declared
    Apply,
}

/// The topics are not as declared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicsError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// Carries a command out, and prints a line for each topic.
///
/// # Errors
/// As [`TopicsError`] says.
pub(crate) async fn run(command: &TopicsCommand) -> Result<(), TopicsError> {
    let config = KafkaConfig::new(&Environment::of_process())?;
    match command {
        TopicsCommand::Apply => {
            let wanted = wanted(&config);
            let outcomes = topics::apply(&config.client, &wanted).await?;
            for (topic, outcome) in wanted.iter().zip(outcomes) {
                println!("{}", line(topic, outcome));
            }
            Ok(())
        }
    }
}

/// The declared topics by their names on the cluster, with the configured number of partitions.
fn wanted(config: &KafkaConfig) -> Vec<Topic> {
    let on_cluster = |topic: Topic| Topic {
        partitions: config.partitions.get(&topic.name).copied().unwrap_or(topic.partitions),
        name: config.topic_prefix.with(&topic.name),
        ..topic
    };
    topics::declared(Scale::Production).into_iter().map(on_cluster).collect()
}

fn line(topic: &Topic, outcome: Applied) -> String {
    let outcome = match outcome {
        Applied::Made => "made",
        Applied::Kept => "is there",
    };
    format!("{} {outcome}, {} partitions", topic.name, topic.partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_their_names_on_the_cluster_and_the_configured_partitions() {
        let config = KafkaConfig::new(&Environment::of_pairs(&[
            ("KAFKA_BOOTSTRAP_SERVERS", "one:9092"),
            ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
            ("KAFKA_TOPIC_PREFIX", "stage."),
            ("KAFKA_PARTITIONS", "chat-presence:2"),
        ]));
        let lines: Vec<String> = wanted(&config.unwrap()).iter().map(|topic| line(topic, Applied::Made)).collect();
        let expected = [
            "stage.chat-messages made, 12 partitions",
            "stage.chat-messages-dlt made, 12 partitions",
            "stage.chat-presence made, 2 partitions",
            "stage.chat-read-events made, 6 partitions",
        ];
        assert_eq!(lines, expected);
    }
}
