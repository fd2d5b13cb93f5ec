//! The commit under everything that may happen to it: crashes between any two calls, owners that lost their partition
//! and do not know it, batches cut anew, groups rewound, failures elsewhere in the batch, records that DynamoDB does
//! not take. Against a table with DynamoDB's semantics, by random scenarios that shrink when one fails.

mod invocation;
mod scenario;
mod table;
mod told;
mod world;

use proptest::prelude::*;

use scenario::{Action, RecordPlan, Scenario, scenario};
use world::World;

/// How many scenarios are played, unless `PROPTEST_CASES` is set.
const SCENARIOS: u32 = 10_000;

fn play(scenario: &Scenario) {
    let mut world = World::new(scenario);
    for action in &scenario.actions {
        world.act(action);
    }
    world.drain(scenario.calm_size);
    world.check_complete();
    // Who comes back now finds everything done.
    world.bury_zombies();
    world.check_complete();
    world.replay(scenario.replay_to, scenario.calm_size);
    world.check_complete();
    // A rewound group repeats no more than the last batch.
    if !world.table.members.is_empty() {
        world.say_more(3);
        let last = world.say_more(3);
        let repeated = world.replay(scenario.replay_to, scenario.calm_size);
        assert!(repeated.iter().all(|seq| last.contains(seq)), "posted once more: {repeated:?}, last were {last:?}");
        world.check_complete();
    }
}

/// A story without chance, in a room of `user-0` and `user-1`.
fn story(records: Vec<RecordPlan>, actions: Vec<Action>, records_per_transaction: usize, calm_size: usize) -> Scenario {
    Scenario { room_exists: true, records, actions, records_per_transaction, calm_size, replay_to: 0 }
}

fn says(sender: usize, slot: usize) -> RecordPlan {
    RecordPlan::Send { sender, slot, content: 0 }
}

/// Found by the property below: the event was posted twice in one frame.
#[test]
fn a_record_that_stands_twice_in_a_batch_is_posted_once() {
    play(&story(vec![says(0, 0), RecordPlan::Again { of: 0 }], vec![], usize::MAX, 2));
}

/// Found by the property below. A batch was committed and its process died before posting; then came a batch of its
/// first record alone, which is a refusal, and something else in it failed: all of the log was marked as delivered.
#[test]
fn a_failing_batch_without_events_marks_nothing_as_delivered() {
    let committed_and_dead = [Action::Poll { size: 2 }, Action::Run { steps: 4 }, Action::Crash];
    let marked =
        [Action::Poll { size: 1 }, Action::FailElsewhere { handled: 0, marked: true }, Action::Run { steps: 10 }];
    play(&story(vec![says(2, 0), says(0, 0)], [committed_and_dead, marked].concat(), usize::MAX, 1));
}

/// Found by the property below. An owner had found its first record committed but not posted, lost the race for its
/// second to a zombie, loaded again, and forgot the first: the third one's commit marked both as delivered.
#[test]
fn an_owner_that_loads_again_remembers_what_it_must_post() {
    let actions = vec![
        Action::Poll { size: 3 },
        Action::Run { steps: 4 },
        Action::Poll { size: 3 },
        Action::Run { steps: 3 },
        Action::RunZombie { which: 0, steps: 1 },
        Action::Run { steps: 5 },
        Action::Crash,
    ];
    play(&story(vec![says(0, 0), says(0, 1), says(0, 2)], actions, 1, 3));
}

/// An owner's first event is not posted yet when a rival writes the second; it must not take what it finds then for the
/// log that stood there when it began.
#[test]
fn an_owner_that_loads_again_remembers_when_it_began() {
    let actions = vec![
        Action::Poll { size: 3 },
        Action::Run { steps: 4 },
        Action::Poll { size: 3 },
        Action::Run { steps: 4 },
        Action::RunZombie { which: 0, steps: 5 },
        Action::Crash,
    ];
    play(&story(vec![says(0, 0), says(0, 1), says(0, 2)], actions, 1, 3));
}

/// DynamoDB removes dedupe items after 21 days. A creation that was not told until then was buried.
#[test]
fn a_creation_is_known_without_its_dedupe_item() {
    let mut world = World::new(&story(vec![RecordPlan::Created, says(0, 0)], vec![], usize::MAX, 2));
    world.table.dedupe.clear();
    world.drain(2);
    world.check_complete();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(SCENARIOS) })]

    #[test]
    fn no_fault_loses_doubles_or_reorders(scenario in scenario()) {
        play(&scenario);
    }
}
