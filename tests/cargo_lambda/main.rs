//! The functions served by `cargo lambda watch`, as one develops them: every sample of `events/` by `cargo lambda invoke`,
//! and two people who talk through the local runtime. Needs cargo-lambda, so it runs only when it is named.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tests::Runtime;
use tests::deadline::{eventually, eventually_in};
use tests::tcp::free_port;

/// How long the first call of a function may take, which compiles it.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// A running `cargo lambda watch`, with everything that it starts.
struct Watch {
    port: u16,
    process: Child,
}

impl Watch {
    /// Serves the functions of this workspace with the environment that the local runtime has written.
    fn start(port: u16) -> Self {
        let process = cargo_lambda(&["watch", "--ignore-changes", "--env-file", "target/local.env"], port)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("cargo-lambda: pip install cargo-lambda brings it");
        Self { port, process }
    }

    /// One invocation with a sample; nothing while the functions are not served yet.
    fn invoke(&self, function: &str, sample: &str) -> Option<Value> {
        let event = format!("events/{sample}");
        let output = cargo_lambda(&["invoke", function, "--data-file", &event], self.port).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("a response in UTF-8");
        output.status.success().then(|| serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sample}: {text}")))
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
    for (function, sample) in [
        ("connect", "websocket-connect.json"),
        ("message", "websocket-message-minimal.json"),
        ("disconnect", "websocket-disconnect.json"),
        ("api", "http-request.json"),
        ("consumer", "kafka-batch.json"),
        ("sweeper", "schedule.json"),
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

    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    at_alice.send(&room, "c1", "안녕하세요").await;
    for client in [&mut at_alice, &mut at_bob] {
        assert_eq!(client.message(&room, "c1").await["content"], "안녕하세요");
    }
}
