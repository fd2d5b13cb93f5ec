//! What a commit reads and writes.

use common::code::ErrorCode;
use common::id::Seq;
use common::limits::{COMMAND_DECIDED_AFTER_MS, REFUSALS_REMEMBERED_MAX};
use common::record::Record;
use common::room::commit::{DedupeWrite, Outcome, RoomBatch, Transaction};
use common::store::{CommandState, StoreError};

use crate::tables::{NOW, Tables, is_condition, new_room, send, seq};

#[tokio::test]
async fn a_moved_head_stops_the_whole_transaction() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    let mut slow = RoomBatch::new(vec![send(&room, 1, "alice", "a", "slow")]);
    slow.loaded(tables.store.room_state(&room, &slow.lookups()).await.unwrap());
    let transaction = slow.next_transaction().unwrap();
    tables.commit(&room, vec![send(&room, 2, "bob", "b", "fast")]).await;
    let before = tables.items("chat").await.len();
    assert!(is_condition(&tables.store.write_commit(&room, &transaction, NOW).await));
    assert_eq!(tables.items("chat").await.len(), before, "not a single item of it stands");

    // From what it finds now, it goes on.
    slow.loaded(tables.store.room_state(&room, &slow.lookups()).await.unwrap());
    let transaction = slow.next_transaction().unwrap();
    tables.store.write_commit(&room, &transaction, NOW).await.unwrap();
    slow.written();
    let events = tables.store.events_after(&room, seq(1), 10).await.unwrap();
    let said: Vec<&str> =
        events.iter().map(|event| event.message().unwrap().content.as_deref().unwrap_or_default()).collect();
    assert_eq!(said, ["fast", "slow"]);
}

#[tokio::test]
async fn what_was_decided_is_read_back() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let records = vec![
        send(&room, 1, "alice", "a", "hello"),
        send(&room, 2, "alice", "a", "hello"),
        send(&room, 3, "alice", "a", "other"),
        send(&room, 4, "mallory", "a", "hello"),
        send(&room, 5, "mallory", "a", "hello"),
    ];
    let first = tables.commit(&room, records.clone()).await;
    let refused = |code| Outcome::Refused(code);
    let rest = [
        Outcome::Duplicate(seq(2)),
        refused(ErrorCode::IdempotencyConflict),
        refused(ErrorCode::NotMember),
        refused(ErrorCode::NotMember),
    ];
    assert!(matches!(&first.outcomes()[0], Outcome::Committed(event) if event.seq == seq(2)));
    assert_eq!(first.outcomes()[1..], rest);

    let again = tables.commit(&room, records.clone()).await;
    assert_eq!(again.outcomes()[0], Outcome::Again(seq(2)));
    assert_eq!(again.outcomes()[1..], rest);
    assert_eq!(again.undelivered_again(), [seq(2)], "nothing says that it was posted");

    let look = async |number: usize, now| {
        let record = &records[number];
        let id = record.body.client_message_id();
        tables.store.command_state(&room, &record.sender, record.id, id, now).await.unwrap()
    };
    assert_eq!(look(0, NOW).await, CommandState::Committed(seq(2)));
    assert_eq!(look(1, NOW).await, CommandState::Pending, "for all that stands there it may yet be refused");
    assert_eq!(look(1, NOW.plus_ms(COMMAND_DECIDED_AFTER_MS)).await, CommandState::Duplicate(seq(2)));
    assert_eq!(look(2, NOW).await, CommandState::Refused(ErrorCode::IdempotencyConflict));
    assert_eq!(look(3, NOW).await, CommandState::Refused(ErrorCode::NotMember));
    assert_eq!(look(4, NOW).await, CommandState::Refused(ErrorCode::NotMember));
    let unknown = send(&room, 9, "alice", "z", "x");
    let id = unknown.body.client_message_id();
    let state = tables.store.command_state(&room, &unknown.sender, unknown.id, id, NOW).await.unwrap();
    assert_eq!(state, CommandState::Pending);
}

/// A refusal rests on the state of the room too: one that comes too late is not written, its writer looks again.
#[tokio::test]
async fn a_late_refusal_does_not_undo_an_acceptance() {
    let tables = Tables::new().await;
    let room = "room".parse().unwrap();
    let record = send(&room, 1, "alice", "a", "hello");
    let mut late = RoomBatch::new(vec![record.clone()]);
    late.loaded(tables.store.room_state(&room, &late.lookups()).await.unwrap());
    let refusal = late.next_transaction().unwrap();
    assert!(matches!(refusal.dedupe[..], [DedupeWrite::Refuse(_, _, ErrorCode::RoomNotFound)]));

    tables.store.create_room(new_room("room", &["alice"], 1), NOW).await.unwrap();
    tables.commit(&room, vec![record.clone()]).await;
    let late = tables.store.write_commit(&room, &refusal, NOW).await;
    assert!(matches!(late, Err(StoreError::Condition(_))), "{late:?}");

    let again = tables.commit(&room, vec![record.clone()]).await;
    assert_eq!(again.outcomes(), [Outcome::Again(seq(2))]);
    let id = record.body.client_message_id();
    let state = tables.store.command_state(&room, &record.sender, record.id, id, NOW).await.unwrap();
    assert_eq!(state, CommandState::Committed(seq(2)));
}

/// The newest were not remembered: they could not be looked up, and a repetition of one was decided anew.
#[tokio::test]
async fn of_many_refusals_the_newest_are_remembered() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    tables.commit(&room, vec![send(&room, 1, "alice", "a", "hello")]).await;
    let last = 2 + REFUSALS_REMEMBERED_MAX as u128;
    let conflicts: Vec<Record> = (2..=last).map(|number| send(&room, number, "alice", "a", "other")).collect();
    tables.commit(&room, conflicts.clone()).await;
    let (alice, later) = ("alice".parse().unwrap(), NOW.plus_ms(COMMAND_DECIDED_AFTER_MS));
    let look = async |number: u128| {
        let record = send(&room, number, "alice", "a", "other");
        tables.store.command_state(&room, &alice, record.id, record.body.client_message_id(), later).await.unwrap()
    };
    assert_eq!(look(2).await, CommandState::Pending, "one too many, and the oldest");
    for number in 3..=last {
        assert_eq!(look(number).await, CommandState::Refused(ErrorCode::IdempotencyConflict), "{number}");
    }
    assert_eq!(look(last + 1).await, CommandState::Duplicate(seq(2)), "had it been refused, that would stand");
    // What is remembered is not written again.
    tables.units();
    tables.commit(&room, conflicts[1..].to_vec()).await;
    assert_eq!(tables.units().write, 0.0);
}

/// The second to write put back what the first had forgotten, in place of what that had remembered.
#[tokio::test]
async fn refusals_of_a_writer_that_came_late_are_decided_anew() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let conflict = |number: u128| send(&room, number, "alice", "a", "other");
    let full = 2 + REFUSALS_REMEMBERED_MAX as u128;
    tables.commit(&room, vec![send(&room, 1, "alice", "a", "hello")]).await;
    tables.commit(&room, (2..full).map(conflict).collect()).await;
    let mut late = RoomBatch::new(vec![conflict(full)]);
    late.loaded(tables.store.room_state(&room, &late.lookups()).await.unwrap());
    let refusal = late.next_transaction().unwrap();
    tables.commit(&room, vec![conflict(full), conflict(full + 1)]).await;
    assert!(is_condition(&tables.store.write_commit(&room, &refusal, NOW).await));

    let (last, later) = (conflict(full + 1), NOW.plus_ms(COMMAND_DECIDED_AFTER_MS));
    let id = last.body.client_message_id();
    let state = tables.store.command_state(&room, &last.sender, last.id, id, later).await.unwrap();
    assert_eq!(state, CommandState::Refused(ErrorCode::IdempotencyConflict));
}

/// 150 senders are 300 keys: more than one batch get holds, and more than one transaction.
#[tokio::test]
async fn a_batch_may_need_more_keys_than_one_batch_get_holds() {
    let tables = Tables::new().await;
    let senders: Vec<String> = (0..80).map(|index| format!("user-{index}")).collect();
    let room = tables.room("room", &senders.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let record = |index: u128, sender: &str| send(&room, index, sender, &format!("m-{index}"), "hello");
    let mut records: Vec<_> = senders.iter().zip(0..).map(|(sender, index)| record(index, sender)).collect();
    records.extend((0..70).map(|index| record(1_000 + index, &format!("stranger-{index}"))));
    let batch = tables.commit(&room, records.clone()).await;
    let committed = batch.outcomes().iter().filter(|outcome| matches!(outcome, Outcome::Committed(_))).count();
    let refused = batch.outcomes().iter().filter(|outcome| matches!(outcome, Outcome::Refused(_))).count();
    assert_eq!((committed, refused), (80, 70));
    let again = tables.commit(&room, records).await;
    let again = again.outcomes().iter().filter(|outcome| matches!(outcome, Outcome::Again(_))).count();
    assert_eq!(again, 80);
}

/// Sixteen megabytes is what one batch get answers; the rest comes back as unprocessed.
#[tokio::test]
async fn unprocessed_keys_are_asked_for_again() {
    use aws_sdk_dynamodb::types::AttributeValue;
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let records = (0..99).map(|number| send(&room, number, "alice", &format!("m-{number}"), "x"));
    tables.commit(&room, records.collect()).await;
    let padding = AttributeValue::S("x".repeat(250_000));
    for number in 2..=100 {
        let key = format!("EVENT#{number:020}");
        tables.change("chat", ("ROOM#room", &key), "padding", padding.clone()).await;
    }
    let seqs: Vec<_> = (1..=100).map(seq).collect();
    let events = tables.store.events_at(&room, &seqs).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), seqs);
}

#[tokio::test]
async fn delivered_only_rises_and_never_above_the_log() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let records = (0..4).map(|number| send(&room, number, "alice", &format!("m-{number}"), "x"));
    tables.commit(&room, records.collect()).await;
    let delivered = async || tables.store.head(&room).await.unwrap().unwrap().delivered_seq;
    assert_eq!(delivered().await, seq(1), "a commit marks what stood there when it began");
    for (mark, expected) in [(3, 3), (2, 3), (6, 3), (5, 5), (0, 5)] {
        tables.store.mark_delivered(&room, seq(mark)).await.unwrap();
        assert_eq!(delivered().await, seq(expected), "{mark}");
    }
    tables.store.mark_delivered(&"nowhere".parse().unwrap(), seq(1)).await.unwrap();
    assert!(tables.store.head(&"nowhere".parse().unwrap()).await.unwrap().is_none(), "it makes no room");
}

/// 49 messages are the most that one transaction takes: 99 items.
#[tokio::test]
async fn the_largest_transactions_are_taken() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let content = "\u{10ffff}".repeat(4_000);
    let records = (0..120).map(|number| send(&room, number, "alice", &format!("m-{number}"), &content));
    let mut batch = RoomBatch::new(records.collect());
    batch.loaded(tables.store.room_state(&room, &batch.lookups()).await.unwrap());
    let mut sizes = Vec::new();
    while let Some(transaction) = batch.next_transaction() {
        let Transaction { events, .. } = &transaction;
        sizes.push(events.len());
        tables.store.write_commit(&room, &transaction, NOW).await.unwrap();
        batch.written();
    }
    assert_eq!(sizes, [49, 49, 22]);
    let written: Vec<Seq> = (2..=121).map(seq).collect();
    assert_eq!(tables.store.events_at(&room, &written).await.unwrap().len(), 120);
}
