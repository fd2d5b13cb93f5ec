//! Groups: who comes, who goes, who may do what.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::deadline::eventually;
use tests::person::assert_dense;
use tests::stomp::Frame;
use tests::{Client, Person, Runtime, Stomp};

async fn members(person: &Person, room: &str) -> Vec<(String, String)> {
    let list = person.http.get(&format!("/rooms/{room}/members")).await.good(200);
    let members = list["members"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    members.map(|member| (text(&member["userId"]), text(&member["role"]))).collect()
}

fn invite(room: &str, users: &[&Person]) -> Value {
    let users: Vec<&str> = users.iter().map(|user| user.id.as_str()).collect();
    json!({"action": "invite", "roomId": room, "userIds": users})
}

fn about(action: &str, room: &str, user: &Person) -> Value {
    json!({"action": action, "roomId": room, "userId": user.id})
}

#[tokio::test]
async fn a_group_lives() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (carol, dave) = (madang.person("carol").await, madang.person("dave").await);
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let (mut phone, mut laptop) = (carol.connect().await, carol.connect().await);

    let ack = at_alice.act(invite(&room, &[&carol, &dave])).await;
    assert_eq!(ack["commandIds"].as_array().map(Vec::len), Some(2), "{ack}");
    assert_eq!(ack.get("commandId"), None, "{ack}");
    for device in [&mut phone, &mut laptop] {
        let notice = device.notice(&room, "invited").await;
        let event = &notice["event"];
        assert_eq!((&event["kind"], &event["userId"]), (&json!("member.invited"), &json!(carol.id)), "{notice}");
        assert_eq!((&event["sender"], &event["commandId"]), (&json!(alice.id), &ack["commandIds"][0]));
    }
    at_bob.event_where(&room, "dave comes", |event| event["userId"] == dave.id).await;
    // Membership at once, and what passed before is readable.
    phone.subscribe(&room).await;
    at_bob.send(&room, "hi", "hello, carol").await;
    phone.message(&room, "hi").await;
    assert_eq!(carol.events(&room).await[0]["kind"], "room.created");

    at_alice.act(json!({"action": "role", "roomId": room, "userId": carol.id, "role": "admin"})).await;
    let notice = laptop.notice(&room, "role").await;
    assert_eq!((&notice["event"]["role"], &notice["event"]["userId"]), (&json!("admin"), &json!(carol.id)));
    phone.act(json!({"action": "rename", "roomId": room, "name": "안뜰"})).await;
    let renamed = at_bob.event(&room, "room.renamed").await;
    assert_eq!((&renamed["name"], &renamed["sender"]), (&json!("안뜰"), &json!(carol.id)));
    phone.act(about("kick", &room, &dave)).await;
    at_bob.event(&room, "member.kicked").await;
    at_bob.act(json!({"action": "leave", "roomId": room})).await;
    let left = at_alice.event(&room, "member.left").await;
    assert_eq!((&left["userId"], &left["sender"], left.get("successor")), (&json!(bob.id), &json!(bob.id), None));
    let own = at_bob.event(&room, "member.left").await;
    assert_eq!(own, left, "whoever leaves hears of it");

    let view = alice.http.get(&format!("/rooms/{room}")).await.good(200);
    assert_eq!((&view["name"], &view["memberCount"]), (&json!("안뜰"), &json!(2)));
    let mut expected = [(alice.id.clone(), "owner".to_owned()), (carol.id.clone(), "admin".to_owned())];
    expected.sort();
    assert_eq!(members(&carol, &room).await, expected);
    for gone in [&bob, &dave] {
        gone.http.get(&format!("/rooms/{room}")).await.refused(403, "not_member");
        assert_eq!(gone.http.get("/rooms").await.good(200), json!({"rooms": []}));
    }
    let log = alice.events(&room).await;
    assert_dense(&log, 1);
    let kinds: Vec<&str> = log.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let expected = [
        "room.created",
        "member.invited",
        "member.invited",
        "message",
        "member.role",
        "room.renamed",
        "member.kicked",
        "member.left",
    ];
    assert_eq!(kinds, expected);
    at_alice.catch_up().await;
    assert_eq!(at_alice.events(&room), log[1..], "live and history are the same");
}

/// Whatever device one leaves on: the others, subscribed or not, know of it.
#[tokio::test]
async fn whoever_leaves_is_told_on_all_devices() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut laptop) = (alice.connect().await, alice.connect().await);
    let (mut at_bob, mut tablet) = (bob.join(&room).await, Stomp::connect(&alice).await);
    tablet.subscribe_queue("q").await;
    at_alice.act(json!({"action": "leave", "roomId": room, "successor": bob.id})).await;
    let left = at_bob.event(&room, "member.left").await;
    for device in [&mut at_alice, &mut laptop] {
        assert_eq!(device.notice(&room, "left").await["event"], left);
    }
    let notice = |frame: &Frame| frame.get("type") == Some("notice");
    let notice = tablet.frame_where("the notice", notice).await.json();
    assert_eq!((&notice["kind"], &notice["event"]), (&json!("left"), &left));
    assert_eq!(at_bob.notice(&room, "role").await["event"], left);
}

/// The same over HTTP.
#[tokio::test]
async fn a_group_lives_over_http() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let carol = madang.person("carol").await;
    let mut at_bob = bob.join(&room).await;
    let path = |rest: &str| format!("/rooms/{room}{rest}");
    let json_type = [("content-type", "application/json")];
    let accepted = alice.http.post(&path("/members"), &json!({"userIds": [carol.id]})).await.good(202);
    let command = accepted["commandIds"][0].as_str().unwrap().to_owned();
    at_bob.event(&room, "member.invited").await;
    let state = alice.http.get(&path(&format!("/commands/{command}"))).await.good(200);
    assert_eq!(state, json!({"state": "committed", "seq": 2}));
    let member = path(&format!("/members/{}", carol.id));
    alice.http.call("PATCH", &member, &json_type, r#"{"role":"owner"}"#).await.good(202);
    at_bob.event(&room, "member.role").await;
    carol.http.call("PATCH", &path(""), &json_type, r#"{"name":"Yard"}"#).await.good(202);
    at_bob.event(&room, "room.renamed").await;
    // Removing oneself is leaving.
    alice.http.call("DELETE", &path(&format!("/members/{}", alice.id)), &[], "").await.good(202);
    let left = at_bob.event(&room, "member.left").await;
    assert_eq!(left["userId"], json!(alice.id));
    let last = path(&format!("/members/{}", carol.id));
    carol.http.call("DELETE", &last, &[], "").await.refused(409, "last_owner");
    carol.http.call("DELETE", &format!("{last}?successor={}", alice.id), &[], "").await.refused(400, "invalid_field");
    carol.http.call("DELETE", &format!("{last}?successor={}", bob.id), &[], "").await.good(202);
    let left = at_bob.event_where(&room, "carol leaves", |event| event["successor"] == bob.id).await;
    assert_eq!(left["userId"], json!(carol.id));
    at_bob.notice(&room, "role").await;
    assert_eq!(members(&bob, &room).await, [(bob.id.clone(), "owner".to_owned())]);
    // The last of all may go, too.
    bob.http.call("DELETE", &path(&format!("/members/{}", bob.id)), &[], "").await.good(202);
    eventually("an empty room", async || (bob.http.get(&path("")).await.status == 403).then_some(())).await;
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_at_the_door() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (carol, mallory) = (madang.person("carol").await, madang.person("mallory").await);
    let direct = alice.http.put(&format!("/direct/{}", bob.id)).await.good(201)["roomId"].as_str().unwrap().to_owned();
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.connect().await);
    let mut at_mallory = mallory.connect().await;
    let role = |user: &Person, role: &str| json!({"action": "role", "roomId": room, "userId": user.id, "role": role});
    let rename = |room: &str, name: &str| json!({"action": "rename", "roomId": room, "name": name});
    let leave = |room: &str| json!({"action": "leave", "roomId": room});

    for frame in [invite(&room, &[&carol]), about("kick", &room, &alice), role(&alice, "member"), rename(&room, "x")] {
        at_bob.refused(frame.clone(), "forbidden").await;
        at_mallory.refused(frame, "not_member").await;
    }
    at_mallory.refused(leave(&room), "not_member").await;
    at_mallory.refused(leave("nowhere"), "room_not_found").await;
    at_alice.refused(invite(&room, &[&bob]), "no_change").await;
    at_alice.refused(rename(&room, "Courtyard"), "no_change").await;
    at_alice.refused(about("kick", &room, &carol), "no_change").await;
    at_alice.refused(about("kick", &room, &alice), "forbidden").await;
    at_alice.refused(role(&bob, "member"), "no_change").await;
    at_alice.refused(role(&carol, "admin"), "invalid_field").await;
    at_alice.refused(role(&alice, "member"), "last_owner").await;
    at_alice.refused(leave(&room), "last_owner").await;
    for frame in [invite(&direct, &[&carol]), about("kick", &direct, &bob), rename(&direct, "x"), leave(&direct)] {
        at_alice.refused(frame, "direct_room").await;
    }
    let users: Vec<String> = (0..101).map(|number| format!("user-{number}")).collect();
    at_alice.refused(json!({"action": "invite", "roomId": room, "userIds": users}), "invalid_field").await;
    assert_eq!(alice.events(&room).await.len(), 1, "nothing of this has happened");
}

/// Both doors were open: the commit decides, and whoever comes second hears so.
#[tokio::test]
async fn of_two_who_race_one_is_told_no() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let carol = madang.person("carol").await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let role = json!({"action": "role", "roomId": room, "userId": bob.id, "role": "owner"});
    at_alice.act(role).await;
    at_bob.event(&room, "member.role").await;

    madang.faults(json!({"pauseEventSource": true})).await;
    let first = at_alice.act(invite(&room, &[&carol])).await["commandIds"][0].clone();
    let second = at_bob.act(invite(&room, &[&carol])).await["commandIds"][0].clone();
    // Both owners go, and neither saw that the other does.
    let leave = json!({"action": "leave", "roomId": room});
    at_alice.act(leave.clone()).await;
    let kept = at_bob.act(leave).await["commandId"].clone();
    madang.faults(json!({})).await;
    let nack = at_bob.nack(&second).await;
    assert_eq!((&nack["code"], &nack["roomId"]), (&json!("no_change"), &json!(room)));
    let nack = at_bob.nack(&kept).await;
    assert_eq!((&nack["code"], &nack["retryable"]), (&json!("last_owner"), &json!(false)));
    let path = format!("/rooms/{room}/commands/{}", kept.as_str().unwrap());
    assert_eq!(bob.http.get(&path).await.good(200), json!({"state": "refused", "code": "last_owner"}));
    let log = bob.events(&room).await;
    let invited: Vec<&Value> = log.iter().filter(|event| event["kind"] == "member.invited").collect();
    assert_eq!(invited.len(), 1, "{log:?}");
    assert_eq!(invited[0]["commandId"], first);
    assert_eq!(members(&bob, &room).await.len(), 2);
}

/// An invitation of many is one record per person, and each has an outcome of their own.
#[tokio::test]
async fn a_hundred_are_invited_at_once() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice: Client = alice.join(&room).await;
    let mut users: Vec<String> = (0..99).map(|number| format!("{}-{number}", alice.id)).collect();
    users.push(bob.id.clone());
    let ack = at_alice.act(json!({"action": "invite", "roomId": room, "userIds": users})).await;
    let commands = ack["commandIds"].as_array().unwrap().clone();
    assert_eq!(commands.len(), 100);
    // Bob was there already.
    let nack = at_alice.nack(&commands[99]).await;
    assert_eq!(nack["code"], "no_change");
    let heard = at_alice.hear_events(&room, 99).await;
    let invited: Vec<&Value> = heard.iter().map(|event| &event["userId"]).collect();
    assert_eq!(invited, users[..99].iter().map(|user| json!(user)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    let by_command: Vec<&Value> = heard.iter().map(|event| &event["commandId"]).collect();
    assert_eq!(by_command, commands[..99].iter().collect::<Vec<_>>());
    assert_eq!(alice.http.get(&format!("/rooms/{room}")).await.good(200)["memberCount"], 101);
}

/// Those who came at once met conflicts of transactions, which were told as faults: gumroad #7454 (case 29).
#[tokio::test]
async fn many_come_and_one_goes_at_once() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (path, json_type) = (format!("/rooms/{room}/members"), [("content-type", "application/json")]);
    let invitations = (0..50).map(|number| {
        let (path, body) = (&path, json!({"userIds": [format!("{}-{number}", bob.id)]}).to_string());
        let alice = &alice;
        async move { alice.http.call("POST", path, &json_type, body).await.good(202) }
    });
    join_all(invitations).await;
    let count = async |expected: u64| {
        let room = alice.http.get(&format!("/rooms/{room}")).await.good(200);
        (room["memberCount"] == expected).then_some(())
    };
    eventually("all there", async || count(52).await).await;

    let removal = format!("{path}/{}", bob.id);
    let removals = join_all((0..20).map(|_| alice.http.call("DELETE", &removal, &[], ""))).await;
    // Who comes too late is told so, at the door or by the commit.
    assert!(removals.iter().all(|answer| [202, 409].contains(&answer.status)), "{removals:?}");
    eventually("one gone", async || count(51).await).await;
    let mut at_alice = alice.join(&room).await;
    at_alice.send(&room, "fence", "behind all").await;
    at_alice.message(&room, "fence").await;
    count(51).await.expect("nobody else has gone");
    let kicked = alice.events(&room).await.iter().filter(|event| event["kind"] == "member.kicked").count();
    assert_eq!(kicked, 1);
}
