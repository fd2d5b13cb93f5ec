//! A connection that is removed while something else happens on it. Whatever wins, nothing may be left of it.

use std::sync::Arc;

use common::auth::Principal;
use common::codec::Dialect;
use common::id::{ConnectionId, RoomId};
use common::store::{Connection, ConnectionState};

use crate::tables::{HOUR_MS, NOW, Tables, json_terms, live};

const ROUNDS: usize = 60;

fn alice() -> Principal {
    Principal { user: "alice".parse().unwrap(), expires_at: NOW.plus_ms(HOUR_MS) }
}

async fn leftovers(tables: &Tables, connection: &ConnectionId, room: &RoomId) -> (usize, usize, usize) {
    let sessions = tables.store.live_connections(&[alice().user], NOW).await.unwrap();
    let subscriptions = tables.store.room_subscriptions(room, NOW).await.unwrap();
    let rows = tables.store.connection_subscriptions(connection).await.unwrap().len();
    (sessions.len(), subscriptions.len(), rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_authenticates_while_it_goes_leaves_no_session() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    for round in 0..ROUNDS {
        let id: ConnectionId = format!("c{round}=").parse().unwrap();
        let pending =
            Connection { id: id.clone(), connected_at: NOW, dialect: Dialect::Json, state: ConnectionState::Pending };
        tables.store.put_connection(&pending, NOW).await.unwrap();
        let store = Arc::clone(&tables.store);
        let authenticate =
            tokio::spawn(async move { store.authenticate(&pending, &Dialect::Json, &alice(), NOW).await });
        let (store, gone) = (Arc::clone(&tables.store), id.clone());
        let remove = tokio::spawn(async move { store.remove_connection(&gone, NOW).await });
        drop(authenticate.await.unwrap());
        remove.await.unwrap().unwrap();
        assert_eq!(tables.store.connection(&id, NOW).await.unwrap(), None);
        assert_eq!(leftovers(&tables, &id, &room).await, (0, 0, 0), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_gets_a_fresh_token_while_it_goes_leaves_no_session() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let fresh = Principal { expires_at: NOW.plus_ms(2 * HOUR_MS), ..alice() };
    for round in 0..ROUNDS {
        let id: ConnectionId = format!("c{round}=").parse().unwrap();
        let connection = live(&id, &alice());
        tables.store.put_connection(&connection, NOW).await.unwrap();
        let (store, principal) = (Arc::clone(&tables.store), fresh.clone());
        let refresh =
            tokio::spawn(async move { store.authenticate(&connection, &Dialect::Json, &principal, NOW).await });
        let (store, gone) = (Arc::clone(&tables.store), id.clone());
        let remove = tokio::spawn(async move { store.remove_connection(&gone, NOW).await });
        drop(refresh.await.unwrap());
        remove.await.unwrap().unwrap();
        assert_eq!(tables.store.connection(&id, NOW).await.unwrap(), None);
        assert_eq!(leftovers(&tables, &id, &room).await, (0, 0, 0), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_subscribes_while_it_goes_leaves_no_subscription() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let member = tables.store.member(&room, &alice().user).await.unwrap().unwrap();
    let memberships = [(room.clone(), member)];
    for round in 0..ROUNDS {
        let id: ConnectionId = format!("c{round}=").parse().unwrap();
        tables.store.put_connection(&live(&id, &alice()), NOW).await.unwrap();
        let (store, subscriber, memberships) = (Arc::clone(&tables.store), id.clone(), memberships.clone());
        let subscribe =
            tokio::spawn(async move { store.subscribe(&subscriber, &alice(), &memberships, &json_terms(), NOW).await });
        let (store, gone) = (Arc::clone(&tables.store), id.clone());
        let remove = tokio::spawn(async move { store.remove_connection(&gone, NOW).await });
        drop(subscribe.await.unwrap());
        remove.await.unwrap().unwrap();
        assert_eq!(leftovers(&tables, &id, &room).await, (0, 0, 0), "round {round}");
    }
}

/// CONNECT with the token of the handshake, or `auth` with one that was shown before.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_shows_its_token_again_while_it_goes_leaves_no_session() {
    let tables = Tables::new().await;
    let mut rooms = Vec::new();
    for index in 0..8 {
        rooms.push(tables.room(&format!("room-{index}"), &["alice"]).await);
    }
    for round in 0..ROUNDS {
        let (id, principal) = tables.connect(&format!("c{round}="), "alice").await;
        tables.subscribe(&id, &principal, &rooms).await;
        let (store, connection, same) = (Arc::clone(&tables.store), live(&id, &principal), principal.clone());
        let show = tokio::spawn(async move { store.authenticate(&connection, &Dialect::Json, &same, NOW).await });
        let (store, gone) = (Arc::clone(&tables.store), id.clone());
        let remove = tokio::spawn(async move { store.remove_connection(&gone, NOW).await });
        drop(show.await.unwrap());
        remove.await.unwrap().unwrap();
        assert_eq!(tables.store.connection(&id, NOW).await.unwrap(), None);
        assert_eq!(leftovers(&tables, &id, &rooms[0]).await, (0, 0, 0), "round {round}");
    }
}

/// A room's row without the connection's was heard at first, and went deaf with the next token, which did not find it.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_ended_while_it_begins_is_there_or_is_not() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let member = tables.store.member(&room, &alice().user).await.unwrap().unwrap();
    let memberships = [(room.clone(), member)];
    let id: ConnectionId = "c=".parse().unwrap();
    tables.store.put_connection(&live(&id, &alice()), NOW).await.unwrap();
    for round in 0..ROUNDS {
        tables.store.subscribe(&id, &alice(), &memberships, &json_terms(), NOW).await.unwrap();
        let (store, subscriber, memberships) = (Arc::clone(&tables.store), id.clone(), memberships.clone());
        let subscribe =
            tokio::spawn(async move { store.subscribe(&subscriber, &alice(), &memberships, &json_terms(), NOW).await });
        let (store, subscriber, rooms) = (Arc::clone(&tables.store), id.clone(), [room.clone()]);
        let unsubscribe = tokio::spawn(async move { store.unsubscribe(&subscriber, &rooms, NOW).await });
        subscribe.await.unwrap().unwrap();
        unsubscribe.await.unwrap().unwrap();
        let (_, of_room, of_connection) = leftovers(&tables, &id, &room).await;
        assert_eq!(of_room, of_connection, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_refreshes_at_once_the_later_token_counts_for_every_subscription() {
    let tables = Tables::new().await;
    let mut rooms = Vec::new();
    for index in 0..8 {
        rooms.push(tables.room(&format!("room-{index}"), &["alice"]).await);
    }
    for round in 0..ROUNDS {
        let id: ConnectionId = format!("c{round}=").parse().unwrap();
        tables.store.put_connection(&live(&id, &alice()), NOW).await.unwrap();
        tables.subscribe(&id, &alice(), &rooms).await;
        let refresh = |hours: i64| {
            let (store, connection) = (Arc::clone(&tables.store), live(&id, &alice()));
            let principal = Principal { expires_at: NOW.plus_ms(hours * HOUR_MS), ..alice() };
            tokio::spawn(async move { store.authenticate(&connection, &Dialect::Json, &principal, NOW).await })
        };
        // Whichever the connection has in the end: it never outlives what it is subscribed to.
        let (short, long) = (refresh(2), refresh(3));
        short.await.unwrap().unwrap();
        long.await.unwrap().unwrap();
        let items = tables.items("connections").await;
        let of_subscriptions = items.iter().filter(|item| {
            let (partition, sort) = (item["PK"].as_s().unwrap(), item["SK"].as_s().unwrap());
            sort != "META" && (partition.contains(id.as_str()) || sort.contains(id.as_str()))
        });
        let expiries: Vec<&str> =
            of_subscriptions.map(|item| item["tokenExpiresAt"].as_n().unwrap().as_str()).collect();
        let later = NOW.plus_ms(3 * HOUR_MS).unix_ms().to_string();
        assert_eq!(expiries, vec![later; 2 * rooms.len()], "round {round}");
        tables.store.remove_connection(&id, NOW).await.unwrap();
    }
}
