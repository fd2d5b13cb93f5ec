//! What a function tells about itself while it works: its log (`line`), and the spans that follow a message from
//! function to function ([`trace`]), exported when an address for them is set (`export`). What it counts and measures is
//! in [`crate::metrics`].

mod export;
pub(crate) mod line;
pub mod trace;

pub(crate) use export::Exporter;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::TraceConfig;

/// Starts the log and the spans; called once. Without a configuration of traces the spans still
/// name each message's trace in the logs and on Kafka, and nothing is exported.
pub(crate) fn start(function: &'static str, level: LevelFilter, traces: Option<TraceConfig>) -> Option<Exporter> {
    let (tracer, exporter) = export::tracer(function, traces);
    let is_ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == trace::TARGET);
    // At TRACE the runtime and the clients print whole events and requests, tokens and messages among them.
    let logged = is_ours.clone().or(level.min(LevelFilter::DEBUG));
    let spans = tracing_opentelemetry::layer().with_tracer(tracer);
    let spans = spans.with_location(false).with_threads(false).with_tracked_inactivity(false).with_target(false);
    let lines = line::Lines::new(function).with_filter(logged);
    tracing_subscriber::registry().with(spans.with_filter(is_ours)).with(lines).init();
    exporter
}
