//! A room whose log has everything: messages, edits, deletions, and much that is no message; and what it should say.

use std::collections::BTreeMap;

use common::id::RoomId;
use common::record::{Record, RecordBody};
use common::room::commit::Outcome;

use crate::tables::{Tables, record, send};

/// A message in its current state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) sender: String,
    /// None once it is deleted.
    pub(crate) content: Option<String>,
    pub(crate) is_edited: bool,
}

/// A log, and what it should say.
pub(crate) struct Log {
    pub(crate) room: RoomId,
    pub(crate) messages: BTreeMap<u64, Said>,
    pub(crate) last_seq: u64,
    number: u128,
    random: u64,
}

impl Log {
    /// A new room of Alice, who may do everything, and Bob.
    pub(crate) async fn of_two(tables: &Tables, seed: u64) -> Self {
        let room = tables.room(&format!("room-{seed}"), &["alice", "bob"]).await;
        Self { room, messages: BTreeMap::new(), last_seq: 1, number: 0, random: seed }
    }

    /// So many more records of all kinds.
    pub(crate) async fn live_on(&mut self, tables: &Tables, count: usize) {
        for _ in 0..count.div_ceil(40) {
            let records = (0..40).map(|_| self.any()).collect();
            self.commit(tables, records).await;
        }
    }

    /// So many events in a row that are no messages.
    pub(crate) async fn rename_often(&mut self, tables: &Tables, count: usize) {
        let records = (0..count).map(|_| self.rename()).collect();
        self.commit(tables, records).await;
    }

    pub(crate) async fn commit(&mut self, tables: &Tables, records: Vec<Record>) {
        let batch = tables.commit(&self.room, records).await;
        for (record, outcome) in batch.records().iter().zip(batch.outcomes()) {
            let Outcome::Committed(event) = outcome else { continue };
            self.last_seq = event.seq.get();
            match &record.body {
                RecordBody::Send { content, .. } => {
                    let content = Some(content.as_str().to_owned());
                    let said = Said { sender: record.sender.to_string(), content, is_edited: false };
                    self.messages.insert(event.seq.get(), said);
                }
                RecordBody::Edit { message_id, content } => {
                    let said = self.messages.get_mut(&message_id.seq.get()).unwrap();
                    (said.content, said.is_edited) = (Some(content.as_str().to_owned()), true);
                }
                RecordBody::Delete { message_id } => {
                    let said = self.messages.get_mut(&message_id.seq.get()).unwrap();
                    (said.content, said.is_edited) = (None, false);
                }
                _ => {}
            }
        }
    }

    /// A number below a bound, the same in every run.
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn any(&mut self) -> Record {
        let number = self.next();
        let sender = if self.random(2) == 0 { "alice" } else { "bob" };
        let (target, guest) = (self.random(self.last_seq) + 1, self.guest());
        match self.random(10) {
            0..=3 => send(&self.room, number, sender, &format!("m-{number}"), &format!("said {number}")),
            4 => {
                let (message_id, content) = (id(target), format!("edited {number}").try_into().unwrap());
                // Some of these are not the sender's, or no messages: they are refused.
                record(&self.room, number, sender, RecordBody::Edit { message_id, content })
            }
            5 => record(&self.room, number, "alice", RecordBody::Delete { message_id: id(target) }),
            6 => self.rename(),
            7 => record(&self.room, number, "alice", RecordBody::Invite { user_id: guest }),
            _ => record(&self.room, number, "alice", RecordBody::Kick { user_id: guest }),
        }
    }

    fn rename(&mut self) -> Record {
        let number = self.next();
        let name = format!("name {number}").try_into().unwrap();
        record(&self.room, number, "alice", RecordBody::Rename { name })
    }

    fn guest(&mut self) -> common::id::UserId {
        format!("guest-{}", self.random(4)).parse().unwrap()
    }

    fn next(&mut self) -> u128 {
        self.number += 1;
        self.number
    }
}

/// A message's identity in these rooms.
pub(crate) fn id(seq: u64) -> common::id::MessageId {
    format!("epoch-1.{seq}").parse().unwrap()
}
