//! The records of one partition that were read and are not committed.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
};

use tokio::time::Instant;

use super::{BACKLOG_HIGH_BYTES, BACKLOG_LOW_BYTES, record::Record};

/// A partition's queue and its offsets. Records leave it in order, and stay counted until they are committed.
///
/// A rewind starts a new *reading*; a batch of an earlier one is not delivered again.
pub(super) struct Backlog {
    pub(super) partition: i32,
    state: Mutex<State>,
}

struct State {
    waiting: VecDeque<Record>,
    waiting_json_bytes: usize,
    /// Waiting and in flight.
    log_bytes: usize,
    intake: Intake,
    /// The offset after the last one read.
    next: i64,
    /// The offset that a restart would go on at.
    committed: i64,
    /// Set after a partial failure: no batch before.
    not_before: Option<Instant>,
    failures_in_a_row: u32,
    reading: u64,
}

/// Whether a partition takes records in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    Open,
    Closed,
}

/// What a partition could add to a batch.
pub(super) struct Ready {
    pub(super) record_count: usize,
    pub(super) json_bytes: usize,
    pub(super) first_arrived: Instant,
}

/// What a partition has to offer now.
pub(super) enum Offer {
    Records(Ready),
    /// Nothing before this time.
    Later(Instant),
    Nothing,
}

impl Backlog {
    /// An empty backlog; reading starts at this offset.
    pub(super) fn new(partition: i32, start: i64) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            waiting_json_bytes: 0,
            log_bytes: 0,
            intake: Intake::Open,
            next: start,
            committed: start,
            not_before: None,
            failures_in_a_row: 0,
            reading: 0,
        };
        Self { partition, state: Mutex::new(state) }
    }

    /// Adds a record that was just read, and says how many offsets were skipped before it. A record of an offset that
    /// was read before is left out.
    pub(super) fn push(&self, record: Record) -> u64 {
        let mut state = self.lock();
        let Ok(skipped) = u64::try_from(record.offset - state.next) else { return 0 };
        state.next = record.offset + 1;
        state.log_bytes += record.log_bytes;
        state.waiting_json_bytes += record.json.get().len();
        state.waiting.push_back(record);
        skipped
    }

    /// Whether records may come in, when that has changed.
    pub(super) fn intake_change(&self) -> Option<Intake> {
        let mut state = self.lock();
        let intake = match state.intake {
            Intake::Open if state.log_bytes >= BACKLOG_HIGH_BYTES => Intake::Closed,
            Intake::Closed if state.log_bytes < BACKLOG_LOW_BYTES => Intake::Open,
            Intake::Open | Intake::Closed => return None,
        };
        state.intake = intake;
        Some(intake)
    }

    pub(super) fn offer(&self, now: Instant) -> Offer {
        let state = self.lock();
        match (state.waiting.front(), state.not_before) {
            (None, _) => Offer::Nothing,
            (Some(_), Some(not_before)) if not_before > now => Offer::Later(not_before),
            (Some(first), _) => Offer::Records(Ready {
                record_count: state.waiting.len(),
                json_bytes: state.waiting_json_bytes,
                first_arrived: first.arrived,
            }),
        }
    }

    /// Takes the first record if its JSON has at most this many bytes.
    pub(super) fn take(&self, json_bytes_left: usize) -> Option<Record> {
        let mut state = self.lock();
        let first = state.waiting.front()?;
        let json_bytes = first.json.get().len();
        if json_bytes > json_bytes_left {
            return None;
        }
        state.waiting_json_bytes -= json_bytes;
        state.waiting.pop_front()
    }

    /// Notes that these records are delivered and the offset after them is committed.
    pub(super) fn commit(&self, delivered: &[Record]) {
        let mut state = self.lock();
        let Some(last) = delivered.last() else { return };
        state.committed = last.offset + 1;
        state.log_bytes -= delivered.iter().map(|record| record.log_bytes).sum::<usize>();
        state.failures_in_a_row = 0;
        state.not_before = None;
    }

    /// Whether the last batch with its records failed in its part.
    pub(super) fn has_failed(&self) -> bool {
        self.lock().failures_in_a_row > 0
    }

    /// Puts records in flight back to the front, not to be delivered before the time that `delay` gives for the number
    /// of failures in a row.
    pub(super) fn put_back(&self, records: Vec<Record>, delay: impl Fn(u32) -> Instant) {
        let mut state = self.lock();
        state.waiting_json_bytes += records.iter().map(|record| record.json.get().len()).sum::<usize>();
        for record in records.into_iter().rev() {
            state.waiting.push_front(record);
        }
        state.not_before = Some(delay(state.failures_in_a_row));
        state.failures_in_a_row += 1;
    }

    /// Forgets everything, also what is in flight; reading starts again at this offset.
    pub(super) fn restart(&self, start: i64) {
        let mut state = self.lock();
        let reading = state.reading + 1;
        let intake = state.intake;
        *state = State { reading, intake, ..Self::new(self.partition, start).into_state() };
    }

    pub(super) fn committed(&self) -> i64 {
        self.lock().committed
    }

    pub(super) fn reading(&self) -> u64 {
        self.lock().reading
    }

    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.lock().waiting.len()
    }

    fn into_state(self) -> State {
        self.state.into_inner().expect("no holder of this lock panics")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}
