//! The end of a function's process. Lambda sends SIGTERM only where an extension is registered, and SIGKILL half a second
//! later. So a function registers one that wants no events, and gives that time to its producer: records on their way
//! arrive, or whoever waits for one is told that it is unavailable; then the process ends by itself.
//!
//! Handlers await their records, so mostly there is nothing to do: SIGTERM comes to idle environments. What may be on
//! its way are a session's signal that took too long, and the record of an invocation that runs out of time.
//!
//! Source: Lambda's execution environment lifecycle, shutdown phase.

use std::sync::Arc;
use std::time::Duration;

use lambda_extension::{Error, Extension};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::producer::Producer;

/// Its name must be another one than every other extension's.
const EXTENSION: &str = "madang-shutdown";

/// How long records may take to arrive. With what follows it stays below the half second.
const RECORDS_LIMIT: Duration = Duration::from_millis(350);

/// How long the answers that waited for a record may take to Lambda, on the same machine. Nothing tells when they are
/// there.
const ANSWERS_LIMIT: Duration = Duration::from_millis(50);

/// Has the process end in order at SIGTERM, or SIGINT. Another signal meanwhile changes nothing. To be awaited before
/// the function asks for its first event: an extension that registers later is refused.
pub async fn prepare<T: Send + Sync + 'static>(function: &Arc<T>, producer: fn(&T) -> &Producer) {
    match listen().await {
        Ok(signals) => drop(tokio::spawn(end(signals, Arc::clone(function), producer))),
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

async fn end<T>([mut terminate, mut interrupt]: [Signal; 2], function: Arc<T>, producer: fn(&T) -> &Producer) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if producer(&function).close(RECORDS_LIMIT).await {
        tokio::time::sleep(ANSWERS_LIMIT).await;
    }
    std::process::exit(0);
}
