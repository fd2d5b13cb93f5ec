//! Coming back.

use serde_json::{Value, json};
use tests::Runtime;
use tests::person::{assert_dense, seq_of};

fn after(room: &str, epoch: &Value, seq: u64) -> Value {
    json!({"action": "subscribe", "roomId": room, "after": {"epoch": epoch, "seq": seq}})
}

#[tokio::test]
async fn whoever_comes_back_gets_exactly_what_they_missed() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.connect().await);
    let epoch = at_bob.subscribe(&room).await["epoch"].clone();
    at_alice.send(&room, "before", "you are here").await;
    let last = seq_of(&at_bob.message(&room, "before").await);
    drop(at_bob);
    at_alice.send_many(&room, "missed-", 20).await;
    at_alice.hear_events(&room, 21).await;

    let mut at_bob = bob.connect().await;
    let mut subscribed = at_bob.request(after(&room, &epoch, last)).await;
    let missed: Vec<Value> = serde_json::from_value(subscribed["events"].take()).unwrap();
    let rest = json!({
        "type": "subscribed", "id": subscribed["id"], "roomId": room, "epoch": epoch, "lastSeq": 22,
        "recovered": true, "events": null, "more": false,
    });
    assert_eq!(subscribed, rest);
    assert_eq!(missed.as_slice(), at_alice.events(&room).get(1..).unwrap());
    at_alice.send(&room, "next", "live again").await;
    assert_eq!(seq_of(&at_bob.message(&room, "next").await), 23);

    // Nothing missed.
    let subscribed = at_bob.request(after(&room, &epoch, 23)).await;
    assert_eq!((&subscribed["recovered"], &subscribed["events"]), (&json!(true), &json!([])));
    // Another life of the log, or a place that it never had: load it anew.
    for (epoch, seq) in [(&json!("other"), 3), (&epoch, 24), (&epoch, (1 << 53) - 1)] {
        let subscribed = at_bob.request(after(&room, epoch, seq)).await;
        let got = (&subscribed["recovered"], &subscribed["events"], &subscribed["lastSeq"]);
        assert_eq!(got, (&json!(false), &json!([]), &json!(23)), "{epoch} {seq}");
    }
    // Without a place there is nothing to recover.
    let subscribed = at_bob.subscribe(&room).await;
    assert_eq!((subscribed.get("recovered"), &subscribed["events"]), (None, &json!([])));
    let places = [
        json!({"epoch": epoch}),
        json!({"seq": 1}),
        json!({"epoch": epoch, "seq": -1}),
        json!("1"),
        json!({
            "epoch": epoch, "seq": 9_007_199_254_740_992_u64,
        }),
    ];
    for place in places {
        let error = at_bob.request(json!({"action": "subscribe", "roomId": room, "after": place})).await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("after")), "{place}");
    }
}

#[tokio::test]
async fn whoever_missed_much_gets_it_in_parts() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.join(&room).await;
    at_alice.send_many(&room, "c", 310).await;
    let all = at_alice.hear_events(&room, 310).await;
    let mut at_bob = bob.connect().await;
    let epoch = at_bob.subscribe(&room).await["epoch"].clone();
    let mut subscribed = at_bob.request(after(&room, &epoch, 0)).await;
    assert_eq!((&subscribed["recovered"], &subscribed["more"]), (&json!(true), &json!(true)));
    let mut events: Vec<Value> = serde_json::from_value(subscribed["events"].take()).unwrap();
    assert_eq!(events.len(), 300);
    while seq_of(events.last().unwrap()) < subscribed["lastSeq"].as_u64().unwrap() {
        let path = format!("/rooms/{room}/events?after={}&limit=4", seq_of(events.last().unwrap()));
        let page = bob.http.get(&path).await.good(200);
        assert_eq!((&page["epoch"], &page["lastSeq"]), (&epoch, &json!(311)));
        let part = page["events"].as_array().unwrap();
        assert_eq!((part.len(), &page["more"]), (4.min(311 - events.len()), &json!(events.len() + 4 < 311)));
        events.extend(part.iter().cloned());
    }
    assert_dense(&events, 1);
    assert_eq!(events.get(1..).unwrap(), all);
    for query in ["limit=0", "limit=301", "after=-1", "after=x", "after=9007199254740992", "after=1&after=2"] {
        bob.http.get(&format!("/rooms/{room}/events?{query}")).await.refused(400, "invalid_field");
    }
}

/// An answer is at most 96 KiB, however many events were missed.
#[tokio::test]
async fn large_events_are_cut_to_the_answers_size() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.connect().await);
    // The worst text of all: every character six bytes in JSON.
    let content = format!("a{}", "\u{1}".repeat(3_999));
    for number in 0..6 {
        at_alice.send(&room, &format!("c{number}"), &content).await;
    }
    let all = at_alice.hear_events(&room, 6).await;
    assert!(all.iter().all(|event| event["content"] == content));
    let epoch = at_bob.subscribe(&room).await["epoch"].clone();
    let mut subscribed = at_bob.request(after(&room, &epoch, 1)).await;
    assert!(subscribed.to_string().len() <= 98_304);
    let mut events: Vec<Value> = serde_json::from_value(subscribed["events"].take()).unwrap();
    assert_eq!((&subscribed["more"], events.len()), (&json!(true), 4));
    events.extend(bob.events(&room).await.into_iter().skip(1 + events.len()));
    assert_eq!(events, all);
    assert_eq!(bob.messages(&room).await, all);
}

/// Whoever has as many subscriptions as allowed may renew them: that takes no further place.
#[tokio::test]
async fn at_the_limit_subscriptions_are_renewed() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (second, third) = (alice.make_room(&[&bob]).await, alice.make_room(&[&bob]).await);
    let mut at_bob = bob.join(&room).await;
    at_bob.subscribe(&second).await;
    let connection = madang.connection_of(&bob, &room).await;
    madang.add_subscriptions(&connection, 498).await;
    at_bob.subscribe(&room).await;
    let many = |rooms: [&str; 2]| json!({"action": "subscribe", "roomIds": rooms});
    let renewed = at_bob.request(many([&room, &second])).await;
    assert_eq!(renewed["type"], "subscribed", "{renewed}");
    at_bob.refused(json!({"action": "subscribe", "roomId": third}), "limit_reached").await;
    at_bob.refused(many([&room, &third]), "limit_reached").await;
}

#[tokio::test]
async fn many_rooms_are_subscribed_at_once() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let mut rooms = Vec::new();
    for _ in 0..5 {
        rooms.push(alice.make_room(&[&bob]).await);
    }
    let private = alice.make_room(&[]).await;
    let asked: Vec<&str> =
        rooms.iter().map(String::as_str).chain([private.as_str(), "nowhere", rooms[0].as_str()]).collect();
    let mut at_bob = bob.connect().await;
    let answer = at_bob.request(json!({"action": "subscribe", "roomIds": asked})).await;
    let answered = answer["rooms"].as_array().unwrap();
    assert_eq!((answer["type"].as_str(), answered.len()), (Some("subscribed"), 7), "a room named twice counts once");
    for (room, answered) in rooms.iter().zip(answered) {
        let epoch = bob.http.get(&format!("/rooms/{room}")).await.good(200)["epoch"].clone();
        assert_eq!(*answered, json!({"roomId": room, "epoch": epoch, "lastSeq": 1}));
    }
    assert_eq!(answered[5], json!({"roomId": private, "error": "not_member"}));
    assert_eq!(answered[6], json!({"roomId": "nowhere", "error": "room_not_found"}));
    let mut at_alice = alice.connect().await;
    for room in rooms.iter().chain([&private]) {
        at_alice.send(room, "c", "hello").await;
        at_alice.message(room, "c").await;
    }
    for room in &rooms {
        at_bob.message(room, "c").await;
    }
    at_bob.catch_up().await;
    assert!(at_bob.events(&private).is_empty());

    let many: Vec<String> = (0..34).map(|number| format!("room-{number}")).collect();
    for ids in [json!([]), json!(many), json!("x"), json!([5]), json!(["a b"])] {
        let error = at_bob.request(json!({"action": "subscribe", "roomIds": ids})).await;
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_field"), &json!("roomIds")), "{ids}");
    }
}

#[tokio::test]
async fn an_unsubscribed_connection_hears_no_more() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let (left, kept) = (alice.make_room(&[&bob]).await, alice.make_room(&[&bob]).await);
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.connect().await);
    at_bob.request(json!({"action": "subscribe", "roomIds": [left, kept]})).await;
    at_alice.request(json!({"action": "subscribe", "roomIds": [left, kept]})).await;
    at_alice.send(&left, "heard", "one").await;
    at_bob.message(&left, "heard").await;
    let answer = at_bob.request(json!({"action": "unsubscribe", "roomId": left})).await;
    assert_eq!((&answer["type"], &answer["roomIds"]), (&json!("unsubscribed"), &json!([left])));
    // Whatever was posted for the first of these is posted when the second one arrives: a room has one order.
    for id in ["unheard", "fence"] {
        at_alice.send(&left, id, "two").await;
        at_alice.message(&left, id).await;
    }
    at_alice.send(&kept, "heard", "three").await;
    at_bob.message(&kept, "heard").await;
    at_bob.catch_up().await;
    assert_eq!(at_bob.events(&left).len(), 1);
    // Unsubscribing what is not subscribed is as good; and coming back is possible.
    let answer = at_bob.request(json!({"action": "unsubscribe", "roomIds": [left, "nowhere"]})).await;
    assert_eq!(answer["type"], "unsubscribed");
    at_bob.subscribe(&left).await;
    at_alice.send(&left, "again", "four").await;
    at_bob.message(&left, "again").await;
}
