//! The watchdog: no function outlives the runtime, however that ends.
//!
//! `lambda_runtime` ends by itself when its `next` breaks, but a process that is frozen, or that runs several
//! invocations at once (it then tries `next` again without a pause), does not. So a second process of this binary reads
//! from a pipe which processes run, and ends those that still do when the pipe breaks: that is, when the runtime was
//! killed before it could end them.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write as _},
    os::unix::process::CommandExt as _,
    process::{ChildStdin, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process};

/// The argument that makes this binary the watchdog.
pub(crate) const ARGUMENT: &str = "watchdog-of-the-local-runtime";

/// The runtime's end of the pipe.
#[derive(Clone)]
pub(crate) struct Watchdog {
    pipe: Arc<Mutex<ChildStdin>>,
}

/// While this lives, the process is watched.
pub(super) struct Watched {
    watchdog: Watchdog,
    pid: u32,
}

impl Watchdog {
    /// Starts the watchdog.
    ///
    /// # Errors
    /// The process could not be started.
    pub(crate) fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { pipe: Arc::new(Mutex::new(pipe)) })
    }

    pub(super) fn watch(&self, pid: u32) -> Watched {
        self.tell('+', pid);
        Watched { watchdog: self.clone(), pid }
    }

    fn tell(&self, sign: char, pid: u32) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = pipe.write_all(format!("{sign}{pid}\n").as_bytes()) {
            tracing::debug!(%error, "the watchdog is gone");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watchdog.tell('-', self.pid);
    }
}

/// The watchdog itself: reads until the pipe breaks, then ends what still runs.
pub(crate) fn run() -> ExitCode {
    for pid in remaining(io::stdin().lock()) {
        if let Some(pid) = Pid::from_raw(pid) {
            // It may have ended by itself in this moment, which is what is wanted.
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
    }
    ExitCode::SUCCESS
}

fn remaining(pipe: impl BufRead) -> BTreeSet<i32> {
    let mut pids = BTreeSet::new();
    for line in pipe.lines().map_while(Result::ok) {
        match (line.strip_prefix('+').map(str::parse), line.strip_prefix('-').map(str::parse)) {
            (Some(Ok(pid)), _) => drop(pids.insert(pid)),
            (_, Some(Ok(pid))) => drop(pids.remove(&pid)),
            _ => {}
        }
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_did_not_end_remain() {
        assert_eq!(remaining(&b"+11\n+12\n-11\n+13\nnonsense\n"[..]), BTreeSet::from([12, 13]));
        assert_eq!(remaining(&b""[..]), BTreeSet::new());
    }
}
