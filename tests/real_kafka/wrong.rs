//! Settings that are wrong, for each way to sign in: the listener that this run uses has one. The operator is told in one
//! line which, clients nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tests::client::send;
use tests::cluster::{Brokers, with_own_topics};
use tests::internals::assert_tells_nothing;
use tests::{Runtime, program};

use crate::topics::{refused, with};
use crate::turn;

const FUNCTIONS: [&str; 6] = ["connect", "message", "disconnect", "consumer", "api", "sweeper"];

/// Settings, and what the line that is told of them names.
type Case = (Vec<(&'static str, String)>, &'static [&'static str]);

/// What may be wrong of the way in which this run's functions sign in.
fn cases() -> Vec<Case> {
    let right = with_own_topics();
    let set = |name: &'static str| vec![(name, "wrong".to_owned())];
    if right.contains_key("KAFKA_SASL_PASSWORD") {
        return vec![(
            set("KAFKA_SASL_PASSWORD"),
            &["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_MECHANISM"],
        )];
    }
    if right.contains_key("AWS_SECRET_ACCESS_KEY") {
        let named: &[&str] = &["OAUTHBEARER", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "KAFKA_BOOTSTRAP_SERVERS"];
        return vec![(set("AWS_SECRET_ACCESS_KEY"), named)];
    }
    vec![
        (certificate("madang", None), &["KAFKA_SSL_CERTIFICATE_PEM"]),
        (certificate("stranger", Some(Brokers::of_this_run().directory())), &["KAFKA_SSL_CERTIFICATE_PEM", "subject"]),
    ]
}

/// A certificate of a subject, signed by the cluster's authority or by itself.
fn certificate(subject: &str, authority: Option<&Path>) -> Vec<(&'static str, String)> {
    let directory = TempDir::new().unwrap();
    let (certificate, key) = (directory.path().join("client.pem"), directory.path().join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]);
    openssl.args(["-subj", &format!("/CN={subject}"), "-out"]).arg(&certificate).arg("-keyout").arg(&key);
    if let Some(authority) = authority {
        openssl.arg("-CA").arg(authority.join("ca.pem")).arg("-CAkey").arg(authority.join("ca-key.pem"));
    }
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    vec![("KAFKA_SSL_CERTIFICATE_PEM", text(&certificate)), ("KAFKA_SSL_KEY_PEM", text(&key))]
}

/// The functions with settings of their own, which the runtime beside them does not have.
fn functions_with(settings: &[(&str, String)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    let exports: String = settings.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    for name in FUNCTIONS {
        let (file, binary) = (directory.path().join(name), program().with_file_name(name));
        std::fs::write(&file, format!("#!/bin/sh\n{exports}exec '{}'\n", binary.display())).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap();
    }
    directory
}

/// What the processes of a function have told of settings.
fn told(madang: &Runtime, function: &str) -> Vec<String> {
    let lines = madang.log_objects().into_iter();
    let errors = lines.filter(|line| line["function"] == function && line["level"] == "ERROR");
    let messages = errors.filter_map(|line| line["message"].as_str().map(str::to_owned));
    messages.filter(|message| message.contains("KAFKA_") || message.contains("AWS_")).collect()
}

#[tokio::test]
async fn functions_that_are_not_let_in_name_the_setting_once_and_tell_clients_nothing() {
    let _turn = turn().await;
    // A room needs functions that are let in.
    let right = Runtime::for_its_tables();
    let (alice, _bob, room) = right.pair().await;
    for (settings, named) in cases() {
        let functions = functions_with(&settings);
        let arguments = ["--functions-dir", functions.path().to_str().unwrap()];
        let madang = Runtime::start_with(&arguments, &[("AWS_ENDPOINT_URL_DYNAMODB", &right.endpoints.dynamodb)]);
        let alice = madang.somebody(&alice.id).await;
        let path = format!("/rooms/{room}/messages");
        let mut at_alice = alice.join(&room).await;
        for number in 0..2 {
            let body = json!({"clientMessageId": format!("h{number}"), "content": "hello"});
            let (by_socket, by_http) = tokio::join!(
                at_alice.request(send(&room, &format!("s{number}"), "hello")),
                alice.http.post(&path, &body)
            );
            assert_eq!((&by_socket["type"], &by_socket["code"]), (&json!("error"), &json!("unavailable")));
            by_http.refused(503, "unavailable");
            assert_tells_nothing(&by_socket);
            assert_tells_nothing(&by_http.json());
        }
        for function in ["message", "api"] {
            let (told, processes) = (told(&madang, function), madang.processes_of(function).await.len());
            assert!((1..=processes).contains(&told.len()), "{processes} processes: {told:#?}");
            for line in &told {
                assert!(named.iter().all(|name| line.contains(name)), "{named:?} in {line}");
            }
        }
    }
}

/// The runtime reads for the functions, as the platform does.
#[tokio::test]
async fn a_runtime_whose_reader_is_not_let_in_does_not_start() {
    let _turn = turn().await;
    // Where the functions sign tokens, the operator reads.
    let Some((settings, named)) = cases().into_iter().find(|(settings, _)| settings[0].0.starts_with("KAFKA_")) else {
        return;
    };
    let mut variables = with_own_topics();
    variables.extend(settings.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ended = Runtime::fail_to_start_with(&["--json", "--port", "0"], &variables).await;
    let [line] = ended.log.as_slice() else { panic!("more than a line: {ended:#?}") };
    assert!(ended.code == Some(1) && named.iter().all(|name| line.contains(name)), "{named:?} in {line}");
}

#[tokio::test]
async fn the_command_line_names_the_setting() {
    let _turn = turn().await;
    let variables = with_own_topics();
    let mut strange = variables.clone();
    strange.remove("KAFKA_SSL_CA_PEM");
    let mut wrong = vec![
        (
            with(&variables, &[("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")]),
            "no broker answers at 127.0.0.1:1, which KAFKA_BOOTSTRAP_SERVERS names",
        ),
        (strange, "KAFKA_SSL_CA_PEM must vouch for their certificates"),
    ];
    if variables.contains_key("KAFKA_SASL_PASSWORD") {
        wrong.push((
            with(&variables, &[("KAFKA_SASL_PASSWORD", "wrong")]),
            "the brokers refuse KAFKA_SASL_USERNAME with KAFKA_SASL_PASSWORD",
        ));
        wrong.push((
            with(&variables, &[("KAFKA_SASL_MECHANISM", "GSSAPI")]),
            "KAFKA_SASL_MECHANISM is not SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER",
        ));
    } else if variables.contains_key("AWS_SECRET_ACCESS_KEY") {
        for change in
            [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "wrong"), ("AWS_REGION", "eu-central-1")]
        {
            let sentence = "the brokers refuse a token by KAFKA_SASL_MECHANISM=OAUTHBEARER";
            wrong.push((with(&variables, &[change]), sentence));
        }
    } else {
        let mut unknown = variables.clone();
        unknown.retain(|name, _| !name.starts_with("KAFKA_SSL_CERTIFICATE") && !name.starts_with("KAFKA_SSL_KEY"));
        wrong.push((unknown, "or it wants another KAFKA_SECURITY_PROTOCOL or KAFKA_SSL_CERTIFICATE_PEM"));
    }
    // All at once: each waits until its time is up.
    join_all(wrong.iter().map(|(variables, sentence)| refused(variables, sentence))).await;
}
