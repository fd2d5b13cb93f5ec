//! Scratch.
#![allow(dead_code, unused_imports, missing_docs)]
#[path = "../src/embedded/mod.rs"]
mod embedded;
#[path = "../src/event_source/mod.rs"]
mod event_source;
#[path = "../src/kafka.rs"]
mod kafka;
#[path = "../src/provision.rs"]
mod provision;
mod lambda {
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum InvokeError {
        #[error("{error_type}: {message}")]
        Failed { error_type: String, message: String },
        #[error("the function timed out")]
        TimedOut,
        #[error("the function's process ended")]
        Crashed,
        #[error("no environment is available")]
        Unavailable,
    }
}
fn main() {}
