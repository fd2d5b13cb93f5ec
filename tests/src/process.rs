//! One process of the local runtime. It never outlives the test process, however that ends.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::workspace;

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Waits for the end of the test process (its end of the pipe breaks), then ends the other one.
const GUARD: &str = r#"cat >/dev/null; kill -TERM "$1" 2>/dev/null && sleep 3; kill -KILL "$1" 2>/dev/null"#;

/// What a process has written so far, line by line.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn collect(&self, from: impl Read + Send + 'static, first: Option<Sender<String>>) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut first = first;
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                if let Some(first) = first.take() {
                    // Nobody waits any more when the start took too long.
                    drop(first.send(line));
                }
            }
        })
    }
}

/// A process of the local runtime.
pub(crate) struct Process {
    child: Child,
    guard: Child,
    readers: Vec<JoinHandle<()>>,
    pub(crate) output: Lines,
    pub(crate) log: Lines,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub output: Vec<String>,
    /// Everything on standard error.
    pub log: Vec<String>,
}

impl Process {
    /// Starts the runtime, with settings in its environment.
    ///
    /// # Panics
    /// It cannot be started at all.
    pub(crate) fn spawn<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> (Self, Receiver<String>) {
        let mut command = Command::new(workspace::program());
        // Functions that are elsewhere were built there, too.
        let elsewhere =
            |argument: &A| ["--invoke-url", "--functions-dir"].iter().any(|name| argument.as_ref() == *name);
        if !arguments.iter().any(elsewhere) {
            command.arg("--no-build");
        }
        command.args(arguments);
        // Broker and tables are embedded unless the test says so: one that harms its own system must not harm a cluster.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("KAFKA_") || name.starts_with("AWS_")) {
                command.env_remove(name);
            }
        }
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the local runtime was just built");
        let guard = guard(&child);
        let (output, log) = (Lines::default(), Lines::default());
        let (first, first_line) = channel();
        let readers = vec![
            output.collect(child.stdout.take().expect("it is piped"), Some(first)),
            log.collect(child.stderr.take().expect("it is piped"), None),
        ];
        (Self { child, guard, readers, output, log }, first_line)
    }

    /// Starts the runtime and waits for its first line on standard output.
    ///
    /// # Panics
    /// It ends or takes too long before that.
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> (Self, String) {
        let (process, first_line) = Self::spawn(arguments, variables);
        match first_line.recv_timeout(START_LIMIT) {
            Ok(line) => (process, line),
            Err(_) => panic!("the local runtime did not start:\n{}", process.log.so_far().join("\n")),
        }
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(Pid::from_child(&self.child), signal);
    }

    /// The process and those that it has started, as Linux shows them.
    pub(crate) fn family(&self) -> Vec<i32> {
        let own = Pid::from_child(&self.child).as_raw_pid();
        let processes = std::fs::read_dir("/proc").into_iter().flatten();
        let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid == own || status(*pid).is_some_and(|(_, parent)| parent == own)).collect()
    }

    /// Waits for the end. Blocks.
    pub(crate) fn wait(&mut self) -> Ended {
        let code = self.child.wait().ok().and_then(|status| status.code());
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
        Ended { code, output: self.output.so_far(), log: self.log.so_far() }
    }
}

/// Whether a process runs: one whose parent has not noticed its end yet does not.
#[must_use]
pub fn runs(pid: i32) -> bool {
    status(pid).is_some_and(|(state, _)| state != "Z")
}

/// A process's state and its parent.
fn status(pid: i32) -> Option<(String, i32)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold any.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// A process that ends another one when the test process has ended, however that was.
pub(crate) fn guard(child: &Child) -> Child {
    Command::new("sh")
        .args(["-c", GUARD, "sh", &child.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("every Unix has a shell")
}

/// Sends processes a signal, by their ids.
///
/// # Panics
/// It cannot be sent.
pub fn signal_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        send_signal(Pid::from_raw(*pid).expect("a process id"), signal);
    }
}

/// Sends a signal; a process that has ended already is as good.
pub(crate) fn send_signal(pid: Pid, signal: Signal) {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => panic!("no signal can be sent: {error}"),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for child in [&mut self.guard, &mut self.child] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
