//! The room's part of table `chat`, with DynamoDB's semantics as far as the commit uses them: single reads are
//! consistent, a transaction happens at once or not at all, an update adds to what stands there.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::*;
use crate::room::Member;
use crate::room::state::Dedupe;

/// Why a transaction was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Canceled {
    /// A condition did not hold.
    Condition,
    /// DynamoDB refuses an item as invalid.
    Invalid,
}

/// What the table holds of one room.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) head: Option<Head>,
    pub(super) members: HashMap<UserId, Member>,
    pub(super) dedupe: HashMap<DedupeKey, Dedupe>,
    /// As they are stored: an edit has no text.
    pub(super) events: BTreeMap<Seq, RoomEvent>,
    /// Records whose items DynamoDB refuses.
    pub(super) poison: HashSet<CommandId>,
}

impl Table {
    pub(super) fn load_dedupe(&self, lookups: &Lookups) -> HashMap<DedupeKey, Dedupe> {
        lookups.dedupe.iter().filter_map(|key| self.dedupe.get_key_value(key)).map(cloned).collect()
    }

    /// The last part of a load: members and messages, whatever the rest has become since it was read.
    pub(super) fn load(&self, state: RoomState, lookups: &Lookups) -> RoomState {
        let Lookups { members, targets, .. } = lookups;
        RoomState {
            members: members.iter().filter_map(|user| self.members.get_key_value(user)).map(cloned).collect(),
            targets: targets.iter().filter_map(|seq| self.events.get_key_value(seq)).map(cloned).collect(),
            ..state
        }
    }

    /// An event in its current state.
    pub(super) fn current(&self, seq: Seq) -> Option<RoomEvent> {
        let mut event = self.events.get(&seq)?.clone();
        if let Some(edited) = event.edited_seq() {
            event.join(self.events.get(&edited).and_then(RoomEvent::message));
        }
        Some(event)
    }

    /// Writes one transaction as the store does.
    pub(super) fn write(&mut self, transaction: &Transaction) -> Result<(), Canceled> {
        if transaction.expected != self.head.as_ref().map(|head| head.last_seq) {
            return Err(Canceled::Condition);
        }
        for write in &transaction.dedupe {
            let is_poison = match write {
                DedupeWrite::Accept(_, Accepted { id, .. }) | DedupeWrite::Refuse(_, id, _) => self.poison.contains(id),
                DedupeWrite::RefuseAnew { refused, .. } => refused.keys().any(|id| self.poison.contains(id)),
            };
            if is_poison {
                return Err(Canceled::Invalid);
            }
        }
        self.check_items(transaction);
        if let Some(written) = &transaction.head {
            self.head = Some(written.clone());
        }
        for event in &transaction.events {
            let mut event = event.clone();
            event.join(None);
            self.events.insert(event.seq, event);
        }
        for change in &transaction.changes {
            self.change(change);
        }
        for write in &transaction.dedupe {
            match write {
                DedupeWrite::Accept(key, accepted) => {
                    self.dedupe.entry(key.clone()).or_default().accepted = Some(accepted.clone());
                }
                DedupeWrite::RefuseAnew { key, refused, .. } => {
                    self.dedupe.entry(key.clone()).or_default().refused.clone_from(refused);
                }
                DedupeWrite::Refuse(key, id, code) => {
                    self.dedupe.entry(key.clone()).or_default().refused.insert(*id, *code);
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Join(member) => drop(self.members.insert(member.user.clone(), member.clone())),
            Change::Leave(user) => drop(self.members.remove(user)),
            Change::Role(user, role) => self.members.get_mut(user).expect("a member").role = *role,
            Change::Edit { seq, content, at } => {
                let message = self.message(*seq);
                (message.content, message.edited_at) = (Some(content.clone()), Some(*at));
            }
            Change::Erase(seq) => {
                let message = self.message(*seq);
                (message.content, message.edited_at) = (None, None);
            }
        }
    }

    fn message(&mut self, seq: Seq) -> &mut Message {
        match self.events.get_mut(&seq) {
            Some(RoomEvent { body: EventBody::Message(message), .. }) => message,
            other => panic!("not a message: {other:?}"),
        }
    }

    /// DynamoDB takes no transaction of more than 100 items, or with one item twice.
    fn check_items(&self, transaction: &Transaction) {
        let touched: Vec<Touched> = transaction.touched().collect();
        let distinct: HashSet<&Touched> = touched.iter().collect();
        assert_eq!(distinct.len(), touched.len(), "one item twice in a transaction: {touched:?}");
        assert_eq!(touched.len() + 1, transaction.items(), "items are counted");
        assert!(transaction.items() <= TRANSACTION_MAX_ITEMS, "too many items in a transaction");
        assert_eq!(
            transaction.head.is_some(),
            !transaction.events.is_empty(),
            "events go with the head, and only they"
        );
        let is_new = |event: &RoomEvent| !self.events.contains_key(&event.seq);
        assert!(transaction.events.iter().all(is_new), "an event is overwritten");
    }

    /// The store's `mark_delivered`.
    pub(super) fn mark_delivered(&mut self, delivered: Seq) {
        if let Some(head) =
            self.head.as_mut().filter(|head| head.delivered_seq < delivered && head.last_seq >= delivered)
        {
            head.delivered_seq = delivered;
        }
    }
}

fn cloned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}
