//! One receiver's view of a room's log: the client rule, counted. Every seq once, in order.

use std::collections::BTreeSet;

/// What a seq was to the receiver when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one, or one after a hole.
    InOrder,
    /// After a higher one.
    Late,
    /// Seen before.
    Repeated,
}

/// The seqs that a receiver has seen.
#[derive(Debug, Default)]
pub(crate) struct ReceivedLog {
    last: u64,
    ahead: BTreeSet<u64>,
}

impl ReceivedLog {
    /// A log of which everything up to `last` needs no delivery.
    pub(crate) const fn after(last: u64) -> Self {
        Self { last, ahead: BTreeSet::new() }
    }

    /// Takes one seq.
    pub(crate) fn take(&mut self, seq: u64) -> Arrival {
        if seq <= self.last || !self.ahead.insert(seq) {
            return Arrival::Repeated;
        }
        let arrival =
            if self.ahead.last().is_some_and(|highest| *highest > seq) { Arrival::Late } else { Arrival::InOrder };
        while self.ahead.remove(&(self.last + 1)) {
            self.last += 1;
        }
        arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seqs_are_told_apart() {
        let mut log = ReceivedLog::after(4);
        let arrivals: Vec<Arrival> = [5, 5, 8, 7, 8, 6, 9, 4].into_iter().map(|seq| log.take(seq)).collect();
        use Arrival::{InOrder, Late, Repeated};
        assert_eq!(arrivals, [InOrder, Repeated, InOrder, Late, Repeated, Late, InOrder, Repeated]);
        assert!(log.ahead.is_empty());
    }
}
