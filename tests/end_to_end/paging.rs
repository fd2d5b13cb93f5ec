//! Lists, page by page: each row once, in order, whatever stands between the rows.

use serde_json::{Value, json};
use tests::person::seq_of;
use tests::runtime::unique;
use tests::{Client, Runtime};

#[tokio::test]
async fn six_thousand_members_come_once_in_order() {
    let madang = Runtime::shared().await;
    let (alice, bob) = (madang.person("alice").await, madang.person("bob").await);
    let room = alice.make_room(&[&bob]).await;
    let mut names: Vec<String> = (0..5_998).map(|number| format!("member-{number}")).collect();
    madang.add_members(&room, &names).await;
    names.extend([alice.id.clone(), bob.id.clone()]);
    names.sort_unstable();
    let path = format!("/rooms/{room}/members");
    let (mut read, mut query) = (Vec::new(), "limit=100".to_owned());
    loop {
        let page = bob.http.get(&format!("{path}?{query}")).await.good(200);
        let members = page["members"].as_array().unwrap();
        assert_eq!(members.len(), 100);
        read.extend(members.iter().map(|member| member["userId"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["cursor"].as_str() else { break };
        // Of this list and this user, and whole.
        if read.len() == 100 {
            alice.http.get(&format!("{path}?cursor={cursor}")).await.refused(400, "bad_cursor");
            bob.http.get(&format!("/rooms/{room}/messages?cursor={cursor}")).await.refused(400, "bad_cursor");
            bob.http.get(&format!("{path}?cursor={cursor}A")).await.refused(400, "bad_cursor");
        }
        query = format!("limit=100&cursor={cursor}");
    }
    assert_eq!(read, names);
}

/// Every message of a room over a socket, page by page.
async fn walk(client: &mut Client, room: &str, limit: usize, start: Value) -> Vec<Value> {
    let mut frame = json!({"action": "history", "roomId": room, "limit": limit});
    frame.as_object_mut().unwrap().extend(start.as_object().unwrap().clone());
    let mut messages = Vec::new();
    loop {
        let page = client.request(frame).await;
        let page_messages = page["messages"].as_array().unwrap();
        messages.extend(page_messages.iter().cloned());
        let Some(cursor) = page["cursor"].as_str() else { return messages };
        assert_eq!(page_messages.len(), limit, "only the last page is short");
        frame = json!({"action": "history", "roomId": room, "limit": limit, "cursor": cursor});
    }
}

/// A filter that emptied a page ended the reading elsewhere: aws-samples/generative-ai-use-cases #1678 (case 26).
#[tokio::test]
async fn messages_come_once_in_order_among_much_else() {
    let madang = Runtime::shared().await;
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let mut expected = Vec::new();
    for round in 0..6 {
        let id = format!("c{round}");
        at_bob.send(&room, &id, "hello").await;
        let message = at_bob.message(&room, &id).await;
        expected.push((seq_of(&message), round % 3));
        for number in 0..round {
            let name = format!("name {round} {number}");
            at_alice.act(json!({"action": "rename", "roomId": room, "name": name})).await;
        }
        at_alice.act(json!({"action": "invite", "roomId": room, "userIds": [unique("guest")]})).await;
        let message = &message["messageId"];
        match round % 3 {
            1 => at_bob.act(json!({"action": "edit", "roomId": room, "messageId": message, "content": "bye"})).await,
            2 => at_alice.act(json!({"action": "delete", "roomId": room, "messageId": message})).await,
            _ => Value::Null,
        };
    }
    at_alice.hear_events(&room, 6 + 15 + 6 + 4).await;
    let said = |message: &Value| {
        let (is_edited, is_deleted) = (message.get("editedAt").is_some(), message["deleted"] == true);
        assert_eq!(message.get("content").is_none(), is_deleted, "{message}");
        (seq_of(message), usize::from(is_edited) + 2 * usize::from(is_deleted))
    };
    for limit in [1, 2, 7, 100] {
        let forwards = walk(&mut at_bob, &room, limit, json!({"after": 0})).await;
        assert_eq!(forwards.iter().map(said).collect::<Vec<_>>(), expected, "forwards by {limit}");
        let mut backwards = walk(&mut at_bob, &room, limit, json!({})).await;
        backwards.reverse();
        assert_eq!(backwards, forwards, "backwards by {limit}");
    }
    let (events, mut paged) = (alice.events(&room).await, Vec::new());
    loop {
        let after = paged.last().map_or(0, seq_of);
        let page = alice.http.get(&format!("/rooms/{room}/events?after={after}&limit=7")).await.good(200);
        paged.extend(page["events"].as_array().unwrap().iter().cloned());
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(paged, events);
}
