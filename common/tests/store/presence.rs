//! Presence: what is, and what others were told.

use std::sync::Arc;

use common::auth::Principal;
use common::id::{ConnectionId, UserId};
use common::store::{Connection, Presence};
use common::time::Time;
use futures_util::future::join_all;

use crate::tables::{HOUR_MS, NOW, Tables, Units, live};

async fn presence_at(tables: &Tables, user: &UserId, now: Time) -> Presence {
    tables.store.presence(user, now).await.unwrap()
}

/// Whether the user is there, and whether others were told so.
async fn seen(tables: &Tables, user: &UserId) -> (bool, bool) {
    let presence = presence_at(tables, user, NOW).await;
    (presence.is_online(), presence.is_announced())
}

#[tokio::test]
async fn what_others_were_told_outlives_sessions() {
    let tables = Tables::new().await;
    let user: UserId = "alice".parse().unwrap();
    assert_eq!(seen(&tables, &user).await, (false, false));
    let (first, _) = tables.connect("c1=", "alice").await;
    assert_eq!(seen(&tables, &user).await, (true, false));
    let read = presence_at(&tables, &user, NOW).await;
    assert!(tables.store.note_announced(&user, &read, true).await.unwrap());
    assert_eq!(seen(&tables, &user).await, (true, true));

    let (second, _) = tables.connect("c2=", "alice").await;
    assert_eq!(seen(&tables, &user).await, (true, true), "another session changes nothing");
    for connection in [first, second] {
        assert!(seen(&tables, &user).await.0);
        tables.store.remove_connection(&connection, NOW).await.unwrap();
    }
    assert_eq!(seen(&tables, &user).await, (false, true), "nobody was told of the end");
    let read = presence_at(&tables, &user, NOW).await;
    assert!(tables.store.note_announced(&user, &read, false).await.unwrap());
    assert_eq!(seen(&tables, &user).await, (false, false));
    tables.connect("c3=", "alice").await;
    assert_eq!(seen(&tables, &user).await, (true, false));
}

#[tokio::test]
async fn a_note_that_rests_on_an_older_reading_is_not_taken() {
    let tables = Tables::new().await;
    let user: UserId = "alice".parse().unwrap();
    let nobody = presence_at(&tables, &user, NOW).await;
    assert!(!tables.store.note_announced(&user, &nobody, true).await.unwrap(), "there is nothing to note it on");
    assert!(tables.items("connections").await.is_empty());

    let (first, _) = tables.connect("c1=", "alice").await;
    let read = presence_at(&tables, &user, NOW).await;
    tables.store.remove_connection(&first, NOW).await.unwrap();
    assert!(!tables.store.note_announced(&user, &read, true).await.unwrap(), "the session went meanwhile");
    assert_eq!(seen(&tables, &user).await, (false, false));

    tables.connect("c2=", "alice").await;
    let read = presence_at(&tables, &user, NOW).await;
    assert!(tables.store.note_announced(&user, &read, true).await.unwrap());
    assert!(!tables.store.note_announced(&user, &read, true).await.unwrap(), "somebody else noted it");
    assert_eq!(seen(&tables, &user).await, (true, true));
}

/// Sessions come while it is noted again and again what others were told: neither undoes the other.
#[tokio::test(flavor = "multi_thread")]
async fn notes_and_sessions_that_race_are_all_kept() {
    let tables = Tables::new().await;
    let user: UserId = "alice".parse().unwrap();
    let principal = Principal { user: user.clone(), expires_at: NOW.plus_ms(HOUR_MS) };
    tables.connect("first=", "alice").await;
    let comers = (0..5).map(|index| {
        let (store, id) = (Arc::clone(&tables.store), format!("c{index}=").parse::<ConnectionId>().unwrap());
        let connection = live(&id, &principal);
        tokio::spawn(async move { store.put_connection(&connection, NOW).await.map(|_| ()).unwrap() })
    });
    let comers = join_all(comers);
    let notes = async {
        let mut noted = 0;
        while noted < 5 {
            let read = presence_at(&tables, &user, NOW).await;
            noted += u32::from(tables.store.note_announced(&user, &read, true).await.unwrap());
        }
    };
    let (outcomes, ()) = tokio::join!(comers, notes);
    outcomes.into_iter().for_each(Result::unwrap);
    assert_eq!(seen(&tables, &user).await, (true, true));
    assert!(tables.store.live_connections(&[user], NOW).await.unwrap().len() >= 5);
}

/// When the sweeper looks at the user's sessions, as milliseconds.
async fn due(tables: &Tables) -> Option<i64> {
    let items = tables.items("connections").await;
    let sessions = items.iter().find(|item| item["SK"].as_s().unwrap() == "SESSIONS").unwrap();
    Some(sessions.get("GSI2SK")?.as_s().unwrap().parse().unwrap())
}

/// Somebody who was told to be there and has gone since is checked a minute later.
#[tokio::test]
async fn a_note_makes_a_check_due_when_it_is_not_what_is() {
    let tables = Tables::new().await;
    let user: UserId = "alice".parse().unwrap();
    let (connection, _) = tables.connect("c1=", "alice").await;
    let note = async |online| {
        let read = presence_at(&tables, &user, NOW).await;
        assert!(tables.store.note_announced(&user, &read, online).await.unwrap());
        due(&tables).await
    };
    let (check, cut) = (Some(NOW.unix_ms() + 60_000), Some(NOW.unix_ms() + 2 * HOUR_MS));
    assert_eq!(due(&tables).await, check, "others were not told yet");
    assert_eq!(note(true).await, cut);
    assert_eq!(note(false).await, check);
    tables.store.remove_connection(&connection, NOW).await.unwrap();
    assert_eq!(due(&tables).await, None);
    assert_eq!(note(true).await, check);
    assert_eq!(note(false).await, None);
}

#[tokio::test]
async fn who_was_cut_or_has_expired_is_not_there() {
    let tables = Tables::new().await;
    let user: UserId = "alice".parse().unwrap();
    tables.connect("c1=", "alice").await;
    assert!(presence_at(&tables, &user, NOW.plus_ms(HOUR_MS)).await.is_online());
    let expired = NOW.plus_ms(HOUR_MS + 30_000);
    assert!(!presence_at(&tables, &user, expired).await.is_online(), "the token has expired");

    let long = Principal { user: user.clone(), expires_at: NOW.plus_ms(9 * HOUR_MS) };
    let connection = Connection { connected_at: NOW, ..live(&"c2=".parse().unwrap(), &long) };
    tables.store.put_connection(&connection, NOW).await.unwrap();
    assert!(presence_at(&tables, &user, NOW.plus_ms(2 * HOUR_MS - 1)).await.is_online());
    assert!(!presence_at(&tables, &user, NOW.plus_ms(2 * HOUR_MS)).await.is_online(), "API Gateway has cut it");
}

#[tokio::test]
async fn a_look_costs_one_read_and_a_note_what_the_item_takes() {
    let tables = Tables::new().await;
    let user: UserId = "alice".parse().unwrap();
    for index in 0..5 {
        tables.connect(&format!("c{index}="), "alice").await;
    }
    tables.units();
    let read = presence_at(&tables, &user, NOW).await;
    assert_eq!(tables.units(), Units { read: 1.0, write: 0.0 });
    tables.store.note_announced(&user, &read, true).await.unwrap();
    assert_eq!(tables.units(), Units { read: 0.0, write: 3.0 });
}
