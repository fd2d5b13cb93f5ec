//! The Lambda side: function processes behind the Runtime API.
//!
//! Every function is a pool of environments, each one process with a Runtime API listener of its own. An invocation
//! goes to an idle environment, or waits until one is idle; a pool grows on demand up to the function's maximum. An
//! invocation is answered exactly once: with what the function said, or with why it said nothing.
//!
//! Sources: Lambda's developer guide, "Using the Lambda runtime API for custom runtimes"; `lambda_runtime`, which calls
//! it.

mod binaries;
mod counts;
mod environment;
mod pool;
mod process;
mod remote;
mod runtime_api;
mod watchdog;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

pub(crate) use binaries::{Binary, built, found_beside, found_in, workspace};
pub(crate) use counts::{BUCKET_BOUNDS, Counts, Distribution, Figures};
pub(crate) use pool::FunctionSpec;
pub(crate) use watchdog::{ARGUMENT as WATCHDOG_ARGUMENT, Watchdog, run as run_watchdog};

use pool::Pool;
use remote::Remote;

/// Why an invocation gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvokeError {
    /// The function answered with an error.
    #[error("{error_type}: {message}")]
    Failed {
        /// The `errorType` that the function reported.
        error_type: String,
        /// The `errorMessage` that the function reported.
        message: String,
    },
    /// The function did not answer before its deadline; its process was ended.
    #[error("the function timed out")]
    TimedOut,
    /// The function's process ended while it held the invocation.
    #[error("the function's process ended")]
    Crashed,
    /// No environment could be started, or the runtime is shutting down.
    #[error("no environment is available")]
    Unavailable,
}

/// A function that did not reach its first `next`.
#[derive(Debug, thiserror::Error)]
#[error("the function {name} did not start: {}", last_words.as_deref().unwrap_or("its own lines above say why"))]
pub(crate) struct NotStarted {
    name: String,
    /// What it said of itself, if it did.
    last_words: Option<String>,
}

/// Every function of the stack, each with its pool of processes.
#[derive(Clone)]
pub(crate) struct Functions {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Processes(Arc<BTreeMap<String, Pool>>),
    Remote(Arc<Remote>),
}

/// One running environment, as `GET /dev/functions` shows it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct RunningFunction {
    /// The function's name.
    name: String,
    /// The process id of this environment.
    pid: u32,
}

impl Functions {
    /// Starts one environment of every function and waits until each asked for its first invocation.
    ///
    /// # Errors
    /// A function's first process ended, or took longer than the init limit.
    pub(crate) async fn start(specs: Vec<FunctionSpec>, watchdog: Option<Watchdog>) -> Result<Self, NotStarted> {
        let pools: BTreeMap<String, Pool> =
            specs.into_iter().map(|spec| (spec.name.clone(), Pool::start(spec, watchdog.clone()))).collect();
        for (name, pool) in &pools {
            if !pool.ready().await {
                return Err(NotStarted { name: name.clone(), last_words: pool.last_words() });
            }
        }
        Ok(Self { source: Source::Processes(Arc::new(pools)) })
    }

    /// Functions that somebody else serves at an invoke URL, as `cargo lambda watch` does.
    ///
    /// # Errors
    /// The text is not an `http://` URL.
    pub(crate) fn remote(url: &str) -> Result<Self, String> {
        Ok(Self { source: Source::Remote(Arc::new(Remote::new(url)?)) })
    }

    /// Waits until somebody takes invocations.
    pub(crate) async fn reachable(&self) {
        if let Source::Remote(remote) = &self.source {
            remote.reachable().await;
        }
    }

    /// Invokes a function by name (`connect`, `message`, …) and waits for its answer.
    ///
    /// Dropping the future takes a waiting invocation back; one that a process already has runs to its end.
    ///
    /// # Errors
    /// As [`InvokeError`] says.
    pub(crate) async fn invoke(&self, name: &str, payload: Bytes) -> Result<Bytes, InvokeError> {
        match &self.source {
            Source::Processes(pools) => match pools.get(name) {
                Some(pool) => pool.invoke(payload).await,
                None => Err(InvokeError::Unavailable),
            },
            Source::Remote(remote) => remote.invoke(name, payload).await,
        }
    }

    /// Every environment that runs now; none when the functions are remote.
    pub(crate) fn running(&self) -> Vec<RunningFunction> {
        let Source::Processes(pools) = &self.source else { return Vec::new() };
        let of_pool = |(name, pool): (&String, &Pool)| {
            pool.pids().into_iter().map(|pid| RunningFunction { name: name.clone(), pid }).collect::<Vec<_>>()
        };
        pools.iter().flat_map(of_pool).collect()
    }

    /// What the functions counted and measured since the start, by function; nothing when they are remote.
    pub(crate) fn figures(&self) -> BTreeMap<&str, Figures> {
        let Source::Processes(pools) = &self.source else { return BTreeMap::new() };
        pools.iter().map(|(name, pool)| (name.as_str(), pool.spec().counts.figures())).collect()
    }

    /// Takes no more invocations, waits for those that run, then ends every process: SIGTERM, and SIGKILL after the
    /// platform's two seconds.
    pub(crate) async fn stop(&self) {
        let Source::Processes(pools) = &self.source else { return };
        futures_util::future::join_all(pools.values().map(Pool::stop)).await;
    }
}

#[cfg(test)]
mod tests;
