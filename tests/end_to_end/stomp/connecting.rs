//! CONNECT and its token, heart-beats, DISCONNECT, and how sessions end.

use serde_json::json;
use tests::client::Closed;
use tests::deadline::eventually;
use tests::stomp::write;
use tests::{Runtime, Stomp};

use crate::auth::short_token;

#[tokio::test]
async fn a_handshake_echoes_the_highest_version() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let stomp = Stomp::open(&alice, &[]).await.unwrap();
    assert_eq!(stomp.subprotocols, ["v12.stomp"]);
}

#[tokio::test]
async fn the_token_comes_in_connect_or_in_the_handshake() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice:ü").await;
    let bearer = format!("Bearer {}", alice.token);
    for (headers, connect) in [
        (vec![], vec![("Authorization", bearer.as_str())]),
        (vec![], vec![("passcode", alice.token.as_str()), ("login", "anybody")]),
        (vec![("authorization", bearer.as_str())], vec![]),
        (vec![("authorization", bearer.as_str())], vec![("Authorization", bearer.as_str())]),
    ] {
        let mut stomp = Stomp::open(&alice, &headers).await.unwrap();
        let mut all = vec![("accept-version", "1.1,1.2"), ("heart-beat", "10000,10000")];
        all.extend(connect);
        stomp.say("STOMP", &all, "").await;
        let connected = stomp.frame("CONNECTED").await;
        assert_eq!((connected.header("version"), connected.header("heart-beat")), ("1.2", "0,300000"));
        assert!(connected.header("user-name").starts_with("alice%3A%C3%BC"), "{connected:?}");
        // No answer, no table read, and the connection stays.
        stomp.say_text("\n").await;
        stomp.say_text("\r\n").await;
        stomp.catch_up().await;
    }
}

/// Spring's `WebSocketStompClient` offers no subprotocol.
#[tokio::test]
async fn connect_speaks_for_itself_where_nothing_was_offered() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let bearer = format!("Bearer {}", alice.token);
    for (handshake, connect) in
        [(vec![], vec![("Authorization", bearer.as_str())]), (vec![("authorization", bearer.as_str())], vec![])]
    {
        let mut stomp = Stomp::open_without_offer(&alice, &handshake).await.unwrap();
        let mut all = vec![("accept-version", "1.1,1.2"), ("heart-beat", "10000,10000")];
        all.extend(connect);
        stomp.say("CONNECT", &all, "").await;
        assert_eq!(stomp.frame("CONNECTED").await.header("version"), "1.2");
        stomp.subscribe("0", &room).await;
        stomp.subscribe_queue("1").await;
        stomp.send(&room, &tests::runtime::unique("c"), "hi").await;
        stomp.event("0", "message").await;
    }
}

#[tokio::test]
async fn a_bad_connect_is_an_error_and_the_end() {
    // Whether a subprotocol was offered or not.
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let expired = madang.token_for(&alice.id, -3_600).await;
    let (forged, old) = (format!("Bearer {}x", alice.token), format!("Bearer {expired}"));
    for (headers, code) in [
        (vec![], "token_missing"),
        (vec![("Authorization", forged.as_str())], "token_invalid"),
        (vec![("Authorization", "Basic YTpi")], "token_invalid"),
        (vec![("passcode", "guest")], "token_invalid"),
        (vec![("Authorization", old.as_str())], "token_expired"),
    ] {
        for opened in [Stomp::open(&alice, &[]).await, Stomp::open_without_offer(&alice, &[]).await] {
            let mut stomp = opened.unwrap();
            let mut all = vec![("accept-version", "1.2")];
            all.extend(&headers);
            stomp.say("CONNECT", &all, "").await;
            let error = stomp.ended().await;
            assert_eq!(error.header("code"), code);
            assert!(!error.header("message").is_empty());
        }
    }
}

#[tokio::test]
async fn versions_and_heart_beats_are_negotiated() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let connect = async |headers: &[(&str, &str)]| {
        let mut stomp = Stomp::open(&alice, &[]).await.unwrap();
        let mut all = vec![("passcode", alice.token.as_str())];
        all.extend(headers);
        stomp.say("CONNECT", &all, "").await;
        stomp
    };
    for (offered, version) in [(Some("1.0,1.1,1.2"), "1.2"), (Some("1.1,1.0"), "1.1"), (None, "1.0")] {
        let headers: Vec<(&str, &str)> = offered.map(|offered| ("accept-version", offered)).into_iter().collect();
        let connected = connect(&headers).await.frame("CONNECTED").await;
        assert_eq!(connected.header("version"), version);
    }
    let error = connect(&[("accept-version", "2.0")]).await.ended().await;
    assert_eq!((error.header("code"), error.header("version")), ("protocol_error", "1.2,1.1,1.0"));
    for odd in ["abc", "-1,5", "1", "1,2,3", ""] {
        let error = connect(&[("accept-version", "1.2"), ("heart-beat", odd)]).await.ended().await;
        assert_eq!(error.header("code"), "protocol_error", "{odd}");
    }
}

/// Heart-beats were taken for broken frames elsewhere: joffrey-bion/krossbow#43, stomp-js/stompjs#188.
#[tokio::test]
async fn a_heart_beat_costs_no_table_read() {
    let madang = Runtime::alone().await;
    let alice = madang.person("alice").await;
    let mut stomp = Stomp::connect(&alice).await;
    let read = async || madang.counted("message", &["ReadHalfUnits"]).await[0];
    let asks = async |stomp: &mut Stomp| {
        let before = read().await;
        stomp.catch_up().await;
        eventually("what was read is counted", async || (read().await > before).then_some(())).await;
        read().await
    };
    let before = asks(&mut stomp).await;
    let one = asks(&mut stomp).await - before;
    for _ in 0..20 {
        stomp.say_text("\n").await;
        stomp.say_text("\r\n").await;
    }
    assert_eq!(asks(&mut stomp).await - before, 2.0 * one, "the connection, as often as something was asked");
}

#[tokio::test]
async fn nothing_comes_before_connect_and_connect_comes_once() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room) = madang.pair().await;
    let destination = format!("/topic/rooms/{room}");
    let bearer = format!("Bearer {}", alice.token);
    // Also where the handshake had the token.
    for headers in [vec![], vec![("authorization", bearer.as_str())]] {
        let mut early = Stomp::open(&alice, &headers).await.unwrap();
        early.say("SUBSCRIBE", &[("id", "1"), ("destination", &destination)], "").await;
        assert_eq!(early.ended().await.header("code"), "protocol_error");
    }
    let mut twice = Stomp::connect(&alice).await;
    twice.say("CONNECT", &[("accept-version", "1.2"), ("passcode", &alice.token)], "").await;
    assert_eq!(twice.ended().await.header("code"), "protocol_error");
}

#[tokio::test]
async fn a_pending_connection_is_told_and_closed() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let mut stomp = Stomp::open(&alice, &[]).await.unwrap();
    let error = madang.sweeping(stomp.ended()).await;
    assert_eq!(error.header("code"), "auth_timeout");
}

#[tokio::test]
async fn the_session_that_gives_way_is_told_why() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let mut oldest = Stomp::connect(&alice).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(Stomp::connect(&alice).await);
    }
    let error = oldest.ended().await;
    assert_eq!(error.header("code"), "session_replaced");
    assert_eq!(error.json()["reconnect"], "never");
}

#[tokio::test]
async fn disconnect_is_receipted_and_ends_what_is_heard() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (Stomp::connect(&alice).await, bob.join(&room).await);
    at_alice.subscribe("1", &room).await;
    at_alice.ask("DISCONNECT", &[], "").await;
    assert_eq!(madang.sessions_of(&alice).await, [""; 0]);
    at_bob.send(&room, "after", "anybody?").await;
    at_bob.message(&room, "after").await;
    // Neither within a message nor later does anything follow.
    let mut hasty = Stomp::connect(&alice).await;
    let body = serde_json::json!({"clientMessageId": "hasty", "content": "hasty"}).to_string();
    let send = write("SEND", &[("destination", &format!("/app/rooms/{room}/send"))], &body);
    hasty.say_text(&format!("{}{send}", write("DISCONNECT", &[("receipt", "bye")], ""))).await;
    assert_eq!(hasty.frame("RECEIPT").await.header("receipt-id"), "bye");
    assert_eq!(hasty.ended().await.header("code"), "protocol_error");
    assert!(alice.messages(&room).await.iter().all(|message| message["clientMessageId"] != "hasty"));
    // Whoever goes on talking is shown out.
    at_alice.say("ACK", &[("id", "x")], "").await;
    assert_eq!(at_alice.ended().await.header("code"), "protocol_error");
    assert!(at_alice.heard().all(|frame| frame.command != "MESSAGE"));
}

#[tokio::test]
async fn the_next_token_comes_as_a_send() {
    let madang = Runtime::shared().await;
    let (alice, bob, _room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.subscribe_queue("q").await;
    let auth = [("destination", "/app/auth")];
    let token = madang.token_for(&alice.id, 7_200).await;
    stomp.ask("SEND", &auth, &json!({"token": token}).to_string()).await;
    for (body, code) in [
        (json!({"token": bob.token}), "subject_mismatch"),
        (json!({"token": "x"}), "token_invalid"),
        (json!({}), "invalid_field"),
    ] {
        let error = stomp.answer("SEND", &auth, &body.to_string()).await;
        assert_eq!((error.header("type"), &error.json()["code"]), ("error", &json!(code)));
    }
    stomp.catch_up().await;
}

#[tokio::test]
async fn an_expired_token_neither_sends_nor_hears() {
    let madang = Runtime::shared().await;
    let (mut alice, bob, room) = madang.pair().await;
    let mut at_bob = bob.join(&room).await;
    alice.token = short_token(&madang, &alice.id).await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.subscribe("1", &room).await;
    let error = eventually("the end of the token", async || {
        let body = json!({"clientMessageId": "late", "content": "late"}).to_string();
        stomp
            .say_text(&write("SEND", &[("destination", &format!("/app/rooms/{room}/send")), ("receipt", "r")], &body))
            .await;
        let answer = stomp
            .frame_where("an answer", |frame| frame.command == "ERROR" || frame.get("receipt-id") == Some("r"))
            .await;
        (answer.command == "ERROR").then_some(answer)
    })
    .await;
    assert_eq!(error.header("code"), "token_expired");
    assert_eq!(stomp.closed().await, Closed { code: Some(1000) });
    at_bob.send(&room, "after", "gone?").await;
    at_bob.message(&room, "after").await;
    assert!(stomp.heard().all(|frame| frame.get("client-message-id") != Some("after")));
}
