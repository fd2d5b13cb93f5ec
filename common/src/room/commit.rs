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
//! item; offsets identify nothing. **Fence**: every transaction is conditional on the `last_seq` that was loaded, so a
//! second writer loses the race and starts from what it finds. **Delivered**: a commit's head write marks as delivered
//! what stood in the log when this invocation began, unless this batch brings back events that may never have been
//! posted; then the mark stays below the first of them.

mod memberships;

pub use memberships::Memberships;

use std::collections::{BTreeSet, HashMap, HashSet};

use super::event::{EventBody, Message, RoomEvent};
use super::state::{Accepted, Change, DedupeKey, Lookups, RoomState};
use super::{Head, rules};
use crate::code::ErrorCode;
use crate::digest::digest;
use crate::id::{CommandId, MessageId, Seq, UserId};
use crate::limits::{REFUSALS_REMEMBERED_MAX, TRANSACTION_MAX_BYTES, TRANSACTION_MAX_ITEMS};
use crate::record::{Record, RecordBody};

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
    /// The event that this invocation committed.
    #[must_use]
    pub const fn event(&self) -> Option<&RoomEvent> {
        match self {
            Self::Committed(event) => Some(event),
            Self::Again(_) | Self::Duplicate(_) | Self::Refused(_) | Self::Impossible => None,
        }
    }

    /// The event of this very record, whoever committed it.
    #[must_use]
    pub const fn seq(&self) -> Option<Seq> {
        match self {
            Self::Committed(event) => Some(event.seq),
            Self::Again(seq) => Some(*seq),
            Self::Duplicate(_) | Self::Refused(_) | Self::Impossible => None,
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
    /// Remember a refusal in place of the oldest one: these from now on.
    RefuseAnew {
        /// Where.
        key: DedupeKey,
        /// The refusal that is forgotten. It must still be remembered: whoever has decided on the same state and written
        /// first has forgotten it, too, and remembers something that is not among these.
        oldest: (CommandId, ErrorCode),
        /// All that are remembered, the new one among them.
        refused: HashMap<CommandId, ErrorCode>,
    },
}

impl DedupeWrite {
    const fn key(&self) -> &DedupeKey {
        match self {
            Self::Accept(key, _) | Self::Refuse(key, _, _) | Self::RefuseAnew { key, .. } => key,
        }
    }
}

/// What is written at once, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The stored head must still have this `last_seq`; none: there must be no room. Refusals depend on it too, since
    /// they rest on memberships that change with the log.
    pub expected: Option<Seq>,
    /// The head to write; none when there are no events.
    pub head: Option<Head>,
    /// New events.
    pub events: Vec<RoomEvent>,
    /// What they change in members and messages.
    pub changes: Vec<Change>,
    /// What to remember.
    pub dedupe: Vec<DedupeWrite>,
}

/// An item that a transaction may touch only once.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Touched {
    Member(UserId),
    Event(Seq),
    Dedupe(DedupeKey),
}

impl Transaction {
    /// Nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.dedupe.is_empty()
    }

    /// How many items it has: the head, and the rest.
    fn items(&self) -> usize {
        1 + self.events.len() + self.changes.len() + self.dedupe.len()
    }

    /// What one record adds.
    fn of(outcome: &Outcome, write: DedupeWrite) -> Self {
        let event = outcome.event();
        Self {
            events: event.cloned().into_iter().collect(),
            changes: event.map(Change::of).unwrap_or_default(),
            dedupe: vec![write],
            ..Self::default()
        }
    }

    fn touched(&self) -> impl Iterator<Item = Touched> {
        let changes = self.changes.iter().map(|change| match change {
            Change::Join(member) => Touched::Member(member.user.clone()),
            Change::Leave(user) | Change::Role(user, _) => Touched::Member(user.clone()),
            Change::Edit { seq, .. } | Change::Erase(seq) => Touched::Event(*seq),
        });
        let events = self.events.iter().map(|event| Touched::Event(event.seq));
        let dedupe = self.dedupe.iter().map(|write| Touched::Dedupe(write.key().clone()));
        changes.chain(events).chain(dedupe)
    }

    fn append(&mut self, other: Self) {
        self.events.extend(other.events);
        self.changes.extend(other.changes);
        self.dedupe.extend(other.dedupe);
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

    /// What the remaining records need.
    #[must_use]
    pub fn lookups(&self) -> Lookups {
        let mut lookups = Lookups::default();
        for record in self.remaining() {
            lookups.add(&record.sender, &record.body);
            lookups.dedupe.insert(DedupeKey::of(record));
        }
        lookups
    }

    fn remaining(&self) -> &[Record] {
        self.records.get(self.outcomes.len()..).unwrap_or_default()
    }

    /// Takes what the table holds, read in this order: the head first, then the rest.
    pub fn loaded(&mut self, mut state: RoomState) {
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
        // What was committed before the head moved is still to be posted as it stands.
        for (seq, message) in self.state.targets.drain() {
            state.targets.entry(seq).or_insert(message);
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
            let outcome = decide(&state, &key, record);
            let Some(write) = remember(&state, key, record, &outcome) else {
                outcomes.push(outcome);
                continue;
            };
            let more = Transaction::of(&outcome, write);
            bytes += record_bytes(record);
            // The head is counted in both.
            let full = transaction.items() + more.items() - 1 > TRANSACTION_MAX_ITEMS || bytes > TRANSACTION_MAX_BYTES;
            let twice = more.touched().any(|item| touched.contains(&item));
            if !transaction.is_empty() && (full || twice) {
                break;
            }
            touched.extend(more.touched());
            apply(&mut state, &more);
            transaction.append(more);
            outcomes.push(outcome);
        }
        transaction.expected = self.state.head.as_ref().map(|head| head.last_seq);
        if let (Some(head), false) = (&mut state.head, transaction.events.is_empty()) {
            head.delivered_seq = self.mark;
            transaction.head = Some(head.clone());
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
        let committed: HashSet<Seq> = self.committed().map(|event| event.seq).collect();
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

    /// The events that this invocation committed, in order.
    fn committed(&self) -> impl Iterator<Item = &RoomEvent> {
        self.outcomes.iter().filter_map(Outcome::event)
    }

    /// The events that this invocation committed, in order, with messages as they stand behind the whole batch: what
    /// was deleted within it is posted nowhere.
    #[must_use]
    pub fn committed_events(&self) -> Vec<RoomEvent> {
        let current = |event: &RoomEvent| {
            let mut event = self.state.targets.get(&event.seq).unwrap_or(event).clone();
            if let Some(edited) = event.edited_seq() {
                event.join(self.state.targets.get(&edited).and_then(RoomEvent::message));
            }
            event
        };
        self.committed().map(current).collect()
    }

    /// Whose membership ended by records of this batch, and with which event, now or in an earlier try.
    #[must_use]
    pub fn removals(&self) -> Vec<(UserId, Seq)> {
        let removal = |(record, outcome): (&Record, &Outcome)| {
            let user = match &record.body {
                RecordBody::Kick { user_id } => user_id,
                RecordBody::Leave { .. } => &record.sender,
                _ => return None,
            };
            Some((user.clone(), outcome.seq()?))
        };
        self.records.iter().zip(&self.outcomes).filter_map(removal).collect()
    }

    /// How far the log is known to be posted once this batch's events are: to be written before a failure is
    /// reported. Only an event of this batch that is not known delivered says anything about those before it: their
    /// records stood before its own, and were handled. A batch without one may stand before events that an earlier
    /// invocation committed and did not post. Nothing when the table knows it.
    #[must_use]
    pub fn delivered_after_posting(&self) -> Option<Seq> {
        let known = self.state.head.as_ref()?.delivered_seq;
        let posted: BTreeSet<Seq> = self.outcomes.iter().filter_map(Outcome::seq).filter(|seq| *seq > known).collect();
        let mut delivered = known.max(self.mark.min(posted.first()?.previous()));
        while posted.contains(&delivered.next()) {
            delivered = delivered.next();
        }
        (delivered > known).then_some(delivered)
    }
}

/// What a record is, in the state as of its turn.
fn decide(state: &RoomState, key: &DedupeKey, record: &Record) -> Outcome {
    if let Some(dedupe) = state.dedupe.get(key) {
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
    let Some(body) = event_body(head, record) else { return decide_creation(state, record) };
    match rules::check(state, &record.sender, &record.body) {
        Err(refusal) => Outcome::Refused(refusal.code),
        Ok(()) => Outcome::Committed(RoomEvent {
            seq: head.last_seq.next(),
            room: head.room.clone(),
            at: record.received_at,
            sender: record.sender.clone(),
            command_id: record.id,
            body,
        }),
    }
}

/// The record of a room's creation, whose event was written with the room, and stands there for good.
fn decide_creation(state: &RoomState, record: &Record) -> Outcome {
    let first = Seq::ZERO.next();
    match state.targets.get(&first) {
        Some(event) if event.command_id == record.id => Outcome::Again(first),
        Some(_) | None => Outcome::Impossible,
    }
}

/// What a record becomes when it is permitted; none when its event was written with the room.
fn event_body(head: &Head, record: &Record) -> Option<EventBody> {
    Some(match record.body.clone() {
        RecordBody::Send { client_message_id, content } => EventBody::Message(Message {
            id: MessageId { epoch: head.epoch.clone(), seq: head.last_seq.next() },
            client_message_id,
            number: head.last_message_no + 1,
            content: Some(content.into()),
            edited_at: None,
        }),
        RecordBody::Edit { message_id, content } => {
            EventBody::MessageEdited { message_id, content: Some(content.into()) }
        }
        RecordBody::Delete { message_id } => EventBody::MessageDeleted { message_id },
        RecordBody::Rename { name } => EventBody::RoomRenamed { name: name.into() },
        RecordBody::Invite { user_id } => EventBody::MemberInvited { user: user_id },
        RecordBody::Leave { successor } => EventBody::MemberLeft { user: record.sender.clone(), successor },
        RecordBody::Kick { user_id } => EventBody::MemberKicked { user: user_id },
        RecordBody::ChangeRole { user_id, role } => EventBody::MemberRole { user: user_id, role },
        RecordBody::RoomCreated {} => return None,
    })
}

fn decide_retry(accepted: &Accepted, record: &Record) -> Outcome {
    if accepted.hash == content_hash(record) {
        Outcome::Duplicate(accepted.seq)
    } else {
        Outcome::Refused(ErrorCode::IdempotencyConflict)
    }
}

/// What is to be remembered of an outcome, if anything.
fn remember(state: &RoomState, key: DedupeKey, record: &Record, outcome: &Outcome) -> Option<DedupeWrite> {
    match outcome {
        Outcome::Committed(event) => {
            let accepted = Accepted { id: record.id, seq: event.seq, hash: content_hash(record) };
            Some(DedupeWrite::Accept(key, accepted))
        }
        Outcome::Refused(code) => match state.dedupe.get(&key).map(|dedupe| &dedupe.refused) {
            Some(refused) if refused.contains_key(&record.id) => None,
            Some(refused) if refused.len() >= REFUSALS_REMEMBERED_MAX => {
                let id = *refused.keys().min().filter(|oldest| **oldest < record.id)?;
                let mut refused = refused.clone();
                let oldest = (id, refused.remove(&id)?);
                refused.insert(record.id, *code);
                Some(DedupeWrite::RefuseAnew { key, oldest, refused })
            }
            Some(_) | None => Some(DedupeWrite::Refuse(key, record.id, *code)),
        },
        Outcome::Again(_) | Outcome::Duplicate(_) | Outcome::Impossible => None,
    }
}

fn apply(state: &mut RoomState, transaction: &Transaction) {
    for event in &transaction.events {
        state.apply(event);
    }
    for write in &transaction.dedupe {
        let dedupe = state.dedupe.entry(write.key().clone()).or_default();
        match write {
            DedupeWrite::Accept(_, accepted) => dedupe.accepted = Some(accepted.clone()),
            DedupeWrite::Refuse(_, id, code) => drop(dedupe.refused.insert(*id, *code)),
            DedupeWrite::RefuseAnew { refused, .. } => dedupe.refused.clone_from(refused),
        }
    }
}

/// A digest of what a record says, to tell a retry from a reused `clientMessageId`.
#[must_use]
pub fn content_hash(record: &Record) -> String {
    match &record.body {
        RecordBody::Send { content, .. } => digest(content.as_str()),
        // Known by their own id: there is no other record to tell apart.
        _ => String::new(),
    }
}

/// What a record may weigh in a transaction, in bytes: its texts in its items, and their fixed parts.
fn record_bytes(record: &Record) -> usize {
    let content = match &record.body {
        RecordBody::Send { content, .. } | RecordBody::Edit { content, .. } => content.as_str().len(),
        _ => 0,
    };
    content + 2 * record.sender.as_str().len() + 2_048
}

#[cfg(test)]
mod tests;
