//! A Redis server of a test's own, which may be harmed: the program `redis-server`, as Debian has it. It never outlives
//! the test process.

use std::process::{Child, Command, Stdio};

use redis::{Client, Cmd, FromRedisValue, RedisResult};
use rustix::process::{Pid, Signal};

use crate::deadline::eventually;
use crate::process::{guard, send_signal};
use crate::tcp::free_port;

/// How often a port is tried that somebody else takes meanwhile.
const STARTS_MAX: usize = 10;

/// A Redis server.
pub struct Redis {
    port: u16,
    client: Client,
    running: Option<Running>,
}

/// Its process, and what ends that with the test.
struct Running {
    child: Child,
    guard: Child,
}

impl Redis {
    /// Starts one that is empty and keeps nothing.
    ///
    /// # Panics
    /// There is no such program, or it does not start.
    pub async fn start() -> Self {
        for _ in 0..STARTS_MAX {
            let port = free_port();
            let client = Client::open(format!("redis://127.0.0.1:{port}")).expect("a good URL");
            let mut redis = Self { port, client, running: None };
            if redis.run().await {
                return redis;
            }
        }
        panic!("no port stays free");
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it; everything in it is lost.
    pub fn kill(&mut self) {
        drop(self.running.take());
    }

    /// Starts it again, where it was before.
    ///
    /// # Panics
    /// Somebody else is there now.
    pub async fn start_again(&mut self) {
        assert!(self.run().await, "port {} is taken", self.port);
    }

    /// Stops it without an end: connections stay, and nothing answers.
    pub fn freeze(&self) {
        send_signal(self.pid(), Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        send_signal(self.pid(), Signal::CONT);
    }

    /// The answer to a command.
    ///
    /// # Panics
    /// It does not answer well.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_to_ask(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The names of all its entries.
    pub async fn entries(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).await
    }

    async fn try_to_ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut connection = self.client.get_multiplexed_async_connection().await?;
        let mut command = Cmd::new();
        command.arg(words).query_async(&mut connection).await
    }

    /// Starts the process; false when it ends at once, since its port is taken.
    async fn run(&mut self) -> bool {
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server ({error}): apt-get install redis-server"));
        let mut running = Running { guard: guard(&child), child };
        // Whoever answers may be another one.
        let own = format!("process_id:{}\r\n", running.child.id());
        let is_up = eventually("a Redis server", async || {
            let has_ended = running.child.try_wait().expect("a child of ours").is_some();
            let answer: RedisResult<String> = self.try_to_ask(&["INFO", "server"]).await;
            let is_up = answer.is_ok_and(|server| server.contains(&own));
            (has_ended || is_up).then_some(is_up)
        })
        .await;
        self.running = is_up.then_some(running);
        is_up
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.running.as_ref().expect("it runs").child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in [&mut self.guard, &mut self.child] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
