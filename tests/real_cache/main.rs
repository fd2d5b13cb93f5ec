//! The cache of memberships: what it saves, and that nothing depends on it. With a real Redis server for each test.

mod away;
mod cost;
mod kept;
mod setting;
mod wrong;

use tests::deadline::eventually;
use tests::redis::Redis;
use tests::{Person, Runtime};

/// A system of a test's own with a cache of its own, and further arguments.
async fn with_cache(arguments: &[&str]) -> (Runtime, Redis) {
    let redis = Redis::start().await;
    let url = redis.url();
    let arguments = [&["--cache-url", &url], arguments].concat();
    (Runtime::start(&arguments), redis)
}

/// The name of the entry of a member, if there is one.
async fn entry(redis: &Redis, room: &str, person: &Person) -> Option<String> {
    let entries = redis.entries().await;
    entries.into_iter().find(|name| name.contains(room) && name.ends_with(&format!(":{}", person.id)))
}

/// The same, once there is one.
async fn entry_once_there(redis: &Redis, room: &str, person: &Person) -> String {
    eventually("an entry in the cache", async || entry(redis, room, person).await).await
}

/// What a function has asked the cache: hits, misses and failures.
async fn asked(madang: &Runtime, function: &str) -> [f64; 3] {
    madang.counted(function, &["CacheHits", "CacheMisses", "CacheFailures"]).await
}

/// Waits until a function has asked the cache so often in all.
async fn asked_in_all(madang: &Runtime, function: &str, count: f64) -> [f64; 3] {
    eventually(&format!("{count} asks of {function}"), async || {
        let asked = asked(madang, function).await;
        (asked[0] + asked[1] >= count).then_some(asked)
    })
    .await
}
