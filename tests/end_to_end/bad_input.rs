//! Odd input harms nobody else.

use serde_json::{Value, json};
use tests::client::{Client, Closed, send};
use tests::{Person, Runtime};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Two people: one who does odd things, on a fresh connection if the last one was closed, and one who only talks.
struct Courtyard {
    odd: Person,
    room: String,
    at_odd: Client,
    at_good: Client,
    count: usize,
}

impl Courtyard {
    async fn open(madang: &Runtime) -> Self {
        let (odd, good, room) = madang.pair().await;
        let (at_odd, at_good) = (odd.join(&room).await, good.join(&room).await);
        Self { odd, room, at_odd, at_good, count: 0 }
    }

    /// Everybody still talks, the one who does odd things too.
    async fn talks_on(&mut self) {
        if self.at_odd.is_closed() {
            self.at_odd = self.odd.join(&self.room).await;
        }
        self.count += 1;
        let (by_odd, by_good) = (format!("odd-{}", self.count), format!("good-{}", self.count));
        self.at_odd.send(&self.room, &by_odd, "me again").await;
        self.at_good.send(&self.room, &by_good, "me too").await;
        for client in [&mut self.at_odd, &mut self.at_good] {
            client.message(&self.room, &by_odd).await;
            client.message(&self.room, &by_good).await;
        }
        assert!(!self.at_good.is_closed());
    }

    /// The one error that a frame is answered with.
    async fn error_for(&mut self, text: &str) -> Value {
        self.at_odd.say(text).await;
        let error = self.at_odd.push("error").await;
        let (message, retryable) = (&error["message"], &error["retryable"]);
        assert!(message.as_str().is_some_and(|text| !text.is_empty()) && *retryable == false, "{error}");
        error
    }
}

/// One odd frame took the server down for everyone elsewhere: architect/architect #1093, deepstreamIO/deepstream.io
/// #538, ueberdosis/hocuspocus #418 (case 18).
#[tokio::test]
async fn an_odd_text_is_one_error_with_a_stable_code() {
    let madang = Runtime::shared().await;
    let mut courtyard = Courtyard::open(&madang).await;
    let nested = format!(r#"{{"action":"ping","x":{}1{}}}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    let not_json = [
        "null",
        "[]",
        "\"x\"",
        "42",
        "not json",
        " ",
        "{",
        "{}{}",
        "\u{feff}{}",
        r#"{"action":"ping",}"#,
        r#"{"action":"ping","x":1e999}"#,
        "{'action':'ping'}",
        "\0",
        "NaN",
    ];
    for text in not_json {
        assert_eq!(courtyard.error_for(text).await["code"], "bad_json", "{text}");
        courtyard.talks_on().await;
    }
    // Deep nesting overflowed the stack elsewhere: simd-lite/simd-json #481, zeek/zeek #5910 (case 61).
    for text in [&nested, &"[".repeat(20_000)] {
        assert_eq!(courtyard.error_for(text).await["code"], "bad_json");
        courtyard.talks_on().await;
    }
    for text in ["{}", r#"{"action":null}"#, r#"{"action":5}"#, r#"{"action":["ping"]}"#] {
        let error = courtyard.error_for(text).await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("action")), "{text}");
    }
    let twice = [
        r#"{"action":"ping","action":"ping"}"#,
        r#"{"action":"ping","x":{"a":1,"\u0061":2}}"#,
        r#"{"id":"1","action":"ping","id":"2"}"#,
    ];
    for text in twice {
        assert_eq!(courtyard.error_for(text).await["code"], "duplicate_key", "{text}");
    }
    let places = json!({"action": "subscribe", "roomIds": [courtyard.room], "after": {"epoch": "e", "seq": 1}});
    let error = courtyard.error_for(&places.to_string()).await;
    assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("after")));
    let both = json!({"action": "history", "roomId": courtyard.room, "before": 9.0, "after": 1});
    let error = courtyard.error_for(&both.to_string()).await;
    assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("after")));
    for action in ["", "fly", "Send", "send ", "$connect", "$disconnect", "edit2"] {
        let text = json!({"action": action, "roomId": courtyard.room}).to_string();
        assert_eq!(courtyard.error_for(&text).await["code"], "unknown_action", "{action}");
    }
    courtyard.talks_on().await;
}

/// Lone surrogates failed in odd ways or became U+0000 elsewhere: serde-rs/json #495 (case 61).
#[tokio::test]
async fn a_lone_surrogate_is_refused_and_a_pair_is_one_character() {
    let madang = Runtime::shared().await;
    let mut courtyard = Courtyard::open(&madang).await;
    let frame = |content: &str| {
        format!(r#"{{"action":"send","roomId":"{}","clientMessageId":"pair","content":"{content}"}}"#, courtyard.room)
    };
    let lone = [r"\ud83d", r"\ude00", r"\ud83d\ud83d", r"x\ud83dy", r"\ude00\ud83d"].map(frame);
    let pair = frame(r"\ud83d\ude00");
    for text in &lone {
        assert_eq!(courtyard.error_for(text).await["code"], "bad_json", "{text}");
        courtyard
            .odd
            .http
            .call("POST", &format!("/rooms/{}/messages", courtyard.room), &[], text.clone())
            .await
            .refused(400, "bad_json");
    }
    let room = courtyard.room.clone();
    courtyard.at_odd.say(pair).await;
    assert_eq!(courtyard.at_good.message(&room, "pair").await["content"], "😀");
    courtyard.talks_on().await;
    assert_eq!(courtyard.odd.messages_once_there(&room, 3).await[0]["content"], "😀");
}

fn text_frame(payload: &[u8], is_first: bool, is_last: bool) -> Frame {
    let data = if is_first { Data::Text } else { Data::Continue };
    Frame::message(payload.to_vec(), OpCode::Data(data), is_last)
}

/// A ping of so many bytes.
fn padded_ping(length: usize) -> String {
    let ping = |padding: usize| json!({"action": "ping", "id": "padded", "x": "a".repeat(padding)}).to_string();
    ping(length - ping(0).len())
}

/// Frames and messages over the platform's limits: robtaussig/react-use-websocket #134, lukeed/sockette #61 (case 14).
#[tokio::test]
async fn what_is_too_large_closes_its_own_connection() {
    const FRAME: usize = 32 * 1024;
    let madang = Runtime::shared().await;
    let mut courtyard = Courtyard::open(&madang).await;
    let parts = |text: &str| -> Vec<Frame> {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(FRAME).collect();
        let last = pieces.len() - 1;
        pieces.iter().enumerate().map(|(at, piece)| text_frame(piece, at == 0, at == last)).collect()
    };
    for good in [FRAME, 4 * FRAME] {
        courtyard.at_odd.say_raw(parts(&padded_ping(good))).await;
        assert_eq!(courtyard.at_odd.answer("padded").await["type"], "pong");
        courtyard.at_odd = courtyard.odd.join(&courtyard.room).await;
    }
    let too_large = [
        vec![text_frame(padded_ping(FRAME + 1).as_bytes(), true, true)],
        vec![text_frame(padded_ping(40_000).as_bytes(), true, true)],
        parts(&padded_ping(4 * FRAME + 1)),
    ];
    for frames in too_large {
        courtyard.at_odd.say_raw(frames).await;
        assert_eq!(courtyard.at_odd.closed().await, Closed { code: Some(1009) });
        courtyard.talks_on().await;
    }
}

#[tokio::test]
async fn what_is_no_text_closes_its_own_connection() {
    let madang = Runtime::shared().await;
    let mut courtyard = Courtyard::open(&madang).await;
    let binary = |payload: &[u8]| Frame::message(payload.to_vec(), OpCode::Data(Data::Binary), true);
    let frames = [
        (vec![binary(b"\x00\xff")], 1003),
        (vec![binary(br#"{"action":"ping"}"#)], 1003),
        (vec![text_frame(b"\xff\xfe", true, true)], 1007),
        (vec![text_frame(b"{\"action\":\"ping\",\"x\":\"\xed\xa0\xbd\"}", true, true)], 1007),
        (vec![text_frame(b"\xf0\x9f", true, false), text_frame(b"\x98", false, true)], 1007),
    ];
    for (frames, code) in frames {
        courtyard.at_odd.say_raw(frames).await;
        assert_eq!(courtyard.at_odd.closed().await, Closed { code: Some(code) });
        courtyard.talks_on().await;
    }
    // A character that is cut by frames is still one character.
    let text = send(&courtyard.room, "cut", "😀").to_string();
    let at = text.find('😀').unwrap() + 2;
    let (head, tail) = text.as_bytes().split_at(at);
    courtyard.at_odd.say_raw(vec![text_frame(head, true, false), text_frame(tail, false, true)]).await;
    assert_eq!(courtyard.at_good.message(&courtyard.room.clone(), "cut").await["content"], "😀");
}

#[tokio::test]
async fn an_empty_frame_is_no_frame() {
    let madang = Runtime::shared().await;
    let mut courtyard = Courtyard::open(&madang).await;
    for _ in 0..3 {
        courtyard.at_odd.say("").await;
        courtyard.talks_on().await;
    }
    courtyard.at_odd.catch_up().await;
    assert_eq!(courtyard.at_odd.pushes_beside_notices(), [] as [&Value; 0]);
}
