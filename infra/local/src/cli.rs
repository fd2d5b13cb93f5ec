//! The command line.

use std::path::PathBuf;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

/// Madang on one machine, for development: API Gateway, Lambda, Kafka and DynamoDB around the real functions.
///
/// Builds the functions and starts them. Kafka and DynamoDB are embedded, unless the environment names others by
/// KAFKA_BOOTSTRAP_SERVERS (PLAINTEXT unless KAFKA_SECURITY_PROTOCOL says SSL or SASL_SSL; the rest as the functions know
/// it, three partitions a topic unless KAFKA_PARTITIONS says more) and AWS_ENDPOINT_URL_DYNAMODB. Listens on this machine only, signs tokens with a key of its own, and never is
/// production.
#[derive(Debug, Parser)]
#[command(name = "local", version)]
pub(crate) struct Arguments {
    /// Port of the WebSocket API, the HTTP API and the page; 0 takes a free one
    #[arg(long, default_value_t = 8787)]
    pub(crate) port: u16,

    /// Directory that keeps the tables from one start to the next; without it they are in memory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Print one line of JSON with every address when all is ready, and nothing else, for scripts
    #[arg(long)]
    pub(crate) json: bool,

    /// How long the event source waits for a batch to fill; the platform's default is 500
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(crate) batching_window_ms: u64,

    /// Most records in one batch of the event source
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) batch_size: u16,

    /// Retry whole batches, as an event source mapping without partial batch responses does
    #[arg(long)]
    pub(crate) no_partial_responses: bool,

    /// Give every partition a batch of its own instead of merging those of one poller
    #[arg(long)]
    pub(crate) split_partitions: bool,

    /// Stop each function's process (SIGSTOP) between its invocations, as the platform freezes it
    #[arg(long)]
    pub(crate) freeze: bool,

    /// Invocations that one process of a function takes at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) concurrency: u16,

    /// What is logged, here and by the functions: error, warn, info, debug or trace (the functions: debug)
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub(crate) log_level: LogLevel,

    /// Origins whose pages may connect and call, beside this server's own page
    #[arg(long, env = "ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<String>,

    /// How long a connection may be quiet before it is closed; the platform's ten minutes unless set
    #[arg(long, value_name = "MS", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) idle_timeout_ms: u64,

    /// How long a connection may last before it is closed; the platform's two hours unless set
    #[arg(long, value_name = "MS", default_value_t = 7_200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_connection_ms: u64,

    /// Have the functions keep memberships in this cache (Redis protocol), such as redis://127.0.0.1:6379
    #[arg(long, value_name = "URL")]
    pub(crate) cache_url: Option<String>,

    /// Seconds between two runs of the sweeper, as its schedule has them
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sweep_interval: u64,

    /// Take the functions as they were built before, from the directory of this program
    #[arg(long, conflicts_with = "functions_dir")]
    pub(crate) no_build: bool,

    /// Take built functions from DIR/NAME or DIR/NAME/bootstrap
    #[arg(long, value_name = "DIR")]
    pub(crate) functions_dir: Option<PathBuf>,

    /// Invoke functions that `cargo lambda watch` serves at this URL instead of starting any
    #[arg(long, value_name = "URL", conflicts_with_all = ["no_build", "functions_dir", "freeze", "concurrency"])]
    pub(crate) invoke_url: Option<String>,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// What failed.
    Error,
    /// What may be wrong.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The level, as this process filters its own lines.
    pub(crate) const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }

    /// The level, as `AWS_LAMBDA_LOG_LEVEL` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
        let arguments =
            Arguments::parse_from(["local", "--json", "--port", "0", "--allow-origin", "http://a,http://b"]);
        assert_eq!((arguments.port, arguments.json, arguments.allow_origin.len()), (0, true, 2));
        assert!(Arguments::try_parse_from(["local", "--batch-size", "0"]).is_err());
    }
}
