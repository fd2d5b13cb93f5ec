//! A running system: the one that all tests share, or one of a test's own that may be harmed.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::admin;
use crate::broker::Broker;
use crate::cluster::{self, Variables};
use crate::deadline::{eventually, every, within};
use crate::http::Http;
use crate::person::Person;
use crate::process::{Lines, Process};

pub use crate::process::{Ended, runs, signal_all};
pub use rustix::process::Signal as UnixSignal;

/// Names a system that runs already, by its line of JSON.
const ENDPOINTS_VARIABLE: &str = "MADANG_ENDPOINTS";

/// The schedule of a test that waits for a sweep.
const SWEEP_PERIOD: Duration = Duration::from_millis(200);

/// Tests that harm a system which others use too wait until they are alone on it.
static TURNS: RwLock<()> = RwLock::const_new(());

/// Where everything is: the line of JSON.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    /// The WebSocket API.
    pub websocket: String,
    /// The HTTP API.
    pub http: String,
    /// The management API.
    pub management: String,
    /// The brokers.
    pub kafka: String,
    /// The tables.
    pub dynamodb: String,
}

impl Endpoints {
    /// The line of JSON, for whoever is to run on this system.
    ///
    /// # Panics
    /// Never: it is text.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }
}

/// A running system.
pub struct Runtime {
    /// Where everything is.
    pub endpoints: Endpoints,
    /// How its Kafka is reached, as the functions know it.
    pub kafka: Variables,
    process: Option<Process>,
    log: Lines,
    _turn: Option<Turn>,
}

/// The right to use a system, with others or alone.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// One process of a function.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunningFunction {
    /// The function.
    pub name: String,
    /// The process.
    pub pid: i32,
}

impl Runtime {
    /// The system that all tests share. Nothing of it may be harmed.
    pub async fn shared() -> Self {
        static SHARED: OnceLock<(Process, Endpoints, Variables)> = OnceLock::new();
        let turn = Turn::Shared { _guard: TURNS.read().await };
        if let Some(endpoints) = named() {
            return Self::outside(endpoints, turn);
        }
        let (process, endpoints, kafka) =
            SHARED.get_or_init(|| launch(&["--json", "--port", "0"].map(OsStr::new), &[]));
        Self {
            endpoints: endpoints.clone(),
            kafka: kafka.clone(),
            process: None,
            log: process.log.clone(),
            _turn: Some(turn),
        }
    }

    /// A system that this test may harm: one of its own, or the named one while no other test uses it.
    pub async fn alone() -> Self {
        let Some(endpoints) = named() else { return Self::start::<&str>(&[]) };
        let turn = Turn::Alone { _guard: TURNS.write().await };
        let runtime = Self::outside(endpoints, turn);
        runtime.faults(json!({})).await;
        runtime
    }

    /// A system of this test's own, with further arguments.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// A system of this test's own, with further arguments and environment variables.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start_with<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> Self {
        let fixed = ["--json", "--port", "0"].map(OsStr::new);
        let arguments: Vec<&OsStr> = fixed.into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect();
        let (process, endpoints, kafka) = launch(&arguments, variables);
        Self { endpoints, kafka, log: process.log.clone(), process: Some(process), _turn: None }
    }

    /// A system whose tables another one uses. Its own sweeper stays still: it would ask its own gateway for the other's
    /// connections, which knows none of them, and remove them.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn for_its_tables() -> Self {
        Self::start(&["--sweep-interval", "86400"])
    }

    /// The system that is named from outside.
    fn outside(endpoints: Endpoints, turn: Turn) -> Self {
        let kafka = cluster::of_local_runtime(&endpoints.kafka, cluster::outside());
        Self { endpoints, kafka, process: None, log: Lines::default(), _turn: Some(turn) }
    }

    /// A system that keeps its tables in a directory.
    #[must_use]
    pub fn start_in(directory: &Path) -> Self {
        Self::start(&[OsStr::new("--data"), directory.as_os_str()])
    }

    /// A start that is expected to fail.
    pub async fn fail_to_start(arguments: &[&str]) -> Ended {
        Self::fail_to_start_with(arguments, &[]).await
    }

    /// The same with environment variables.
    pub async fn fail_to_start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let (mut process, _) = Process::spawn(arguments, variables);
        within("a failing start", tokio::task::spawn_blocking(move || process.wait())).await.expect("an end")
    }

    /// Asks the system to end; everything acknowledged is stored then.
    ///
    /// # Panics
    /// It is not this test's own.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends the system a signal.
    ///
    /// # Panics
    /// It is not this test's own.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("a system of this test's own").signal(signal);
    }

    /// The processes of the system: its own and those that it has started.
    ///
    /// # Panics
    /// It is not this test's own.
    #[must_use]
    pub fn family(&self) -> Vec<i32> {
        self.process.as_ref().expect("a system of this test's own").family()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// It is not this test's own, or does not end in time.
    pub async fn ended(&mut self) -> Ended {
        let mut process = self.process.take().expect("a system of this test's own");
        within("the end of the runtime", tokio::task::spawn_blocking(move || process.wait())).await.expect("an end")
    }

    /// Calls without a token.
    #[must_use]
    pub fn http(&self) -> Http {
        Http::new(&self.endpoints.http, None)
    }

    /// A token that lasts an hour.
    pub async fn token(&self, subject: &str) -> String {
        self.token_for(subject, 3_600).await
    }

    /// A token that lasts so many seconds from now on, which may be negative.
    pub async fn token_for(&self, subject: &str, seconds: i64) -> String {
        let subject = utf8_percent_encode(subject, NON_ALPHANUMERIC);
        let path = format!("/dev/token?sub={subject}&expiresIn={seconds}");
        self.http().get(&path).await.good(200)["token"].as_str().expect("a token").to_owned()
    }

    /// Somebody whom no other test knows.
    pub async fn person(&self, name: &str) -> Person {
        self.somebody(&unique(name)).await
    }

    /// Somebody with this very id.
    pub async fn somebody(&self, id: &str) -> Person {
        let token = self.token(id).await;
        self.with_token(id, &token)
    }

    /// Somebody with a token of the test's own choice.
    #[must_use]
    pub fn with_token(&self, id: &str, token: &str) -> Person {
        Person {
            id: id.to_owned(),
            token: token.to_owned(),
            http: Http::new(&self.endpoints.http, Some(token)),
            websocket: self.endpoints.websocket.clone(),
        }
    }

    /// Two people in a room: both, and the room.
    pub async fn pair(&self) -> (Person, Person, String) {
        let (alice, bob) = (self.person("alice").await, self.person("bob").await);
        let room = alice.make_room(&[&bob]).await;
        (alice, bob, room)
    }

    /// Sets every switch.
    pub async fn faults(&self, switches: Value) {
        let answer = self.http().call("PUT", "/dev/faults", &[], switches.to_string()).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }

    /// Has the event source read every topic from its first record again.
    pub async fn rewind(&self) {
        let answer = self.http().call("POST", "/dev/rewind", &[], "").await;
        assert_eq!(answer.status, 204, "{}", answer.text);
    }

    /// Runs the sweeper once; its report.
    pub async fn sweep(&self) -> Value {
        self.http().call("POST", "/dev/sweep", &[], "").await.good(200)
    }

    /// Runs the sweeper again and again until something has happened.
    pub async fn sweeping<T>(&self, work: impl Future<Output = T>) -> T {
        let sweeps = async {
            let mut schedule = every(SWEEP_PERIOD);
            loop {
                schedule.tick().await;
                self.sweep().await;
            }
        };
        tokio::select! {
            outcome = work => outcome,
            never = sweeps => never,
        }
    }

    /// Every process of a function.
    pub async fn processes_of(&self, name: &str) -> Vec<i32> {
        let functions = self.http().get("/dev/functions").await.good(200)["functions"].take();
        let functions: Vec<RunningFunction> = serde_json::from_value(functions).expect("functions");
        functions.into_iter().filter(|function| function.name == name).map(|function| function.pid).collect()
    }

    /// Sends every process of a function a signal; which those are.
    ///
    /// # Panics
    /// It cannot be sent.
    pub async fn signal_function(&self, name: &str, signal: Signal) -> Vec<i32> {
        let pids = self.processes_of(name).await;
        signal_all(&pids, signal);
        pids
    }

    /// Kills every process of a function at once, as a crash would.
    pub async fn crash(&self, name: &str) {
        let pids = self.signal_function(name, Signal::KILL).await;
        eventually(&format!("the end of the processes of {name}"), async || {
            let running = self.processes_of(name).await;
            (!running.iter().any(|pid| pids.contains(pid))).then_some(())
        })
        .await;
    }

    /// Waits until a line of the log holds a text, more often than before.
    ///
    /// # Panics
    /// It does not come in time, or the system is one whose log cannot be read.
    pub async fn log_says(&self, text: &str, more_than: usize) -> usize {
        assert!(self.process.is_some(), "a system of this test's own");
        eventually(&format!("{text:?} in the log"), async || {
            let count = self.log.so_far().iter().filter(|line| line.contains(text)).count();
            (count > more_than).then_some(count)
        })
        .await
    }

    /// Runs the operators' command line on this system.
    pub async fn admin(&self, arguments: &[&str]) -> Ended {
        admin::run(&cluster::as_operator(&self.kafka), arguments).await
    }

    /// Its broker, seen by the protocol, as somebody who may do everything.
    #[must_use]
    pub fn broker(&self) -> Broker {
        Broker::new(&cluster::as_operator(&self.kafka))
    }

    /// What a function has counted under these names since the start.
    pub async fn counted<const N: usize>(&self, function: &str, names: &[&str; N]) -> [f64; N] {
        let counts = self.http().get("/dev/metrics").await.good(200);
        names.map(|name| counts[function][name].as_f64().unwrap_or_default())
    }

    /// The lines of the log so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.so_far()
    }

    /// How many lines of the log hold a text.
    #[must_use]
    pub fn log_lines_with(&self, text: &str) -> usize {
        self.log.so_far().iter().filter(|line| line.contains(text)).count()
    }

    /// The lines of the log that are JSON: those of the functions.
    #[must_use]
    pub fn log_objects(&self) -> Vec<Value> {
        let lines = self.log.so_far();
        let objects = lines.iter().filter_map(|line| line.split_once("] ")).map(|(_, line)| line);
        objects.filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
    }

    /// Whether the gateway knows a connection.
    pub async fn is_open(&self, connection: &str) -> bool {
        let path = format!("/@connections/{}", utf8_percent_encode(connection, NON_ALPHANUMERIC));
        let answer = Http::new(&self.endpoints.management, None).call("GET", &path, &[], "").await;
        assert!(matches!(answer.status, 200 | 410), "{}", answer.text);
        answer.status == 200
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let log = self.log.so_far();
        if std::thread::panicking() {
            // Metrics are log lines, too, but say little about a failure.
            let told: Vec<String> = log.into_iter().filter(|line| !line.contains(r#""CloudWatchMetrics""#)).collect();
            let first = told.len().saturating_sub(30);
            eprintln!("the runtime's last lines:\n  {}", told.get(first..).unwrap_or_default().join("\n  "));
        } else {
            let panic = log.iter().find(|line| line.contains("panicked at"));
            assert_eq!(panic, None, "nothing may panic");
        }
    }
}

/// A name that no other test uses, also not in an earlier run on the same system.
#[must_use]
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: OnceLock<u64> = OnceLock::new();
    let start = START.get_or_init(|| {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or_default()
    });
    format!("{name}-{start:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Starts a system: its process, where everything is, and how its Kafka is reached.
fn launch(arguments: &[&OsStr], variables: &[(&str, &str)]) -> (Process, Endpoints, Variables) {
    let mut kafka = cluster::with_own_topics();
    let (own, others): (Vec<_>, Vec<_>) = variables.iter().copied().partition(|(name, _)| name.starts_with("KAFKA_"));
    kafka.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let settings = kafka.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings: Vec<(&str, &str)> = settings.chain(others).collect();
    let (process, line) = Process::start(arguments, &settings);
    let endpoints = read(&line);
    let kafka = cluster::of_local_runtime(&endpoints.kafka, kafka);
    (process, endpoints, kafka)
}

fn named() -> Option<Endpoints> {
    std::env::var(ENDPOINTS_VARIABLE).ok().filter(|line| !line.is_empty()).map(|line| read(&line))
}

fn read(line: &str) -> Endpoints {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("not the line of JSON ({error}): {line}"))
}
