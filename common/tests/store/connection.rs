//! Connections and sessions.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use common::auth::Principal;
use common::codec::Dialect;
use common::id::{ConnectionId, UserId};
use common::store::{Connection, ConnectionState, OpenError, StoreError};
use futures_util::future::join_all;

use crate::tables::{HOUR_MS, NOW, Tables, live, store_at};

fn pending(id: &ConnectionId) -> Connection {
    Connection { id: id.clone(), connected_at: NOW, dialect: Dialect::Json, state: ConnectionState::Pending }
}

fn principal(user: &str) -> Principal {
    Principal { user: user.parse().unwrap(), expires_at: NOW.plus_ms(HOUR_MS) }
}

async fn sessions(tables: &Tables, user: &str) -> HashSet<String> {
    let users: [UserId; 1] = [user.parse().unwrap()];
    let live = tables.store.live_connections(&users, NOW).await.unwrap();
    live.into_iter().map(|live| live.connection.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_one_of_twenty_five_that_race_is_in_the_sessions() {
    let tables = Tables::with(&[("SESSIONS_PER_USER", "100")]).await;
    let ids: Vec<ConnectionId> = (0..25).map(|index| format!("c{index}=").parse().unwrap()).collect();
    let puts = ids.iter().map(|id| {
        let (store, connection) = (Arc::clone(&tables.store), live(id, &principal("alice")));
        tokio::spawn(async move { store.put_connection(&connection, NOW).await })
    });
    for outcome in join_all(puts).await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(sessions(&tables, "alice").await, ids.iter().map(ToString::to_string).collect());

    let removals = ids.iter().map(|id| {
        let (store, id) = (Arc::clone(&tables.store), id.clone());
        tokio::spawn(async move { store.remove_connection(&id, NOW).await })
    });
    for outcome in join_all(removals).await {
        outcome.unwrap().unwrap();
    }
    assert!(sessions(&tables, "alice").await.is_empty());
    assert_eq!(tables.items("connections").await.len(), 1, "the empty sessions item is all that is left");
}

#[tokio::test]
async fn a_removed_connection_leaves_nothing_and_goes_once_more() {
    let tables = Tables::new().await;
    let mut rooms = Vec::new();
    for index in 0..30 {
        rooms.push(tables.room(&format!("room-{index}"), &["alice"]).await);
    }
    let (first, alice) = tables.connect("c1=", "alice").await;
    let (second, _) = tables.connect("c2=", "alice").await;
    tables.subscribe(&first, &alice, &rooms).await;
    tables.subscribe(&second, &alice, &rooms[..1]).await;
    for _ in 0..2 {
        tables.store.remove_connection(&first, NOW).await.unwrap();
        assert_eq!(sessions(&tables, "alice").await, HashSet::from(["c2=".to_owned()]));
        let mut keys: Vec<String> =
            tables.items("connections").await.iter().map(|item| item["SK"].as_s().unwrap().clone()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["CONN#c2=#json", "META", "SESSIONS", "SUB#room-0#json"]);
    }
    tables.store.remove_connection(&"never=".parse().unwrap(), NOW).await.unwrap();
}

#[tokio::test]
async fn a_pending_connection_becomes_somebodys_once() {
    let tables = Tables::new().await;
    let id: ConnectionId = "c1=".parse().unwrap();
    tables.store.put_connection(&pending(&id), NOW).await.unwrap();
    assert_eq!(tables.store.connection(&id, NOW).await.unwrap(), Some(pending(&id)));
    assert!(sessions(&tables, "alice").await.is_empty());

    tables.store.authenticate(&pending(&id), &Dialect::Json, &principal("alice"), NOW).await.unwrap();
    assert_eq!(tables.store.connection(&id, NOW).await.unwrap(), Some(live(&id, &principal("alice"))));
    assert_eq!(sessions(&tables, "alice").await.len(), 1);

    // Two `auth` frames were in flight: the second one still takes the connection for pending.
    let outcome = tables.store.authenticate(&pending(&id), &Dialect::Json, &principal("mallory"), NOW).await;
    assert!(matches!(outcome, Err(OpenError::Changed)), "{outcome:?}");
    assert_eq!(tables.store.connection(&id, NOW).await.unwrap(), Some(live(&id, &principal("alice"))));
    assert!(sessions(&tables, "mallory").await.is_empty());

    tables.store.remove_connection(&id, NOW).await.unwrap();
    let outcome = tables.store.authenticate(&pending(&id), &Dialect::Json, &principal("alice"), NOW).await;
    assert!(matches!(outcome, Err(OpenError::Changed)), "{outcome:?}");
    assert_eq!(tables.store.connection(&id, NOW).await.unwrap(), None);
    assert!(sessions(&tables, "alice").await.is_empty());
}

#[tokio::test]
async fn sessions_that_must_have_been_cut_are_dropped() {
    let tables = Tables::new().await;
    let (_, alice) = tables.connect("old=", "alice").await;
    let later = NOW.plus_ms(2 * HOUR_MS);
    let fresh = Principal { expires_at: later.plus_ms(HOUR_MS), ..alice.clone() };
    let connection = Connection { connected_at: later, ..live(&"new=".parse().unwrap(), &fresh) };
    tables.store.put_connection(&connection, later).await.unwrap();
    let live = tables.store.live_connections(&[alice.user], later).await.unwrap();
    assert_eq!(live.iter().map(|live| live.connection.as_str()).collect::<Vec<_>>(), ["new="]);
}

/// 130 people are more than one batch get holds.
#[tokio::test]
async fn the_live_connections_of_many_are_found() {
    let tables = Tables::new().await;
    let users: Vec<UserId> = (0..130).map(|index| format!("user-{index}").parse().unwrap()).collect();
    for (index, user) in users.iter().enumerate() {
        tables.connect(&format!("c{index}="), user.as_str()).await;
    }
    assert_eq!(tables.store.live_connections(&users, NOW).await.unwrap().len(), 130);
    let expired = NOW.plus_ms(HOUR_MS + 30_000);
    assert!(tables.store.live_connections(&users, expired).await.unwrap().is_empty());
}

/// A table that takes calls and never answers. A function ends after 10 seconds at the earliest; its client must hear
/// before that.
#[tokio::test]
async fn a_silent_table_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let store = store_at(&format!("http://{}", listener.local_addr().unwrap()));
    let pending = pending(&"c1=".parse().unwrap());
    let outcome = tokio::time::timeout(Duration::from_millis(9_500), store.put_connection(&pending, NOW)).await;
    assert!(matches!(outcome, Ok(Err(OpenError::Store(StoreError::Unavailable(_))))), "{outcome:?}");
}
