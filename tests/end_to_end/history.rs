//! History, page by page.

use serde_json::{Value, json};
use tests::person::seq_of;
use tests::{Person, Runtime};

const COUNT: usize = 23;

/// A room with so many messages, seq 2 to 24.
async fn talk(madang: &Runtime) -> (Person, Person, String, Vec<Value>) {
    let (alice, bob, room) = madang.pair().await;
    alice.connect().await.send_many(&room, "c", COUNT).await;
    let all = alice.messages_once_there(&room, COUNT).await;
    (alice, bob, room, all)
}

async fn pages(person: &Person, room: &str, first: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut query = first.to_owned();
    loop {
        let mut page = person.http.get(&format!("/rooms/{room}/messages?limit=10&{query}")).await.good(200);
        pages.push(serde_json::from_value(page["messages"].take()).unwrap());
        match page["cursor"].as_str() {
            Some(cursor) => query = format!("cursor={cursor}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn history_goes_both_ways() {
    let madang = Runtime::shared().await;
    let (alice, _bob, room, all) = talk(&madang).await;
    let lengths = |pages: &[Vec<Value>]| pages.iter().map(Vec::len).collect::<Vec<_>>();
    let newest_first: Vec<Value> = all.iter().rev().cloned().collect();
    let backwards = pages(&alice, &room, "").await;
    assert_eq!((lengths(&backwards), backwards.concat()), (vec![10, 10, 3], newest_first.clone()));
    let forwards = pages(&alice, &room, "after=0").await;
    assert_eq!((lengths(&forwards), forwards.concat()), (vec![10, 10, 3], all.clone()));
    // Bounds are exclusive.
    let middle = seq_of(&all[12]);
    assert_eq!(pages(&alice, &room, &format!("before={middle}")).await.concat(), newest_first.get(11..).unwrap());
    assert_eq!(pages(&alice, &room, &format!("after={middle}")).await.concat(), all.get(13..).unwrap());
    assert!(pages(&alice, &room, "before=1").await.concat().is_empty());
    assert!(pages(&alice, &room, "after=24").await.concat().is_empty());
    // A full last page has no cursor.
    let last = alice.http.get(&format!("/rooms/{room}/messages?limit=23")).await.good(200);
    assert_eq!((last["messages"].as_array().unwrap().len(), last.get("cursor")), (COUNT, None));
}

#[tokio::test]
async fn a_socket_has_the_same_pages() {
    let madang = Runtime::shared().await;
    let (_alice, bob, room, all) = talk(&madang).await;
    let mut at_bob = bob.connect().await;
    for (start, expected) in [("before", all.iter().rev().cloned().collect::<Vec<_>>()), ("after", all.clone())] {
        let bound = if start == "before" { 25 } else { 0 };
        let mut frame = json!({"action": "history", "roomId": room, "limit": 10, start: bound});
        let mut heard: Vec<Value> = Vec::new();
        loop {
            let answer = at_bob.request(frame).await;
            assert_eq!((&answer["type"], &answer["roomId"]), (&json!("history"), &json!(room)), "{answer}");
            heard.extend(answer["messages"].as_array().unwrap().iter().cloned());
            match answer.get("cursor") {
                Some(cursor) => frame = json!({"action": "history", "roomId": room, "limit": 10, "cursor": cursor}),
                None => break,
            }
        }
        assert_eq!(heard, expected);
    }
    let odd = [
        (json!({"limit": 0}), "limit"),
        (json!({"limit": 101}), "limit"),
        (json!({"limit": "10"}), "limit"),
        (json!({"limit": 1.5}), "limit"),
        (json!({"before": -1}), "before"),
        (json!({"after": "x"}), "after"),
        (json!({"before": 5, "after": 2}), "after"),
        (json!({"before": 5, "cursor": "x"}), "cursor"),
        (json!({"cursor": 5}), "cursor"),
        (json!({"roomId": "a b"}), "roomId"),
    ];
    for (fields, field) in odd {
        let mut frame = json!({"action": "history", "roomId": room});
        frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let error = at_bob.request(frame).await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!(field)), "{fields}");
    }
    let error = at_bob.request(json!({"action": "history", "roomId": room, "cursor": "x"})).await;
    assert_eq!(error["code"], "bad_cursor");
}

#[tokio::test]
async fn a_cursor_is_bound_to_its_user_and_room() {
    let madang = Runtime::shared().await;
    let (alice, bob, room, _) = talk(&madang).await;
    let other = alice.make_room(&[&bob]).await;
    let page = alice.http.get(&format!("/rooms/{room}/messages?limit=10")).await.good(200);
    let cursor = page["cursor"].as_str().unwrap();
    let path = |room: &str, cursor: &str| format!("/rooms/{room}/messages?cursor={cursor}");
    bob.http.get(&path(&room, cursor)).await.refused(400, "bad_cursor");
    alice.http.get(&path(&other, cursor)).await.refused(400, "bad_cursor");
    let mut cut = cursor.to_owned();
    cut.pop();
    for odd in ["", "x", "%F0%9F%98%80", &cut, &format!("{cursor}A"), &"A".repeat(5_000)] {
        alice.http.get(&path(&room, odd)).await.refused(400, "bad_cursor");
    }
    alice.http.get(&path(&room, cursor)).await.good(200);
    let two = ["before=5&after=2".to_owned(), format!("before=5&cursor={cursor}"), format!("after=5&cursor={cursor}")];
    for query in two {
        alice.http.get(&format!("/rooms/{room}/messages?{query}")).await.refused(400, "invalid_field");
    }
    for query in ["limit=0", "limit=101", "limit=1e1", "before=x", "after=+1", "before=1&before=2", "limit=%ff"] {
        alice.http.get(&format!("/rooms/{room}/messages?{query}")).await.refused(400, "invalid_field");
    }
}
