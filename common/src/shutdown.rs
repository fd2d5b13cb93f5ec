//! The end of a function's process. Lambda sends SIGTERM only where an extension is registered, and SIGKILL half a second
//! later. So a function registers one that wants no events, and gives that time to what is under way: its producer takes no
//! more records; those on their way arrive, or whoever waits for one is told that it is unavailable; invocations come to
//! their answers; then the process ends by itself.
//!
//! Handlers await their records, so mostly there is nothing to do: SIGTERM comes to idle environments. What may be under
//! way are a session's signal that took too long, and an invocation that runs out of time.
//!
//! Source: Lambda's execution environment lifecycle, shutdown phase.

use std::sync::Arc;
use std::time::Duration;

use lambda_extension::{Error, Extension};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout_at};

use crate::function::Function;
use crate::producer::Producer;

/// Its name must be another one than every other extension's.
const EXTENSION: &str = "madang-shutdown";

/// From SIGTERM to SIGKILL, where no extension is a process of its own.
const SHUTDOWN_PHASE: Duration = Duration::from_millis(500);

/// How long records may take to arrive.
const RECORDS_LIMIT: Duration = Duration::from_millis(300);

/// How long invocations may then take to come to their answers.
const INVOCATIONS_LIMIT: Duration = Duration::from_millis(50);

/// How long the answers may take to Lambda, on the same machine. Nothing tells when they are there.
const ANSWERS_LIMIT: Duration = Duration::from_millis(100);

const _: () = assert!(
    RECORDS_LIMIT.as_millis() + INVOCATIONS_LIMIT.as_millis() + ANSWERS_LIMIT.as_millis() < SHUTDOWN_PHASE.as_millis(),
    "the end comes before SIGKILL"
);

/// Has the process end in order at SIGTERM, or SIGINT. Another signal meanwhile changes nothing. To be awaited before
/// the function asks for its first event: an extension that registers later is refused.
pub async fn prepare<T: Send + Sync + 'static>(
    function: &Arc<Function>,
    handler: &Arc<T>,
    producer: fn(&T) -> &Producer,
) {
    match listen().await {
        Ok(signals) => drop(tokio::spawn(end(signals, Arc::clone(function), Arc::clone(handler), producer))),
        // It serves all the same; it will just be killed.
        Err(error) => tracing::warn!(error, "the process will end without a word: no SIGTERM is heard"),
    }
}

async fn listen() -> Result<[Signal; 2], Error> {
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let extension = Extension::new().with_extension_name(EXTENSION).with_events(&[]).register().await?;
    tokio::spawn(async move {
        // No event ever comes; should the call break, the signal comes all the same.
        drop(extension.run().await);
    });
    Ok(signals)
}

async fn end<T>(
    [mut terminate, mut interrupt]: [Signal; 2],
    function: Arc<Function>,
    handler: Arc<T>,
    producer: fn(&T) -> &Producer,
) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let (is_idle, limit) = (function.is_idle(), Instant::now() + RECORDS_LIMIT + INVOCATIONS_LIMIT);
    producer(&handler).close(RECORDS_LIMIT).await;
    if !is_idle {
        // What takes longer is cut, as at the end of its time.
        drop(timeout_at(limit, function.idle()).await);
        tokio::time::sleep(ANSWERS_LIMIT).await;
    }
    std::process::exit(0);
}
