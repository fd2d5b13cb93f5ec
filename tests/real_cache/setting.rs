//! `CACHE_URL` leads to no server, or names nobody whom it knows: the operator is told which setting, and all else goes on.

use serde_json::Value;
use tests::deadline::eventually;
use tests::redis::Redis;
use tests::{Person, Runtime};

use crate::{asked, asked_in_all};

/// What the log must not hold.
const PASSWORD: &str = "not-for-the-log";

async fn talk(madang: &Runtime, said: usize) -> (Person, String) {
    let (alice, _bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    for number in 0..said {
        let id = format!("m{number}");
        at_alice.send(&room, &id, "hello").await;
        at_alice.message(&room, &id).await;
    }
    (alice, room)
}

/// What a function has told of the setting.
fn told(madang: &Runtime, function: &str) -> Vec<Value> {
    let lines = madang.log_objects().into_iter().filter(|line| line["function"] == function);
    lines.filter(|line| line["message"].as_str().is_some_and(|message| message.contains("CACHE_URL"))).collect()
}

#[tokio::test]
async fn a_url_that_is_wrong_is_named_once_and_costs_no_message() {
    let redis = Redis::start().await;
    redis.ask::<()>(&["CONFIG", "SET", "requirepass", PASSWORD]).await;
    let with = |password: &str| redis.url().replace("redis://", &format!("redis://:{password}@"));
    for (url, cause) in [
        (redis.url(), "the server answers NOAUTH"),
        (with(&format!("{PASSWORD}-nor-this")), "authentication failed"),
        ("redis://127.0.0.1:1".to_owned(), "Connection refused"),
    ] {
        let madang = Runtime::start(&["--cache-url", &url]);
        let (alice, room) = talk(&madang, 3).await;
        assert_eq!(alice.messages(&room).await.len(), 3);
        for function in ["message", "consumer"] {
            let told = eventually("a line of the log", async || {
                let told = told(&madang, function);
                (!told.is_empty()).then_some(told)
            })
            .await;
            let processes = madang.processes_of(function).await.len();
            assert!((1..=processes).contains(&told.len()), "{processes} processes of {function}: {told:#?}");
            for line in told {
                assert!(line["level"] == "WARN" && line["error"].as_str().unwrap().contains(cause), "{line}");
            }
        }
        assert_eq!(madang.log_lines_with(PASSWORD), 0);
        assert_eq!(asked(&madang, "message").await[0], 0.0);
    }
    let madang = Runtime::start(&["--cache-url", &with(PASSWORD)]);
    talk(&madang, 3).await;
    let [hits, ..] = asked_in_all(&madang, "message", 3.0).await;
    assert!(hits > 0.0 && told(&madang, "message").is_empty());
}
