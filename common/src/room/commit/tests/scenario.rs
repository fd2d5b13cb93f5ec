//! What happens to a room: what its log holds, and what goes wrong while it is handled.

use proptest::prelude::*;

/// One record of the log.
#[derive(Debug, Clone)]
pub(super) enum RecordPlan {
    /// A message. Few slots and contents, so that retries and conflicts are many.
    Send { sender: usize, slot: usize, content: usize },
    /// Something else, one of seven kinds, about a user or a message. Few of each, so that they meet.
    Change { sender: usize, kind: usize, user: usize, target: u64 },
    /// A message whose items DynamoDB refuses as invalid.
    Poison { sender: usize },
    /// The record of the room's creation.
    Created,
    /// The same record once more, with the same id.
    Again { of: usize },
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// The event source hands out a batch from the committed offset on, whoever works on one.
    Poll { size: usize },
    /// The owner makes so many calls.
    Run { steps: usize },
    /// One that has lost the partition makes so many calls.
    RunZombie { which: usize, steps: usize },
    /// The owner's process is gone.
    Crash,
    /// Something else in the owner's batch cannot be handled.
    FailElsewhere { handled: usize, marked: bool },
    /// The consumer group goes back.
    Rewind { to: usize },
}

/// A room's whole story.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) room_exists: bool,
    pub(super) records: Vec<RecordPlan>,
    pub(super) actions: Vec<Action>,
    pub(super) records_per_transaction: usize,
    /// How many records a batch holds once no more goes wrong.
    pub(super) calm_size: usize,
    /// From where the consumer group is replayed in the end.
    pub(super) replay_to: usize,
}

fn record() -> impl Strategy<Value = RecordPlan> {
    prop_oneof![
        12 => (0..3_usize, 0..4_usize, 0..2_usize)
            .prop_map(|(sender, slot, content)| RecordPlan::Send { sender, slot, content }),
        6 => (0..2_usize, 4..100_usize).prop_map(|(sender, slot)| RecordPlan::Send { sender, slot, content: 0 }),
        14 => (0..4_usize, 0..7_usize, 0..4_usize, 2..9_u64)
            .prop_map(|(sender, kind, user, target)| RecordPlan::Change { sender, kind, user, target }),
        1 => (0..3_usize).prop_map(|sender| RecordPlan::Poison { sender }),
        1 => Just(RecordPlan::Created),
        2 => (0..10_usize).prop_map(|of| RecordPlan::Again { of }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..7_usize).prop_map(|size| Action::Poll { size }),
        8 => (1..12_usize).prop_map(|steps| Action::Run { steps }),
        6 => (0..4_usize, 1..9_usize).prop_map(|(which, steps)| Action::RunZombie { which, steps }),
        2 => Just(Action::Crash),
        2 => (0..6_usize, any::<bool>()).prop_map(|(handled, marked)| Action::FailElsewhere { handled, marked }),
        1 => (0..8_usize).prop_map(|to| Action::Rewind { to }),
    ]
}

pub(super) fn scenario() -> impl Strategy<Value = Scenario> {
    (
        prop::bool::weighted(0.97),
        prop::collection::vec(record(), 1..14),
        prop::collection::vec(action(), 0..24),
        prop_oneof![Just(usize::MAX), 1..4_usize],
        1..7_usize,
        0..10_usize,
    )
        .prop_map(|(room_exists, records, actions, records_per_transaction, calm_size, replay_to)| Scenario {
            room_exists,
            records,
            actions,
            records_per_transaction,
            calm_size,
            replay_to,
        })
}
