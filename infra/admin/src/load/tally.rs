//! What one run came to: every message's answer, every receiver's copy, and the latencies, measured from the time a
//! message was due, so that a slow system cannot slow its own measurement (no coordinated omission).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::frame::{CONNECTION_CLOSED, Heard, MessageTag};
use super::histogram::Histogram;
use super::log::{Arrival, ReceivedLog};
use super::member::Observation;

/// Who sends which message when: user after user, at equal distances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// Which run.
    pub(crate) run: u32,
    /// Users, and so connections.
    pub(crate) users: usize,
    /// Rooms; user `u` is in room `u % rooms`.
    pub(crate) rooms: usize,
    /// When the first message is due.
    pub(crate) start: Instant,
    /// Messages a second.
    pub(crate) rate: u32,
    /// Messages that only warm up.
    pub(crate) warmup: u32,
    /// All messages.
    pub(crate) total: u32,
}

impl Schedule {
    /// When a message is due.
    pub(crate) fn due(&self, number: u32) -> Instant {
        self.start + Duration::from_nanos(u64::from(number) * 1_000_000_000 / u64::from(self.rate))
    }

    /// Who sends it.
    pub(crate) const fn sender(&self, number: u32) -> usize {
        number as usize % self.users
    }

    /// How many are in the sender's room.
    fn receivers(&self, number: u32) -> usize {
        let room = self.sender(number) % self.rooms;
        (self.users - room).div_ceil(self.rooms)
    }

    /// The most that are in a room.
    const fn room_size(&self) -> usize {
        self.users.div_ceil(self.rooms)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Answer {
    #[default]
    None,
    Ack,
    Fault,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    answer: Answer,
    copies: usize,
}

/// The counts of one run.
#[derive(Debug)]
pub(crate) struct Tally {
    schedule: Schedule,
    messages: Vec<Progress>,
    /// Per message and receiver.
    received: Vec<bool>,
    /// From due to `ack`.
    pub(crate) ack: Histogram,
    /// From due to each receiver's copy.
    pub(crate) receive: Histogram,
    /// When the last `ack` and the last copy came.
    pub(crate) last_ack: Instant,
    /// When the last copy came.
    pub(crate) last_copy: Instant,
    /// `events` frames, and the events in them.
    pub(crate) frames: u64,
    /// Events in those frames.
    pub(crate) events: u64,
    /// Copies with a seq seen before: allowed, clients drop them.
    pub(crate) repeated: u64,
    /// Copies after a higher seq: allowed, clients reorder them.
    pub(crate) late: u64,
    /// Messages that stand in a log twice: never allowed.
    pub(crate) doubled: u64,
    /// Faults by code.
    pub(crate) faults: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn new(schedule: Schedule) -> Self {
        let total = schedule.total as usize;
        Self {
            schedule,
            messages: vec![Progress::default(); total],
            received: vec![false; total * schedule.room_size()],
            ack: Histogram::default(),
            receive: Histogram::default(),
            last_ack: schedule.start,
            last_copy: schedule.start,
            frames: 0,
            events: 0,
            repeated: 0,
            late: 0,
            doubled: 0,
            faults: BTreeMap::new(),
        }
    }

    /// Counts one observation.
    pub(crate) fn observe(&mut self, observation: Observation, log: &mut ReceivedLog) {
        let Observation { user, at, heard } = observation;
        match heard {
            Heard::Ack(tag) => self.acked(tag, at),
            Heard::Events(events) => {
                self.frames += 1;
                self.events += events.len() as u64;
                for (seq, tag) in events {
                    match log.take(seq) {
                        Arrival::Repeated => self.repeated += 1,
                        Arrival::Late => (self.late, _) = (self.late + 1, self.copied(user, tag, at)),
                        Arrival::InOrder => self.copied(user, tag, at),
                    }
                }
            }
            Heard::Fault(code, tag) => {
                if let Some(message) = self.message(tag) {
                    message.answer = Answer::Fault;
                }
                *self.faults.entry(code).or_default() += 1;
            }
            Heard::Subscribed(_) | Heard::Other => {}
        }
    }

    /// A message of this run; earlier runs' stragglers are none.
    fn message(&mut self, tag: Option<MessageTag>) -> Option<&mut Progress> {
        let tag = tag.filter(|tag| tag.run == self.schedule.run)?;
        self.messages.get_mut(tag.number as usize)
    }

    fn acked(&mut self, tag: MessageTag, at: Instant) {
        let Some(message) = self.message(Some(tag)) else { return };
        if message.answer == Answer::None {
            message.answer = Answer::Ack;
            if tag.number >= self.schedule.warmup {
                self.ack.record(at.saturating_duration_since(self.schedule.due(tag.number)));
                self.last_ack = at;
            }
        }
    }

    fn copied(&mut self, user: usize, tag: Option<MessageTag>, at: Instant) {
        let place = user / self.schedule.rooms;
        let Some(message) = self.message(tag) else { return };
        message.copies += 1;
        let Some(number) = tag.map(|tag| tag.number) else { return };
        let Some(received) = self.received.get_mut(number as usize * self.schedule.room_size() + place) else { return };
        if std::mem::replace(received, true) {
            self.doubled += 1;
        } else if number >= self.schedule.warmup {
            self.receive.record(at.saturating_duration_since(self.schedule.due(number)));
            self.last_copy = at;
        }
    }

    /// Copies of acknowledged messages that have not come.
    pub(crate) fn missing(&self) -> u64 {
        let missing = |(number, message): (u32, &Progress)| match message.answer {
            Answer::Ack => self.schedule.receivers(number).saturating_sub(message.copies) as u64,
            Answer::None | Answer::Fault => 0,
        };
        (0..).zip(&self.messages).map(missing).sum()
    }

    /// Messages without any answer.
    pub(crate) fn unanswered(&self) -> u64 {
        self.messages.iter().filter(|message| message.answer == Answer::None).count() as u64
    }

    /// Messages in Kafka, those of the warm-up too.
    pub(crate) fn accepted(&self) -> u64 {
        self.messages.iter().filter(|message| message.answer == Answer::Ack).count() as u64
    }

    /// Connections that ended.
    pub(crate) fn closed(&self) -> u64 {
        self.faults.get(CONNECTION_CLOSED).copied().unwrap_or_default()
    }

    /// When the measured part began.
    pub(crate) fn measured_from(&self) -> Instant {
        self.schedule.due(self.schedule.warmup)
    }

    /// How long it lasted by the schedule.
    pub(crate) fn measured_for(&self) -> Duration {
        self.schedule.due(self.schedule.total).saturating_duration_since(self.measured_from())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted() {
        let start = Instant::now();
        let schedule = Schedule { run: 1, users: 3, rooms: 2, start, rate: 10, warmup: 1, total: 3 };
        assert_eq!((0..3).map(|number| schedule.receivers(number)).collect::<Vec<_>>(), [2, 1, 2]);
        let mut tally = Tally::new(schedule);
        let mut logs = [ReceivedLog::after(1), ReceivedLog::after(1), ReceivedLog::after(1)];
        let mut observe = |user: usize, ms: u64, heard| {
            let at = start + Duration::from_millis(ms);
            tally.observe(Observation { user, at, heard }, &mut logs[user]);
        };
        let tag = |number| MessageTag { run: 1, number };
        observe(0, 5, Heard::Ack(tag(0)));
        observe(1, 105, Heard::Ack(tag(1)));
        observe(2, 230, Heard::Ack(tag(2)));
        observe(0, 240, Heard::Events(vec![(2, Some(tag(0))), (3, Some(tag(2))), (3, Some(tag(2)))]));
        observe(1, 130, Heard::Events(vec![(2, Some(tag(1)))]));
        observe(2, 240, Heard::Events(vec![(3, Some(tag(2)))]));
        observe(2, 250, Heard::Events(vec![(4, Some(tag(2))), (2, Some(MessageTag { run: 0, number: 0 }))]));
        observe(2, 260, Heard::Fault("resync".to_owned(), None));
        assert_eq!((tally.missing(), tally.unanswered(), tally.accepted()), (1, 0, 3));
        assert_eq!((tally.repeated, tally.late, tally.doubled), (1, 1, 1));
        assert_eq!((tally.ack.total(), tally.ack.max()), (2, Duration::from_millis(30)));
        assert_eq!((tally.receive.total(), tally.receive.max()), (3, Duration::from_millis(40)));
        assert_eq!((tally.frames, tally.events), (4, 7));
        assert_eq!(tally.faults, BTreeMap::from([("resync".to_owned(), 1)]));
    }
}
