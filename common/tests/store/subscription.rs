//! Subscriptions: on which conditions they are written, moved and removed.

use aws_sdk_dynamodb::types::AttributeValue;
use common::auth::Principal;
use common::codec::Dialect;
use common::id::RoomId;
use common::room::Member;
use common::store::{RoomSubscription, RoomSubscriptions, SubscribeError};

use crate::tables::{HOUR_MS, NOW, Tables, json_terms, live, seq};

async fn membership(tables: &Tables, room: &RoomId, user: &str) -> (RoomId, Member) {
    (room.clone(), tables.store.member(room, &user.parse().unwrap()).await.unwrap().unwrap())
}

async fn subscriptions(tables: &Tables, room: &RoomId) -> Vec<RoomSubscription> {
    tables.store.room_subscriptions(room, NOW).await.unwrap()
}

#[tokio::test]
async fn a_subscription_rests_on_its_membership() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    let other = tables.room("other", &["alice"]).await;
    let (connection, alice) = tables.connect("c1=", "alice").await;
    let memberships = [membership(&tables, &room, "alice").await, membership(&tables, &other, "alice").await];
    let store = &tables.store;

    tables.change("chat", ("ROOM#room", "MEMBER#alice"), "joinedSeq", number(9)).await;
    let outcome = store.subscribe(&connection, &alice, &memberships, &json_terms(), NOW).await;
    assert!(matches!(outcome, Err(SubscribeError::Membership)), "it is another membership now: {outcome:?}");
    tables.remove("chat", ("ROOM#room", "MEMBER#alice")).await;
    let outcome = store.subscribe(&connection, &alice, &memberships, &json_terms(), NOW).await;
    assert!(matches!(outcome, Err(SubscribeError::Membership)), "there is none: {outcome:?}");
    assert_eq!(store.connection_subscriptions(&connection).await.unwrap().len(), 0, "all rooms or none");

    store.subscribe(&connection, &alice, &memberships[1..], &json_terms(), NOW).await.unwrap();
    let expected = RoomSubscription {
        connection: connection.clone(),
        user: alice.user.clone(),
        joined_seq: seq(1),
        terms: json_terms(),
        lagged_seq: None,
    };
    assert_eq!(subscriptions(&tables, &other).await, [expected]);
    assert!(subscriptions(&tables, &room).await.is_empty());
}

#[tokio::test]
async fn a_subscription_rests_on_its_connection() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let (connection, alice) = tables.connect("c1=", "alice").await;
    let memberships = [membership(&tables, &room, "alice").await];
    let store = &tables.store;

    let refreshed = Principal { expires_at: NOW.plus_ms(2 * HOUR_MS), ..alice.clone() };
    store.authenticate(&live(&connection, &alice), &Dialect::Json, &refreshed, NOW).await.unwrap();
    let outcome = store.subscribe(&connection, &alice, &memberships, &json_terms(), NOW).await;
    assert!(matches!(outcome, Err(SubscribeError::Connection)), "its token is another one now: {outcome:?}");
    store.subscribe(&connection, &refreshed, &memberships, &json_terms(), NOW).await.unwrap();

    store.remove_connection(&connection, NOW).await.unwrap();
    let outcome = store.subscribe(&connection, &refreshed, &memberships, &json_terms(), NOW).await;
    assert!(matches!(outcome, Err(SubscribeError::Connection)), "it is gone: {outcome:?}");
    tables.remove("chat", ("ROOM#room", "MEMBER#alice")).await;
    let outcome = store.subscribe(&connection, &refreshed, &memberships, &json_terms(), NOW).await;
    assert!(matches!(outcome, Err(SubscribeError::Connection)), "both are gone: {outcome:?}");
    assert!(subscriptions(&tables, &room).await.is_empty());
}

#[tokio::test]
async fn as_many_rooms_as_a_frame_names_fit_one_transaction() {
    let tables = Tables::new().await;
    let (connection, alice) = tables.connect("c1=", "alice").await;
    let mut rooms = Vec::new();
    for index in 0..common::limits::SUBSCRIBE_MAX_ROOMS {
        rooms.push(tables.room(&format!("room-{index}"), &["alice"]).await);
    }
    tables.store.subscribe(&connection, &alice, &[], &json_terms(), NOW).await.unwrap();
    tables.subscribe(&connection, &alice, &rooms).await;
    tables.subscribe(&connection, &alice, &rooms).await;
    assert_eq!(tables.store.connection_subscriptions(&connection).await.unwrap().len(), rooms.len());
    tables.store.unsubscribe(&connection, &rooms[..20], NOW).await.unwrap();
    tables.store.unsubscribe(&connection, &rooms[..20], NOW).await.unwrap();
    assert_eq!(tables.store.connection_subscriptions(&connection).await.unwrap().len(), rooms.len() - 20);
    assert!(subscriptions(&tables, &rooms[0]).await.is_empty());
    assert_eq!(subscriptions(&tables, &rooms[20]).await.len(), 1);
}

/// What a connection says is obeyed side by side: an end that comes late must not take what was said behind it.
#[tokio::test]
async fn a_later_subscription_outlives_an_earlier_end() {
    let tables = Tables::new().await;
    let (connection, alice) = tables.connect("c1=", "alice").await;
    let rooms = [tables.room("one", &["alice"]).await, tables.room("two", &["alice"]).await];
    tables.subscribe(&connection, &alice, &rooms).await;
    let member = tables.store.member(&rooms[1], &alice.user).await.unwrap().unwrap();
    let again = [(rooms[1].clone(), member)];
    tables.store.subscribe(&connection, &alice, &again, &json_terms(), NOW.plus_ms(2_000)).await.unwrap();
    let left = async |said| {
        tables.store.unsubscribe(&connection, &rooms, said).await.unwrap();
        let of_connection = tables.store.connection_subscriptions(&connection).await.unwrap();
        let of_rooms = [&rooms[0], &rooms[1]].map(|room| subscriptions(&tables, room));
        let [one, two] = of_rooms;
        (of_connection.len(), one.await.len(), two.await.len())
    };
    assert_eq!(left(NOW.plus_ms(-1_000)).await, (2, 1, 1), "both are later");
    assert_eq!(left(NOW.plus_ms(-50)).await, (1, 0, 1), "one was said at the same time");
    assert_eq!(left(NOW.plus_ms(2_000)).await, (0, 0, 0));
}

#[tokio::test]
async fn rows_that_are_over_count_as_absent() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob", "carol"]).await;
    for (connection, user) in [("c1=", "alice"), ("c2=", "bob"), ("c3=", "carol")] {
        let (connection, principal) = tables.connect(connection, user).await;
        tables.subscribe(&connection, &principal, std::slice::from_ref(&room)).await;
    }
    let users = async |now| -> Vec<String> {
        let rows = tables.store.room_subscriptions(&room, now).await.unwrap();
        rows.into_iter().map(|row| row.user.to_string()).collect()
    };
    assert_eq!(users(NOW).await, ["alice", "bob", "carol"]);
    let over = number(NOW.unix_seconds());
    tables.change("connections", ("ROOM#room", "CONN#c1=#json"), "ttl", over.clone()).await;
    tables.change("connections", ("CONN#c1=", "META"), "ttl", over).await;
    assert_eq!(users(NOW).await, ["bob", "carol"]);
    assert!(tables.store.connection(&"c1=".parse().unwrap(), NOW).await.unwrap().is_none());
    assert!(tables.store.connection(&"c2=".parse().unwrap(), NOW).await.unwrap().is_some());
    // The token's expiry, with its leeway of 30 seconds.
    assert_eq!(users(NOW.plus_ms(HOUR_MS + 29_999)).await, ["bob", "carol"]);
    assert!(users(NOW.plus_ms(HOUR_MS + 30_000)).await.is_empty());
}

#[tokio::test]
async fn a_refresh_moves_what_stands_and_brings_nothing_back() {
    let tables = Tables::new().await;
    let rooms = [tables.room("one", &["alice"]).await, tables.room("two", &["alice"]).await];
    let (connection, alice) = tables.connect("c1=", "alice").await;
    tables.subscribe(&connection, &alice, &rooms).await;
    // A kick's clean-up is half done; the other membership is a new one.
    tables.remove("connections", ("ROOM#one", "CONN#c1=#json")).await;
    tables.change("connections", ("ROOM#two", "CONN#c1=#json"), "joinedSeq", number(7)).await;

    let refreshed = Principal { expires_at: NOW.plus_ms(2 * HOUR_MS), ..alice.clone() };
    tables.store.authenticate(&live(&connection, &alice), &Dialect::Json, &refreshed, NOW).await.unwrap();
    let later = NOW.plus_ms(HOUR_MS + 60_000);
    assert!(tables.store.room_subscriptions(&rooms[0], later).await.unwrap().is_empty(), "it stays away");
    assert!(tables.store.room_subscriptions(&rooms[1], later).await.unwrap().is_empty(), "it is not the same");

    tables.change("connections", ("ROOM#two", "CONN#c1=#json"), "joinedSeq", number(1)).await;
    let refreshed = Principal { expires_at: NOW.plus_ms(3 * HOUR_MS), ..alice.clone() };
    tables.store.authenticate(&live(&connection, &alice), &Dialect::Json, &refreshed, NOW).await.unwrap();
    assert_eq!(tables.store.room_subscriptions(&rooms[1], later).await.unwrap().len(), 1);
    assert_eq!(tables.store.connection(&connection, later).await.unwrap().unwrap(), live(&connection, &refreshed));
    assert_eq!(tables.store.live_connections(&[alice.user], later).await.unwrap().len(), 1);
}

/// A kick stands just behind the end of a token; the refresh that began just before it comes to its end afterwards.
#[tokio::test]
async fn a_refresh_brings_nothing_back_that_ended_while_the_token_had_lapsed() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    let (connection, bob) = tables.connect("c1=", "bob").await;
    tables.subscribe(&connection, &bob, std::slice::from_ref(&room)).await;
    let at = |seconds: i64| NOW.plus_ms(HOUR_MS + seconds * 1_000);
    let RoomSubscriptions { good, lapsed } = tables.store.all_room_subscriptions(&room, at(31)).await.unwrap();
    assert_eq!((good.len(), lapsed.len()), (0, 1));
    tables.store.end_subscriptions(&room, &lapsed, seq(5)).await.unwrap();
    let refreshed = Principal { expires_at: NOW.plus_ms(2 * HOUR_MS), ..bob.clone() };
    tables.store.authenticate(&live(&connection, &bob), &Dialect::Json, &refreshed, at(29)).await.unwrap();
    assert!(tables.store.room_subscriptions(&room, at(60)).await.unwrap().is_empty());
    assert!(tables.store.connection_subscriptions(&connection).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lag_is_noted_and_cleared_by_what_covers_it() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let (connection, alice) = tables.connect("c1=", "alice").await;
    tables.subscribe(&connection, &alice, std::slice::from_ref(&room)).await;
    let store = &tables.store;
    let row = async || subscriptions(&tables, &room).await.remove(0);
    let first = row().await;
    store.mark_lagged(&room, &first, seq(5), NOW).await.unwrap();
    assert_eq!(row().await.lagged_seq, Some(seq(5)));
    store.mark_lagged(&room, &first, seq(8), NOW).await.unwrap();
    store.clear_lagged(&room, &first, seq(5)).await.unwrap();
    assert_eq!(row().await.lagged_seq, Some(seq(8)), "a later note stays");
    store.clear_lagged(&room, &first, seq(8)).await.unwrap();
    assert_eq!(row().await.lagged_seq, None);

    store.unsubscribe(&connection, std::slice::from_ref(&room), NOW).await.unwrap();
    store.mark_lagged(&room, &first, seq(9), NOW).await.unwrap();
    store.clear_lagged(&room, &first, seq(9)).await.unwrap();
    assert!(subscriptions(&tables, &room).await.is_empty(), "no note brings a subscription back");
}

fn number(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Somebody was removed, invited again and has subscribed again while the clean-up after the removal was on its way.
#[tokio::test]
async fn the_end_of_a_membership_spares_the_subscription_of_the_next() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let (connection, alice) = tables.connect("c1=", "alice").await;
    tables.subscribe(&connection, &alice, std::slice::from_ref(&room)).await;
    let as_read = subscriptions(&tables, &room).await;
    tables.change("chat", ("ROOM#room", "MEMBER#alice"), "joinedSeq", number(9)).await;
    tables.subscribe(&connection, &alice, std::slice::from_ref(&room)).await;
    tables.store.end_subscriptions(&room, &as_read, seq(5)).await.unwrap();
    assert_eq!(subscriptions(&tables, &room).await.len(), 1);
    assert_eq!(tables.store.connection_subscriptions(&connection).await.unwrap().len(), 1);
    // What rests on the ended membership goes, both rows of it, and once more is nothing.
    for _ in 0..2 {
        tables.store.end_subscriptions(&room, &as_read, seq(10)).await.unwrap();
        assert!(subscriptions(&tables, &room).await.is_empty());
        assert!(tables.store.connection_subscriptions(&connection).await.unwrap().is_empty());
    }
}
