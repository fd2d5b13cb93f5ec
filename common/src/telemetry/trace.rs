//! Traces: the spans there are, and how a trace goes from one function to the next.
//!
//! ```text
//! message (server) ── send chat-messages (producer) ── commit (consumer) ── post (client), one per connection
//! consumer (server) ── room ─ ─ ─ ─ ─ ─ linked ─ ─ ─ ─ ─ ┘
//! ```
//!
//! An invocation continues the trace that Lambda names (AWS X-Ray's `Root=1-{8 digits}-{24 digits};Parent={16
//! digits};Sampled={0 or 1}`), so both show one trace by one id. A record on Kafka carries the trace of its command (W3C
//! Trace Context, header `traceparent`); what the consumer does for a command belongs to that trace, and what it does
//! for a batch to its own. A post that brings several events follows the first, and is linked to the others.

use std::collections::HashMap;
use std::fmt::Display;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::id::{CommandId, ConnectionId, RoomId};

/// What our spans are told by from those of libraries.
pub(super) const TARGET: &str = "madang";

/// The place of a span in its trace, as it travels.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceContext(SpanContext);

impl TraceContext {
    /// That of a span.
    #[must_use]
    pub fn of_span(span: &Span) -> Option<Self> {
        Self::valid(span.context().span().span_context().clone())
    }

    /// Reads a `traceparent`.
    #[must_use]
    pub fn of_traceparent(text: &str) -> Option<Self> {
        let carrier = HashMap::from([("traceparent".to_owned(), text.to_owned())]);
        Self::valid(TraceContextPropagator::new().extract(&carrier).span().span_context().clone())
    }

    /// Reads what Lambda hands a function with each invocation.
    fn of_xray(header: &str) -> Option<Self> {
        let member = |name| header.split(';').find_map(|member| member.trim().strip_prefix(name));
        let root = member("Root=1-")?.split_once('-').filter(|(time, random)| (time.len(), random.len()) == (8, 24));
        let (time, random) = root?;
        let trace_id = TraceId::from_hex(&format!("{time}{random}")).ok()?;
        let span_id = SpanId::from_hex(member("Parent=")?).ok()?;
        let flags = if member("Sampled=") == Some("1") { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        Self::valid(SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE))
    }

    fn valid(context: SpanContext) -> Option<Self> {
        context.is_valid().then_some(Self(context))
    }

    /// As a `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let Self(context) = self;
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
    }

    /// As logs name the trace.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// Whether the trace is one of those that are exported.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.0.is_sampled()
    }

    fn set_as_parent_of(&self, span: &Span) {
        if let Err(error) = span.set_parent(Context::new().with_remote_span_context(self.0.clone())) {
            // Only where nothing was started: in tests.
            tracing::debug!(%error, "a span has no trace");
        }
    }
}

/// One invocation of a function.
pub(crate) fn invocation(function: &'static str, request_id: &str, xray_header: Option<&str>) -> Span {
    let span = tracing::info_span!(
        target: TARGET, "invocation", otel.name = function, otel.kind = "server", request_id, trace_id = Empty,
        connection_id = Empty, room_id = Empty, otel.status_code = Empty, otel.status_description = Empty,
    );
    if let Some(parent) = xray_header.and_then(TraceContext::of_xray) {
        parent.set_as_parent_of(&span);
    }
    if let Some(context) = TraceContext::of_span(&span) {
        span.record("trace_id", context.trace_id());
    }
    span
}

/// Says which connection the invocation under way is about.
pub fn about_connection(connection_id: &ConnectionId) {
    Span::current().record("connection_id", display(connection_id));
}

/// Says which room the invocation under way is about; the last one counts.
pub fn about_room(room_id: &RoomId) {
    Span::current().record("room_id", display(room_id));
}

/// Marks a span as failed.
pub fn fail(span: &Span, cause: &dyn Display) {
    span.record("otel.status_code", "ERROR").record("otel.status_description", display(cause));
}

/// A record on its way to a topic.
pub(crate) fn send(topic: &str) -> Span {
    tracing::info_span!(
        target: TARGET, "send", otel.name = format!("send {topic}"), otel.kind = "producer",
        messaging.system = "kafka", messaging.destination.name = topic, otel.status_code = Empty, otel.status_description = Empty,
    )
}

/// A room's part of a batch, in the consumer's own trace; its log lines name the trace of the first record.
#[must_use]
pub fn room(room_id: &RoomId, first: Option<&TraceContext>) -> Span {
    let trace_id = first.map(TraceContext::trace_id);
    tracing::info_span!(
        target: TARGET, "room", otel.kind = "internal", %room_id, trace_id, otel.status_code = Empty, otel.status_description = Empty,
    )
}

/// The same for a user's signals, without the user.
#[must_use]
pub fn signals(first: Option<&TraceContext>) -> Span {
    let trace_id = first.map(TraceContext::trace_id);
    tracing::info_span!(
        target: TARGET, "signals", otel.kind = "internal", trace_id, otel.status_code = Empty, otel.status_description = Empty,
    )
}

/// What is done about a connection that is not the invocation's own, for one of its rooms if it is.
#[must_use]
pub fn connection(connection_id: &ConnectionId, room_id: Option<&RoomId>) -> Span {
    let room_id = room_id.map(display);
    tracing::info_span!(target: TARGET, "connection", otel.kind = "internal", %connection_id, room_id)
}

/// The commit of one command, in its own trace, linked to the room's span that does it.
#[must_use]
pub fn commit(room: &Span, command_id: CommandId, of_record: &TraceContext) -> Span {
    let span = tracing::info_span!(
        target: TARGET, parent: room, "commit", otel.kind = "consumer", %command_id, outcome = Empty,
        otel.status_code = Empty, otel.status_description = Empty,
    );
    of_record.set_as_parent_of(&span);
    if let Some(TraceContext(batch)) = TraceContext::of_span(room) {
        span.add_link(batch);
    }
    span
}

/// The posts of one room's frames to one connection, in the trace of the first command that they tell of.
#[must_use]
pub fn post(connection_id: &ConnectionId, told: &[TraceContext]) -> Span {
    let Some((first, others)) = told.split_first() else { return Span::none() };
    let span = tracing::info_span!(
        target: TARGET, "post", otel.kind = "client", %connection_id, otel.status_code = Empty, otel.status_description = Empty,
    );
    first.set_as_parent_of(&span);
    for other in others.iter().filter(|other| *other != first) {
        span.add_link(other.0.clone());
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_is_written() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::of_traceparent(text).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.traceparent(), text);
        for odd in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            assert_eq!(TraceContext::of_traceparent(odd), None, "{odd}");
        }
    }

    /// The header of AWS's own documentation, and what else stands in it since.
    #[test]
    fn x_rays_header_is_the_same_trace_by_another_writing() {
        let check = |header: &str, expected: Option<&str>| {
            let context = TraceContext::of_xray(header).map(|context| context.traceparent());
            assert_eq!(context.as_deref(), expected, "{header}");
        };
        let sampled = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        check("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", Some(sampled));
        let lineage = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0";
        check(lineage, Some(sampled));
        let not_sampled = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00";
        check("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0", Some(not_sampled));
        check("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8", Some(not_sampled));
        check("Root=1-5759e988-bd862e3fe1be46a994272793", None);
        check("Root=1-5759e98-8bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", None);
        check("Root=1-5759e988-bd862e3fe1be46a99427279é;Parent=53995c3f42cd8ad8;Sampled=1", None);
        check("", None);
    }
}
