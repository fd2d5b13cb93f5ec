//! Every function starts with the environment that it would be deployed with.

use std::process::Stdio;

use tests::deadline::within;
use tests::template::Function;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::stacks;

/// What CloudFormation would put in a secret's place.
fn value(variable: &str, value: String) -> String {
    match (variable, value.starts_with("{{resolve:")) {
        // Letters and digits, as the stack makes its own keys.
        ("JWT_KEY" | "CURSOR_KEY", true) => "a".repeat(64),
        ("CACHE_URL", true) => "rediss://user:from-the-secret@cache.invalid:6379".to_owned(),
        (_, true) => "from-the-secret".to_owned(),
        (_, false) => value,
    }
}

/// Lambda's answer to an extension: functions register one to hear of their end.
const REGISTERED: &str = "HTTP/1.1 200 OK\r\nlambda-extension-identifier: 1\r\ncontent-type: application/json\r\n\
    connection: close\r\ncontent-length: 65\r\n\r\n\
    {\"functionName\":\"f\",\"functionVersion\":\"1\",\"handler\":\"bootstrap\"} ";

/// Starts a function; the first thing that it asks of Lambda for itself.
async fn first_call(function: &Function) -> String {
    let lambda = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let own = function.variables().into_iter().map(|(name, text)| (name.clone(), value(&name, text)));
    let child = Command::new(tests::program().with_file_name(&function.name))
        .env_clear()
        .envs(own)
        .envs(["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name, "local")))
        .env("AWS_LAMBDA_RUNTIME_API", lambda.local_addr().unwrap().to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", &function.name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
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
