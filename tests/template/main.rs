//! `infra/template.yaml`, held to what it must agree with: the code's settings and crates, the data files of topics and
//! tables, the calls that the functions make, and that an event source never discards a record.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test, in its helpers too")]

mod alarms;
mod description;
mod environment;
mod event_sources;
mod functions;
mod permissions;
mod routes;
mod start;
mod tables;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::template::{Stack, Template};

/// The ways in which a stack gets its Kafka, with what each needs.
const SELF_MANAGED: &[(&str, &str)] = &[
    ("Kafka", "self-managed"),
    ("KafkaBootstrapServers", "one.invalid:9092,two.invalid:9092"),
    ("KafkaAuthentication", "PLAIN"),
    ("KafkaSecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:kafka-AbCdEf"),
];
const MUTUAL_TLS: &[(&str, &str)] = &[
    ("Kafka", "self-managed"),
    ("KafkaBootstrapServers", "one.invalid:9094"),
    ("KafkaAuthentication", "mTLS"),
    ("KafkaSecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:kafka-AbCdEf"),
    ("KafkaTopicPrefix", "stage."),
];
const MSK: &[(&str, &str)] = &[
    ("Kafka", "msk"),
    ("KafkaBootstrapServers", "b-1.invalid:9096,b-2.invalid:9096"),
    ("KafkaSecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:AmazonMSK_chat-AbCdEf"),
    ("MskCluster", "chat/abcd1234-abcd-cafe-abab-9876543210ab-4"),
    ("SubnetIds", "subnet-1,subnet-2"),
    ("SecurityGroupIds", "sg-1"),
    ("CacheUrlSecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:cache-AbCdEf"),
];
const MSK_SERVERLESS: &[(&str, &str)] = &[
    ("Kafka", "msk-serverless"),
    ("KafkaBootstrapServers", "boot.invalid:9098"),
    ("SubnetIds", "subnet-1,subnet-2"),
    ("SecurityGroupIds", "sg-1"),
];

/// Every way.
fn stacks() -> [(&'static str, Stack); 4] {
    let template = Template::read();
    [("self-managed", SELF_MANAGED), ("mutual TLS", MUTUAL_TLS), ("msk", MSK), ("msk-serverless", MSK_SERVERLESS)]
        .map(|(name, parameters)| (name, template.with(parameters)))
}

/// A place in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read_json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names in a folder.
fn names_in(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(repository(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
