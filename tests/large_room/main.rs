//! The largest room that Madang is measured for: 6,000 members, 3,000 of them connected. A test of its own, since it
//! takes the whole machine.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use serde_json::json;
use tests::deadline::eventually;
use tests::{Client, Runtime};

const MEMBERS: usize = 6_000;
const CONNECTED: usize = 3_000;
/// As many as one invitation takes.
const INVITED_AT_ONCE: usize = 100;
const AT_ONCE: usize = 32;

#[tokio::test]
async fn six_thousand_members_and_three_thousand_connections() {
    let madang = Runtime::start::<&str>(&[]);
    let owner = madang.person("owner").await;
    let room = owner.make_room(&[]).await;
    let mut at_owner = owner.join(&room).await;
    let users: Vec<String> = (1..MEMBERS).map(|number| format!("user-{number:04}")).collect();
    for (round, invited) in (1..).zip(users.chunks(INVITED_AT_ONCE)) {
        at_owner.act(json!({"action": "invite", "roomId": room, "userIds": invited})).await;
        let members = (round * INVITED_AT_ONCE + 1).min(MEMBERS);
        eventually(&format!("{members} members"), async || {
            let view = owner.http.get(&format!("/rooms/{room}")).await.good(200);
            (view["memberCount"] == members).then_some(())
        })
        .await;
    }

    // Everybody stands on exactly one page.
    let (mut listed, mut cursor, mut pages) = (HashSet::new(), String::new(), 0);
    loop {
        let path = format!("/rooms/{room}/members?limit=100{cursor}");
        let page = owner.http.get(&path).await.good(200);
        for member in page["members"].as_array().unwrap() {
            assert!(listed.insert(member["userId"].as_str().unwrap().to_owned()), "{member} twice");
        }
        pages += 1;
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((listed.len(), pages), (MEMBERS, MEMBERS / 100));

    let join = |user: &String| {
        let (madang, room, user) = (&madang, &room, user.clone());
        async move { madang.somebody(&user).await.join(room).await }
    };
    let joining = futures_util::stream::iter(users.iter().take(CONNECTED).map(join));
    let mut clients: Vec<Client> = joining.buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(madang.subscriptions(&room).await.len(), CONNECTED + 1);
    at_owner.send(&room, "to-all", "안녕하세요, 여러분").await;
    let first = at_owner.message(&room, "to-all").await;
    for client in &mut clients {
        assert_eq!(client.message(&room, "to-all").await, first, "{}", client.user);
    }
    // And anybody may answer.
    let speaker = clients.last_mut().unwrap();
    speaker.send(&room, "answer", "hello").await;
    for client in &mut clients {
        client.message(&room, "answer").await;
        assert_eq!(client.events(&room).len(), 2, "{}: each once", client.user);
    }
}
