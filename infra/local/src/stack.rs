//! The functions of the stack: their limits here, and the environment that each process gets.

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tracing::level_filters::LevelFilter;

use crate::{
    cli::Arguments,
    kafka::Kafka,
    lambda::{Binary, Counts, FunctionSpec},
    token::{AUDIENCE, ISSUER, Signer},
};

/// A function: name, seconds an invocation may take, most processes.
type Limits = (&'static str, u64, usize);

const FUNCTIONS: [Limits; 6] = [
    ("connect", 10, 4),
    ("message", 15, 8),
    ("disconnect", 10, 2),
    ("consumer", 60, 3),
    ("api", 15, 4),
    ("sweeper", 60, 2),
];

/// Settings that are handed on to the functions when this runtime's own environment has them, and win.
const HANDED_ON: [&str; 9] = [
    "SESSIONS_PER_USER",
    "SESSION_POLICY",
    "PRESENCE_GRACE_SECONDS",
    "STOMP_MESSAGE_BYTES",
    "INGRESS_CLOSED",
    "MANAGEMENT_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_SAMPLER_ARG",
];

/// How long a process may take until its first `next`. Source: Lambda's init phase.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// Most concurrent invocations of the consumer for one topic, as its pool has processes.
pub(crate) const POLLERS: usize = 3;

/// The name of every function, which is the name of its package and its binary.
pub(crate) fn names() -> [&'static str; 6] {
    FUNCTIONS.map(|(name, ..)| name)
}

/// Where everything is that the functions use.
pub(crate) struct Addresses<'a> {
    /// The management API, with its stage.
    pub(crate) management: &'a str,
    /// The DynamoDB endpoint.
    pub(crate) dynamodb: &'a str,
    /// The Kafka cluster.
    pub(crate) kafka: &'a Kafka,
}

/// The environment of every function's process, but for what its Runtime API adds.
pub(crate) fn variables(arguments: &Arguments, addresses: &Addresses<'_>, signer: &Signer) -> Vec<(String, String)> {
    let cursor_key = STANDARD.encode(rand::random::<[u8; 32]>());
    let fixed = [
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512".into()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".into()),
        ("AWS_LAMBDA_LOG_LEVEL", arguments.log_level.name().into()),
        ("AWS_REGION", "us-east-1".into()),
        // Dummies: nothing here may ever reach a real account.
        ("AWS_ACCESS_KEY_ID", "local".into()),
        ("AWS_SECRET_ACCESS_KEY", "local".into()),
        ("AWS_ENDPOINT_URL_DYNAMODB", addresses.dynamodb.into()),
        ("MANAGEMENT_ENDPOINT", addresses.management.into()),
        ("CHAT_TABLE", "chat".into()),
        ("CONNECTIONS_TABLE", "connections".into()),
        ("JWT_ALGORITHM", "HS256".into()),
        ("JWT_KEY", signer.key()),
        ("JWT_ISSUER", ISSUER.into()),
        ("JWT_AUDIENCE", AUDIENCE.into()),
        ("ALLOWED_ORIGINS", arguments.allow_origin.join(",")),
        ("CURSOR_KEY", cursor_key),
        ("CACHE_URL", arguments.cache_url.clone().unwrap_or_default()),
        ("PARTIAL_BATCH_RESPONSES", (!arguments.no_partial_responses).to_string()),
    ];
    let handed_on = HANDED_ON.iter().filter_map(|name| Some((*name, env::var(name).ok()?)));
    let kafka = addresses.kafka.variables();
    fixed.into_iter().chain(handed_on).chain(kafka).map(|(name, value)| (name.into(), value)).collect()
}

/// The same for `cargo lambda watch --env-file`, which sets what belongs to the Runtime API by itself. Values are quoted:
/// it takes no bare one with `=`, as base64 has.
pub(crate) fn env_file(variables: &[(String, String)]) -> String {
    let own = variables.iter().filter(|(name, _)| !name.starts_with("AWS_LAMBDA_"));
    own.map(|(name, value)| format!("{name}=\"{value}\"\n")).collect()
}

/// Every function with its binary and its limits.
pub(crate) fn specs(
    arguments: &Arguments,
    binaries: Vec<Binary>,
    variables: Vec<(String, String)>,
) -> Vec<FunctionSpec> {
    let spec = |(name, program): (&'static str, PathBuf)| {
        let (_, timeout_s, maximum_count) = *FUNCTIONS.iter().find(|(known, ..)| *known == name)?;
        Some(FunctionSpec {
            name: name.into(),
            program,
            arguments: Vec::new(),
            variables: Arc::new(signed_as(name, &variables)),
            init_limit: INIT_LIMIT,
            timeout: Duration::from_secs(timeout_s),
            maximum_count,
            concurrency: usize::from(arguments.concurrency),
            freeze: arguments.freeze,
            counts: Counts::of(name),
            // They are the functions' lines at INFO.
            shows_counts: arguments.log_level.filter() >= LevelFilter::INFO,
        })
    };
    binaries.into_iter().filter_map(spec).collect()
}

/// A function's environment, with a session token that names the function: whoever stands between it and the tables can
/// tell who calls, as IAM can in the cloud. (The access key is the same for all: DynamoDB Local keeps tables by it.)
fn signed_as(name: &str, variables: &[(String, String)]) -> Vec<(String, String)> {
    let own = ("AWS_SESSION_TOKEN".to_owned(), name.to_owned());
    variables.iter().cloned().chain([own]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_for_cargo_lambda_has_quoted_values() {
        let variables = [("AWS_LAMBDA_LOG_LEVEL", "WARN"), ("CURSOR_KEY", "YWJjZA=="), ("ALLOWED_ORIGINS", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(env_file(&variables), "CURSOR_KEY=\"YWJjZA==\"\nALLOWED_ORIGINS=\"\"\n");
    }
}
