//! What each call costs in DynamoDB units, as the API itself reports them. The numbers are the same on every machine.
//!
//! A batch of `k` messages of one room from `s` senders, each message's item within 1 KB, and `u` read units for the
//! room's subscriptions (4 KB each: 37 subscriptions of ordinary ids):
//!
//! | batch | write units | read units | per message |
//! |---|---|---|---|
//! | k = 1, s = 1, u = 1 | 6 | 4 | 6 and 4 |
//! | k = 2, s = 1, u = 1 | 10 | 5 | 5 and 2.5 |
//! | k = 10, s = 10, u = 1 | 42 | 22 | 4.2 and 2.2 |
//! | k = 49, s = 10, u = 2 | 198 | 62 | 4.04 and 1.27 |
//! | k = 100, s = 60, u = 2 | 406 | 163 | 4.06 and 1.63 |
//! | any | 4k + 2⌈k / 49⌉ | k + 1 + s + u | 4 + 2⌈k / 49⌉ / k and 1 + (1 + s + u) / k |
//!
//! One transaction holds 49 messages (99 items), so a batch of more writes the head more than once: 0.04 units a message.
//! At ingress a message reads its connection and its membership: 2 units, or 1 where a cache knows the membership.
//!
//! | call | write units | read units |
//! |---|---|---|
//! | a room of m members; that its record is produced | 6 + 3m; 1 | 0 |
//! | connect; as one session too many | 6; 9 | 1 |
//! | `auth` of a pending connection | 7 | 1 |
//! | connect without a token | 3 | 0 |
//! | subscribe to one room | 8 | 1 for the membership |
//! | the same token once more; a later one with n subscriptions | 4; 6 + 2n | 3 |
//! | disconnect with n subscriptions | 5 + 2n | 4 |
//! | disconnect once more | 0 | 1 |
//! | a refusal; the same once more | 4; 0 | 3 |
//! | an invitation of one, a kick, an edit, a deletion, a role, a new name, leaving with a successor, alone in its batch: the commit | 9, 9, 8, 8, 8, 6, 11 | 4, a new name 3 |
//! | markers of one member of a room in a batch, however many | 1 | 1 for the head |
//! | their receipts: the reader's sessions and, in a small room, its subscriptions | 0 | 1 + u |
//! | `GET /rooms`, per room of the user | 0 | 1 |
//! | and per room of the page: last message and membership | 0 | 2, or 1 where nothing was said |
//! | and where something is unread: the events behind the marker, 100 at first | 0 | ⌈bytes / 4 KB⌉ |

use common::auth::Principal;
use common::codec::Dialect;
use common::id::{ConnectionId, RoomId};
use common::record::{Record, RecordBody};
use common::room::Role;
use common::room::commit::Outcome;
use common::store::{Connection, ConnectionState};

use crate::reading::marker;
use crate::tables::{HOUR_MS, NOW, Tables, Units, live, new_room, record, send, seq};

fn units(write: u32, read: u32) -> Units {
    Units { read: read.into(), write: write.into() }
}

/// As many messages from as many senders, with ids as long as clients give them.
fn messages(room: &RoomId, first: u128, count: u128, senders: u128) -> Vec<Record> {
    let record = |number: u128| {
        let (sender, id) = (format!("user-{:03}", number % senders), format!("{number:036}"));
        send(room, first + number, &sender, &format!("{id}-{first}"), &"x".repeat(400))
    };
    (0..count).map(record).collect()
}

async fn room_of_sixty(tables: &Tables) -> RoomId {
    let users: Vec<String> = (0..60).map(|index| format!("user-{index:03}")).collect();
    let room = tables.room("g-0123456789abcdefghijkl", &users.iter().map(String::as_str).collect::<Vec<_>>()).await;
    tables.units();
    room
}

#[tokio::test]
async fn a_batch_of_messages_costs_what_the_design_allows() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    let batches = [(1, 1), (2, 1), (10, 10), (49, 10), (50, 10), (98, 20), (100, 60)];
    for (first, (count, senders)) in (1_u128..).map(|round| round * 1_000).zip(batches) {
        tables.commit(&room, messages(&room, first, count, senders)).await;
        let (count, senders) = (u32::try_from(count).unwrap(), u32::try_from(senders).unwrap());
        let expected = units(4 * count + 2 * count.div_ceil(49), count + 1 + senders);
        assert_eq!(tables.units(), expected, "{count} messages from {senders}");
        // The design: 4 + 2/k write units, up to one transaction.
        assert!(count > 49 || expected.write <= f64::from(4 * count + 2));
    }
}

#[tokio::test]
async fn a_change_of_a_room_costs_what_it_touches() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    tables.commit(&room, messages(&room, 1, 1, 1)).await;
    tables.units();
    let user_id = || "user-059".parse().unwrap();
    let message_id = || "epoch-1.2".parse().unwrap();
    let content = || "y".repeat(400).try_into().unwrap();
    let steps = [
        (RecordBody::Invite { user_id: "user-060".parse().unwrap() }, units(9, 4)),
        (RecordBody::ChangeRole { user_id: user_id(), role: Role::Admin }, units(8, 4)),
        (RecordBody::Kick { user_id: user_id() }, units(9, 4)),
        (RecordBody::Rename { name: "yard".to_owned().try_into().unwrap() }, units(6, 3)),
        (RecordBody::Edit { message_id: message_id(), content: content() }, units(8, 4)),
        (RecordBody::Delete { message_id: message_id() }, units(8, 4)),
        (RecordBody::Leave { successor: Some("user-001".parse().unwrap()) }, units(11, 4)),
    ];
    for (number, (body, expected)) in (100..).zip(steps) {
        let batch = tables.commit(&room, vec![record(&room, number, "user-000", body)]).await;
        assert!(matches!(batch.outcomes(), [Outcome::Committed(_)]), "{:?}", batch.outcomes());
        assert_eq!(tables.units(), expected, "{:?}", batch.records());
    }
}

#[tokio::test]
async fn a_message_of_the_second_kilobyte_costs_two_units_more() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    let mut written = Vec::new();
    for (number, bytes) in [(1, 600), (2, 1_000), (3, 1_700)] {
        let id = format!("{number:036}");
        tables.commit(&room, vec![send(&room, number, "user-000", &id, &"x".repeat(bytes))]).await;
        written.push(tables.units().write);
    }
    assert_eq!(written, [6.0, 8.0, 8.0]);
}

#[tokio::test]
async fn a_fan_out_reads_its_subscriptions_by_four_kilobytes() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    let mut read = Vec::new();
    for index in 0..60 {
        let user = format!("user-{index:03}");
        let (connection, principal) = tables.connect(&format!("TXzPWdnOjoECG{index:02}="), &user).await;
        tables.subscribe(&connection, &principal, std::slice::from_ref(&room)).await;
        tables.units();
        tables.store.room_subscriptions(&room, NOW).await.unwrap();
        read.push(tables.units());
    }
    assert!(read[..37].iter().all(|cost| *cost == units(0, 1)), "37 rows in one unit: {read:?}");
    assert!(read[37..].iter().all(|cost| *cost == units(0, 2)), "then another: {read:?}");
}

#[tokio::test]
async fn a_message_at_the_door_costs_two_reads() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    let (connection, principal) = tables.connect("c1=", "user-001").await;
    tables.units();
    tables.store.connection(&connection, NOW).await.unwrap();
    tables.store.member(&room, &principal.user).await.unwrap();
    assert_eq!(tables.units(), units(0, 2));
}

#[tokio::test]
async fn rooms_connections_and_subscriptions_cost_what_they_touch() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    assert_eq!(tables.units(), units(12, 0), "a room of two, each also in the index");
    tables.store.note_produced(&new_room("room", &["alice", "bob"], 1).event).await.unwrap();
    assert_eq!(tables.units(), units(1, 0), "that its record is produced");
    let (connection, alice) = tables.connect("c1=", "alice").await;
    assert_eq!(tables.units(), units(6, 1), "connect");
    tables.subscribe(&connection, &alice, std::slice::from_ref(&room)).await;
    assert_eq!(tables.units(), units(8, 1), "subscribe");
    tables.store.authenticate(&live(&connection, &alice), &Dialect::Json, &alice, NOW).await.unwrap();
    assert_eq!(tables.units(), units(4, 3), "the same token once more");
    let fresh = Principal { expires_at: alice.expires_at.plus_ms(1), ..alice.clone() };
    tables.store.authenticate(&live(&connection, &alice), &Dialect::Json, &fresh, NOW).await.unwrap();
    assert_eq!(tables.units(), units(8, 3), "refresh that moves the connection's end");
    tables.store.remove_connection(&connection, NOW).await.unwrap();
    assert_eq!(tables.units(), units(7, 4), "disconnect");
    tables.store.remove_connection(&connection, NOW).await.unwrap();
    assert_eq!(tables.units(), units(0, 1), "disconnect once more");

    let id: ConnectionId = "c2=".parse().unwrap();
    let pending =
        Connection { id, connected_at: NOW.plus_ms(-HOUR_MS), dialect: Dialect::Json, state: ConnectionState::Pending };
    tables.store.put_connection(&pending, NOW).await.unwrap();
    assert_eq!(tables.units(), units(3, 0), "pending");
    tables.store.authenticate(&pending, &Dialect::Json, &alice, NOW).await.unwrap();
    assert_eq!(tables.units(), units(7, 1), "auth");
    for index in 3..=6 {
        tables.connect(&format!("c{index}="), "alice").await;
    }
    tables.units();
    tables.connect("c7=", "alice").await;
    assert_eq!(tables.units(), units(9, 1), "connect as one too many");
}

#[tokio::test]
async fn a_refusal_is_written_once() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    let stranger = send(&room, 1, "mallory", "m", "let me in");
    tables.commit(&room, vec![stranger.clone()]).await;
    assert_eq!(tables.units(), units(4, 3), "itself, and the check that the room stands still");
    tables.commit(&room, vec![stranger]).await;
    assert_eq!(tables.units(), units(0, 3));
}

#[tokio::test]
async fn a_conflict_is_written_once_and_a_repetition_never() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    let say = |number, content: &str| vec![send(&room, number, "user-001", "m", content)];
    tables.commit(&room, say(1, "hello")).await;
    tables.units();
    tables.commit(&room, say(2, "hello")).await;
    assert_eq!(tables.units(), units(0, 3), "a repetition");
    for expected in [units(4, 3), units(0, 3)] {
        tables.commit(&room, say(3, "other")).await;
        assert_eq!(tables.units(), expected, "a conflict");
    }
}

#[tokio::test]
async fn a_marker_is_one_write() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    tables.commit(&room, messages(&room, 1, 10, 10)).await;
    tables.units();
    let head = tables.store.head(&room).await.unwrap().unwrap();
    let marker = marker(&room, 1, "user-001", 99);
    tables.store.move_marker(&marker, marker.seq.min(head.last_seq)).await.unwrap();
    assert_eq!(tables.units(), units(1, 1));
    tables.store.live_connections(std::slice::from_ref(&marker.user_id), NOW).await.unwrap();
    assert_eq!(tables.units(), units(0, 1));
}

#[tokio::test]
async fn a_room_list_costs_little_per_room() {
    let tables = Tables::new().await;
    let alice = "alice".parse().unwrap();
    let mut rooms = Vec::new();
    for index in 0..10 {
        let room = tables.room(&format!("room-{index}"), &["alice", "bob"]).await;
        if index > 0 {
            tables.commit(&room, vec![send(&room, 1, "bob", "m", "hello")]).await;
        }
        rooms.push(room);
    }
    tables.units();
    let heads = tables.store.heads(&rooms).await.unwrap();
    assert_eq!(tables.units(), units(0, 10), "every room's head");
    tables.store.room_previews(&alice, &heads).await.unwrap();
    assert_eq!(tables.units(), units(0, 9 + 10 + 9), "last messages, memberships, and a little unread in nine");
    for (number, room) in (1..).zip(&rooms) {
        tables.store.move_marker(&marker(room, number, "alice", 2), seq(2)).await.unwrap();
    }
    tables.units();
    tables.store.room_previews(&alice, &heads).await.unwrap();
    assert_eq!(tables.units(), units(0, 9 + 10), "nothing is counted where all is read");
}

/// A message of 400 bytes weighs half a kilobyte and a little.
#[tokio::test]
async fn unread_reads_what_stands_behind_the_marker() {
    let tables = Tables::new().await;
    let room = room_of_sixty(&tables).await;
    for round in 0..4 {
        tables.commit(&room, messages(&room, 1 + round * 100, 100, 50)).await;
    }
    tables.units();
    let mut read = Vec::new();
    for behind in [0, 1, 5, 50, 99, 400] {
        tables.store.unread(&room, &"user-059".parse().unwrap(), seq(401 - behind), seq(401)).await.unwrap();
        read.push(tables.units().read);
    }
    assert_eq!(read, [0.0, 1.0, 1.0, 8.0, 15.0, 15.0], "never more than the first hundred when they are all unread");
}
