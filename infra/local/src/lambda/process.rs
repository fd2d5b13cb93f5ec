//! A function's process, from its start to its end.
//!
//! It runs in a clean environment, so that nothing of the developer's own (credentials, proxies, `RUST_LOG`) ever
//! reaches it, and in a process group of its own, so that Ctrl-C in the terminal reaches the runtime alone, which then
//! ends the functions in order. Its lines go to standard error, each with the function's name.

use std::{
    fmt,
    io::{self, Write as _},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    net::TcpListener,
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    environment::{Environment, Order},
    pool::{FunctionSpec, Pool},
    runtime_api,
};

/// How long a process may take from SIGTERM to its end. Source: Lambda's shutdown phase, with no extension of a process of
/// its own.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(500);

/// How a Rust program begins the line that says why `main` has failed.
const LAST_WORDS: &[u8] = b"Error: ";

/// How long a process that has ended may take to be heard to the end.
const WORDS_LIMIT: Duration = Duration::from_millis(500);

/// How a process ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// By itself, or by somebody's signal.
    Exited(ExitStatus),
    /// It did not ask for an invocation within the init limit.
    InitTimedOut,
    /// It was ended because an invocation passed its deadline, or at shutdown.
    Ended,
    /// It could not be started at all.
    NotStarted(io::Error),
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(formatter, "{status}"),
            Self::InitTimedOut => formatter.write_str("no request for an invocation within the init limit"),
            Self::Ended => formatter.write_str("ended by the runtime"),
            Self::NotStarted(error) => write!(formatter, "{error}"),
        }
    }
}

/// Runs the process of an environment and tells the pool of its end.
pub(super) async fn run(pool: Pool, environment: Arc<Environment>) {
    let ending = live(&pool, &environment).await.unwrap_or_else(Ending::NotStarted);
    pool.ended(&environment, &ending);
}

async fn live(pool: &Pool, environment: &Arc<Environment>) -> io::Result<Ending> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut child = command(pool.spec(), &listener.local_addr()?.to_string()).spawn()?;
    let pid = child.id();
    environment.set_pid(pid);
    let watched = pid.zip(pool.watchdog()).map(|(pid, watchdog)| watchdog.watch(pid));
    let (function, counts) = (pool.spec().name.clone(), pool.spec().counts.clone());
    let shows_counts = pool.spec().shows_counts;
    drop(forward(&function, child.stdout.take(), move |line| counts.take(line) && !shows_counts));
    let (hearing, listener_of) = (pool.clone(), Arc::clone(environment));
    let said = forward(&function, child.stderr.take(), move |line| {
        let words = line.strip_prefix(LAST_WORDS).filter(|_| !listener_of.is_ready());
        words.is_some_and(|words| !hearing.hear_last_words(String::from_utf8_lossy(words).trim_end()))
    });
    let server = tokio::spawn(runtime_api::serve(listener, pool.clone(), Arc::clone(environment)));
    let ending = attend(&mut child, environment, pool.spec().init_limit).await;
    environment.set_pid(None);
    if !environment.is_ready() {
        // Its words count when its end is told. Somebody else may hold the pipe open.
        drop(timeout(WORDS_LIMIT, said).await);
    }
    server.abort();
    drop(watched);
    ending
}

/// Waits for the process's end, or brings it about.
async fn attend(child: &mut Child, environment: &Environment, init_limit: Duration) -> io::Result<Ending> {
    let mut orders = environment.orders();
    let initialised = sleep(init_limit);
    tokio::pin!(initialised);
    loop {
        let order = *orders.borrow_and_update();
        match order {
            Order::Kill => return end(child, Ending::Ended).await,
            Order::Terminate => {
                environment.thaw();
                environment.signal(Signal::TERM);
                return match timeout(SHUTDOWN_LIMIT, child.wait()).await {
                    Ok(status) => status.map(Ending::Exited),
                    Err(_) => end(child, Ending::Ended).await,
                };
            }
            Order::Serve => {}
        }
        tokio::select! {
            status = child.wait() => return status.map(Ending::Exited),
            () = &mut initialised, if !initialised.is_elapsed() => {
                if !environment.is_ready() {
                    return end(child, Ending::InitTimedOut).await;
                }
            }
            _ = orders.changed() => {}
        }
    }
}

async fn end(child: &mut Child, ending: Ending) -> io::Result<Ending> {
    child.kill().await?;
    Ok(ending)
}

fn command(spec: &FunctionSpec, runtime_api: &str) -> Command {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .env_clear()
        .envs(spec.variables.iter().map(|(name, value)| (name, value)))
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
        .env("AWS_LAMBDA_FUNCTION_NAME", &spec.name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if spec.concurrency > 1 {
        command.env("AWS_LAMBDA_MAX_CONCURRENCY", spec.concurrency.to_string());
    }
    command
}

/// Copies a process's lines to standard error until it ends, but for those that are taken: nobody wants to see them, or
/// somebody else tells them.
fn forward(
    function: &str,
    pipe: Option<impl AsyncRead + Send + Unpin + 'static>,
    is_taken: impl Fn(&[u8]) -> bool + Send + 'static,
) -> JoinHandle<()> {
    let prefix = format!("[{function}] ");
    tokio::spawn(async move {
        let Some(pipe) = pipe else { return };
        let mut lines = BufReader::new(pipe);
        let mut line = prefix.clone().into_bytes();
        // The pipe is read to its end even when nobody reads our standard error: a full pipe would stop the function.
        while lines.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
            if !line.ends_with(b"\n") {
                line.push(b'\n');
            }
            if !is_taken(line.get(prefix.len()..).unwrap_or_default()) {
                drop(io::stderr().write_all(&line));
            }
            line.truncate(prefix.len());
        }
    })
}
