//! Logs: JSON lines on standard error, level by `AWS_LAMBDA_LOG_LEVEL`. Never tokens, message bodies or query strings.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging; called once, first thing in `main`.
pub fn start() {
    let level = EnvFilter::builder().with_env_var("AWS_LAMBDA_LOG_LEVEL").from_env_lossy();
    let lines = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
    // At TRACE the runtime and the clients print whole events and requests, tokens and messages among them.
    tracing_subscriber::registry().with(lines).with(level).with(LevelFilter::DEBUG).init();
}
