//! Settings that are missing or lead nowhere: one line for the operator, which names the setting, and for the client an
//! error that tells nothing of it.

use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};
use tests::admin::run;
use tests::client::send;
use tests::cluster::{Variables, of_local_runtime};
use tests::deadline::eventually;
use tests::internals::assert_tells_nothing;
use tests::runtime::Ended;
use tests::tables::{CHAT, CONNECTIONS};
use tests::trouble::{Trouble, TroubledWay, When};
use tests::{Client, Runtime};

/// One line on standard error holds all of this, nothing stands on standard output, and the exit code says so.
fn assert_one_line(what: &str, ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.code, ended.output.as_slice()), (Some(1), [].as_slice()), "{what}: {ended:#?}");
    let [line] = ended.log.as_slice() else { panic!("{what}: not one line: {ended:#?}") };
    for part in parts {
        assert!(line.contains(part), "{what}: {line}");
    }
    assert!(line.len() < 400, "{what}: more than a sentence: {line}");
}

/// Arguments, variables, and what the line holds.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

#[tokio::test]
async fn the_local_runtime_says_at_start_which_setting_leads_nowhere() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().to_str().unwrap();
    let kafka = ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let cases: [Case<'_>; 8] = [
        (&[], &[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")], &["AWS_ENDPOINT_URL_DYNAMODB", "127.0.0.1:1"]),
        (&[], &[("AWS_ENDPOINT_URL_DYNAMODB", "127.0.0.1:8000")], &["AWS_ENDPOINT_URL_DYNAMODB", "URL such as"]),
        (&[], &[kafka], &["KAFKA_BOOTSTRAP_SERVERS", "no broker answers at 127.0.0.1:1"]),
        (&[], &[kafka, ("KAFKA_SECURITY_PROTOCOL", "SASL")], &["KAFKA_SECURITY_PROTOCOL is not PLAINTEXT, SSL or"]),
        (&[], &[kafka, ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")], &["KAFKA_SASL_MECHANISM is not set"]),
        (&[], &[("SESSIONS_PER_USER", "0")], &["SESSIONS_PER_USER is not a number from 1 to 100"]),
        (&[], &[("MANAGEMENT_ENDPOINT", "localhost")], &["MANAGEMENT_ENDPOINT is not a URL with https:// or http://"]),
        (&["--data", file], &[], &["--data", file]),
    ];
    for (arguments, variables, parts) in cases {
        // An operator who gets on would make the topics.
        let variables = [&[("OPERATOR_KAFKA_BOOTSTRAP_SERVERS", "")], variables].concat();
        let ended = Runtime::fail_to_start_with(&[&["--json", "--port", "0"], arguments].concat(), &variables).await;
        assert_one_line(&format!("{arguments:?} {variables:?}"), &ended, parts);
    }
}

#[tokio::test]
async fn the_command_line_says_which_setting_leads_nowhere() {
    let commands: [&[&str]; 4] = [
        &["topics", "apply"],
        &["topics", "raise-partitions", "chat-messages", "24"],
        &["dlt", "list"],
        &["dlt", "replay", "--all"],
    ];
    let without_topics = MockCluster::new(1).unwrap();
    let nobody = of_local_runtime("127.0.0.1:1", Variables::new());
    let mut encrypted = of_local_runtime(&without_topics.bootstrap_servers(), Variables::new());
    encrypted.insert("KAFKA_SECURITY_PROTOCOL".to_owned(), "SSL".to_owned());
    for command in commands {
        let what = command.join(" ");
        let none = run(&Variables::new(), command).await;
        assert_one_line(&what, &none, &["KAFKA_BOOTSTRAP_SERVERS is not set: it holds host:port of the brokers"]);
        let away = run(&nobody, command).await;
        assert_one_line(&what, &away, &["no broker answers at 127.0.0.1:1, which KAFKA_BOOTSTRAP_SERVERS names"]);
    }
    let other_protocol = run(&encrypted, &["topics", "apply"]).await;
    assert_one_line("another protocol", &other_protocol, &["KAFKA_"]);
}

/// Checks that a function's processes have told the operator of something, each once at most.
async fn assert_told_once(madang: &Runtime, function: &str, text: &str) {
    let (processes, line) = (madang.processes_of(function).await.len(), format!("[{function}] "));
    let what = format!("{text} of {function}");
    let told = eventually(&what, async || {
        let told = madang.log().into_iter().filter(|said| said.starts_with(&line) && said.contains(text)).count();
        (told > 0).then_some(told)
    });
    let told = told.await;
    assert!(told <= processes, "{told} times by {processes} processes of {function}: {text}");
}

async fn refused(client: &mut Client, frame: Value, code: &str) {
    let error = client.request(frame).await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
    assert_tells_nothing(&error);
}

#[tokio::test]
async fn a_missing_table_is_named_once_to_the_operator_and_never_to_clients() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    madang.delete_table(CHAT).await;
    for number in 0..5 {
        refused(&mut at_alice, send(&room, &format!("m{number}"), "hello"), "internal").await;
        let answer = alice.http.get(&format!("/rooms/{room}/messages")).await;
        answer.refused(500, "internal");
        assert_tells_nothing(&answer.json());
    }
    madang.delete_table(CONNECTIONS).await;
    let handshake = bob.open("", &[("authorization", &format!("Bearer {}", bob.token))]).await.err().unwrap();
    assert_eq!(handshake.status, 500);
    assert_tells_nothing(&json!(handshake.body));
    for function in ["message", "api", "connect"] {
        assert_told_once(&madang, function, "CHAT_TABLE and").await;
    }
}

/// Every call that a function may make.
const CALLS: [&str; 8] =
    ["GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"];

/// The embedded tables take any credentials, so DynamoDB's refusals come from the way to them, on which the start of the
/// runtime passes while it blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_dynamodb_refuses_are_named_once_to_the_operator_and_never_to_clients() {
    let tables = Runtime::for_its_tables();
    let way = TroubledWay::to(&tables.endpoints.dynamodb).await;
    let madang = Runtime::start_with::<&str>(&[], &[("AWS_ENDPOINT_URL_DYNAMODB", &way.url())]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    for (trouble, named) in [
        (Trouble::Unknown, "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN must be those of the role"),
        (Trouble::Denied, "the function's role may not use CHAT_TABLE or CONNECTIONS_TABLE"),
    ] {
        way.set(&CALLS.map(|call| (call, trouble, When::Every(1))));
        for number in 0..3 {
            refused(&mut at_alice, send(&room, &format!("m{number}"), "hello"), "internal").await;
            let answer = alice.http.get(&format!("/rooms/{room}/messages")).await;
            answer.refused(500, "internal");
            assert_tells_nothing(&answer.json());
        }
        let handshake = bob.open("", &[("authorization", &format!("Bearer {}", bob.token))]).await.err().unwrap();
        assert_eq!(handshake.status, 500);
        assert_tells_nothing(&json!(handshake.body));
        for function in ["message", "api", "connect"] {
            assert_told_once(&madang, function, named).await;
        }
    }
}

#[tokio::test]
async fn a_management_endpoint_that_leads_nowhere_is_named_once() {
    let madang = Runtime::start_with::<&str>(&[], &[("MANAGEMENT_ENDPOINT", "http://127.0.0.1:1/local")]);
    let (alice, _bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    for number in 0..5 {
        let ack = at_alice.send(&room, &format!("m{number}"), "hello").await;
        assert_tells_nothing(&ack);
    }
    alice.messages_once_there(&room, 5).await;
    let named = || madang.log_lines_with("look at MANAGEMENT_ENDPOINT");
    eventually("a line that names the setting", async || (named() >= 1).then_some(())).await;
    let processes = madang.processes_of("consumer").await.len();
    assert!(named() <= processes, "{} times by {processes} processes", named());
}
