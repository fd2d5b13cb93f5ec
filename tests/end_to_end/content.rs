//! What people may say, and that it stays as they said it.

use serde_json::json;
use tests::Runtime;
use tests::client::send;

/// Messages of only invisible characters passed elsewhere: element-hq/element-web #34019, mastodon/mastodon #1095,
/// NodeBB/NodeBB #7086 (case 59).
#[tokio::test]
async fn content_needs_something_that_can_be_seen() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    let path = format!("/rooms/{room}/messages");
    let empty = [
        "",
        "   ",
        "\n\t",
        "\u{200b}",
        "\u{2800}",
        "\u{3164}",
        "\u{feff}",
        "\u{200d}\u{200d}\u{200d}",
        "\u{ad}",
        "\u{202e}",
        " \u{200b}\u{2800}\n\u{3164}\u{feff}\u{200d}\u{ad}\u{202e}",
    ];
    let long = "x".repeat(4_001);
    let refused = empty.iter().map(|text| (*text, "content_empty"));
    for (content, code) in refused.chain([(long.as_str(), "content_too_long"), ("a\0b", "invalid_field")]) {
        let frame = send(&room, "c", content);
        let error = at_alice.request(frame.clone()).await;
        assert_eq!((&error["code"], &error["clientMessageId"]), (&json!(code), &json!("c")), "{content:?}");
        alice.http.post(&path, &frame).await.refused(400, code);
    }
    for content in [json!(null), json!(5), json!(["a"]), json!({"a": 1})] {
        let mut frame = send(&room, "c", "");
        frame["content"] = content;
        assert_eq!(at_alice.request(frame.clone()).await["code"], "invalid_field");
        alice.http.post(&path, &frame).await.refused(400, "invalid_field");
    }
    assert!(alice.messages(&room).await.is_empty());

    let good = [
        "a",
        ".",
        "👨‍👩‍👧‍👦",
        "می\u{200c}خواهم",
        "שלום",
        "مرحبا",
        "안녕하세요",
        "\u{202e}a",
        " a\n",
        "e\u{301}",
        "é",
        &"가".repeat(4_000),
        &"😀".repeat(4_000),
    ];
    for (number, content) in good.iter().enumerate() {
        if number % 2 == 0 {
            at_alice.send(&room, &format!("c{number}"), content).await;
        } else {
            alice.http.post(&path, &send(&room, &format!("c{number}"), content)).await.good(202);
        }
        assert_eq!(at_alice.message(&room, &format!("c{number}")).await["content"], *content);
    }
    let history = alice.messages_once_there(&room, good.len()).await;
    assert_eq!(history.iter().map(|message| message["content"].as_str().unwrap()).collect::<Vec<_>>(), good);
}

/// Content was escaped at rest and again on output elsewhere: JabbR/JabbR #597, xvw/muhokama #31 (case 63).
#[tokio::test]
async fn markup_stays_as_it_is_on_every_way() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let texts = [
        "<script>alert(1)</script>",
        "a < b && c > d",
        "&lt;b&gt;",
        "<scr<script>ipt>",
        "\"'`",
        "javascript:x",
        "\\u003cb\\u003e",
        "${7*7} {{7*7}} %3Cb%3E",
        "'; DROP TABLE chat; --",
    ];
    let path = format!("/rooms/{room}/messages");
    for (number, text) in texts.iter().enumerate() {
        at_alice.send(&room, &format!("a{number}"), text).await;
        let read = at_bob.message(&room, &format!("a{number}")).await["content"].clone();
        assert_eq!(read, *text);
        // What was read is said again by the other door.
        let body = json!({"clientMessageId": format!("b{number}"), "content": read});
        bob.http.post(&path, &body).await.good(202);
        assert_eq!(at_alice.message(&room, &format!("b{number}")).await["content"], *text);
    }
    let answer = bob.http.get(&format!("{path}?after=0")).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let page = answer.good(200);
    let contents: Vec<&str> =
        page["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
    let expected: Vec<&str> = texts.iter().flat_map(|text| [*text, *text]).collect();
    assert_eq!(contents, expected);
    let refused = bob.http.get("/rooms/nowhere").await;
    assert_eq!(refused.headers["x-content-type-options"], "nosniff");
    // Output is raw UTF-8, not escaped.
    at_alice.send(&room, "raw", "안녕 <b>").await;
    alice.messages_once_there(&room, 2 * texts.len() + 1).await;
    assert!(bob.http.get(&path).await.text.contains(r#""content":"안녕 <b>""#));
}
