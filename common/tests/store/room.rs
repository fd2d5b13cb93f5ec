//! Rooms and members.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use common::id::{RoomId, UserId};
use common::record::{Record, RecordBody};
use common::room::Role;
use common::room::commit::Outcome;
use common::store::{Created, RoomBefore};
use futures_util::future::join_all;

use crate::tables::{NOW, Tables, new_room, raw_key, record, seq};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_who_race_get_one_room() {
    let tables = Tables::new().await;
    let racers = (0..20).map(|command| {
        let store = std::sync::Arc::clone(&tables.store);
        tokio::spawn(async move { store.create_room(new_room("room", &["alice", "bob"], command), NOW).await.unwrap() })
    });
    let mut made = 0;
    let mut found = Vec::new();
    for outcome in join_all(racers).await {
        match outcome.unwrap() {
            Created::New => made += 1,
            Created::Before(before) => found.push(*before),
        }
    }
    assert_eq!((made, found.len()), (1, 19));
    let room = "room".parse().unwrap();
    let event = tables.store.events_at(&room, &[seq(1)]).await.unwrap().remove(0);
    for found in &found {
        let expected = RoomBefore { event: event.clone(), is_produced: false };
        assert_eq!(found, &expected, "everybody finds the one that was made");
    }
    assert_eq!(tables.store.members(&room, None, 10).await.unwrap().len(), 2);
    assert_eq!(tables.items("chat").await.len(), 5, "head, event, dedupe item, two members");
}

#[tokio::test]
async fn a_room_is_found_as_it_was_made() {
    let tables = Tables::new().await;
    let room = new_room("room", &["alice", "지민#1"], 7);
    tables.store.create_room(room.clone(), NOW).await.unwrap();
    let id = &room.head.room;
    assert_eq!(tables.store.head(id).await.unwrap().as_ref(), Some(&room.head));
    assert_eq!(tables.store.events_at(id, &[seq(1)]).await.unwrap(), [room.event]);
    let members = tables.store.members(id, None, 10).await.unwrap();
    let roles: Vec<(&str, Role)> = members.iter().map(|member| (member.user.as_str(), member.role)).collect();
    assert_eq!(roles, [("alice", Role::Owner), ("지민#1", Role::Member)]);
    assert!(members.iter().all(|member| member.joined_seq == seq(1) && member.read_seq == seq(1)));
    assert_eq!(tables.store.member(id, &"carol".parse().unwrap()).await.unwrap(), None);
    assert_eq!(tables.store.head(&"other".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_creation_is_noted_once_its_record_is_produced() {
    let tables = Tables::new().await;
    let room = new_room("room", &["alice", "bob"], 7);
    tables.store.create_room(room.clone(), NOW).await.unwrap();
    let again = async || match tables.store.create_room(new_room("room", &["alice"], 8), NOW).await.unwrap() {
        Created::Before(before) => *before,
        Created::New => panic!("a second room"),
    };
    assert_eq!(again().await, RoomBefore { event: room.event.clone(), is_produced: false });
    tables.store.note_produced(&room.event).await.unwrap();
    assert_eq!(again().await, RoomBefore { event: room.event.clone(), is_produced: true });
    assert_eq!(tables.store.events_at(&room.head.room, &[seq(1)]).await.unwrap(), [room.event]);
}

/// DynamoDB removes dedupe items after 21 days: what a room is, and what its creation's record is, stands for good.
#[tokio::test]
async fn a_room_and_its_creation_are_known_without_their_dedupe_item() {
    let tables = Tables::new().await;
    let room = new_room("room", &["alice", "bob"], 7);
    tables.store.create_room(room.clone(), NOW).await.unwrap();
    let command = room.event.command_id;
    tables.remove("chat", ("DEDUPE#room#alice", &command.to_string())).await;
    match tables.store.create_room(new_room("room", &["alice", "bob"], 8), NOW).await.unwrap() {
        Created::Before(before) => assert_eq!(before.event, room.event),
        Created::New => panic!("a second room"),
    }
    let created = record(&room.head.room, 0, "alice", RecordBody::RoomCreated {});
    let of_nobody = created.clone();
    let batch = tables.commit(&room.head.room, vec![Record { id: command, ..created }, of_nobody]).await;
    assert_eq!(batch.outcomes(), [Outcome::Again(seq(1)), Outcome::Impossible]);
}

/// 150 rooms are 300 keys: more than one batch get holds.
#[tokio::test]
async fn a_user_lists_more_rooms_than_one_batch_get_holds() {
    let tables = Tables::new().await;
    for index in 0..150 {
        tables.room(&format!("room-{index}"), &["alice"]).await;
    }
    tables.room("of-others", &["bob"]).await;
    let alice: UserId = "alice".parse().unwrap();
    let rooms = tables.store.rooms_of(&alice).await.unwrap();
    assert_eq!(rooms.len(), 150);
    assert_eq!(tables.store.count_rooms(&alice).await.unwrap(), 150);
    let mut asked = rooms.clone();
    asked.extend(["of-others", "nowhere"].map(|room| room.parse().unwrap()));
    let entries = tables.store.room_list_entries(&alice, &asked).await.unwrap();
    let listed: HashSet<RoomId> = entries.into_iter().map(|entry| entry.head.room).collect();
    assert_eq!(listed, rooms.into_iter().collect());
}

#[tokio::test]
async fn six_thousand_members_come_page_by_page() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["user-00000"]).await;
    let names: Vec<String> = (0..6_000).map(|index| format!("user-{index:05}")).collect();
    for chunk in names.chunks(25) {
        let puts = chunk.iter().map(|name| {
            let mut item = raw_key(("ROOM#room", &format!("MEMBER#{name}")));
            item.insert("role".to_owned(), AttributeValue::S("member".to_owned()));
            item.insert("joinedSeq".to_owned(), AttributeValue::N("1".to_owned()));
            item.insert("readSeq".to_owned(), AttributeValue::N("1".to_owned()));
            item.insert("padding".to_owned(), AttributeValue::S("x".repeat(300)));
            let put = PutRequest::builder().set_item(Some(item)).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        });
        tables.client.batch_write_item().request_items(tables.named("chat"), puts.collect()).send().await.unwrap();
    }
    let mut read: Vec<String> = Vec::new();
    let mut after: Option<UserId> = None;
    loop {
        let page = tables.store.members(&room, after.as_ref(), 700).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.user.clone());
        read.extend(page.into_iter().map(|member| member.user.to_string()));
    }
    assert_eq!(read, names);
    // Over two megabytes in one call: DynamoDB ends its pages at one.
    assert_eq!(tables.store.members(&room, None, 6_000).await.unwrap().len(), 6_000);
}
