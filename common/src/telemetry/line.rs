//! The log: one JSON object a line on standard error, flat. Never tokens, message bodies or query strings.
//!
//! | member | when |
//! |---|---|
//! | `timestamp`, `level`, `message`, `function`, `target` | always |
//! | `request_id`, `trace_id` | within an invocation; the trace is the message's own where one is at hand |
//! | `room_id`, `connection_id`, `duration_ms`, … | where the line is about one |
//!
//! `timestamp`, `level` and `message` are what Lambda itself reads of a function's JSON lines.

use std::fmt;
use std::io::Write as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::trace::TARGET;
use crate::time::Time;

/// What a line takes from the spans around it.
const OF_SPANS: [&str; 4] = ["request_id", "trace_id", "room_id", "connection_id"];

/// Writes the lines of one function.
pub(super) struct Lines {
    function: &'static str,
}

/// The members of a line, or what a span adds to the lines within it.
#[derive(Default)]
struct Members(Map<String, Value>);

impl Lines {
    pub(super) const fn new(function: &'static str) -> Self {
        Self { function }
    }

    fn line<S>(&self, event: &Event<'_>, context: &Context<'_, S>, now: Time) -> Value
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut members = Members::default();
        // Some lines of libraries are fields alone.
        members.0.insert("message".to_owned(), event.metadata().name().into());
        event.record(&mut members);
        // From the root inwards. What a line says of itself does not count for these: a library has other requests.
        let spans = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        for span in spans {
            if let Some(Members(of_span)) = span.extensions().get() {
                members.0.extend(of_span.clone());
            }
        }
        let metadata = event.metadata();
        for (name, value) in [
            ("timestamp", now.to_string()),
            ("level", metadata.level().to_string()),
            ("function", self.function.to_owned()),
            ("target", metadata.target().to_owned()),
        ] {
            members.0.insert(name.to_owned(), value.into());
        }
        members.0.into()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() == TARGET
            && let Some(span) = context.span(id)
        {
            let mut members = Members::default();
            attributes.record(&mut members);
            members.0.retain(|name, _| OF_SPANS.contains(&name.as_str()));
            span.extensions_mut().insert(members);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(members) = span.extensions_mut().get_mut::<Members>()
        {
            values.record(members);
            members.0.retain(|name, _| OF_SPANS.contains(&name.as_str()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let line = self.line(event, &context, Time::now());
        // Nobody may read standard error; there is nowhere else to say it.
        drop(std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()));
    }
}

impl Members {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
