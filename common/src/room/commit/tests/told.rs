//! What clients were told, and what records were seen to become.

use std::collections::HashMap;

use super::super::*;
use super::table::Table;

/// What a record is, whoever looks: a commit and its repetition are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Event(Seq),
    Duplicate(Seq),
    Refused(ErrorCode),
    Impossible,
}

impl Fate {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Committed(event) => Self::Event(event.seq),
            Outcome::Again(seq) => Self::Event(*seq),
            Outcome::Duplicate(seq) => Self::Duplicate(*seq),
            Outcome::Refused(code) => Self::Refused(*code),
            Outcome::Impossible => Self::Impossible,
        }
    }
}

/// Everything that left the consumer.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) events: HashMap<Seq, usize>,
    pub(super) created: usize,
    pub(super) duplicates: HashMap<CommandId, usize>,
    pub(super) nacks: HashMap<CommandId, usize>,
    /// The one fate of each record that was decided.
    pub(super) fates: HashMap<CommandId, Fate>,
    /// Nobody is late: what is posted is what stands in the table at that moment.
    pub(super) calm: bool,
}

impl Told {
    pub(super) fn event(&mut self, table: &Table, event: &RoomEvent) {
        let stands = table.current(event.seq).expect("what is posted stands in the table");
        assert_eq!(stands.command_id, event.command_id, "what is posted stands in the table");
        if self.calm {
            assert_eq!(stands, *event, "a text comes back that nobody said, or took back");
        }
        *self.events.entry(event.seq).or_default() += 1;
    }

    pub(super) fn created(&mut self, table: &Table, event: &RoomEvent) {
        assert_eq!(table.events.get(&event.seq), Some(event), "what is posted stands in the table");
        self.created += 1;
    }

    pub(super) fn duplicate(&mut self, table: &Table, id: CommandId, seq: Seq) {
        assert!(table.events.contains_key(&seq), "what a duplicate names stands in the table");
        *self.duplicates.entry(id).or_default() += 1;
    }

    pub(super) fn nack(&mut self, id: CommandId, _code: ErrorCode) {
        *self.nacks.entry(id).or_default() += 1;
    }

    /// Every look at a record must find the same.
    pub(super) fn outcome(&mut self, record: &Record, outcome: &Outcome) {
        let fate = Fate::of(outcome);
        let before = *self.fates.entry(record.id).or_insert(fate);
        assert_eq!(before, fate, "record {:?} was something else before", record.id);
    }
}
