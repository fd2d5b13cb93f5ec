//! Logs: JSON lines on standard error, level by `AWS_LAMBDA_LOG_LEVEL`. Never tokens, message bodies or query strings.

use tracing_subscriber::EnvFilter;

/// Starts logging; called once, first thing in `main`.
pub fn start() {
    let level = EnvFilter::builder().with_env_var("AWS_LAMBDA_LOG_LEVEL").from_env_lossy();
    tracing_subscriber::fmt().json().with_env_filter(level).with_writer(std::io::stderr).init();
}
