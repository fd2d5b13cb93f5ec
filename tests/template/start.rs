//! Every function starts with the environment that it would be deployed with.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use tests::deadline::within;
use tests::template::Function;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::stacks;

/// What CloudFormation would put in a secret's place.
fn value(variable: &str, value: String) -> String {
    match (variable, value.starts_with("{{resolve:")) {
        // Letters and digits, as the stack makes its own keys.
        ("JWT_KEY" | "CURSOR_KEY", true) => "a".repeat(64),
        ("OTEL_EXPORTER_OTLP_HEADERS", true) => "authorization=from-the-secret".to_owned(),
        ("CACHE_URL", true) => "rediss://user:from-the-secret@cache.invalid:6379".to_owned(),
        (_, true) => "from-the-secret".to_owned(),
        (_, false) => value,
    }
}

/// Lambda's answer to an extension: functions register one to hear of their end.
const REGISTERED: &str = "HTTP/1.1 200 OK\r\nlambda-extension-identifier: 1\r\ncontent-type: application/json\r\n\
    connection: close\r\ncontent-length: 65\r\n\r\n\
    {\"functionName\":\"f\",\"functionVersion\":\"1\",\"handler\":\"bootstrap\"} ";

/// The environment that a function would be deployed with, and what Lambda adds.
fn variables(function: &Function) -> BTreeMap<String, String> {
    let own = function.variables().into_iter().map(|(name, text)| (name.clone(), value(&name, text)));
    let of_lambda = [
        ("AWS_REGION", "local"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.as_str()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ];
    own.chain(of_lambda.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

fn start(function: &Function, variables: &BTreeMap<String, String>, lambda: &TcpListener) -> Child {
    Command::new(tests::program().with_file_name(&function.name))
        .env_clear()
        .envs(variables)
        .env("AWS_LAMBDA_RUNTIME_API", lambda.local_addr().unwrap().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Starts a function; the first thing that it asks of Lambda for itself.
async fn first_call(function: &Function) -> String {
    let lambda = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let child = start(function, &variables(function), &lambda);
    let call = async {
        let mut open = Vec::new();
        loop {
            let (stream, _) = lambda.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            if !line.contains(" /2020-01-01/extension/") {
                return line;
            }
            if line.starts_with("POST ") {
                stream.write_all(REGISTERED.as_bytes()).await.unwrap();
            }
            open.push(stream);
        }
    };
    tokio::select! {
        call = within(&function.name, call) => call,
        end = child.wait_with_output() => {
            panic!("{} ends: {}", function.name, String::from_utf8_lossy(&end.unwrap().stderr))
        }
    }
}

#[tokio::test]
async fn every_function_starts_with_its_environment() {
    for (name, stack) in stacks() {
        // Mutual TLS needs a certificate.
        if name == "mutual TLS" {
            continue;
        }
        for function in stack.functions() {
            let call = first_call(&function).await;
            assert!(
                call.starts_with("GET /2018-06-01/runtime/invocation/next "),
                "{} with {name}: {call}",
                function.name
            );
        }
    }
}

/// What a function cannot start without: the rest has defaults, or is Lambda's own.
const NEEDED: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "CHAT_TABLE",
    "CONNECTIONS_TABLE",
    "CURSOR_KEY",
    "JWT_ALGORITHM",
    "JWT_AUDIENCE",
    "JWT_ISSUER",
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SASL_USERNAME",
    "MANAGEMENT_ENDPOINT",
];

/// It ends before it asks anything of anybody, with one line that names the variable and says what it holds.
#[tokio::test]
async fn a_function_without_a_setting_says_which_in_one_line() {
    let (_, stack) = stacks().into_iter().find(|(name, _)| *name == "self-managed").unwrap();
    let mut missed = BTreeSet::new();
    for function in stack.functions().iter().filter(|function| function.name != "provision") {
        let all = variables(function);
        for name in NEEDED.iter().filter(|name| all.contains_key(**name)) {
            let mut some = all.clone();
            some.remove(*name);
            let lambda = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let child = start(function, &some, &lambda);
            let what = format!("{} without {name}", function.name);
            let end = within(&what, child.wait_with_output()).await.unwrap();
            let said = String::from_utf8(end.stderr).unwrap();
            assert_eq!((end.status.code(), said.lines().count()), (Some(1), 1), "{what}: {said}");
            assert!(end.stdout.is_empty(), "{what}");
            let sentence = format!("Error: the environment variable {name} is not set: it holds ");
            assert!(said.starts_with(&sentence) && !said.contains("README"), "{what}: {said}");
            missed.insert(*name);
        }
    }
    assert_eq!(missed, BTreeSet::from(NEEDED), "every one was missed by some function");
}
