//! The commit of one room's records of one invocation, as a state machine without I/O.
//!
//! In: records in Kafka's order and what the table holds. Out: transactions to write, one after the other, and an
//! outcome for each record. The caller loads, writes and posts:
//!
//! ```text
//! lookups → loaded → next_transaction → written ─┐
//!              ▲           ▲    │ none           │
//!              │ head moved└────┼────────────────┘
//!              └────────────────┤
//!                               ▼
//!                        outcomes, delivery
//! ```
//!
//! **Order.** A record takes the next `seq`, or none. **Identity** is the record's own `id`, remembered in its dedupe
//! item; offsets identify nothing. **Fence**: every transaction with an event is conditional on the `last_seq` that was
//! loaded, so a second writer loses the race and starts from what it finds. **Delivered**: a commit's head write marks
//! as delivered what stood in the log when this invocation began, unless this batch brings back events that may never
//! have been posted; then the mark stays below the first of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::event::{EventBody, Message, RoomEvent};
use super::{Head, Member};
use crate::code::ErrorCode;
use crate::id::{CommandId, MessageId, Seq, UserId};
use crate::limits::{REFUSALS_REMEMBERED_MAX, TRANSACTION_MAX_BYTES, TRANSACTION_MAX_ITEMS};
use crate::record::{Record, RecordBody};

/// Where a record's outcome is remembered: its sender and their id of it, or the record's own id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DedupeKey {
    /// The authenticated sender.
    pub sender: UserId,
    /// The `clientMessageId`, or the record's `id` for commands without one.
    pub slot: String,
}

impl DedupeKey {
    /// The key of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let slot = record.body.client_message_id().map_or_else(|| record.id.to_string(), ToString::to_string);
        Self { sender: record.sender.clone(), slot }
    }
}

/// What is remembered under one [`DedupeKey`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dedupe {
    /// The one record that was accepted.
    pub accepted: Option<Accepted>,
    /// Records that were refused, with their code.
    pub refused: HashMap<CommandId, ErrorCode>,
}

/// An accepted record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The record.
    pub id: CommandId,
    /// The event that it became.
    pub seq: Seq,
    /// What its content was: [`content_hash`].
    pub hash: String,
}

/// What the table holds of a room, as far as a batch needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoomState {
    /// The head; none when there is no such room.
    pub head: Option<Head>,
    /// The members among those looked up.
    pub members: HashMap<UserId, Member>,
    /// The dedupe items among those looked up.
    pub dedupe: HashMap<DedupeKey, Dedupe>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is this event, committed by this invocation.
    Committed(RoomEvent),
    /// It was this event before.
    Again(Seq),
    /// The sender had sent the same before, under another record.
    Duplicate(Seq),
    /// It was not allowed.
    Refused(ErrorCode),
    /// No valid system produces it; it belongs on the dead-letter topic.
    Impossible,
}

impl Outcome {
    fn committed_seq(&self) -> Option<Seq> {
        match self {
            Self::Committed(event) => Some(event.seq),
            Self::Again(_) | Self::Duplicate(_) | Self::Refused(_) | Self::Impossible => None,
        }
    }
}

/// One write of a dedupe item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DedupeWrite {
    /// Remember the accepted record, if none is.
    Accept(DedupeKey, Accepted),
    /// Remember a refusal.
    Refuse(DedupeKey, CommandId, ErrorCode),
}

/// What is written at once, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The head to write, on condition that the stored one still has this `last_seq`. None for refusals alone: they
    /// come out the same as long as the head stands still.
    pub head: Option<(Head, Seq)>,
    /// New events.
    pub events: Vec<RoomEvent>,
    /// What to remember.
    pub dedupe: Vec<DedupeWrite>,
}

impl Transaction {
    /// Nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.dedupe.is_empty()
    }

    fn items(&self) -> usize {
        1 + self.events.len() + self.dedupe.len()
    }
}

/// The records of one room in one invocation, and how far their commit has come.
#[derive(Debug)]
pub struct RoomBatch {
    records: Vec<Record>,
    outcomes: Vec<Outcome>,
    state: RoomState,
    /// The `last_seq` when this invocation first looked.
    started_at: Option<Seq>,
    mark: Seq,
    /// The plan that is being written: the state and outcomes as they will be.
    planned: Option<(RoomState, Vec<Outcome>)>,
    records_per_transaction: usize,
}

impl RoomBatch {
    /// The records of one room, in Kafka's order.
    #[must_use]
    pub fn new(records: Vec<Record>) -> Self {
        Self {
            records,
            outcomes: Vec::new(),
            state: RoomState::default(),
            started_at: None,
            mark: Seq::ZERO,
            planned: None,
            records_per_transaction: usize::MAX,
        }
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The outcomes so far, in the order of the records.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The head as it stands after what was written.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.state.head.as_ref()
    }

    /// Whose membership the remaining records need.
    #[must_use]
    pub fn member_lookups(&self) -> HashSet<UserId> {
        self.remaining().iter().map(|record| record.sender.clone()).collect()
    }

    /// Which dedupe items the remaining records need.
    #[must_use]
    pub fn dedupe_lookups(&self) -> HashSet<DedupeKey> {
        self.remaining().iter().map(DedupeKey::of).collect()
    }

    fn remaining(&self) -> &[Record] {
        self.records.get(self.outcomes.len()..).unwrap_or_default()
    }

    /// Takes what the table holds, read in this order: the head first, then the rest.
    pub fn loaded(&mut self, state: RoomState) {
        if let Some(head) = &state.head {
            let started_at = *self.started_at.get_or_insert(head.last_seq);
            let delivered = head.delivered_seq;
            // Those that were decided before the head moved stay in the reckoning: they are not posted yet either.
            let decided = self.outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::Again(seq) => Some(*seq),
                Outcome::Committed(_) | Outcome::Duplicate(_) | Outcome::Refused(_) | Outcome::Impossible => None,
            });
            let to_decide = self.remaining().iter().filter_map(|record| {
                let accepted = state.dedupe.get(&DedupeKey::of(record))?.accepted.as_ref()?;
                (accepted.id == record.id).then_some(accepted.seq)
            });
            let undelivered = decided.chain(to_decide).filter(|seq| *seq > delivered);
            let below_first = undelivered.min().map_or(started_at, Seq::previous);
            self.mark = delivered.max(started_at.min(below_first));
        }
        self.state = state;
        self.planned = None;
    }

    /// The next transaction to write; an empty one has only outcomes to note. None when every record has its outcome.
    pub fn next_transaction(&mut self) -> Option<Transaction> {
        if self.remaining().is_empty() {
            return None;
        }
        let mut state = self.state.clone();
        let mut outcomes = Vec::new();
        let mut transaction = Transaction::default();
        let mut touched = HashSet::new();
        let mut bytes = 0;
        for record in self.remaining().iter().take(self.records_per_transaction) {
            let key = DedupeKey::of(record);
            let cost = record_bytes(record);
            let full = transaction.items() + 2 > TRANSACTION_MAX_ITEMS || bytes + cost > TRANSACTION_MAX_BYTES;
            if !transaction.is_empty() && full {
                break;
            }
            let outcome = decide(&state, &key, record);
            let Some(write) = remember(&state, &key, record, &outcome) else {
                outcomes.push(outcome);
                continue;
            };
            if !touched.insert(key) {
                break;
            }
            bytes += cost;
            apply(&mut state, &outcome, &write);
            transaction.dedupe.push(write);
            if let Outcome::Committed(event) = &outcome {
                transaction.events.push(event.clone());
            }
            outcomes.push(outcome);
        }
        if !transaction.events.is_empty()
            && let (Some(before), Some(after)) = (&self.state.head, &mut state.head)
        {
            after.delivered_seq = self.mark;
            transaction.head = Some((after.clone(), before.last_seq));
        }
        self.planned = Some((state, outcomes));
        Some(transaction)
    }

    /// The transaction that was asked for last is in the table (or was empty).
    pub fn written(&mut self) {
        if let Some((state, outcomes)) = self.planned.take() {
            self.state = state;
            self.outcomes.extend(outcomes);
        }
    }

    /// The table refused the last transaction as invalid: go on record by record. The one that is refused alone is
    /// impossible.
    pub fn invalid(&mut self) {
        if self.records_per_transaction == 1 {
            self.outcomes.push(Outcome::Impossible);
        }
        self.planned = None;
        self.records_per_transaction = 1;
    }

    /// Events to post that this invocation did not commit itself and that may never have been posted: to be loaded.
    #[must_use]
    pub fn undelivered_again(&self) -> Vec<Seq> {
        let delivered = self.state.head.as_ref().map_or(Seq::ZERO, |head| head.delivered_seq);
        let committed: HashSet<Seq> = self.outcomes.iter().filter_map(Outcome::committed_seq).collect();
        let again = self.outcomes.iter().filter_map(|outcome| match outcome {
            // Event 1 is told as a notice when its record comes, never as an event. A record that stands twice in one
            // batch is posted once.
            Outcome::Again(seq) if *seq > delivered && seq.get() > 1 && !committed.contains(seq) => Some(*seq),
            _ => None,
        });
        let mut seqs: Vec<Seq> = again.collect();
        seqs.sort_unstable();
        seqs.dedup();
        seqs
    }

    /// How far the log is known to be posted once this batch's events are: to be written before a failure is
    /// reported. Only an event of this batch that is not known delivered says anything about those before it: their
    /// records stood before its own, and were handled. A batch without one may stand before events that an earlier
    /// invocation committed and did not post.
    #[must_use]
    pub fn delivered_after_posting(&self) -> Seq {
        let mut delivered = self.state.head.as_ref().map_or(Seq::ZERO, |head| head.delivered_seq);
        let posted: BTreeSet<Seq> = self
            .outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Outcome::Committed(event) => Some(event.seq),
                Outcome::Again(seq) => Some(*seq),
                Outcome::Duplicate(_) | Outcome::Refused(_) | Outcome::Impossible => None,
            })
            .filter(|seq| *seq > delivered)
            .collect();
        if let Some(first) = posted.first() {
            delivered = delivered.max(self.mark.min(first.previous()));
        }
        while posted.contains(&delivered.next()) {
            delivered = delivered.next();
        }
        delivered
    }
}

/// What a record is, in the state as of its turn.
fn decide(state: &RoomState, key: &DedupeKey, record: &Record) -> Outcome {
    if let Some(dedupe) = state.dedupe.get(key) {
        // First: a refusal alone is written without the fence, so a late one may stand beside the acceptance.
        if let Some(accepted) = dedupe.accepted.as_ref().filter(|accepted| accepted.id == record.id) {
            return Outcome::Again(accepted.seq);
        }
        if let Some(code) = dedupe.refused.get(&record.id) {
            return Outcome::Refused(*code);
        }
        if let Some(accepted) = &dedupe.accepted {
            return decide_retry(accepted, record);
        }
    }
    let Some(head) = &state.head else { return Outcome::Refused(ErrorCode::RoomNotFound) };
    match &record.body {
        RecordBody::RoomCreated {} => Outcome::Impossible,
        RecordBody::Send { .. } if !state.members.contains_key(&record.sender) => {
            Outcome::Refused(ErrorCode::NotMember)
        }
        RecordBody::Send { client_message_id, content } => {
            let seq = head.last_seq.next();
            let message = Message {
                id: MessageId { epoch: head.epoch.clone(), seq },
                client_message_id: client_message_id.clone(),
                number: head.last_message_no + 1,
                content: content.as_str().to_owned(),
            };
            Outcome::Committed(RoomEvent {
                seq,
                room: head.room.clone(),
                at: record.received_at,
                sender: record.sender.clone(),
                command_id: record.id,
                body: EventBody::Message(message),
            })
        }
    }
}

fn decide_retry(accepted: &Accepted, record: &Record) -> Outcome {
    if accepted.hash == content_hash(record) {
        Outcome::Duplicate(accepted.seq)
    } else {
        Outcome::Refused(ErrorCode::IdempotencyConflict)
    }
}

/// What an outcome adds to the table, if anything.
fn remember(state: &RoomState, key: &DedupeKey, record: &Record, outcome: &Outcome) -> Option<DedupeWrite> {
    match outcome {
        Outcome::Committed(event) => {
            let accepted = Accepted { id: record.id, seq: event.seq, hash: content_hash(record) };
            Some(DedupeWrite::Accept(key.clone(), accepted))
        }
        // A conflict is seen again from the accepted record's hash.
        Outcome::Refused(ErrorCode::IdempotencyConflict) => None,
        Outcome::Refused(code) => {
            let known = state.dedupe.get(key);
            let refused = known.map_or(0, |dedupe| dedupe.refused.len());
            let again = known.is_some_and(|dedupe| dedupe.refused.contains_key(&record.id));
            (!again && refused < REFUSALS_REMEMBERED_MAX).then(|| DedupeWrite::Refuse(key.clone(), record.id, *code))
        }
        Outcome::Again(_) | Outcome::Duplicate(_) | Outcome::Impossible => None,
    }
}

fn apply(state: &mut RoomState, outcome: &Outcome, write: &DedupeWrite) {
    if let (Outcome::Committed(event), Some(head)) = (outcome, &mut state.head) {
        head.last_seq = event.seq;
        head.last_activity = head.last_activity.max(event.at);
        if let Some(message) = event.message() {
            head.last_message_no = message.number;
        }
    }
    match write {
        DedupeWrite::Accept(key, accepted) => {
            state.dedupe.entry(key.clone()).or_default().accepted = Some(accepted.clone());
        }
        DedupeWrite::Refuse(key, id, code) => {
            state.dedupe.entry(key.clone()).or_default().refused.insert(*id, *code);
        }
    }
}

/// A digest of what a record says, to tell a retry from a reused `clientMessageId`.
#[must_use]
pub fn content_hash(record: &Record) -> String {
    let text = match &record.body {
        RecordBody::Send { content, .. } => content.as_str(),
        RecordBody::RoomCreated {} => "",
    };
    hash_text(text)
}

/// The first 16 bytes of a text's SHA-256, in URL-safe base64.
#[must_use]
pub fn hash_text(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default())
}

/// What a record may weigh in a transaction, in bytes: its texts in two items, and their fixed parts.
fn record_bytes(record: &Record) -> usize {
    let content = match &record.body {
        RecordBody::Send { content, .. } => content.as_str().len(),
        RecordBody::RoomCreated {} => 0,
    };
    content + 2 * record.sender.as_str().len() + 1_024
}

#[cfg(test)]
mod tests;
