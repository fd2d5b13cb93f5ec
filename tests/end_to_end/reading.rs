//! Reading: markers, receipts, unread counts, and the list that shows them.

use std::collections::HashSet;

use serde_json::{Value, json};
use tests::broker::StoredRecord;
use tests::deadline::eventually;
use tests::person::seq_of;
use tests::runtime::unique;
use tests::{Client, Person, Runtime};

const READ_EVENTS: &str = "chat-read-events";

/// Opens a connection that wants receipts of a room.
async fn with_receipts(person: &Person, room: &str) -> Client {
    let mut client = person.connect().await;
    let subscribe = json!({"action": "subscribe", "roomId": room, "signals": ["read"]});
    assert_eq!(client.request(subscribe).await["type"], "subscribed");
    client
}

/// Says that a room is read up to a seq; the ack.
async fn read(client: &mut Client, room: &str, seq: u64) {
    let ack = client.act(json!({"action": "read", "roomId": room, "seq": seq})).await;
    assert!(ack["commandId"].is_string(), "{ack}");
}

fn receipt(room: &str, person: &Person, seq: u64) -> Value {
    json!({"type": "read", "roomId": room, "userId": person.id, "seq": seq})
}

/// The receipts of a room that a connection has heard, and not yet taken.
fn receipts(client: &Client, room: &str) -> Vec<Value> {
    let of_room = |push: &&Value| push["type"] == "read" && push["roomId"] == room;
    client.pushes().iter().filter(of_room).cloned().collect()
}

/// A room in the list of somebody.
async fn listed(person: &Person, room: &str) -> Option<Value> {
    let list = person.http.get("/rooms").await.good(200);
    list["rooms"].as_array().unwrap().iter().find(|listed| listed["roomId"] == room).cloned()
}

async fn unread(person: &Person, room: &str) -> u64 {
    listed(person, room).await.unwrap()["unread"].as_u64().unwrap()
}

#[tokio::test]
async fn all_devices_agree_and_those_who_asked_are_told() {
    let madang = Runtime::shared().await;
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let (mut phone, mut laptop) = (alice.connect().await, with_receipts(&alice, &room).await);
    let (mut at_bob, mut at_carol) = (with_receipts(&bob, &room).await, carol.join(&room).await);
    at_bob.send_many(&room, "b", 3).await;
    at_carol.hear_events(&room, 3).await;
    read(&mut phone, &room, 3).await;
    for client in [&mut phone, &mut laptop, &mut at_bob] {
        assert_eq!(client.push("read").await, receipt(&room, &alice, 3), "{}", client.user);
    }
    assert_eq!(unread(&alice, &room).await, 1);
    assert_eq!(listed(&alice, &room).await.unwrap()["me"]["readSeq"], 3);
    let members = bob.http.get(&format!("/rooms/{room}/members")).await.good(200);
    let alices = members["members"].as_array().unwrap().iter().find(|member| member["userId"] == alice.id);
    assert_eq!(alices.unwrap()["readSeq"], 3);
    // By the other door it is the same, and everybody is told once.
    let body = json!({"seq": 4});
    let put = alice.http.call("PUT", &format!("/rooms/{room}/read"), &[], body.to_string()).await.good(202);
    assert!(put["commandId"].is_string(), "{put}");
    for client in [&mut phone, &mut laptop, &mut at_bob] {
        assert_eq!(client.push("read").await, receipt(&room, &alice, 4), "{}", client.user);
    }
    at_bob.send(&room, "fence", "x").await;
    at_carol.message(&room, "fence").await;
    for client in [&mut phone, &mut laptop, &mut at_bob, &mut at_carol] {
        client.catch_up().await;
        assert_eq!(receipts(client, &room), [] as [Value; 0], "{}: told once, and only who asked", client.user);
    }
}

#[tokio::test]
async fn a_marker_moves_neither_back_nor_past_the_end() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.join(&room).await);
    at_bob.send_many(&room, "b", 3).await;
    at_bob.hear_events(&room, 3).await;
    read(&mut at_alice, &room, 9_007_199_254_740_991).await;
    assert_eq!(at_alice.push("read").await, receipt(&room, &alice, 4), "the end");
    for seq in [1, 2, 4, 4, 3] {
        read(&mut at_alice, &room, seq).await;
    }
    at_bob.send(&room, "b4", "one more").await;
    at_bob.message(&room, "b4").await;
    assert_eq!(unread(&alice, &room).await, 1, "it was not read ahead");
    read(&mut at_alice, &room, 5).await;
    assert_eq!(at_alice.push("read").await, receipt(&room, &alice, 5), "nothing was told in between");
    assert_eq!(unread(&alice, &room).await, 0);
    for odd in [json!(0), json!(-1), json!(1.5), json!("5"), json!(null), json!(9_007_199_254_740_992_u64)] {
        let error = at_alice.request(json!({"action": "read", "roomId": room, "seq": odd})).await;
        assert_eq!((&error["type"], &error["field"]), (&json!("error"), &json!("seq")), "{error}");
    }
    let mallory = madang.person("mallory").await;
    let error = mallory.connect().await.request(json!({"action": "read", "roomId": room, "seq": 1})).await;
    assert_eq!(error["code"], "not_member");
}

/// A marker on its way, put on the topic as the functions would put it there.
fn marker(number: u64, room: &str, person: &Person, seq: u64) -> StoredRecord {
    let value = json!({
        "v": 1, "id": format!("01JDZZZZZZ{number:016}"), "roomId": room, "userId": person.id, "seq": seq,
        "receivedAt": "2026-11-25T04:00:00.000Z",
    });
    StoredRecord::new(Some(room.as_bytes()), Some(value.to_string().as_bytes()))
}

/// A marker that waited while its reader was removed.
#[tokio::test]
async fn a_late_marker_brings_nobody_back() {
    let madang = Runtime::shared().await;
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let (mut at_alice, mut at_bob) = (with_receipts(&alice, &room).await, with_receipts(&bob, &room).await);
    let mut at_carol = with_receipts(&carol, &room).await;
    at_alice.send_many(&room, "a", 2).await;
    at_alice.act(json!({"action": "kick", "roomId": room, "userId": bob.id})).await;
    at_alice.hear_events(&room, 3).await;
    at_carol.act(json!({"action": "leave", "roomId": room})).await;
    at_alice.hear_events(&room, 4).await;
    // The subscriptions of those who were removed end behind the posting.
    eventually("one subscription", async || (madang.subscriptions(&room).await.len() == 1).then_some(())).await;
    let late = [
        marker(1, &room, &bob, 3),
        marker(2, &room, &carol, 3),
        marker(3, &room, &madang.person("mallory").await, 3),
        marker(4, &unique("no-room"), &bob, 3),
        marker(5, &room, &alice, 3),
    ];
    madang.broker().produce(READ_EVENTS, 0, &late).await;
    assert_eq!(at_alice.push("read").await, receipt(&room, &alice, 3));
    let members = alice.http.get(&format!("/rooms/{room}/members")).await.good(200);
    assert_eq!(members["members"].as_array().unwrap().len(), 1, "{members}");
    for (person, client) in [(&bob, &mut at_bob), (&carol, &mut at_carol)] {
        assert_eq!(listed(person, &room).await, None);
        client.catch_up().await;
        assert_eq!(receipts(client, &room), [] as [Value; 0], "nothing is told to who was removed");
    }
    assert_eq!(receipts(&at_alice, &room), [] as [Value; 0], "nor of them");
    // Whoever comes again starts at the event that brought them back.
    at_alice.act(json!({"action": "invite", "roomId": room, "userIds": [bob.id]})).await;
    let back = at_alice.event_where(&room, "bob is back", |event| event["kind"] == "member.invited").await;
    let fence = marker(6, &room, &alice, seq_of(&back));
    madang.broker().produce(READ_EVENTS, 0, &[late.as_slice(), &[fence]].concat()).await;
    at_alice.push_where("the fence", |push| *push == receipt(&room, &alice, seq_of(&back))).await;
    assert_eq!(listed(&bob, &room).await.unwrap()["me"]["readSeq"], back["seq"]);
}

/// Own messages counted, and deleted ones stayed counted elsewhere: johnsideserf/siggy #484,
/// telegramdesktop/tdesktop #6718, SkygearIO/chat #219 (case 50).
#[tokio::test]
async fn unread_is_exact_and_a_rewound_topic_changes_nothing() {
    let madang = Runtime::alone().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (with_receipts(&alice, &room).await, with_receipts(&bob, &room).await);
    at_alice.send_many(&room, "a", 3).await;
    at_alice.hear_events(&room, 3).await;
    let mut deleted = Vec::new();
    for number in 1..=4 {
        at_bob.send(&room, &format!("b{number}"), "unread").await;
        deleted.push(at_bob.message(&room, &format!("b{number}")).await["messageId"].clone());
    }
    assert_eq!((unread(&alice, &room).await, unread(&bob, &room).await), (4, 3));
    at_bob.act(json!({"action": "edit", "roomId": room, "messageId": deleted[3], "content": "edited"})).await;
    for message in deleted.iter().take(2) {
        at_bob.act(json!({"action": "delete", "roomId": room, "messageId": message})).await;
    }
    at_alice.hear_events(&room, 10).await;
    assert_eq!((unread(&alice, &room).await, unread(&bob, &room).await), (2, 3));
    assert_eq!(listed(&alice, &room).await.unwrap()["lastMessage"]["content"], "edited");
    read(&mut at_alice, &room, 4).await;
    told(&mut at_alice, &mut at_bob, &receipt(&room, &alice, 4)).await;
    assert_eq!(unread(&alice, &room).await, 2, "up to her own last one");
    read(&mut at_alice, &room, 11).await;
    told(&mut at_alice, &mut at_bob, &receipt(&room, &alice, 11)).await;
    assert_eq!((unread(&alice, &room).await, unread(&bob, &room).await), (0, 3));
    madang.rewind().await;
    // Her last marker is told once more; the first one is not.
    told(&mut at_alice, &mut at_bob, &receipt(&room, &alice, 11)).await;
    at_bob.send(&room, "b5", "the last word").await;
    at_bob.message(&room, "b5").await;
    assert_eq!((unread(&alice, &room).await, unread(&bob, &room).await), (1, 3));
    read(&mut at_alice, &room, 12).await;
    told(&mut at_alice, &mut at_bob, &receipt(&room, &alice, 12)).await;
    assert_eq!(unread(&alice, &room).await, 0);
}

/// The next receipt on both sides is this one.
async fn told(one: &mut Client, other: &mut Client, receipt: &Value) {
    for client in [one, other] {
        assert_eq!(client.push("read").await, *receipt, "{}", client.user);
    }
}

#[tokio::test]
async fn a_hundred_unread_are_ninety_nine_and_more() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.join(&room).await);
    at_bob.send_many(&room, "b", 105).await;
    at_bob.hear_events(&room, 105).await;
    assert_eq!(unread(&alice, &room).await, 100);
    for (seq, left) in [(6, 100), (7, 99), (105, 1), (106, 0)] {
        read(&mut at_alice, &room, seq).await;
        at_alice.push_where("the receipt", |push| push["seq"] == seq).await;
        assert_eq!(unread(&alice, &room).await, left, "behind {seq}");
    }
    assert_eq!(unread(&bob, &room).await, 0);
}

/// What the consumer has written and posted, once so many records are handled.
async fn written_and_posted(madang: &Runtime, records: f64) -> (f64, f64) {
    eventually(&format!("{records} records handled"), async || {
        let [handled, written, posted] = madang.counted("consumer", &["Records", "WriteUnits", "Posts"]).await;
        (handled == records).then_some((written, posted))
    })
    .await
}

#[tokio::test]
async fn a_burst_of_a_hundred_markers_is_one_write_and_one_frame_for_each() {
    let madang = Runtime::start::<&str>(&[]);
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let (mut phone, mut laptop) = (alice.connect().await, alice.connect().await);
    let (mut at_bob, mut at_carol) = (with_receipts(&bob, &room).await, with_receipts(&carol, &room).await);
    at_bob.send_many(&room, "b", 100).await;
    at_bob.hear_events(&room, 100).await;
    at_carol.hear_events(&room, 100).await;
    // The room's creation, four sessions, and what was said.
    let (written, posted) = written_and_posted(&madang, 105.0).await;
    madang.faults(json!({"pauseEventSource": true})).await;
    // The highest is not the last: should the last few make a batch of their own, they still change nothing.
    for seq in (2..=81).chain([101]).chain(82..=100) {
        read(&mut phone, &room, seq).await;
    }
    madang.faults(json!({})).await;
    for client in [&mut phone, &mut laptop, &mut at_bob, &mut at_carol] {
        assert_eq!(client.push("read").await, receipt(&room, &alice, 101), "{}", client.user);
    }
    let (written_then, posted_then) = written_and_posted(&madang, 205.0).await;
    assert_eq!((written_then - written, posted_then - posted), (1.0, 4.0), "write units and frames");
    for client in [&mut phone, &mut laptop, &mut at_bob, &mut at_carol] {
        client.catch_up().await;
        assert_eq!(receipts(client, &room), [] as [Value; 0], "{}", client.user);
    }
    assert_eq!(unread(&alice, &room).await, 0);
}

/// Receipts are for rooms of a hundred at most; one's own devices agree everywhere.
#[tokio::test]
async fn a_large_room_has_no_receipts() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let others: Vec<String> = (0..98).map(|number| format!("extra-{number}")).collect();
    let named: Vec<&str> = others.iter().take(89).map(String::as_str).chain([bob.id.as_str()]).collect();
    let room = alice.http.post("/rooms", &json!({"name": "Plaza", "userIds": named})).await.good(201);
    let room = room["roomId"].as_str().unwrap();
    let (mut phone, mut laptop, mut at_bob) =
        (alice.connect().await, alice.connect().await, with_receipts(&bob, room).await);
    let invite = |users: &[String]| json!({"action": "invite", "roomId": room, "userIds": users});
    phone.act(invite(others.get(89..).unwrap())).await;
    at_bob.hear_events(room, 9).await;
    read(&mut phone, room, 5).await;
    assert_eq!(at_bob.push("read").await, receipt(room, &alice, 5), "a hundred members");
    phone.act(invite(&[unique("extra")])).await;
    at_bob.hear_events(room, 10).await;
    read(&mut phone, room, 6).await;
    for client in [&mut phone, &mut laptop] {
        client.push_where("one's own", |push| *push == receipt(room, &alice, 6)).await;
    }
    at_bob.send(room, "fence", "x").await;
    at_bob.message(room, "fence").await;
    assert_eq!(receipts(&at_bob, room), [] as [Value; 0], "a hundred and one");
}

#[tokio::test]
async fn no_room_is_lost_while_rooms_move_up_and_left_ones_vanish() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let mut rooms = Vec::new();
    for _ in 0..7 {
        rooms.push(bob.make_room(&[&alice]).await);
    }
    let mut at_bob = bob.connect().await;
    let (mut seen, mut query, mut round) = (Vec::new(), "limit=2".to_owned(), 0);
    loop {
        let page = alice.http.get(&format!("/rooms?{query}")).await.good(200);
        let page_rooms = page["rooms"].as_array().unwrap();
        seen.extend(page_rooms.iter().map(|room| room["roomId"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        assert_eq!(page_rooms.len(), 2, "only the last page is short");
        query = format!("limit=2&cursor={cursor}");
        // The oldest, which is still to come, moves to the top; and one that was given moves, too.
        for room in [&rooms[round % 7], &seen[0].clone()] {
            let id = format!("c{round}");
            at_bob.send(room, &id, "up").await;
            at_bob.message(room, &id).await;
        }
        round += 1;
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert_eq!(seen.iter().collect::<HashSet<_>>(), rooms.iter().collect());
    let (kicked, left) = (&rooms[0], &rooms[1]);
    at_bob.act(json!({"action": "kick", "roomId": kicked, "userId": alice.id})).await;
    at_bob.event_where(kicked, "the kick", |event| event["kind"] == "member.kicked").await;
    let mut at_alice = alice.connect().await;
    at_alice.act(json!({"action": "leave", "roomId": left})).await;
    at_alice.event_where(left, "the leave", |event| event["kind"] == "member.left").await;
    let list = alice.http.get("/rooms?limit=5").await.good(200);
    let listed = list["rooms"].as_array().unwrap();
    assert_eq!((listed.len(), list.get("cursor")), (5, None));
    assert!(listed.iter().all(|room| room["roomId"] != **kicked && room["roomId"] != **left));
}
