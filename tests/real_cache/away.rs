//! The cache is away, or loses everything, while people talk: nothing is lost, doubled, refused or told in another order;
//! only the table is read more often.

use serde_json::{Value, json};
use tests::deadline::eventually;
use tests::person::assert_dense;
use tests::redis::Redis;
use tests::{Client, Person, Runtime};

use crate::{asked, asked_in_all, entry_once_there, with_cache};

/// How many messages are said.
const SAID: usize = 90;
/// When something happens to the cache, and when it is good again.
const HARMED: &str = "m30";
const HEALED: &str = "m60";
/// How many messages are under way at most, so that some are said behind each of these.
const UNDER_WAY: usize = 10;

/// A talk with a cache that knows who talks.
struct Talk {
    madang: Runtime,
    redis: Redis,
    room: String,
    bob: Person,
    at_alice: Client,
    at_bob: Client,
}

impl Talk {
    async fn begin(arguments: &[&str]) -> Self {
        let (madang, redis) = with_cache(arguments).await;
        let (alice, bob, room) = madang.pair().await;
        let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
        // Who has made the room is known by that.
        entry_once_there(&redis, &room, &alice).await;
        at_alice.send(&room, "m0", "hello").await;
        at_bob.message(&room, "m0").await;
        Self { madang, redis, room, bob, at_alice, at_bob }
    }

    /// Says everything, one after the other, while something happens to the cache.
    async fn go_on(&mut self, harm: impl AsyncFnOnce(&mut Redis), heal: impl AsyncFnOnce(&mut Redis)) {
        let Self { redis, room, at_alice, at_bob, .. } = self;
        let talk = async {
            for number in 1..=SAID {
                if let Some(heard) = number.checked_sub(UNDER_WAY) {
                    at_alice.message(room, &format!("m{heard}")).await;
                }
                at_alice.send(room, &format!("m{number}"), "text").await;
            }
        };
        let harm = async {
            at_bob.message(room, HARMED).await;
            harm(redis).await;
            at_bob.message(room, HEALED).await;
            heal(redis).await;
        };
        tokio::join!(talk, harm);
    }

    /// Everything that was said stands there once, in its order, and was heard so.
    async fn is_complete(&mut self) {
        let history = self.bob.messages_once_there(&self.room, SAID + 1).await;
        assert_dense(&history, 2);
        let ids: Vec<&Value> = history.iter().map(|message| &message["clientMessageId"]).collect();
        let said: Vec<Value> = (0..=SAID).map(|number| json!(format!("m{number}"))).collect();
        assert_eq!(ids, said.iter().collect::<Vec<_>>());
        assert_eq!(self.at_bob.hear_events(&self.room, SAID + 1).await, history);
        self.at_alice.catch_up().await;
        assert_eq!(self.at_alice.pushes_beside_notices(), [] as [&Value; 0]);
        let [hits, misses, _] = asked_in_all(&self.madang, "message", SAID as f64 + 1.0).await;
        assert_eq!(hits + misses, SAID as f64 + 1.0, "asked for each message");
    }

    /// Goes on talking until the cache is of use again.
    async fn is_of_use(&mut self) {
        let before = asked(&self.madang, "message").await[0];
        let mut number = SAID;
        eventually("a hit", async || {
            number += 1;
            self.at_alice.send(&self.room, &format!("m{number}"), "text").await;
            (asked(&self.madang, "message").await[0] > before).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn killed_and_started_again() {
    let mut talk = Talk::begin(&[]).await;
    talk.go_on(async |redis| redis.kill(), async |redis| redis.start_again().await).await;
    talk.is_complete().await;
    let [hits, misses, failures] = asked(&talk.madang, "message").await;
    assert!(hits > 0.0 && failures > 0.0, "{hits} hits, {failures} failures");
    assert!(misses > failures, "after a failure it is left alone: {misses} misses, {failures} failures");
    talk.is_of_use().await;
}

#[tokio::test]
async fn flushed() {
    let mut talk = Talk::begin(&[]).await;
    let flush = async |redis: &mut Redis| redis.ask::<()>(&["FLUSHALL"]).await;
    talk.go_on(flush, flush).await;
    talk.is_complete().await;
    let [hits, _, failures] = asked(&talk.madang, "message").await;
    assert!(hits > 0.0 && failures == 0.0, "{hits} hits, {failures} failures");
    talk.is_of_use().await;
}

/// Nothing answers, and nobody is told: whoever asks waits for its limit, and then not again for a while.
#[tokio::test]
async fn frozen() {
    let mut talk = Talk::begin(&[]).await;
    talk.go_on(async |redis| redis.freeze(), async |_| {}).await;
    talk.is_complete().await;
    for function in ["message", "consumer"] {
        let [.., failures] = asked(&talk.madang, function).await;
        assert!(failures > 0.0 && failures < SAID as f64 / 3.0, "{failures} failures of {function}");
    }
    talk.redis.thaw();
    talk.is_of_use().await;
}

/// A function that was frozen wakes with a connection that is none any more. That costs a connection, not the answer.
#[tokio::test]
async fn a_dead_connection_is_replaced_at_once() {
    let mut talk = Talk::begin(&["--freeze"]).await;
    let rounds = 5;
    for number in 1..=rounds {
        talk.redis.ask::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        talk.at_alice.send(&talk.room, &format!("m{number}"), "text").await;
        talk.at_bob.message(&talk.room, &format!("m{number}")).await;
    }
    let asked_at_the_door = asked_in_all(&talk.madang, "message", f64::from(rounds) + 1.0).await;
    assert_eq!(asked_at_the_door, [f64::from(rounds) + 1.0, 0.0, 0.0]);
    assert_eq!(asked(&talk.madang, "consumer").await, [0.0; 3]);
}
