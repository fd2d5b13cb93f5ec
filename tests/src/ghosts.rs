//! Sessions that died without a word, on a system that refuses one too many.

use futures_util::future::join_all;
use serde_json::json;

use crate::deadline::eventually;
use crate::person::Person;
use crate::runtime::Runtime;

/// The functions' variables on such a system.
pub const VARIABLES: [(&str, &str); 2] = [("SESSION_POLICY", "refuse"), ("SESSIONS_PER_USER", "2")];

/// With that policy the dead would keep the living out, who come by the handshake or by `auth`.
///
/// # Panics
/// They do.
pub async fn do_not_keep_the_living_out(madang: &Runtime) {
    madang.faults(json!({"dropDisconnect": true})).await;
    let alice = haunted(madang, "alice").await;
    let first = eventually("a way in", async || alice.try_to_connect().await.ok()).await;
    let bob = haunted(madang, "bob").await;
    let mut pending = bob.open("", &[]).await.expect("nobody is counted yet");
    eventually("a way in", async || {
        let answer = pending.request(json!({"action": "auth", "token": bob.token})).await;
        (answer["type"] == "authenticated").then_some(())
    })
    .await;
    // There is room for one more each; they are two then, and alive.
    for (person, mut living) in [(alice, first), (bob, pending)] {
        let mut second = person.connect().await;
        assert_eq!(refusal(&person).await, Some(429));
        living.catch_up().await;
        second.catch_up().await;
    }
}

/// A person with two sessions whose connections are gone, and their subscriptions are not.
async fn haunted(madang: &Runtime, name: &str) -> Person {
    let person = madang.person(name).await;
    let room = person.make_room(&[]).await;
    drop(join_all((0..2).map(|_| person.join(&room))).await);
    // So young they may still be on their way in.
    assert_eq!(refusal(&person).await, Some(429));
    for connection in madang.sessions_of(&person).await {
        eventually("the end of a connection", async || (!madang.is_open(&connection).await).then_some(())).await;
        madang.age_session(&person, &connection).await;
    }
    person
}

async fn refusal(person: &Person) -> Option<u16> {
    person.try_to_connect().await.err().map(|refused| refused.status)
}
