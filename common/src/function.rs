//! What every function does around its handler: at start the log and the figures, with each invocation a span and a
//! time; and before it returns, one line says how long it took and what was counted, and what was traced is handed over,
//! since a function is frozen between invocations.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::config::{ConfigError, Environment, TraceConfig, function_name, log_level};
use crate::metrics::Metrics;
use crate::telemetry::{self, Exporter, line, trace};
use crate::time::Time;

/// A running function.
pub struct Function {
    /// Its settings.
    pub environment: Environment,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    name: &'static str,
    exporter: Option<Exporter>,
    /// How many invocations are under way.
    running: watch::Sender<usize>,
}

/// An invocation that is under way.
struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn new(running: &'a watch::Sender<usize>) -> Self {
        running.send_modify(|count| *count += 1);
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Function {
    /// Starts this process as the function of this name: first thing in `main`.
    ///
    /// # Errors
    /// A setting is missing or wrong.
    pub fn start(name: &'static str) -> Result<Self, ConfigError> {
        let environment = Environment::of_process();
        let exporter = telemetry::start(name, log_level(&environment), TraceConfig::new(&environment)?);
        let metrics = Arc::new(Metrics::new(function_name(&environment)?));
        Ok(Self { environment, metrics, name, exporter, running: watch::Sender::new(0) })
    }

    /// Whether no invocation is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self.running.borrow() == 0
    }

    /// Waits until no invocation is under way.
    pub async fn idle(&self) {
        // The sender lives in `self`, so the channel cannot be closed.
        drop(self.running.subscribe().wait_for(|count| *count == 0).await);
    }

    /// One invocation, by the id and the trace that Lambda gives it.
    pub async fn invoke<W: Future>(
        &self,
        request_id: &str,
        xray_header: Option<&str>,
        work: impl FnOnce(Time) -> W,
    ) -> W::Output {
        let (started, now) = (Instant::now(), Time::now());
        let _running = Running::new(&self.running);
        let span = trace::invocation(self.name, request_id, xray_header);
        let output = work(now).instrument(span.clone()).await;
        self.tell_end(&span, started, now);
        drop(span);
        if let Some(exporter) = &self.exporter {
            exporter.export().await;
        }
        output
    }

    /// Writes the line of an invocation that has ended: with what was counted, whatever is logged.
    fn tell_end(&self, span: &Span, started: Instant, now: Time) {
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !self.metrics.flush(&line::of_end(span, self.name, duration_ms, Time::now()), now) {
            line::write_end(span, duration_ms);
        }
    }
}
