//! What the cache saves: read units at the door, counted.

use serde_json::json;
use tests::deadline::eventually;
use tests::{Person, Runtime};

use crate::{asked, entry_once_there, with_cache};

/// How often each thing is done.
const TIMES: u8 = 4;

/// What each of some acts costs in read units, each of them produced by a function.
async fn cost_of(madang: &Runtime, function: &str, acts: impl Future<Output = ()>) -> f64 {
    let counted = async || madang.counted(function, &["ReadHalfUnits", "Produces"]).await;
    let before = counted().await;
    acts.await;
    let after = eventually("all acts counted", async || {
        let now = counted().await;
        (now[1] >= before[1] + f64::from(TIMES)).then_some(now)
    })
    .await;
    (after[0] - before[0]) / 2.0 / f64::from(TIMES)
}

/// What it costs a member to come in: a message, a marker and typing over a socket, a message and a marker over HTTP.
async fn costs(madang: &Runtime, person: &Person, room: &str) -> [f64; 5] {
    let mut client = person.connect().await;
    let ids = |way: &'static str| (0..TIMES).map(move |number| format!("{way}-{number}"));
    let messages = async {
        for id in ids("socket") {
            client.send(room, &id, "hello").await;
        }
    };
    let messages = cost_of(madang, "message", messages).await;
    let mut signals = Vec::new();
    for frame in [json!({"action": "read", "roomId": room, "seq": 1}), json!({"action": "typing", "roomId": room})] {
        let acts = async {
            for _ in 0..TIMES {
                client.act(frame.clone()).await;
            }
        };
        signals.push(cost_of(madang, "message", acts).await);
    }
    let messages_over_http = async {
        for id in ids("http") {
            let body = json!({"clientMessageId": id, "content": "hello"});
            person.http.post(&format!("/rooms/{room}/messages"), &body).await.good(202);
        }
    };
    let messages_over_http = cost_of(madang, "api", messages_over_http).await;
    let markers_over_http = async {
        for _ in 0..TIMES {
            let body = json!({"seq": 1}).to_string();
            person.http.call("PUT", &format!("/rooms/{room}/read"), &[], body).await.good(202);
        }
    };
    let markers_over_http = cost_of(madang, "api", markers_over_http).await;
    [messages, signals[0], signals[1], messages_over_http, markers_over_http]
}

/// The README's table.
#[tokio::test]
async fn with_the_cache_the_door_reads_the_connection_alone() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, _bob, room) = madang.pair().await;
    assert_eq!(costs(&madang, &alice, &room).await, [2.0, 2.0, 2.0, 1.0, 1.0]);
    assert_eq!(asked(&madang, "message").await, [0.0; 3], "without a cache none is asked");

    let (madang, redis) = with_cache(&[]).await;
    let (alice, _bob, room) = madang.pair().await;
    // Who has made the room is known by that.
    entry_once_there(&redis, &room, &alice).await;
    assert_eq!(costs(&madang, &alice, &room).await, [1.0, 1.0, 1.0, 0.0, 0.0]);
    let times = f64::from(TIMES);
    assert_eq!(asked(&madang, "message").await, [3.0 * times, 0.0, 0.0]);
    assert_eq!(asked(&madang, "api").await, [2.0 * times, 0.0, 0.0]);
}
