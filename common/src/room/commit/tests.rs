//! The commit under everything that may happen to it: crashes between any two calls, owners that lost their partition
//! and do not know it, batches cut anew, groups rewound, failures elsewhere in the batch, records that DynamoDB does
//! not take. Against a table with DynamoDB's semantics, by random scenarios that shrink when one fails.

mod invocation;
mod scenario;
mod table;
mod told;
mod world;

use proptest::prelude::*;

use scenario::{Scenario, scenario};
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
    if scenario.room_exists {
        world.say_one_more();
        let last = world.say_one_more();
        let repeated = world.replay(scenario.replay_to, scenario.calm_size);
        assert!(repeated.iter().all(|seq| Some(*seq) == last), "posted once more: {repeated:?}, last was {last:?}");
        world.check_complete();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(SCENARIOS) })]

    #[test]
    fn no_fault_loses_doubles_or_reorders(scenario in scenario()) {
        play(&scenario);
    }
}
