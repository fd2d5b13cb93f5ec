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
mod rules;
mod start;
mod tables;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::template::{Stack, Template};

/// The topic that only people read.
const DEAD_LETTERS: &str = "chat-messages-dlt";

/// Secrets, and a key of one's own for one of them.
const KAFKA_SECRET: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:AmazonMSK_chat-AbCdEf";
const CA_SECRET: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:ca-AbCdEf";
const JWT_SECRET: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:jwt-AbCdEf";
const CACHE_SECRET: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:cache-AbCdEf";
const OTLP_SECRET: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:otlp-AbCdEf";
const SECRET_KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// The ways in which a stack gets its Kafka, with what each needs.
const SELF_MANAGED: &[(&str, &str)] = &[
    ("Kafka", "self-managed"),
    ("KafkaBootstrapServers", "one.invalid:9092,two.invalid:9092"),
    ("KafkaAuthentication", "PLAIN"),
    ("KafkaSecretArn", KAFKA_SECRET),
];
const MUTUAL_TLS: &[(&str, &str)] = &[
    ("Kafka", "self-managed"),
    ("KafkaBootstrapServers", "one.invalid:9094"),
    ("KafkaAuthentication", "mTLS"),
    ("KafkaSecretArn", KAFKA_SECRET),
    ("KafkaCaSecretArn", CA_SECRET),
    ("KafkaTopicPrefix", "stage."),
];
/// With each of the other secrets.
const MSK: &[(&str, &str)] = &[
    ("Kafka", "msk"),
    ("KafkaBootstrapServers", "b-1.invalid:9096,b-2.invalid:9096"),
    ("KafkaSecretArn", KAFKA_SECRET),
    ("KafkaSecretKeyArn", SECRET_KEY),
    ("MskCluster", "chat/abcd1234-abcd-cafe-abab-9876543210ab-4"),
    ("SubnetIds", "subnet-1,subnet-2"),
    ("SecurityGroupIds", "sg-1"),
    ("JwtKeySecretArn", JWT_SECRET),
    ("CacheUrlSecretArn", CACHE_SECRET),
    ("OtlpEndpoint", "https://collector.invalid:4318"),
    ("OtlpHeadersSecretArn", OTLP_SECRET),
];
const MSK_IAM: &[(&str, &str)] = &[
    ("Kafka", "msk"),
    ("KafkaBootstrapServers", "b-1.invalid:9098,b-2.invalid:9098"),
    ("MskCluster", "chat/abcd1234-abcd-cafe-abab-9876543210ab-4"),
    ("KafkaTopicPrefix", "stage."),
    ("SubnetIds", "subnet-1,subnet-2"),
    ("SecurityGroupIds", "sg-1"),
];
const MSK_SERVERLESS: &[(&str, &str)] = &[
    ("Kafka", "msk-serverless"),
    ("KafkaBootstrapServers", "boot.invalid:9098"),
    ("SubnetIds", "subnet-1,subnet-2"),
    ("SecurityGroupIds", "sg-1"),
];

/// Every way.
fn stacks() -> [(&'static str, Stack); 5] {
    let template = Template::read();
    [
        ("self-managed", SELF_MANAGED),
        ("mutual TLS", MUTUAL_TLS),
        ("msk", MSK),
        ("msk with IAM", MSK_IAM),
        ("msk-serverless", MSK_SERVERLESS),
    ]
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
