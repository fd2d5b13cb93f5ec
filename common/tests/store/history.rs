//! Pages of a room's log.

use common::command::{HistoryPage, HistoryStart};
use common::cursor::Cursors;
use common::history;
use common::id::{RoomId, Seq, UserId};
use common::room::event::RoomEvent;

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

#[tokio::test]
async fn a_long_log_is_read_both_ways() {
    let tables = Tables::new().await;
    let room = long_room(&tables).await;
    let store = &tables.store;
    let newest_first: Vec<u64> = (2..=MESSAGES + 1).rev().collect();
    let oldest_first: Vec<u64> = (2..=MESSAGES + 1).collect();

    // In one call, over several of DynamoDB's pages.
    assert_eq!(numbers(&store.messages_before(&room, None, 5_000).await.unwrap()), newest_first);
    assert_eq!(numbers(&store.messages_after(&room, Seq::ZERO, 5_000).await.unwrap()), oldest_first);
    let all: Vec<u64> = (1..=MESSAGES + 1).collect();
    assert_eq!(numbers(&store.events_after(&room, Seq::ZERO, 5_000).await.unwrap()), all);

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
