//! How many sessions a user has, whoever races for them.

use std::collections::HashSet;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use common::auth::Principal;
use common::code::ByeCode;
use common::codec::Dialect;
use common::id::ConnectionId;
use common::store::{Connection, ConnectionState, LiveConnection, OpenError, SubscribeError};
use common::time::Time;
use futures_util::future::join_all;

use crate::tables::{HOUR_MS, NOW, Tables, json_terms, live};

const REFUSE: (&str, &str) = ("SESSION_POLICY", "refuse");

fn alice() -> Principal {
    Principal { user: "alice".parse().unwrap(), expires_at: NOW.plus_ms(HOUR_MS) }
}

fn opened_at(id: &str, connected_at: Time) -> Connection {
    Connection { connected_at, ..live(&id.parse().unwrap(), &alice()) }
}

fn pending(id: &str) -> Connection {
    Connection { state: ConnectionState::Pending, ..opened_at(id, NOW) }
}

async fn sessions(tables: &Tables) -> HashSet<String> {
    let live = tables.store.live_connections(&[alice().user], NOW).await.unwrap();
    live.into_iter().map(|live| live.connection.to_string()).collect()
}

async fn state(tables: &Tables, id: &str) -> Option<ConnectionState> {
    tables.store.connection(&id.parse().unwrap(), NOW).await.unwrap().map(|connection| connection.state)
}

fn names(replaced: &[LiveConnection]) -> Vec<&str> {
    replaced.iter().map(|replaced| replaced.connection.as_str()).collect()
}

/// Twenty-five connects at once, opened within 25 ms of each other.
async fn race(tables: &Tables) -> Vec<(String, Result<Vec<LiveConnection>, OpenError>)> {
    let opens = (0..25).map(|index| {
        let connection = opened_at(&format!("c{index}="), NOW.plus_ms(index - 25));
        let store = Arc::clone(&tables.store);
        tokio::spawn(async move {
            let outcome = store.put_connection(&connection, NOW).await;
            (connection.id.to_string(), outcome)
        })
    });
    join_all(opens).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_five_that_race_five_stay_and_each_other_is_closing() {
    let tables = Tables::new().await;
    let mut replaced = Vec::new();
    for (_, outcome) in race(&tables).await {
        replaced.extend(outcome.unwrap().into_iter().map(|session| session.connection.to_string()));
    }
    let closing: HashSet<String> = replaced.iter().cloned().collect();
    assert_eq!((replaced.len(), closing.len()), (20, 20), "each is told by one: {replaced:?}");
    let sessions = sessions(&tables).await;
    assert_eq!(sessions.len(), 5);
    assert!(sessions.is_disjoint(&closing));
    for id in &closing {
        assert_eq!(state(&tables, id).await, Some(ConnectionState::Closing(ByeCode::SessionReplaced)), "{id}");
        assert_eq!(tables.store.remove_connection(&id.parse().unwrap(), NOW).await.unwrap(), None, "{id}");
    }
    for id in &sessions {
        assert_eq!(state(&tables, id).await, Some(ConnectionState::Live(alice())), "{id}");
        let ended = tables.store.remove_connection(&id.parse().unwrap(), NOW).await.unwrap();
        assert_eq!(ended, Some(alice().user), "{id}");
    }
    assert_eq!(tables.items("connections").await.len(), 1, "the empty sessions item is all that is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_five_that_race_five_stay_and_each_other_is_refused() {
    let tables = Tables::with(&[REFUSE]).await;
    let mut stayed = HashSet::new();
    for (id, outcome) in race(&tables).await {
        match outcome {
            Ok(replaced) => {
                assert!(replaced.is_empty());
                stayed.insert(id);
            }
            Err(error) => {
                assert!(matches!(error, OpenError::SessionLimit), "{error}");
                assert_eq!(state(&tables, &id).await, None);
            }
        }
    }
    assert_eq!(stayed.len(), 5);
    assert_eq!(sessions(&tables).await, stayed);
}

#[tokio::test]
async fn the_oldest_gives_way() {
    let tables = Tables::with(&[("SESSIONS_PER_USER", "2")]).await;
    let put = async |id: &str, age_ms: i64| {
        tables.store.put_connection(&opened_at(id, NOW.plus_ms(-age_ms)), NOW).await.unwrap()
    };
    assert!(put("young=", 10).await.is_empty());
    assert!(put("old=", 20).await.is_empty());
    assert_eq!(names(&put("new=", 0).await), ["old="]);
    // The one that comes stays, however old it has become on its way in.
    assert_eq!(names(&put("late=", 30).await), ["young="]);
    assert_eq!(sessions(&tables).await, ["new=", "late="].map(String::from).into());
}

/// What API Gateway must have cut counted for ever elsewhere: RocketChat/Rocket.Chat #6610 (case 65).
#[tokio::test]
async fn ghosts_do_not_count() {
    let tables = Tables::with(&[REFUSE]).await;
    let two_hours_ago = NOW.plus_ms(-2 * HOUR_MS);
    for index in 0..5 {
        let ghost = opened_at(&format!("ghost{index}="), two_hours_ago);
        tables.store.put_connection(&ghost, two_hours_ago).await.unwrap();
    }
    assert!(tables.store.put_connection(&opened_at("early=", NOW.plus_ms(-1)), NOW.plus_ms(-1)).await.is_err());
    tables.store.put_connection(&opened_at("new=", NOW), NOW).await.unwrap();
    assert_eq!(sessions(&tables).await, ["new=".to_owned()].into());
}

#[tokio::test]
async fn a_session_whose_connection_is_gone_is_only_a_name() {
    let tables = Tables::with(&[("SESSIONS_PER_USER", "3")]).await;
    for (index, id) in ["c1=", "c2=", "c3="].into_iter().enumerate() {
        let connected_at = NOW.plus_ms(i64::try_from(index).unwrap() - 10);
        tables.store.put_connection(&opened_at(id, connected_at), NOW).await.unwrap();
    }
    tables.remove("connections", ("CONN#c1=", "META")).await;
    let replaced = tables.store.put_connection(&opened_at("c4=", NOW), NOW).await.unwrap();
    assert!(replaced.is_empty(), "{replaced:?}");
    assert_eq!(sessions(&tables).await, ["c2=", "c3=", "c4="].map(String::from).into());
    assert_eq!(state(&tables, "c1=").await, None, "no mark brings it back");
}

#[tokio::test]
async fn a_first_token_takes_a_slot_and_a_fresh_one_does_not() {
    let tables = Tables::with(&[REFUSE, ("SESSIONS_PER_USER", "1")]).await;
    let (first, second) = (pending("c1="), pending("c2="));
    for connection in [&first, &second] {
        tables.store.put_connection(connection, NOW).await.unwrap();
    }
    tables.store.authenticate(&first, &Dialect::Json, &alice(), NOW).await.unwrap();
    let outcome = tables.store.authenticate(&second, &Dialect::Json, &alice(), NOW).await;
    assert!(matches!(outcome, Err(OpenError::SessionLimit)), "{outcome:?}");
    assert_eq!(state(&tables, "c2=").await, Some(ConnectionState::Pending));
    let fresh = Principal { expires_at: NOW.plus_ms(2 * HOUR_MS), ..alice() };
    let live = Connection { state: ConnectionState::Live(alice()), ..first.clone() };
    tables.store.authenticate(&live, &Dialect::Json, &fresh, NOW).await.unwrap();
    assert_eq!(state(&tables, "c1=").await, Some(ConnectionState::Live(fresh)));
    assert_eq!(sessions(&tables).await, ["c1=".to_owned()].into());
}

#[tokio::test]
async fn nothing_begins_on_a_connection_that_is_closing() {
    let tables = Tables::with(&[("SESSIONS_PER_USER", "1")]).await;
    let room = tables.room("room", &["alice"]).await;
    let (old, new) = (pending("c1="), pending("c2="));
    for connection in [&old, &new] {
        tables.store.put_connection(connection, NOW).await.unwrap();
    }
    tables.store.authenticate(&old, &Dialect::Json, &alice(), NOW).await.unwrap();
    let live = Connection { state: ConnectionState::Live(alice()), ..old.clone() };
    assert_eq!(names(&tables.store.authenticate(&new, &Dialect::Json, &alice(), NOW).await.unwrap()), ["c1="]);
    let closing = Some(ConnectionState::Closing(ByeCode::SessionReplaced));
    assert_eq!(state(&tables, "c1=").await, closing);

    let member = tables.store.member(&room, &alice().user).await.unwrap().unwrap();
    let outcome = tables.store.subscribe(&old.id, &alice(), &[(room, member)], &json_terms(), NOW).await;
    assert!(matches!(outcome, Err(SubscribeError::Connection)), "{outcome:?}");
    for as_read in [&old, &live] {
        let outcome = tables.store.authenticate(as_read, &Dialect::Json, &alice(), NOW).await;
        assert!(matches!(outcome, Err(OpenError::Changed)), "{outcome:?}");
    }
    assert_eq!(state(&tables, "c1=").await, closing);
    assert_eq!(sessions(&tables).await, ["c2=".to_owned()].into());
}

#[tokio::test]
async fn what_others_were_told_stays_through_every_write() {
    let tables = Tables::new().await;
    let (connection, _) = tables.connect("c1=", "alice").await;
    let key = ("USER#alice", "SESSIONS");
    tables.change("connections", key, "announced", AttributeValue::Bool(true)).await;
    let told_at = AttributeValue::N(NOW.unix_ms().to_string());
    tables.change("connections", key, "announcedAt", told_at.clone()).await;
    let check = async || {
        let items = tables.items("connections").await;
        let item = items.into_iter().find(|item| item["SK"].as_s().unwrap() == "SESSIONS").unwrap();
        assert_eq!((&item["announced"], &item["announcedAt"]), (&AttributeValue::Bool(true), &told_at));
        item.get("GSI2SK").map(|due| due.as_s().unwrap().parse::<i64>().unwrap())
    };
    tables.connect("c2=", "alice").await;
    assert_eq!(check().await, Some(NOW.unix_ms() + 2 * HOUR_MS), "nothing to tell until a ghost");
    for id in [&connection, &"c2=".parse::<ConnectionId>().unwrap()] {
        tables.store.remove_connection(id, NOW).await.unwrap();
    }
    assert_eq!(check().await, Some(NOW.unix_ms() + 60_000), "the last is gone: told when the grace is over");
}
