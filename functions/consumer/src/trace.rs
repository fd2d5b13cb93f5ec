//! What of a room's batch is traced: the commit of each command whose trace is exported, and the posts that follow it.

use std::collections::HashMap;

use common::id::CommandId;
use common::record::Record;
use common::room::commit::{Outcome, RoomBatch};
use common::telemetry::trace::{self, TraceContext};
use tracing::Span;

/// The commits of a room's commands while they are under way, by their place in the batch.
pub(crate) struct Commits(Vec<(usize, Span)>);

/// The commits that are done, by command: what their posts follow.
#[derive(Default)]
pub(crate) struct Traces(HashMap<CommandId, TraceContext>);

impl Commits {
    /// Begins the spans of these records, which came with these traces, within the room's span.
    pub(crate) fn begin(records: &[Record], traces: &[Option<TraceContext>]) -> Self {
        let room = Span::current();
        let sampled = records.iter().zip(traces).enumerate().filter_map(|(index, (record, trace))| {
            let trace = trace.as_ref().filter(|trace| trace.is_sampled())?;
            Some((index, trace::commit(&room, record.id, trace)))
        });
        Self(sampled.collect())
    }

    /// Ends them, now that every record has its outcome.
    pub(crate) fn end(self, batch: &RoomBatch) -> Traces {
        let traces = self.0.into_iter().filter_map(|(index, span)| {
            span.record("outcome", batch.outcomes().get(index).map(name));
            Some((batch.records().get(index)?.id, TraceContext::of_span(&span)?))
        });
        Traces(traces.collect())
    }
}

impl Traces {
    /// The commits of these commands, as far as they are traced.
    pub(crate) fn of(&self, commands: impl IntoIterator<Item = CommandId>) -> impl Iterator<Item = TraceContext> {
        commands.into_iter().filter_map(|id| self.0.get(&id).cloned())
    }
}

const fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Committed(_) => "committed",
        Outcome::Again(_) => "committed before",
        Outcome::Duplicate(_) => "duplicate",
        Outcome::Refused(code) => code.as_str(),
        Outcome::Impossible => "impossible",
    }
}
