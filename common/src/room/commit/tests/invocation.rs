//! One invocation of the consumer for one room, step by step: what `functions/consumer` does in `handler.rs` and
//! `deliver.rs`, with a pause between any two calls that leave the process.

use super::super::*;
use super::table::{Canceled, Table};
use super::told::Told;

/// How often the consumer starts over because the head has moved.
const RACES_MAX: usize = 20;

/// Where an invocation stands: what its next step does.
#[derive(Debug)]
enum Stage {
    ReadHead,
    /// A batch get reads each item at a moment of its own: here dedupe items first, the rest later.
    ReadDedupe(Option<Head>),
    ReadRest(RoomState),
    Write(Transaction),
    ReadEvents,
    Post(Vec<Posting>),
    MarkDelivered,
    Ended(End),
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All was handled.
    Success,
    /// It must come again; so many of its records need not.
    Failure { handled: usize },
}

/// A failure elsewhere in the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elsewhere {
    /// So many of this room's records stand before it, where partial batch responses are on.
    pub(super) handled: usize,
    /// Whether `deliveredSeq` can be written.
    pub(super) marked: bool,
}

/// One frame.
#[derive(Debug)]
enum Posting {
    Event(RoomEvent),
    Created(RoomEvent),
    Duplicate(CommandId, Seq),
    Nack(CommandId, ErrorCode),
}

/// One room's part of an invocation.
#[derive(Debug)]
pub(super) struct Invocation {
    /// The offset of the first record.
    pub(super) first: usize,
    batch: RoomBatch,
    stage: Stage,
    races: usize,
    failure: Option<Elsewhere>,
}

impl Invocation {
    pub(super) fn new(first: usize, records: Vec<Record>, records_per_transaction: usize) -> Self {
        let mut batch = RoomBatch::new(records);
        batch.records_per_transaction = records_per_transaction;
        Self { first, batch, stage: Stage::ReadHead, races: 0, failure: None }
    }

    pub(super) fn len(&self) -> usize {
        self.batch.records().len()
    }

    /// How often the head had moved.
    pub(super) fn races(&self) -> usize {
        self.races
    }

    /// Another room or partition of the same batch cannot be handled.
    pub(super) fn fail_elsewhere(&mut self, failure: Elsewhere) {
        self.failure = Some(failure);
    }

    pub(super) fn end(&self) -> Option<End> {
        if let Stage::Ended(end) = self.stage { Some(end) } else { None }
    }

    /// Does one call to the table or one post, and everything up to the next.
    pub(super) fn step(&mut self, table: &mut Table, told: &mut Told) {
        let stage = std::mem::replace(&mut self.stage, Stage::ReadHead);
        self.stage = match stage {
            Stage::ReadHead => Stage::ReadDedupe(table.head.clone()),
            Stage::ReadDedupe(head) => {
                let dedupe = table.load_dedupe(&self.batch.lookups());
                Stage::ReadRest(RoomState { head, dedupe, ..RoomState::default() })
            }
            Stage::ReadRest(state) => {
                self.batch.loaded(table.load(state, &self.batch.lookups()));
                self.next_write(table, told)
            }
            Stage::Write(transaction) => match table.write(&transaction) {
                Ok(()) => {
                    self.batch.written();
                    self.next_write(table, told)
                }
                Err(Canceled::Invalid) => {
                    self.batch.invalid();
                    self.next_write(table, told)
                }
                Err(Canceled::Condition) if self.races + 1 < RACES_MAX => {
                    self.races += 1;
                    Stage::ReadHead
                }
                Err(Canceled::Condition) => Stage::Ended(End::Failure { handled: 0 }),
            },
            Stage::ReadEvents => self.next_post(self.postings(table)),
            Stage::Post(mut postings) => {
                match postings.remove(0) {
                    Posting::Event(event) => told.event(table, &event),
                    Posting::Created(event) => told.created(table, &event),
                    Posting::Duplicate(id, seq) => told.duplicate(table, id, seq),
                    Posting::Nack(id, code) => told.nack(id, code),
                }
                self.next_post(postings)
            }
            Stage::MarkDelivered => {
                let Elsewhere { handled, marked } = self.failure.expect("only a failure is marked");
                if marked && let Some(delivered) = self.batch.delivered_after_posting() {
                    table.mark_delivered(delivered);
                }
                Stage::Ended(End::Failure { handled: handled.min(self.len()) })
            }
            Stage::Ended(end) => Stage::Ended(end),
        };
    }

    fn next_write(&mut self, table: &Table, told: &mut Told) -> Stage {
        while let Some(transaction) = self.batch.next_transaction() {
            if !transaction.is_empty() {
                return Stage::Write(transaction);
            }
            self.batch.written();
        }
        for (record, outcome) in self.batch.records().iter().zip(self.batch.outcomes()) {
            told.outcome(record, outcome);
        }
        assert_eq!(self.batch.outcomes().len(), self.len(), "every record has its outcome");
        self.check_memberships(table);
        Stage::ReadEvents
    }

    fn check_memberships(&self, table: &Table) {
        let Memberships { standing, ended } = self.batch.memberships();
        assert!(standing.iter().all(|user| table.members.contains_key(*user)), "no members: {standing:?}");
        // Whoever loads again does not look up those whose records are decided.
        let looked_up = self.races == 0;
        assert!(!looked_up || !ended.iter().any(|user| table.members.contains_key(user)), "members: {ended:?}");
        for (record, outcome) in self.batch.records().iter().zip(self.batch.outcomes()) {
            let is_known = standing.contains(&&record.sender) || ended.contains(&record.sender);
            assert!(!looked_up || outcome.event().is_none() || is_known, "nobody knows of the sender of {outcome:?}");
        }
    }

    fn next_post(&self, postings: Vec<Posting>) -> Stage {
        match (postings.is_empty(), self.failure) {
            (false, _) => Stage::Post(postings),
            (true, Some(_)) => Stage::MarkDelivered,
            (true, None) => Stage::Ended(End::Success),
        }
    }

    fn postings(&self, table: &Table) -> Vec<Posting> {
        let again = self.batch.undelivered_again();
        let mut events: Vec<RoomEvent> = again.iter().filter_map(|seq| table.current(*seq)).collect();
        events.extend(self.batch.committed_events());
        events.sort_unstable_by_key(|event| event.seq);
        assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq), "an event stands twice in one delivery");
        let mut postings: Vec<Posting> = events.into_iter().map(Posting::Event).collect();
        for (record, outcome) in self.batch.records().iter().zip(self.batch.outcomes()) {
            match outcome {
                Outcome::Committed(_) => {}
                Outcome::Again(_) => {
                    if record.body == (RecordBody::RoomCreated {}) {
                        postings.extend(table.events.get(&Seq::ZERO.next()).cloned().map(Posting::Created));
                    }
                }
                Outcome::Duplicate(seq) => postings.push(Posting::Duplicate(record.id, *seq)),
                Outcome::Refused(code) => postings.push(Posting::Nack(record.id, *code)),
                Outcome::Impossible => postings.push(Posting::Nack(record.id, ErrorCode::Internal)),
            }
        }
        postings
    }
}
