//! The topics of `infra/topics.json` on the cluster that the functions use, reached by the functions' own settings and
//! with the number of partitions that those name.

use std::time::Duration;

use clap::{Args, Subcommand};
use common::config::{ConfigError, Environment, KafkaConfig, topic_care};
use common::record::DEAD_LETTER_TOPIC;
use topics::{Applied, Care, Raise, Risk, Scale, Topic, TopicError};

/// What to do with the topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Make the topics that are missing; check the others, and change nothing when one is not as declared. With
    /// KAFKA_TOPICS=verify make none, and name the step that does
    Apply,
    /// Give a topic more partitions, when ingress is closed and the consumers have come to its end
    RaisePartitions(RaiseOptions),
}

/// Which topic, and what is waited for.
#[derive(Debug, Args)]
pub(crate) struct RaiseOptions {
    /// The topic, by our own name
    #[arg(value_name = "TOPIC", value_parser = our_topic)]
    topic: String,
    /// How many partitions it is to have
    #[arg(value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// The consumer group of the topic's event source, unless it is madang- and the topic's name on the cluster
    #[arg(long)]
    group: Option<String>,
    /// The longest timeout of a function that lets something in; so long nothing may be written
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ingress_timeout: u64,
    /// The consumer's timeout; so long it must have nothing left to do
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    consumer_timeout: u64,
    /// How long the consumers may take to come to the end
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain_limit: u64,
}

fn our_topic(name: &str) -> Result<String, &'static str> {
    let is_ours = topics::declared(Scale::Production).iter().any(|topic| topic.name == name);
    if is_ours { Ok(name.to_owned()) } else { Err("not a topic of ours") }
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
    let environment = Environment::of_process();
    let config = KafkaConfig::new(&environment)?;
    match command {
        TopicsCommand::Apply => apply(&config, topic_care(&environment)?).await,
        TopicsCommand::RaisePartitions(options) => {
            let raise = raise(&config, options);
            raise.carry_out(&config.client, &config.context, |step| eprintln!("admin: {step}")).await?;
            let RaiseOptions { topic, partitions, .. } = options;
            println!("{} has {partitions} partitions", raise.topic);
            eprintln!("admin: now deploy KAFKA_PARTITIONS={topic}:{partitions} to every function, and open ingress");
            Ok(())
        }
    }
}

async fn apply(config: &KafkaConfig, care: Care) -> Result<(), TopicsError> {
    let tell = |risk: &Risk| eprintln!("admin: {risk}");
    for (topic, outcome) in topics::see_to(care, &config.client, &config.context, config.topics(), tell).await? {
        println!("{}", line(&topic, outcome));
    }
    Ok(())
}

fn raise(config: &KafkaConfig, options: &RaiseOptions) -> Raise {
    let topic = config.topic_prefix.with(&options.topic);
    // Nobody reads the letters but operators.
    let is_read = options.topic != DEAD_LETTER_TOPIC;
    Raise {
        group: is_read.then(|| options.group.clone().unwrap_or_else(|| format!("madang-{topic}"))),
        topic,
        partitions: options.partitions,
        ingress_timeout: Duration::from_secs(options.ingress_timeout),
        consumer_timeout: Duration::from_secs(options.consumer_timeout),
        drain_limit: Duration::from_secs(options.drain_limit),
    }
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
    fn a_line_says_what_became_of_a_topic() {
        let topic = topics::declared(Scale::Production).into_iter().next().unwrap();
        assert_eq!(line(&topic, Applied::Made), "chat-messages made, 12 partitions");
        assert_eq!(line(&topic, Applied::Kept), "chat-messages is there, 12 partitions");
    }
}
