//! The published contracts themselves. That everything heard keeps to them is checked in every other test, where it is
//! heard.

use tests::Runtime;
use tests::contract::contracts;

#[test]
fn the_examples_are_valid() {
    assert!(contracts().judge_examples() >= 60);
}

/// A schema that takes everything would judge nothing.
#[test]
fn what_is_not_written_down_is_refused() {
    let check = |frame: serde_json::Value| {
        let judged = std::panic::catch_unwind(|| contracts().judge_frame(&frame));
        assert!(judged.is_err(), "{frame}");
    };
    for frame in [
        serde_json::json!({"type": "pong", "id": "1", "mood": "good"}),
        serde_json::json!({"type": "ping"}),
        serde_json::json!({"type": "ack", "id": "1", "commandId": "x"}),
        serde_json::json!({"type": "resync", "roomId": "r", "epoch": "e"}),
        serde_json::json!({"type": "error", "code": "odd", "message": "Odd.", "retryable": false}),
        serde_json::json!({"message": "Internal server error"}),
    ] {
        check(frame);
    }
}

/// The rooms and messages of the examples do not exist, so they are refused; but as what they are.
#[tokio::test]
async fn every_action_is_known() {
    let madang = Runtime::shared().await;
    let mut client = madang.person("alice").await.connect().await;
    let frames = contracts().example_frames();
    assert!(frames.len() >= 15, "{frames:?}");
    for frame in frames {
        let answer = client.request(frame.clone()).await;
        let malformed = ["bad_json", "unknown_action", "invalid_field"].iter().any(|code| answer["code"] == *code);
        assert!(!malformed, "{frame}: {answer}");
    }
}
