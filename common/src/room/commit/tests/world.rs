//! A topic's partition with one room, the table, and every invocation that was ever started: the owner of the
//! partition, and those that lost it and do not know.

use std::collections::HashMap;

use super::super::*;
use super::invocation::{Elsewhere, End, Invocation};
use super::scenario::{Action, RecordPlan, Scenario};
use super::table::Table;
use super::told::{Fate, Told};
use crate::id::Epoch;
use crate::record::SCHEMA_VERSION;
use crate::room::state::Dedupe;
use crate::room::{Member, Role, RoomKind};
use crate::time::Time;

/// These are members from the start; whoever else sends is none until they are invited.
const FOUNDERS: [(&str, Role); 2] = [("user-0", Role::Owner), ("user-1", Role::Admin)];

pub(super) struct World {
    pub(super) table: Table,
    pub(super) told: Told,
    pub(super) log: Vec<Record>,
    offset: usize,
    owner: Option<Invocation>,
    zombies: Vec<Invocation>,
    records_per_transaction: usize,
    /// The table as the log found it.
    first: RoomState,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut world = Self {
            table: Table::default(),
            told: Told::default(),
            log: Vec::new(),
            offset: 0,
            owner: None,
            zombies: Vec::new(),
            records_per_transaction: scenario.records_per_transaction,
            first: RoomState::default(),
        };
        for plan in &scenario.records {
            world.produce(plan);
        }
        if scenario.room_exists {
            world.create_room();
        }
        world
    }

    fn create_room(&mut self) {
        let seq = Seq::ZERO.next();
        let users: Vec<UserId> = FOUNDERS.iter().map(|(user, _)| user.parse().unwrap()).collect();
        for (user, (_, role)) in users.iter().zip(FOUNDERS) {
            let member = Member { user: user.clone(), role, joined_seq: seq, read_seq: seq };
            self.table.members.insert(user.clone(), member);
        }
        let record = created_record();
        let accepted = Accepted { id: record.id, seq, hash: content_hash(&record) };
        self.table.dedupe.insert(DedupeKey::of(&record), Dedupe { accepted: Some(accepted), ..Dedupe::default() });
        self.table.events.insert(
            seq,
            RoomEvent {
                seq,
                room: record.room_id.clone(),
                at: record.received_at,
                sender: record.sender,
                command_id: record.id,
                body: EventBody::RoomCreated { name: "room".to_owned(), users },
            },
        );
        self.table.head = Some(Head {
            room: record.room_id,
            kind: RoomKind::Group,
            name: "room".to_owned(),
            epoch: epoch(),
            last_seq: seq,
            last_message_no: 0,
            last_message_seq: Seq::ZERO,
            member_count: FOUNDERS.len() as u64,
            owner_count: 1,
            created_at: record.received_at,
            last_activity: record.received_at,
            delivered_seq: Seq::ZERO,
        });
        let (head, members) = (self.table.head.clone(), self.table.members.clone());
        self.first = RoomState { head, members, ..RoomState::default() };
    }

    fn produce(&mut self, plan: &RecordPlan) {
        let index = self.log.len();
        let record = match *plan {
            RecordPlan::Send { sender, slot, content } => send(index, sender, &format!("slot-{slot}"), content),
            RecordPlan::Change { sender, kind, user, target } => {
                Record { body: change(kind, user, target), ..send(index, sender, "none", 0) }
            }
            RecordPlan::Poison { sender } => {
                let record = send(index, sender, &format!("poison-{index}"), 0);
                self.table.poison.insert(record.id);
                record
            }
            RecordPlan::Created => created_record(),
            RecordPlan::Again { of } => match self.log.get(of % index.max(1)) {
                Some(record) => record.clone(),
                None => created_record(),
            },
        };
        self.log.push(record);
    }

    pub(super) fn act(&mut self, action: &Action) {
        match *action {
            Action::Poll { size } => self.poll(size),
            Action::Run { steps } => (0..steps).for_each(|_| self.step_owner()),
            Action::RunZombie { which, steps } => (0..steps).for_each(|_| self.step_zombie(which)),
            Action::Crash => self.owner = None,
            Action::FailElsewhere { handled, marked } => {
                if let Some(owner) = &mut self.owner {
                    owner.fail_elsewhere(Elsewhere { handled, marked });
                }
            }
            Action::Rewind { to } => {
                self.zombies.extend(self.owner.take());
                self.offset = self.offset.min(to);
            }
        }
    }

    /// The partition's owner is another one from here on; the last one goes on as a zombie.
    fn poll(&mut self, size: usize) {
        self.zombies.extend(self.owner.take());
        let end = self.log.len().min(self.offset + size);
        if self.offset < end {
            let records = self.log[self.offset..end].to_vec();
            self.owner = Some(Invocation::new(self.offset, records, self.records_per_transaction));
        }
    }

    fn step_owner(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        owner.step(&mut self.table, &mut self.told);
        let ended = owner.end().map(|end| (owner.first, owner.len(), end));
        if let Some((first, len, end)) = ended {
            self.offset = match end {
                End::Success => first + len,
                End::Failure { handled } => first + handled,
            };
            self.owner = None;
        }
        self.check_always();
    }

    /// A zombie writes and posts, but commits no offset: the group has gone on without it.
    fn step_zombie(&mut self, which: usize) {
        if self.zombies.is_empty() {
            return;
        }
        let which = which % self.zombies.len();
        self.zombies[which].step(&mut self.table, &mut self.told);
        if self.zombies[which].end().is_some() {
            self.zombies.remove(which);
        }
        self.check_always();
    }

    /// Handles the rest of the log without another fault.
    pub(super) fn drain(&mut self, size: usize) {
        for _ in 0..10_000 {
            match &mut self.owner {
                Some(_) => self.step_owner(),
                None if self.offset == self.log.len() => return,
                // From here on nobody else is at work.
                None => {
                    self.told.calm = true;
                    self.poll(size);
                }
            }
        }
        panic!("the log does not come to its end");
    }

    /// Lets every zombie end.
    pub(super) fn bury_zombies(&mut self) {
        self.told.calm = false;
        for _ in 0..10_000 {
            if self.zombies.is_empty() {
                return;
            }
            self.step_zombie(0);
        }
        panic!("a zombie does not end");
    }

    /// Goes back to an offset when all is done; returns which events were posted once more.
    pub(super) fn replay(&mut self, to: usize, size: usize) -> Vec<Seq> {
        let before = self.told.events.clone();
        self.offset = to.min(self.log.len());
        self.drain(size);
        let count = |seq: &Seq| before.get(seq).copied().unwrap_or_default();
        let more = self.told.events.iter().filter(|(seq, posted)| **posted > count(seq));
        let mut seqs: Vec<Seq> = more.map(|(seq, _)| *seq).collect();
        seqs.sort_unstable();
        seqs
    }

    /// More messages, handled as one batch without a fault and without a rival. Returns their events.
    pub(super) fn say_more(&mut self, count: usize) -> Vec<Seq> {
        let first = self.table.head.as_ref().map_or(Seq::ZERO, |head| head.last_seq);
        let sender = self.table.members.keys().min().expect("somebody is there").clone();
        for _ in 0..count {
            let index = self.log.len();
            let record = send(index, 0, &format!("more-{index}"), 0);
            self.log.push(Record { sender: sender.clone(), ..record });
        }
        self.poll(count);
        while let Some(owner) = &self.owner {
            assert_eq!(owner.races(), 0, "a race is lost without a rival");
            self.step_owner();
        }
        assert_eq!(self.offset, self.log.len(), "the batch was handled at once");
        self.table.events.range(first.next()..).map(|(seq, _)| *seq).collect()
    }

    fn check_always(&self) {
        let Some(head) = &self.table.head else { return };
        let seqs: Vec<u64> = self.table.events.keys().map(|seq| seq.get()).collect();
        assert!(seqs.iter().copied().eq(1..=head.last_seq.get()), "the log has a hole: {seqs:?}");
        // Event 1 is told as a notice when its record comes.
        for seq in 2..=head.delivered_seq.get() {
            let seq = Seq::new(seq).unwrap();
            assert!(self.told.events.contains_key(&seq), "{seq} is marked as delivered, but was never posted");
        }
    }

    /// What must hold when the whole log was handled.
    pub(super) fn check_complete(&self) {
        let told = &self.told;
        for seq in self.table.events.keys().filter(|seq| seq.get() > 1) {
            assert!(told.events.contains_key(seq), "{seq} stands in history and was never posted");
        }
        for record in &self.log {
            let fate = told.fates.get(&record.id).copied();
            let (refused, duplicate) = (told.nacks.contains_key(&record.id), told.duplicates.contains_key(&record.id));
            match fate {
                None => panic!("a record was never decided"),
                Some(Fate::Event(seq)) => {
                    assert_eq!(self.table.events.get(&seq).map(|event| event.command_id), Some(record.id));
                    let is_created = record.body == (RecordBody::RoomCreated {});
                    assert!(!is_created || told.created > 0, "nobody heard of the room");
                }
                Some(Fate::Duplicate(_)) => assert!(duplicate, "a retry was not answered"),
                Some(Fate::Refused(_) | Fate::Impossible) => assert!(refused, "a refusal was not told"),
            }
        }
        self.check_messages();
        self.check_against_the_log();
    }

    fn check_messages(&self) {
        let index = |id: CommandId| self.log.iter().position(|record| record.id == id).unwrap();
        let messages = || self.table.events.values().filter(|event| event.message().is_some());
        let order: Vec<usize> = messages().map(|event| index(event.command_id)).collect();
        assert!(order.is_sorted(), "events stand in another order than their records: {order:?}");
        let mut identities: Vec<_> =
            messages().map(|event| (&event.sender, event.message().unwrap().client_message_id.as_str())).collect();
        identities.sort_unstable();
        assert!(identities.windows(2).all(|pair| pair[0] != pair[1]), "a message stands twice: {identities:?}");
        let numbers = messages().map(|event| event.message().unwrap().number);
        assert!(numbers.eq(1..=identities.len() as u64), "messages are numbered without a hole");
        assert_eq!(self.table.head.as_ref().map_or(0, |head| head.last_message_no), identities.len() as u64);
    }

    /// The same log, read once from the start, record by record: fates, members, messages and head must be the same.
    fn check_against_the_log(&self) {
        let mut accepted: HashMap<(UserId, &str), (Seq, &str)> = HashMap::new();
        let mut expected: HashMap<CommandId, Fate> = HashMap::new();
        let mut state = self.first.clone();
        for record in &self.log {
            let (slot, content) = match &record.body {
                RecordBody::Send { client_message_id, content } => (client_message_id.as_str(), content.as_str()),
                _ => ("", ""),
            };
            let key = (record.sender.clone(), slot);
            let before = accepted.get(&key).filter(|_| !slot.is_empty());
            let is_poison = self.table.poison.contains(&record.id);
            let fate = match (&state.head, before) {
                _ if expected.contains_key(&record.id) => continue,
                (None, _) => Fate::Refused(ErrorCode::RoomNotFound),
                _ if record.body == (RecordBody::RoomCreated {}) => Fate::Event(Seq::ZERO.next()),
                (_, Some((seq, before))) if *before == content => Fate::Duplicate(*seq),
                (_, Some(_)) => Fate::Refused(ErrorCode::IdempotencyConflict),
                (Some(head), None) => match rules::check(&state, &record.sender, &record.body) {
                    Err(refusal) => Fate::Refused(refusal.code),
                    Ok(()) if is_poison => Fate::Impossible,
                    Ok(()) => {
                        let event = self.table.events.get(&head.last_seq.next()).expect("an event for the record");
                        let body = event_body(head, record).unwrap();
                        assert_eq!(event.body.kind(), body.kind());
                        state.apply(&RoomEvent { body, ..event.clone() });
                        accepted.insert(key, (event.seq, content));
                        Fate::Event(event.seq)
                    }
                },
            };
            // What DynamoDB does not take cannot be remembered as refused either.
            let fate = if is_poison && matches!(fate, Fate::Refused(_)) { Fate::Impossible } else { fate };
            expected.insert(record.id, fate);
        }
        assert_eq!(self.told.fates, expected);
        assert_eq!(self.table.members, state.members);
        let delivered_seq = |head: &Head| head.delivered_seq;
        if let (Some(stored), Some(head)) = (&self.table.head, &mut state.head) {
            head.delivered_seq = delivered_seq(stored);
            assert_eq!(stored, head);
            assert_eq!(head.member_count, state.members.len() as u64);
            let owners = state.members.values().filter(|member| member.role == Role::Owner).count();
            assert_eq!(head.owner_count, owners as u64);
            assert!(owners > 0 || state.members.is_empty(), "nobody owns the group");
        }
        for (seq, message) in &state.targets {
            assert_eq!(self.table.events.get(seq), Some(message));
        }
    }
}

fn epoch() -> Epoch {
    "epoch".parse().unwrap()
}

/// One of the seven kinds of record that say nothing.
fn change(kind: usize, user: usize, target: u64) -> RecordBody {
    let user_id: UserId = format!("user-{user}").parse().unwrap();
    let message_id = MessageId { epoch: epoch(), seq: Seq::new(target).unwrap() };
    match kind {
        0 => RecordBody::Edit { message_id, content: format!("content {user}").try_into().unwrap() },
        1 => RecordBody::Delete { message_id },
        2 => RecordBody::Rename { name: format!("name {user}").try_into().unwrap() },
        3 => RecordBody::Invite { user_id },
        4 => RecordBody::Leave { successor: target.is_multiple_of(2).then_some(user_id) },
        5 => RecordBody::Kick { user_id },
        _ => {
            let role = [Role::Member, Role::Admin, Role::Owner][usize::try_from(target).unwrap() % 3];
            RecordBody::ChangeRole { user_id, role }
        }
    }
}

fn created_record() -> Record {
    Record { body: RecordBody::RoomCreated {}, ..send(1_000_000, 0, "none", 0) }
}

fn send(index: usize, sender: usize, client_message_id: &str, content: usize) -> Record {
    let at = Time::from_unix_ms(1_800_000_000_000);
    Record {
        v: SCHEMA_VERSION,
        id: CommandId::new(at, index as u128),
        room_id: "room".parse().unwrap(),
        sender: format!("user-{sender}").parse().unwrap(),
        received_at: at,
        reply_to: None,
        body: RecordBody::Send {
            client_message_id: client_message_id.parse().unwrap(),
            content: format!("content {content}").try_into().unwrap(),
        },
    }
}
