//! Pages of a room's log.

use common::code::ErrorCode;
use common::command::{HistoryPage, HistoryStart};
use common::cursor::Cursors;
use common::history;
use common::id::{RoomId, Seq, UserId};
use common::room::event::{EventBody, RoomEvent};

use crate::log::{Log, Said};
use crate::tables::{Tables, send, seq};

const MESSAGES: u64 = 2_600;
/// Long enough that a thousand messages are more than one page of DynamoDB, which ends at a megabyte.
const CONTENT_BYTES: usize = 900;

async fn long_room(tables: &Tables) -> RoomId {
    let room = tables.room("room", &["alice"]).await;
    let content = "x".repeat(CONTENT_BYTES);
    let records =
        (0..u128::from(MESSAGES)).map(|number| send(&room, number, "alice", &format!("m-{number}"), &content));
    let batch = tables.commit(&room, records.collect()).await;
    assert_eq!(batch.head().unwrap().last_seq, seq(MESSAGES + 1));
    room
}

fn numbers(events: &[RoomEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq.get()).collect()
}

/// Everything, call after call from where the one before ended.
async fn whole(read_on: impl AsyncFn(Option<Seq>) -> Vec<RoomEvent>) -> Vec<u64> {
    let mut all: Vec<RoomEvent> = Vec::new();
    loop {
        let more = read_on(all.last().map(|event| event.seq)).await;
        if more.is_empty() {
            return numbers(&all);
        }
        all.extend(more);
    }
}

#[tokio::test]
async fn a_long_log_is_read_both_ways() {
    let tables = Tables::new().await;
    let room = long_room(&tables).await;
    let store = &tables.store;
    let newest_first: Vec<u64> = (2..=MESSAGES + 1).rev().collect();
    let oldest_first: Vec<u64> = (2..=MESSAGES + 1).collect();

    let backwards = async |last| store.messages_before(&room, last, 5_000).await.unwrap();
    assert_eq!(whole(backwards).await, newest_first);
    let forwards =
        async |last: Option<Seq>| store.messages_after(&room, last.unwrap_or(Seq::ZERO), 5_000).await.unwrap();
    assert_eq!(whole(forwards).await, oldest_first);
    let events = async |last: Option<Seq>| store.events_after(&room, last.unwrap_or(Seq::ZERO), 5_000).await.unwrap();
    assert_eq!(whole(events).await, (1..=MESSAGES + 1).collect::<Vec<u64>>());
    // What one answer has no place for is not read on for: one of DynamoDB's pages of a megabyte at most.
    tables.units();
    assert!(!backwards(None).await.is_empty());
    assert!(tables.units().read <= 256.0);

    // Bounds are exclusive, and the ends of the log are no error.
    assert_eq!(numbers(&store.messages_before(&room, Some(seq(5)), 2).await.unwrap()), [4, 3]);
    assert_eq!(numbers(&store.messages_before(&room, Some(seq(3)), 9).await.unwrap()), [2]);
    assert_eq!(numbers(&store.messages_after(&room, seq(2_598), 9).await.unwrap()), [2_599, 2_600, 2_601]);
    for empty in [Some(Seq::ZERO), Some(seq(1)), Some(seq(2))] {
        assert!(store.messages_before(&room, empty, 9).await.unwrap().is_empty());
    }
    for empty in [2_601, 2_602, (1 << 53) - 1] {
        assert!(store.messages_after(&room, seq(empty), 9).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn cursors_walk_a_long_log_to_its_end_both_ways() {
    let tables = Tables::new().await;
    let room = long_room(&tables).await;
    let alice: UserId = "alice".parse().unwrap();
    let cursors = Cursors::new(&[7; 32]);
    for (start, expected) in [
        (HistoryStart::Newest, (2..=MESSAGES + 1).rev().collect::<Vec<u64>>()),
        (HistoryStart::Before(seq(1_500)), (2..1_500).rev().collect()),
        (HistoryStart::After(seq(1_000)), (1_001..=MESSAGES + 1).collect()),
    ] {
        let mut read = Vec::new();
        let mut next = Some(start);
        while let Some(start) = next.take() {
            let page = HistoryPage { start, limit: 100 };
            let (messages, cursor) = history::messages(&tables.store, &cursors, &room, &alice, page).await.unwrap();
            assert!(!messages.is_empty(), "a page with a cursor before it is not empty");
            read.extend(numbers(&messages));
            next = cursor.map(HistoryStart::Cursor);
        }
        assert_eq!(read, expected);
    }
    let (last, more) = history::events_after(&tables.store, &room, seq(2_500), 300).await.unwrap();
    assert_eq!((last.len(), more), (88, true), "an answer ends at its limit in bytes");
    let page = HistoryPage { start: HistoryStart::Newest, limit: 10 };
    assert!(history::messages(&tables.store, &cursors, &room, &"mallory".parse().unwrap(), page).await.is_err());
}

/// A message of a page, as [`Log`] says it.
fn said(event: &RoomEvent) -> (u64, Said) {
    let message = event.message().unwrap();
    let said = Said {
        sender: event.sender.to_string(),
        content: message.content.clone(),
        is_edited: message.edited_at.is_some(),
    };
    (event.seq.get(), said)
}

/// A filter that emptied a page ended the reading elsewhere: aws-samples/generative-ai-use-cases #1678,
/// nayaverdier/dyntastic #7 (case 26).
#[tokio::test]
async fn every_message_comes_once_in_order_whatever_else_stands_in_the_log() {
    let tables = Tables::new().await;
    let bob: UserId = "bob".parse().unwrap();
    let cursors = Cursors::new(&[7; 32]);
    let mut log = Log::of_two(&tables, 11).await;
    log.live_on(&tables, 200).await;
    log.rename_often(&tables, 700).await;
    log.live_on(&tables, 80).await;
    log.rename_often(&tables, 60).await;
    let oldest_first: Vec<(u64, Said)> = log.messages.iter().map(|(seq, said)| (*seq, said.clone())).collect();
    let newest_first: Vec<(u64, Said)> = oldest_first.iter().rev().cloned().collect();
    assert!(oldest_first.iter().any(|(_, said)| said.content.is_none()), "some are deleted");
    assert!(oldest_first.iter().any(|(_, said)| said.is_edited), "some are edited");
    for limit in [1, 2, 7, 100] {
        for (start, expected) in [
            (HistoryStart::Newest, &newest_first),
            (HistoryStart::Before(seq(log.last_seq + 1)), &newest_first),
            (HistoryStart::After(Seq::ZERO), &oldest_first),
        ] {
            let (mut read, mut next, mut pages) = (Vec::new(), Some(start), 0);
            while let Some(start) = next.take() {
                let page = HistoryPage { start, limit };
                let (messages, cursor) =
                    history::messages(&tables.store, &cursors, &log.room, &bob, page).await.unwrap();
                assert!(messages.len() == limit || cursor.is_none(), "only the last page is short");
                read.extend(messages.iter().map(said));
                next = cursor.map(HistoryStart::Cursor);
                pages += 1;
            }
            assert_eq!((&read, pages), (expected, expected.len().div_ceil(limit)), "by {limit}");
        }
    }
}

#[tokio::test]
async fn every_event_comes_once_in_order() {
    let tables = Tables::new().await;
    let mut log = Log::of_two(&tables, 12).await;
    log.live_on(&tables, 240).await;
    let all: Vec<u64> = (1..=log.last_seq).collect();
    for limit in [1, 2, 7, 100, 300] {
        let (mut read, mut after) = (Vec::new(), Seq::ZERO);
        loop {
            let (events, more) = history::events_after(&tables.store, &log.room, after, limit).await.unwrap();
            assert_eq!(events.len(), limit.min(all.len() - read.len()));
            after = events.last().unwrap().seq;
            for event in &events {
                // An edit says what its message says now.
                let Some(target) = event.edited_seq() else { continue };
                let EventBody::MessageEdited { content, .. } = &event.body else { continue };
                assert_eq!(*content, log.messages[&target.get()].content);
            }
            read.extend(numbers(&events));
            if !more {
                break;
            }
        }
        assert_eq!(read, all, "by {limit}");
    }
}

/// A cursor is of one list and one user.
#[tokio::test]
async fn a_cursor_of_another_is_refused() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    let other = tables.room("other", &["alice", "bob"]).await;
    for room in [&room, &other] {
        tables
            .commit(room, (0..3).map(|number| send(room, number, "alice", &format!("m-{number}"), "x")).collect())
            .await;
    }
    let cursors = Cursors::new(&[7; 32]);
    let page = async |room: &RoomId, user: &str, start| {
        let page = HistoryPage { start, limit: 1 };
        history::messages(&tables.store, &cursors, room, &user.parse().unwrap(), page).await
    };
    let (_, cursor) = page(&room, "alice", HistoryStart::Newest).await.unwrap();
    let cursor = HistoryStart::Cursor(cursor.unwrap());
    assert_eq!(numbers(&page(&room, "alice", cursor.clone()).await.unwrap().0), [3]);
    for (room, user) in [(&room, "bob"), (&other, "alice")] {
        let refusal = page(room, user, cursor.clone()).await.unwrap_err().answer();
        assert_eq!(refusal.code, ErrorCode::BadCursor);
    }
}
