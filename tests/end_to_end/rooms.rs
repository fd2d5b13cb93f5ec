//! Rooms over HTTP.

use serde_json::{Value, json};
use tests::broker::MESSAGES;
use tests::client::send;
use tests::runtime::unique;
use tests::{Person, Runtime};
use tokio::task::spawn_blocking;

async fn create(person: &Person, key: Option<&str>, body: &Value) -> (u16, Value) {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    let answer = person.http.call("POST", "/rooms", &headers, body.to_string()).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_room_is_what_was_asked_for() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    // Naming somebody twice, or oneself, changes nothing.
    let body = json!({"name": "마당 🏡", "userIds": [bob.id, alice.id, bob.id]});
    let (status, room) = create(&alice, None, &body).await;
    assert_eq!(status, 201, "{room}");
    let (id, epoch, at) = (room["roomId"].clone(), room["epoch"].clone(), room["createdAt"].clone());
    let expected = json!({
        "roomId": id, "kind": "group", "name": "마당 🏡", "epoch": epoch, "lastSeq": 1, "memberCount": 2,
        "createdAt": at, "me": {"role": "owner", "joinedSeq": 1, "readSeq": 1},
    });
    assert_eq!(room, expected);
    let seen_by_bob = bob.http.get(&format!("/rooms/{}", id.as_str().unwrap())).await.good(200);
    let mut expected = expected;
    expected["me"]["role"] = json!("member");
    assert_eq!(seen_by_bob, expected);
}

/// Anybody could put somebody into so many rooms that they had none left for their own.
#[tokio::test]
async fn others_do_not_fill_somebodys_list() {
    let madang = Runtime::shared().await;
    let (alice, bob, mallory) =
        (madang.person("alice").await, madang.person("bob").await, madang.person("mallory").await);
    let room = mallory.make_room(&[]).await;
    let mut at_mallory = mallory.connect().await;
    madang.add_rooms(&alice, 0..899).await;
    mallory.make_room(&[&alice]).await;
    let with_alice = json!({"name": "Trap", "userIds": [bob.id, alice.id]});
    // It is somebody else's, and says so.
    let by_post = mallory.http.post("/rooms", &with_alice).await;
    let by_put = mallory.http.put(&format!("/direct/{}", alice.id)).await;
    for (answer, field) in [(by_post, "userIds"), (by_put, "userId")] {
        answer.refused(409, "limit_reached");
        assert_eq!(answer.json()["field"], field);
    }
    let invitation = json!({"action": "invite", "roomId": room, "userIds": [bob.id, alice.id]});
    let error = at_mallory.request(invitation).await;
    assert_eq!((&error["code"], &error["field"]), (&json!("limit_reached"), &json!("userIds")));

    alice.make_room(&[&bob]).await;
    alice.http.put(&format!("/direct/{}", bob.id)).await.good(201);
    madang.add_rooms(&alice, 899..997).await;
    let one_too_many = alice.http.post("/rooms", &json!({"name": "One too many"})).await;
    one_too_many.refused(409, "limit_reached");
    assert_eq!(one_too_many.json().get("field"), None);
}

#[tokio::test]
async fn a_repeated_creation_is_one_room() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let body = json!({"name": "Courtyard", "userIds": [bob.id]});
    let (status, room) = create(&alice, Some("key-1"), &body).await;
    assert_eq!(status, 201, "{room}");
    assert_eq!(create(&alice, Some("key-1"), &body).await, (200, room.clone()));
    let (status, problem) = create(&alice, Some("key-1"), &json!({"name": "Another", "userIds": [bob.id]})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("idempotency_conflict")));
    // Keys were shared among users elsewhere: nensii21/devlink #773 (case 56).
    let (status, other) = create(&bob, Some("key-1"), &body).await;
    assert_eq!(status, 201);
    assert_ne!(other["roomId"], room["roomId"]);
    // Without a key every call makes a room.
    let (first, second) = (create(&alice, None, &body).await, create(&alice, None, &body).await);
    assert_eq!((first.0, second.0), (201, 201));
    assert_ne!(first.1["roomId"], second.1["roomId"]);
    for key in ["", "a\tb", &"k".repeat(256)] {
        let (status, problem) = create(&alice, Some(key), &body).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_field")));
    }
}

/// What DynamoDB does to a room's dedupe item after 21 days.
async fn forget_creation(madang: &Runtime, maker: &Person, room: &Value) {
    let room = room["roomId"].as_str().unwrap();
    let created = maker.events(room).await.remove(0);
    madang.forget_command(room, maker, created["commandId"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_creation_that_is_repeated_weeks_later_is_the_same_room() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let (to_bob, to_alice) = (format!("/direct/{}", bob.id), format!("/direct/{}", alice.id));
    let direct = alice.http.put(&to_bob).await.good(201);
    forget_creation(&madang, &alice, &direct).await;
    for (person, path) in [(&alice, &to_bob), (&bob, &to_alice)] {
        assert_eq!(person.http.put(path).await.good(200)["roomId"], direct["roomId"]);
    }
    let body = json!({"name": "Courtyard", "userIds": [bob.id]});
    let (_, group) = create(&alice, Some("key"), &body).await;
    forget_creation(&madang, &alice, &group).await;
    assert_eq!(create(&alice, Some("key"), &body).await, (200, group.clone()));
    // What was asked for is known for as long as the room stands.
    for other in [json!({"name": "Another", "userIds": [bob.id]}), json!({"name": "Courtyard", "userIds": []})] {
        let (status, problem) = create(&alice, Some("key"), &other).await;
        assert_eq!((status, &problem["code"]), (409, &json!("idempotency_conflict")));
    }
}

#[tokio::test]
async fn twenty_creations_at_once_with_one_key_are_one_room() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let body = json!({"name": "Courtyard", "userIds": []});
    let racers = (0..20).map(|_| create(&alice, Some("race"), &body));
    let outcomes = futures_util::future::join_all(racers).await;
    assert_eq!(outcomes.iter().filter(|(status, _)| *status == 201).count(), 1, "{outcomes:?}");
    assert!(
        outcomes.iter().all(|(status, room)| [200, 201].contains(status) && room == &outcomes[0].1),
        "{outcomes:?}"
    );
}

/// Find-then-create made two rooms of one pair elsewhere: AnirudhPhophalia/MedInternia #947,
/// matrix-org/matrix-appservice-slack #212 (case 48).
#[tokio::test]
async fn two_people_who_race_get_one_direct_room() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let (to_bob, to_alice) = (format!("/direct/{}", bob.id), format!("/direct/{}", alice.id));
    let calls = (0..20).map(|number| if number % 2 == 0 { alice.http.put(&to_bob) } else { bob.http.put(&to_alice) });
    let answers = futures_util::future::join_all(calls).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1, "{answers:?}");
    assert!(answers.iter().all(|answer| [200, 201].contains(&answer.status)), "{answers:?}");
    let room = answers[0].json()["roomId"].as_str().unwrap().to_owned();
    assert!(answers.iter().all(|answer| answer.json()["roomId"] == room), "{answers:?}");
    for (person, peer) in [(&alice, &bob), (&bob, &alice)] {
        let rooms = person.http.get("/rooms").await.good(200);
        assert_eq!(rooms["rooms"].as_array().unwrap().len(), 1, "{rooms}");
        assert_eq!((&rooms["rooms"][0]["peerId"], &rooms["rooms"][0]["kind"]), (&json!(peer.id), &json!("direct")));
        assert_eq!(rooms["rooms"][0]["memberCount"], 2);
    }
    let members = alice.http.get(&format!("/rooms/{room}/members")).await.good(200);
    assert_eq!(members["members"].as_array().unwrap().len(), 2, "{members}");
    assert_eq!(alice.events(&room).await.len(), 1);
    alice.http.put(&to_alice).await.refused(400, "invalid_field");
}

/// Encoded parts were decoded twice or not at all elsewhere: aws/aws-lambda-rust-runtime #668 (case 9).
#[tokio::test]
async fn user_ids_of_every_kind_stand_in_a_path() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    let kinds = ["auth0|5/7", "지민", "100%", "a+b@c.example", "a b", "team:a?x=1#y", "%2F", "{}\"'\\"];
    for (number, kind) in kinds.into_iter().enumerate() {
        let peer = madang.somebody(&unique(kind)).await;
        let encoded = percent_encoding::utf8_percent_encode(&peer.id, percent_encoding::NON_ALPHANUMERIC);
        let room = alice.http.put(&format!("/direct/{encoded}")).await.good(201);
        assert_eq!(room["peerId"], json!(peer.id));
        let room = room["roomId"].as_str().unwrap();
        peer.connect().await.send(room, "c", "hello").await;
        let history = alice.messages_once_there(room, 1).await;
        assert_eq!(history[0]["sender"], json!(peer.id));
        let rooms = alice.http.get("/rooms").await.good(200);
        assert_eq!(rooms["rooms"].as_array().unwrap().len(), number + 1);
    }
    for path in ["/direct/%ZZ", "/direct/%ff", "/direct/a%00b", &format!("/direct/{}", "x".repeat(129))] {
        alice.http.put(path).await.refused(400, "invalid_field");
    }
    for path in ["/rooms/a%2Fb", "/rooms/a%20b/messages", "/rooms/%ff", "/rooms/%ZZ"] {
        alice.http.get(path).await.refused(400, "invalid_field");
    }
}

#[tokio::test]
async fn the_list_has_newest_activity_first_with_unread_and_last_message() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let quiet = alice.make_room(&[&bob]).await;
    let loud = alice.make_room(&[&bob]).await;
    let last = alice.make_room(&[&bob]).await;
    let (mut at_alice, mut at_bob) = (alice.join(&loud).await, bob.join(&loud).await);
    for number in 0..3 {
        at_alice.send(&loud, &format!("a{number}"), "mine").await;
        at_bob.send(&loud, &format!("b{number}"), "theirs").await;
    }
    at_bob.send(&loud, "b3", "the last word").await;
    alice.messages_once_there(&loud, 7).await;
    let list = |rooms: &Value| -> Vec<(String, u64)> {
        let room = |room: &Value| (room["roomId"].as_str().unwrap().to_owned(), room["unread"].as_u64().unwrap());
        rooms["rooms"].as_array().unwrap().iter().map(room).collect()
    };
    let rooms = alice.http.get("/rooms").await.good(200);
    assert_eq!(list(&rooms), [(loud.clone(), 4), (last.clone(), 0), (quiet.clone(), 0)], "own messages do not count");
    assert_eq!(rooms["rooms"][0]["lastMessage"]["content"], "the last word");
    assert_eq!(rooms["rooms"][0]["lastMessage"], alice.messages(&loud).await[6]);
    assert_eq!(rooms["rooms"][1].get("lastMessage"), None);
    assert_eq!(list(&bob.http.get("/rooms").await.good(200))[0], (loud.clone(), 3));

    // In pages; the cursor is this user's and this list's.
    let first = alice.http.get("/rooms?limit=2").await.good(200);
    assert_eq!(list(&first).len(), 2);
    let cursor = first["cursor"].as_str().unwrap();
    let second = alice.http.get(&format!("/rooms?limit=2&cursor={cursor}")).await.good(200);
    assert_eq!((list(&second), second.get("cursor")), (vec![(quiet, 0)], None));
    bob.http.get(&format!("/rooms?cursor={cursor}")).await.refused(400, "bad_cursor");
    alice.http.get(&format!("/rooms/{loud}/members?cursor={cursor}")).await.refused(400, "bad_cursor");
    for query in ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=1&limit=2"] {
        alice.http.get(&format!("/rooms?{query}")).await.refused(400, "invalid_field");
    }
}

#[tokio::test]
async fn members_are_listed_with_who_is_online() {
    let madang = Runtime::shared().await;
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let _at_bob = bob.connect().await;
    let path = format!("/rooms/{room}/members");
    let members = carol.http.get(&path).await.good(200);
    let member = |person: &Person, role: &str, online: bool| json!({"userId": person.id, "role": role, "joinedSeq": 1, "readSeq": 1, "online": online});
    let expected =
        json!([member(&alice, "owner", false), member(&bob, "member", true), member(&carol, "member", false)]);
    assert_eq!(members["members"], expected, "by user id");
    let first = carol.http.get(&format!("{path}?limit=2")).await.good(200);
    assert_eq!(first["members"].as_array().unwrap().len(), 2);
    let second = carol.http.get(&format!("{path}?cursor={}", first["cursor"].as_str().unwrap())).await.good(200);
    assert_eq!(second["members"], json!([member(&carol, "member", false)]));
}

#[tokio::test]
async fn a_new_room_is_noticed_by_every_session_of_its_members() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let (mut phone, mut laptop, mut own) = (bob.connect().await, bob.connect().await, alice.connect().await);
    let room = alice.make_room(&[&bob]).await;
    for client in [&mut phone, &mut laptop, &mut own] {
        let notice = client.push_where("the notice of the room", |push| push["roomId"] == room).await;
        assert_eq!((&notice["type"], &notice["kind"]), (&json!("notice"), &json!("created")), "{notice}");
        assert_eq!(notice["event"], alice.events(&room).await[0]);
        client.catch_up().await;
        assert!(client.events(&room).is_empty(), "the creation is a notice, never an event");
    }
}

/// Somebody spoke in the room before its maker tried again, and nobody was ever told of it.
#[tokio::test]
async fn a_room_whose_maker_has_to_try_again_is_told_of() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let mut at_bob = bob.connect().await;
    madang.faults(json!({"topicsAway": [MESSAGES]})).await;
    let body = json!({"name": "Courtyard", "userIds": [bob.id]});
    let (status, problem) = create(&alice, Some("key"), &body).await;
    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")));
    madang.faults(json!({})).await;
    let rooms = bob.http.get("/rooms").await.good(200);
    let room = rooms["rooms"][0]["roomId"].as_str().unwrap();
    at_bob.subscribe(room).await;
    at_bob.insist(send(room, "first", "who made this?"), "ack").await;
    at_bob.message(room, "first").await;
    assert_eq!(create(&alice, Some("key"), &body).await.0, 200);
    at_bob.notice(room, "created").await;
    // Its record stands now: whoever asks again has the room, and nobody hears of that.
    let count = async || {
        let broker = madang.broker();
        spawn_blocking(move || broker.count(MESSAGES)).await.unwrap()
    };
    let before = count().await;
    assert_eq!(create(&alice, Some("key"), &body).await.0, 200);
    assert_eq!(count().await, before);
}

#[tokio::test]
async fn names_and_bodies_are_checked() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    // Direction overrides in names spilt into the page elsewhere: element-hq/element-web #34019 (case 59).
    let names = ["", " ", "\u{202e}abc", "a\nb", "a\0b", "\u{200b}", "\u{2066}x", &"x".repeat(81)];
    for name in names {
        alice.http.post("/rooms", &json!({"name": name, "userIds": []})).await.refused(400, "invalid_field");
    }
    let many: Vec<String> = (0..91).map(|number| format!("user-{number}")).collect();
    let bodies = [
        json!({"userIds": []}),
        json!({"name": 5}),
        json!({"name": "x", "userIds": "bob"}),
        json!({"name": "x", "userIds": [5]}),
        json!({"name": "x", "userIds": [""]}),
        json!({"name": "x", "userIds": ["a\u{7}b"]}),
        json!({"name": "x", "userIds": many}),
    ];
    for body in &bodies {
        alice.http.post("/rooms", body).await.refused(400, "invalid_field");
    }
    let most: Vec<String> = (0..90).map(|number| format!("user-{number}")).collect();
    let room = alice.http.post("/rooms", &json!({"name": "x".repeat(80), "userIds": most})).await.good(201);
    assert_eq!(room["memberCount"], 91);
    let nested = format!(r#"{{"name":"x","x":{}1{}}}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    for body in ["", "null", "[]", "not json", "{\"name\":\"x\"", "\u{feff}{}", &nested, r#"{"name":"\ud83d"}"#] {
        alice.http.call("POST", "/rooms", &[], body.to_owned()).await.refused(400, "bad_json");
    }
    let twice = r#"{"name":"x","name":"y"}"#;
    alice.http.call("POST", "/rooms", &[], twice.to_owned()).await.refused(400, "duplicate_key");
    alice.http.call("POST", "/rooms", &[], "[".repeat(70_000)).await.refused(400, "content_too_long");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let madang = Runtime::shared().await;
    let alice = madang.person("alice").await;
    for path in ["/nowhere", "/rooms/a/b/c/d", "/rooms/a/nothing", "/direct"] {
        alice.http.get(path).await.refused(404, "not_found");
    }
    for (method, path, allowed) in [
        ("DELETE", "/rooms", "GET, POST, OPTIONS"),
        ("GET", "/direct/bob", "PUT, OPTIONS"),
        ("PUT", "/rooms/a/messages", "GET, POST, OPTIONS"),
    ] {
        let answer = alice.http.call(method, path, &[], "").await;
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.headers["allow"], allowed);
    }
}

/// It stood all the same, and each repetition made one more.
#[tokio::test]
async fn no_room_is_made_while_nothing_is_let_in() {
    let madang = Runtime::start_with::<&str>(&[], &[("INGRESS_CLOSED", "true")]);
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    alice.http.call("POST", "/rooms", &[], json!({"name": "one"}).to_string()).await.refused(503, "unavailable");
    alice.http.call("PUT", &format!("/direct/{}", bob.id), &[], "").await.refused(503, "unavailable");
    assert_eq!(alice.http.get("/rooms").await.good(200)["rooms"], json!([]));
}
