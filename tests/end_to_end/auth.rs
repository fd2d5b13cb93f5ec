//! Who may come in, as whom, and for how long.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tests::client::{Closed, send};
use tests::deadline::eventually;
use tests::runtime::unique;
use tests::{Person, Runtime};

#[tokio::test]
async fn a_token_comes_in_by_three_doors() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let header = ("authorization", format!("Bearer {}", alice.token));
    let lower = ("authorization", format!("bearer {}", alice.token));
    let offer = ("sec-websocket-protocol", format!("chat.v1.json, bearer.{}", alice.token));
    let offers_of_bob = ("sec-websocket-protocol", format!("bearer.{}, chat.v1.json", bob.token));
    let (query, query_of_bob) = (format!("?token={}", alice.token), format!("?token={}", bob.token));
    // Where there are several, the header is first and the query last.
    type Door<'a> = (&'a str, Vec<&'a (&'a str, String)>, &'a [&'a str]);
    let doors: [Door<'_>; 6] = [
        ("", vec![&header], &[]),
        ("", vec![&lower], &[]),
        ("", vec![&offer], &["chat.v1.json"]),
        (&query, vec![], &[]),
        (&query_of_bob, vec![&header, &offers_of_bob], &["chat.v1.json"]),
        (&query_of_bob, vec![&offer], &["chat.v1.json"]),
    ];
    for (number, (query, headers, echoed)) in doors.into_iter().enumerate() {
        let headers: Vec<(&str, &str)> = headers.into_iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut client = alice.open(query, &headers).await.unwrap_or_else(|refused| panic!("{number}: {refused:?}"));
        assert_eq!(client.subprotocols, echoed, "exactly one, and never a token");
        let id = format!("door-{number}");
        client.send(&room, &id, "it is me").await;
        assert_eq!(client.message(&room, &id).await["sender"], json!(alice.id));
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Tokens that claim to be good, made without the key.
fn forgeries(good: &str) -> Vec<String> {
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let mut forged: Vec<String> = ["none", "None", "nOnE", "NONE"]
        .into_iter()
        .flat_map(|algorithm| {
            let header = part(&json!({"alg": algorithm, "typ": "JWT"}));
            [format!("{header}.{payload}."), format!("{header}.{payload}.{signature}")]
        })
        .collect();
    let sign =
        |header: &Header, key: &[u8]| jsonwebtoken::encode(header, &claims, &EncodingKey::from_secret(key)).unwrap();
    forged.push(sign(&Header::default(), b""));
    forged.push(sign(&Header::default(), b"another key, of which nobody knows"));
    forged.push(sign(&Header::new(Algorithm::HS512), b"another key, of which nobody knows"));
    for kid in ["../../../dev/null", "' OR '1'='1", "a\nb"] {
        forged.push(sign(&Header { kid: Some(kid.to_owned()), ..Header::default() }, b""));
    }
    for header in [
        json!({"alg": "HS256", "jku": "http://127.0.0.1:1/keys"}),
        json!({"alg": "HS256", "kid": 5}),
        json!({"alg": "HS256",
        "jwk": {"kty": "oct", "k": "AAAA"}}),
        json!({"alg": "RS256"}),
        json!({}),
        json!(null),
    ] {
        forged.push(format!("{}.{payload}.{signature}", part(&header)));
    }
    let mut cut = good.to_owned();
    cut.pop();
    let mut other_claims = claims.clone();
    other_claims["sub"] = json!("somebody else");
    forged.extend([
        cut,
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{}.{signature}", part(&other_claims)),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{good}A"),
        "x".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}.{}", "A".repeat(6_000)),
    ]);
    forged
}

/// Unsigned tokens, or tokens that name their own algorithm or key, were accepted elsewhere (cases 31 and 33;
/// OWASP/wstg PR #1275, Keats/jsonwebtoken #51).
#[tokio::test]
async fn forged_tokens_open_nothing() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut answers = HashSet::new();
    for forged in forgeries(&alice.token) {
        let bearer = format!("Bearer {forged}");
        let offer = format!("chat.v1.json, bearer.{forged}");
        for headers in [[("authorization", bearer.as_str())], [("sec-websocket-protocol", offer.as_str())]] {
            let refused = alice.open("", &headers).await.err().unwrap_or_else(|| panic!("opened by {forged}"));
            assert_eq!(refused.status, 401, "{forged}");
            answers.insert(refused.body);
        }
        let refused = alice.open(&format!("?token={forged}"), &[]).await.err();
        assert_eq!(refused.map(|refused| refused.status), Some(401), "{forged}");
        madang.with_token(&alice.id, &forged).http.get("/rooms").await.refused(401, "token_invalid");
    }
    assert_eq!(answers.len(), 1, "every forgery gets the same answer: {answers:?}");
    for header in ["Basic YTpi", "Bearer", "Bearer ", &alice.token, &format!("Token {}", alice.token)] {
        let refused = alice.open("", &[("authorization", header)]).await.err();
        assert_eq!(refused.map(|refused| refused.status), Some(401), "{header}");
        madang.http().call("GET", "/rooms", &[("authorization", header)], "").await.refused(401, "token_invalid");
    }
    let missing = madang.http().get("/rooms").await;
    missing.refused(401, "token_missing");
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    // Some at a time: a connection is not pending for long.
    for some in forgeries(&alice.token).chunks(4) {
        let mut pending = alice.open("", &[]).await.unwrap();
        for forged in some {
            let error = pending.request(json!({"action": "auth", "token": forged})).await;
            assert_eq!(error["code"], "token_invalid", "{forged}");
        }
    }
    let mut pending = alice.open("", &[]).await.unwrap();
    let error = pending.request(json!({"action": "auth", "token": forgeries(&alice.token)[0]})).await;
    assert_eq!(error["code"], "token_invalid");
    // Nothing of all that is a session.
    let members = bob.http.get(&format!("/rooms/{room}/members")).await.good(200);
    assert!(members["members"].as_array().unwrap().iter().all(|member| member["online"] == false), "{members}");
    // The control: the good token opens everything that was shut, on the same pending connection.
    let answer = pending.request(json!({"action": "auth", "token": alice.token})).await;
    assert_eq!((&answer["type"], &answer["userId"]), (&json!("authenticated"), &json!(alice.id)));
    alice.http.get("/rooms").await.good(200);
}

#[tokio::test]
async fn an_expired_token_opens_nothing() {
    let madang = Runtime::shared().await;
    let id = unique("alice");
    let expired = madang.token_for(&id, -31).await;
    let alice = madang.with_token(&id, &expired);
    let refused = alice.open("", &[("authorization", &format!("Bearer {expired}"))]).await.err();
    assert_eq!(refused.map(|refused| refused.status), Some(401));
    alice.http.get("/rooms").await.refused(401, "token_expired");
    // Within the leeway it still does.
    let alice = madang.with_token(&id, &madang.token_for(&id, -15).await);
    alice.http.get("/rooms").await.good(200);
    drop(alice.connect().await);
}

#[tokio::test]
async fn a_pending_connection_says_who_it_is_first() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut client = alice.open("", &[("sec-websocket-protocol", "chat.v1.json")]).await.unwrap();
    let refused = [
        send(&room, "c1", "too early"),
        json!({"action": "subscribe", "roomId": room}),
        json!({"action": "unsubscribe", "roomId": room}),
        json!({"action": "history", "roomId": room}),
    ];
    for frame in refused {
        let error = client.request(frame.clone()).await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("token_missing")), "{frame}");
    }
    client.catch_up().await;
    for token in [json!(null), json!(5), json!({})] {
        let error = client.request(json!({"action": "auth", "token": token})).await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("token")));
    }
    let expired = madang.token_for(&alice.id, -31).await;
    // No connection is pending for long.
    let mut client = alice.open("", &[("sec-websocket-protocol", "chat.v1.json")]).await.unwrap();
    assert_eq!(client.request(json!({"action": "auth", "token": expired})).await["code"], "token_expired");
    let answer = client.request(json!({"action": "auth", "token": alice.token})).await;
    assert_eq!((&answer["type"], &answer["userId"]), (&json!("authenticated"), &json!(alice.id)));
    assert!(answer["expiresAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{answer}");
    client.subscribe(&room).await;
    client.send(&room, "c1", "now").await;
    assert_eq!(client.message(&room, "c1").await["sender"], json!(alice.id));
    // From now on it is alice's connection, and nobody else's.
    let error = client.request(json!({"action": "auth", "token": bob.token})).await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("subject_mismatch")));
    client.send(&room, "c2", "still me").await;
    assert_eq!(client.message(&room, "c2").await["sender"], json!(alice.id));
}

/// A token that is good for a while more, by the leeway: long enough to be used on a busy machine, and to wait for its end.
pub(crate) async fn short_token(madang: &Runtime, subject: &str) -> String {
    madang.token_for(subject, -12).await
}

/// Somebody with such a token.
pub(crate) async fn short_lived(madang: &Runtime, name: &str) -> Person {
    let id = unique(name);
    madang.with_token(&id, &short_token(madang, &id).await)
}

#[tokio::test]
async fn whoever_does_not_refresh_is_out_and_told_so() {
    // A sweep would close his connection before he says anything.
    let madang = Runtime::start(&["--sweep-interval", "3600"]);
    let alice = madang.person("alice").await;
    let (bob, carol) = (short_lived(&madang, "bob").await, short_lived(&madang, "carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let (mut at_alice, mut at_bob, mut at_carol) =
        (alice.join(&room).await, bob.join(&room).await, carol.join(&room).await);
    let fresh = madang.token(&carol.id).await;
    let answer = at_carol.request(json!({"action": "auth", "token": fresh})).await;
    assert_eq!((&answer["type"], &answer["userId"]), (&json!("authenticated"), &json!(carol.id)));
    at_alice.send(&room, "before", "all here").await;
    at_bob.message(&room, "before").await;

    eventually("the end of the token", async || {
        let answer = at_bob.request(json!({"action": "history", "roomId": room, "limit": 1})).await;
        (answer["code"] == "token_expired").then_some(())
    })
    .await;
    for frame in [send(&room, "late", "hello?"), json!({"action": "subscribe", "roomId": room})] {
        assert_eq!(at_bob.request(frame).await["code"], "token_expired");
    }
    bob.http.get("/rooms").await.refused(401, "token_expired");
    for id in ["after", "fence"] {
        at_alice.send(&room, id, "without bob").await;
        at_alice.message(&room, id).await;
    }
    // Carol refreshed in time: she hears and speaks on the same connection.
    at_carol.message(&room, "fence").await;
    at_carol.send(&room, "carol", "still here").await;

    // A late refresh does not hide that events were skipped.
    let fresh = madang.token(&bob.id).await;
    at_bob.ask(json!({"action": "auth", "token": fresh})).await;
    let bye = at_bob.push("bye").await;
    assert_eq!((&bye["code"], &bye["reconnect"]), (&json!("token_expired"), &json!("now")), "{bye}");
    assert_eq!(at_bob.closed().await, Closed { code: Some(1000) });
    assert_eq!(at_bob.events(&room).len(), 1, "nothing was heard after the end");
    let mut again = madang.with_token(&bob.id, &fresh).connect().await;
    let epoch = again.subscribe(&room).await["epoch"].clone();
    let caught_up =
        again.request(json!({"action": "subscribe", "roomId": room, "after": {"epoch": epoch, "seq": 2}})).await;
    assert_eq!(caught_up["events"].as_array().unwrap()[0]["clientMessageId"], "after");
}

/// The token that a command was said with has ended, but its connection has shown another one.
#[tokio::test]
async fn whoever_refreshes_hears_of_what_was_said_before() {
    let madang = Runtime::alone().await;
    let (alice, bob) = (madang.person("alice").await, short_lived(&madang, "bob").await);
    let room = alice.make_room(&[&bob]).await;
    let mut at_bob = bob.join(&room).await;
    at_bob.send(&room, "c", "hello").await;
    at_bob.message(&room, "c").await;
    madang.faults(json!({"pauseEventSource": true})).await;
    let refused = at_bob.send(&room, "c", "something else").await;
    let repeated = at_bob.send(&room, "c", "hello").await;
    let fresh = madang.token(&bob.id).await;
    let answer = at_bob.request(json!({"action": "auth", "token": fresh})).await;
    assert_eq!(answer["type"], "authenticated", "{answer}");
    eventually("the end of the first token", async || (bob.http.get("/rooms").await.status == 401).then_some(())).await;
    madang.faults(json!({})).await;
    assert_eq!(at_bob.nack(&refused["commandId"]).await["code"], "idempotency_conflict");
    let is_it = |push: &Value| push["type"] == "duplicate" && push["commandId"] == repeated["commandId"];
    at_bob.push_where("duplicate", is_it).await;
}

#[tokio::test]
async fn only_known_subprotocols_are_spoken() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let bearer = format!("Bearer {}", alice.token);
    for offer in ["chat.v2.json", "x, y", &format!("bearer.{}", alice.token), "Chat.V1.Json"] {
        let headers = [("authorization", bearer.as_str()), ("sec-websocket-protocol", offer)];
        let refused = alice.open("", &headers).await.err();
        assert_eq!(refused.map(|refused| refused.status), Some(400), "{offer}");
    }
    let headers = [("authorization", bearer.as_str()), ("sec-websocket-protocol", "x, chat.v1.json, y")];
    let client = alice.open("", &headers).await.unwrap();
    assert_eq!(client.subprotocols, ["chat.v1.json"]);
}

#[tokio::test]
async fn pages_of_other_hosts_do_not_come_in() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let bearer = format!("Bearer {}", alice.token);
    let own = madang.endpoints.http.clone();
    let others = [
        "null",
        "",
        "https://evil.test",
        &format!("{own}.evil.test"),
        &format!("https://evil-{}", own.replace("http://", "")),
        "file://",
        "http://127.0.0.1",
    ];
    for origin in others {
        let refused = alice.open("", &[("authorization", bearer.as_str()), ("origin", origin)]).await.err();
        assert_eq!(refused.map(|refused| refused.status), Some(403), "{origin}");
    }
    drop(alice.open("", &[("authorization", bearer.as_str()), ("origin", &own)]).await.unwrap());
}

#[tokio::test]
async fn pages_of_listed_hosts_come_in() {
    let good = "https://app.example.com";
    for madang in
        [Runtime::start(&["--allow-origin", good]), Runtime::start_with::<&str>(&[], &[("ALLOWED_ORIGINS", good)])]
    {
        let alice = madang.person("alice").await;
        let bearer = format!("Bearer {}", alice.token);
        for (origin, expected) in [("https://app.example.com.evil.test", Some(403)), ("*", Some(403)), (good, None)] {
            let opened = alice.open("", &[("authorization", bearer.as_str()), ("origin", origin)]).await;
            assert_eq!(opened.err().map(|refused| refused.status), expected, "{origin}");
        }
    }
}
