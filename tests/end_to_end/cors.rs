//! Which pages may read the HTTP API's answers.

use std::collections::BTreeMap;

use serde_json::json;
use tests::Runtime;
use tests::http::{Answer, Http};
use tests::tables::CHAT;

const PAGE: &str = "https://app.example.com";

/// Not on the list (what counts as the same origin, `common::config` tests).
const OTHERS: [&str; 2] = ["https://app.example.com.evil.test", "null"];

/// What an answer says of CORS; it always depends on the origin.
fn told(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.headers.get_all("vary").iter().count(), 1, "{}", answer.call);
    assert_eq!(answer.headers["vary"], "Origin", "{}", answer.call);
    let cors = answer.headers.iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
    cors.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn readable() -> BTreeMap<String, String> {
    map(&[("access-control-allow-origin", PAGE), ("access-control-expose-headers", "Retry-After")])
}

/// Calls with every origin, and checks who may read the answer.
async fn check(http: &Http, method: &str, path: &str, body: &str, status: u16) {
    let answer = http.call(method, path, &[("origin", PAGE)], body.to_owned()).await;
    assert_eq!((answer.status, told(&answer)), (status, readable()), "{}: {}", answer.call, answer.text);
    for origin in OTHERS {
        let answer = http.call(method, path, &[("origin", origin)], body.to_owned()).await;
        assert_eq!(told(&answer), BTreeMap::new(), "{} from {origin}", answer.call);
    }
    let answer = http.call(method, path, &[], body.to_owned()).await;
    assert_eq!(told(&answer), BTreeMap::new(), "{} from nowhere", answer.call);
}

async fn check_preflight(http: &Http, path: &str) {
    let expected = map(&[
        ("access-control-allow-headers", "authorization, content-type, idempotency-key"),
        ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE"),
        ("access-control-allow-origin", PAGE),
        ("access-control-max-age", "600"),
    ]);
    let asked = [("access-control-request-method", "PUT"), ("access-control-request-headers", "authorization")];
    for (origin, expected) in [(PAGE, expected)].into_iter().chain(OTHERS.map(|origin| (origin, BTreeMap::new()))) {
        let headers = [asked.as_slice(), &[("origin", origin)]].concat();
        let answer = http.call("OPTIONS", path, &headers, "").await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{path} from {origin}");
        assert_eq!(told(&answer), expected, "{path} from {origin}");
    }
}

#[tokio::test]
async fn pages_of_the_list_read_every_answer_and_others_none() {
    let madang = Runtime::start(&["--allow-origin", PAGE]);
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let (room, nobody) = (alice.make_room(&[&bob]).await, madang.http());
    let of_room = |rest: &str| format!("/rooms/{room}{rest}");
    for path in ["/rooms", &of_room(""), &of_room("/members"), &of_room("/messages"), &of_room("/events")] {
        check(&alice.http, "GET", path, "", 200).await;
        check(&nobody, "GET", path, "", 401).await;
        check_preflight(&nobody, path).await;
    }
    for path in ["/direct/bob", &of_room("/read"), &of_room("/members/bob"), &of_room("/messages/e.2"), "/nowhere"] {
        check_preflight(&nobody, path).await;
    }
    let message = json!({"clientMessageId": "c1", "content": "hello"}).to_string();
    check(&alice.http, "POST", &of_room("/messages"), &message, 202).await;
    check(&alice.http, "POST", &of_room("/messages"), "not json", 400).await;
    check(&alice.http, "POST", &of_room("/messages"), &" ".repeat(70_000), 400).await;
    check(&madang.with_token("mallory", "no.token.ofours").http, "GET", "/rooms", "", 401).await;
    check(&madang.person("mallory").await.http, "GET", &of_room("/messages"), "", 403).await;
    check(&alice.http, "GET", "/nowhere", "", 404).await;
    check(&alice.http, "GET", "/rooms/nowhere", "", 404).await;
    check(&alice.http, "DELETE", "/rooms", "", 405).await;
    let key = [("origin", PAGE), ("idempotency-key", "k")];
    for (name, status) in [("one", 201), ("other", 409)] {
        let body = json!({"name": name, "userIds": []}).to_string();
        let answer = alice.http.call("POST", "/rooms", &key, body).await;
        assert_eq!((answer.status, told(&answer)), (status, readable()));
    }
    // What is our own fault is readable, too.
    madang.delete_table(CHAT).await;
    check(&alice.http, "GET", &of_room("/messages"), "", 500).await;
    let answer = alice.http.call("GET", &of_room(""), &[("origin", PAGE)], "").await;
    assert_eq!((answer.status, &answer.headers["retry-after"]), (500, &"1".parse().unwrap()));
    answer.refused(500, "internal");
}

#[tokio::test]
async fn without_a_list_no_page_reads_anything() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    for origin in [PAGE, "null", "https://evil.test"] {
        for (http, method) in [(&alice.http, "GET"), (&madang.http(), "GET"), (&madang.http(), "OPTIONS")] {
            let answer = http.call(method, "/rooms", &[("origin", origin)], "").await;
            assert_eq!(told(&answer), BTreeMap::new(), "{}", answer.call);
        }
    }
}
