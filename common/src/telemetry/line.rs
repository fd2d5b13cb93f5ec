//! The log: one JSON object a line, flat but for what is counted. Never tokens, user ids, message bodies or query strings.
//!
//! | member | when |
//! |---|---|
//! | `timestamp`, `level`, `message`, `function`, `target` | always |
//! | `request_id`, `trace_id` | within an invocation; the trace is the message's own where one is at hand |
//! | `room_id`, `connection_id`, … | where the line is about one |
//! | `duration_ms` | in the line that ends an invocation |
//! | `_aws`, `FunctionName`, and what it names | there, when something was counted: see [`crate::metrics`] |
//!
//! `timestamp`, `level` and `message` are what Lambda itself reads of a function's JSON lines.

use std::fmt;
use std::io::Write as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::telemetry::trace::TARGET;
use crate::time::Time;

/// What the line says that ends an invocation.
const HANDLED: &str = "an invocation is handled";

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
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(Members(of_span)) = span.extensions().get() {
                members.0.extend(of_span.clone());
            }
        }
        let request_id = members.0.get("request_id").cloned();
        let metadata = event.metadata();
        // Some lines of libraries are fields alone.
        members.0.insert("message".to_owned(), metadata.name().into());
        event.record(&mut members);
        // A library has other requests.
        members.0.extend(request_id.map(|id| ("request_id".to_owned(), id)));
        members.complete(*metadata.level(), self.function, metadata.target(), now).into()
    }
}

/// Writes the line that ends an invocation in which nothing was counted.
pub(crate) fn write_end(span: &Span, duration_ms: u64) {
    span.in_scope(|| tracing::info!(duration_ms, "{HANDLED}"));
}

/// The line that ends an invocation, as its span knows it: to be written with what was counted.
pub(crate) fn of_end(span: &Span, function: &str, duration_ms: u64, now: Time) -> Map<String, Value> {
    let of_span = span.with_subscriber(|(id, subscriber)| {
        let span = subscriber.downcast_ref::<Registry>()?.span(id)?;
        span.extensions().get().map(|Members(members)| members.clone())
    });
    let mut members = of_span.flatten().unwrap_or_default();
    members.insert("message".to_owned(), HANDLED.into());
    members.insert("duration_ms".to_owned(), duration_ms.into());
    Members(members).complete(Level::INFO, function, module_path!(), now)
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
    /// With what every line has.
    fn complete(self, level: Level, function: &str, target: &str, now: Time) -> Map<String, Value> {
        let Self(mut members) = self;
        for (name, value) in [
            ("timestamp", now.to_string()),
            ("level", level.to_string()),
            ("function", function.to_owned()),
            ("target", target.to_owned()),
        ] {
            members.insert(name.to_owned(), value.into());
        }
        members
    }

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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::field::Empty;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps the lines instead of writing them.
    struct Kept(Lines, Arc<Mutex<Vec<Value>>>);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Kept {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            self.0.on_new_span(attributes, id, context);
        }

        fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
            self.0.on_record(id, values, context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            self.1.lock().unwrap().push(self.0.line(event, &context, Time::from_unix_ms(0)));
        }
    }

    #[test]
    fn a_line_names_what_it_is_about_and_the_invocation_that_it_is_of() {
        let kept = Arc::new(Mutex::default());
        let layer = Kept(Lines::new("connect"), Arc::clone(&kept));
        let end = tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let invocation =
                tracing::info_span!(target: TARGET, "invocation", request_id = "r-1", connection_id = Empty, other = 1);
            invocation.record("connection_id", "own");
            invocation.in_scope(|| {
                tracing::info!("about its own");
                tracing::info!(connection_id = "another", "about another");
                tracing::info!(request_id = "of a library", "about a call");
            });
            of_end(&invocation, "connect", 5, Time::from_unix_ms(0))
        });
        let about =
            |line: &Value| ["request_id", "connection_id", "other"].map(|name| line[name].as_str().map(str::to_owned));
        let seen: Vec<_> = kept.lock().unwrap().iter().map(about).collect();
        let expected = |connection: &str| [Some("r-1".to_owned()), Some(connection.to_owned()), None];
        assert_eq!(seen, ["own", "another", "own"].map(expected));
        let end = Value::Object(end);
        assert_eq!(about(&end), expected("own"));
        assert_eq!(
            [&end["level"], &end["message"], &end["function"], &end["duration_ms"]],
            [&"INFO".into(), &HANDLED.into(), &"connect".into(), &Value::from(5)]
        );
    }
}
