//! The room's part of table `chat`, with DynamoDB's semantics as far as the commit uses them: single reads are
//! consistent, a transaction happens at once or not at all, an update adds to what stands there.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::*;

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
    pub(super) events: BTreeMap<Seq, RoomEvent>,
    /// Records whose items DynamoDB refuses.
    pub(super) poison: HashSet<CommandId>,
}

impl Table {
    /// The second half of a load: members and dedupe items, whatever the head has become since it was read.
    pub(super) fn load(&self, head: Option<Head>, batch: &RoomBatch) -> RoomState {
        let members = batch.member_lookups();
        let dedupe = batch.dedupe_lookups();
        RoomState {
            head,
            members: members.iter().filter_map(|user| self.members.get_key_value(user)).map(cloned).collect(),
            dedupe: dedupe.iter().filter_map(|key| self.dedupe.get_key_value(key)).map(cloned).collect(),
        }
    }

    /// Writes one transaction as the store does.
    pub(super) fn write(&mut self, transaction: &Transaction) -> Result<(), Canceled> {
        let last_seq = self.head.as_ref().map(|head| head.last_seq);
        if transaction.head.as_ref().is_some_and(|(_, expected)| last_seq != Some(*expected)) {
            return Err(Canceled::Condition);
        }
        let ids = transaction.dedupe.iter().map(|write| match write {
            DedupeWrite::Accept(_, Accepted { id, .. }) | DedupeWrite::Refuse(_, id, _) => id,
        });
        if ids.into_iter().any(|id| self.poison.contains(id)) {
            return Err(Canceled::Invalid);
        }
        self.check_items(transaction);
        if let (Some((written, _)), Some(head)) = (&transaction.head, &mut self.head) {
            head.last_seq = written.last_seq;
            head.last_message_no = written.last_message_no;
            head.last_activity = written.last_activity;
            head.delivered_seq = written.delivered_seq;
        }
        for event in &transaction.events {
            self.events.insert(event.seq, event.clone());
        }
        for write in &transaction.dedupe {
            match write {
                DedupeWrite::Accept(key, accepted) => {
                    self.dedupe.entry(key.clone()).or_default().accepted = Some(accepted.clone());
                }
                DedupeWrite::Refuse(key, id, code) => {
                    self.dedupe.entry(key.clone()).or_default().refused.insert(*id, *code);
                }
            }
        }
        Ok(())
    }

    /// DynamoDB takes no transaction of more than 100 items, or with one item twice.
    fn check_items(&self, transaction: &Transaction) {
        let keys: HashSet<&DedupeKey> = transaction
            .dedupe
            .iter()
            .map(|write| match write {
                DedupeWrite::Accept(key, _) | DedupeWrite::Refuse(key, _, _) => key,
            })
            .collect();
        let seqs: HashSet<Seq> = transaction.events.iter().map(|event| event.seq).collect();
        assert_eq!(keys.len(), transaction.dedupe.len(), "one dedupe item twice in a transaction");
        assert_eq!(seqs.len(), transaction.events.len(), "one event twice in a transaction");
        assert!(transaction.items() <= TRANSACTION_MAX_ITEMS, "too many items in a transaction");
        assert_eq!(
            transaction.head.is_some(),
            !transaction.events.is_empty(),
            "events go with the head, and only they"
        );
        assert!(seqs.iter().all(|seq| !self.events.contains_key(seq)), "an event is overwritten");
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
