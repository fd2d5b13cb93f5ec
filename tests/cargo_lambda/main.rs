//! The functions served by `cargo lambda watch`, as one develops them: every sample of `events/` by `cargo lambda invoke`,
//! two people who talk through the local runtime, and a change of a source. Needs cargo-lambda, so it runs only when it is
//! named.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tests::Runtime;
use tests::deadline::{eventually, eventually_in};
use tests::tcp::free_port;

/// How long the first call of a function may take, which compiles it.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

const FUNCTIONS: [&str; 7] = ["connect", "message", "disconnect", "consumer", "api", "sweeper", "provision"];

/// A running `cargo lambda watch`, with everything that it starts.
struct Watch {
    port: u16,
    process: Child,
}

impl Watch {
    /// Serves the functions of this workspace with the environment that the local runtime has written. An embedded broker
    /// does not tell what its topics keep, so that they are only looked for.
    fn start(port: u16) -> Self {
        let arguments = ["watch", "--env-file", "target/local.env", "--env-var", "KAFKA_TOPICS=verify"];
        let process = cargo_lambda(&arguments, port)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("cargo-lambda: pip install cargo-lambda brings it");
        Self { port, process }
    }

    /// One invocation with a sample; nothing while the functions are not served yet.
    fn invoke(&self, function: &str, sample: &str) -> Option<Value> {
        let event = Path::new("events").join(sample);
        let event = event.to_str().expect("a name in UTF-8");
        let output = cargo_lambda(&["invoke", function, "--data-file", event], self.port).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("a response in UTF-8");
        output.status.success().then(|| serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sample}: {text}")))
    }
}

impl Watch {
    /// The processes of a function, as Linux shows them.
    fn processes_of(&self, function: &str) -> HashSet<i32> {
        let runtime_api = format!("AWS_LAMBDA_RUNTIME_API=http://127.0.0.1:{}/", self.port);
        let processes = std::fs::read_dir("/proc").into_iter().flatten();
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_its = |pid: &i32| {
            let file = std::fs::read_link(format!("/proc/{pid}/exe"));
            let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            file.is_ok_and(|file| file.ends_with(function))
                && String::from_utf8_lossy(&variables).contains(&runtime_api)
        };
        pids.filter(is_its).collect()
    }
}

/// Who waits for the answer of a custom resource, as CloudFormation does: where, and what has come there.
struct CloudFormation {
    url: String,
    answers: Receiver<Value>,
}

impl CloudFormation {
    fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}/sample", listener.local_addr().expect("an address"));
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut text) = (stream.expect("a connection"), Vec::new());
                let mut part = [0; 1024];
                let answer = loop {
                    let body = text.windows(4).position(|end| end == b"\r\n\r\n").map(|end| &text[end + 4..]);
                    if let Some(answer) = body.and_then(|body| serde_json::from_slice(body).ok()) {
                        break answer;
                    }
                    let count = stream.read(&mut part).expect("a request");
                    assert_ne!(count, 0, "no answer: {}", String::from_utf8_lossy(&text));
                    text.extend_from_slice(&part[..count]);
                };
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("it listens");
                // After the test nobody does.
                drop(tell.send(answer));
            }
        });
        Self { url, answers }
    }

    /// The sample of a custom resource, whose answer comes here.
    fn sample(&self) -> tempfile::NamedTempFile {
        let sample = workspace().join("events/custom-resource.json");
        let mut event: Value = serde_json::from_slice(&std::fs::read(sample).expect("a sample")).expect("JSON");
        event["ResponseURL"] = json!(self.url);
        let mut copy = tempfile::NamedTempFile::new().expect("a file");
        copy.write_all(event.to_string().as_bytes()).expect("a file");
        copy
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The group has its number.
        let group = Pid::from_child(&self.process);
        let told = kill_process_group(group, Signal::TERM);
        drop(told.map(|()| self.process.wait()));
        // What it started and did not end.
        assert!(matches!(kill_process_group(group, Signal::KILL), Ok(()) | Err(Errno::SRCH)), "processes are left");
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo_lambda(arguments: &[&str], port: u16) -> Command {
    let mut command = Command::new("cargo-lambda");
    command.current_dir(workspace()).arg("lambda").args(arguments);
    command.args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()]);
    command
}

/// The body of an answer over HTTP or a socket.
fn body(answer: &Value) -> Value {
    answer["body"].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| text.into()))
}

#[tokio::test]
async fn the_samples_are_answered_and_people_talk() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    assert!(tests::program().exists());
    let started = SystemTime::now();
    let madang = tokio::task::spawn_blocking(move || {
        Runtime::start(&["--invoke-url", &url, "--allow-origin", "https://chat.example"])
    });
    let environment = workspace().join("target/local.env");
    let written = || environment.metadata().and_then(|file| file.modified()).is_ok_and(|time| time >= started);
    eventually("the functions' environment", async || written().then_some(())).await;
    let watch = Watch::start(port);
    let madang = madang.await.expect("the local runtime starts");
    // Each function is compiled by its first call.
    let cloud_formation = CloudFormation::listen();
    let custom_resource = cloud_formation.sample();
    let custom_resource = custom_resource.path().to_str().expect("a name in UTF-8");
    for (function, sample) in [
        ("connect", "websocket-connect.json"),
        ("message", "websocket-message-minimal.json"),
        ("disconnect", "websocket-disconnect.json"),
        ("api", "http-request.json"),
        ("consumer", "kafka-batch.json"),
        ("sweeper", "schedule.json"),
        ("provision", custom_resource),
    ] {
        eventually_in(BUILD_LIMIT, function, async || watch.invoke(function, sample)).await;
    }
    let answer = |function: &str, sample: &str| {
        watch.invoke(function, sample).unwrap_or_else(|| panic!("{function} does not take {sample}"))
    };
    // The table of events/README.md.
    for sample in ["websocket-connect.json", "websocket-connect-minimal.json"] {
        assert_eq!(answer("connect", sample)["statusCode"], 200, "{sample}");
    }
    assert_eq!(answer("connect", "websocket-connect-token.json")["statusCode"], 401);
    assert_eq!(body(&answer("message", "websocket-message.json"))["code"], "token_missing");
    assert_eq!(body(&answer("message", "websocket-message-minimal.json"))["type"], "pong");
    let stomp = answer("message", "websocket-message-stomp.json");
    assert_eq!((&stomp["statusCode"], body(&stomp)), (&json!(200), Value::Null));
    for sample in ["websocket-disconnect.json", "websocket-disconnect-minimal.json"] {
        assert_eq!(answer("disconnect", sample)["statusCode"], 200, "{sample}");
    }
    let refused = answer("api", "http-request.json");
    assert_eq!((&refused["statusCode"], &body(&refused)["code"]), (&json!(401), &json!("token_invalid")));
    for sample in ["", "-msk", "-odd", "-changes", "-reading", "-presence"] {
        let sample = format!("kafka-batch{sample}.json");
        assert_eq!(answer("consumer", &sample), json!({"batchItemFailures": []}), "{sample}");
    }
    let swept = answer("sweeper", "schedule.json");
    assert!(swept.as_object().is_some_and(|counts| counts.values().all(|count| *count == 0)), "{swept}");
    assert_eq!(answer("provision", custom_resource), Value::Null);
    let told = cloud_formation.answers.try_recv().expect("an answer before the invocation's end");
    assert_eq!((&told["Status"], &told["PhysicalResourceId"]), (&json!("SUCCESS"), &json!("topics")), "{told}");

    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "c1", "안녕하세요").await;
    for client in [&mut at_alice, &mut at_bob] {
        assert_eq!(client.message(&room, "c1").await["content"], "안녕하세요");
    }

    // A source that is written anew, whatever is in it, is a change, and a change starts every function anew.
    let before = FUNCTIONS.map(|function| watch.processes_of(function));
    assert!(before.iter().all(|processes| processes.len() == 1), "{before:?}");
    let source = workspace().join("functions/sweeper/src/main.rs");
    let text = std::fs::read(&source).expect("a source");
    std::fs::write(&source, text).expect("a source");
    for (function, before) in FUNCTIONS.iter().zip(before) {
        eventually_in(BUILD_LIMIT, &format!("{function}, started anew"), async || {
            let now = watch.processes_of(function);
            (!now.is_empty() && now.is_disjoint(&before)).then_some(())
        })
        .await;
    }
    eventually_in(BUILD_LIMIT, "an answer", async || watch.invoke("sweeper", "schedule.json")).await;
}
