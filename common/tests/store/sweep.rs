//! What is due: found by its time, claimed by one, and nothing else is read.

use std::sync::Arc;

use common::auth::Principal;
use common::code::ByeCode;
use common::codec::Dialect;
use common::id::{ConnectionId, RoomId};
use common::store::{Connection, ConnectionEnd, ConnectionState, Due, DueItem, RoomSubscription, SWEEP_SHARDS, Store};
use common::time::Time;

use crate::tables::{HOUR_MS, NOW, Tables, live, seq};

const SECOND_MS: i64 = 1_000;

async fn all_due(store: &Store, now: Time) -> Vec<Due> {
    let mut all = Vec::new();
    for shard in 0..SWEEP_SHARDS {
        let mut from = None;
        loop {
            let page = store.due(shard, from, now).await.unwrap();
            all.extend(page.due);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    all
}

/// Since when a connection is due, if it is.
async fn connection_due(tables: &Tables, id: &ConnectionId, now: Time) -> Option<Time> {
    let item = DueItem::Connection(id.clone());
    all_due(&tables.store, now).await.into_iter().find(|due| due.item == item).map(|due| due.at)
}

fn close(code: ByeCode, is_established: bool) -> Option<ConnectionEnd> {
    Some(ConnectionEnd::Close { code, dialect: Dialect::Json, is_established })
}

fn pending(id: &str) -> Connection {
    Connection { id: id.parse().unwrap(), connected_at: NOW, dialect: Dialect::Json, state: ConnectionState::Pending }
}

#[tokio::test]
async fn a_pending_connection_is_due_when_its_time_is_over() {
    let tables = Tables::new().await;
    let connection = pending("c1=");
    tables.store.put_connection(&connection, NOW).await.unwrap();
    assert_eq!(connection_due(&tables, &connection.id, NOW.plus_ms(10 * SECOND_MS - 1)).await, None);
    let late = NOW.plus_ms(10 * SECOND_MS);
    assert_eq!(connection_due(&tables, &connection.id, late).await, Some(late));

    let end = tables.store.claim_connection(&connection.id, late, late).await.unwrap();
    assert_eq!(end, close(ByeCode::AuthTimeout, false));
    // A token that comes now comes too late, also when it was checked before the claim.
    let alice = Principal { user: "alice".parse().unwrap(), expires_at: NOW.plus_ms(HOUR_MS) };
    assert!(tables.store.authenticate(&connection, &Dialect::Json, &alice, NOW).await.is_err());
    // Whoever claimed it has two minutes; then it is due again, for the same reason.
    assert_eq!(connection_due(&tables, &connection.id, late).await, None);
    let claimed_until = late.plus_ms(120 * SECOND_MS);
    assert_eq!(connection_due(&tables, &connection.id, claimed_until).await, Some(claimed_until));
    let end = tables.store.claim_connection(&connection.id, claimed_until, claimed_until).await.unwrap();
    assert_eq!(end, close(ByeCode::AuthTimeout, true));
}

#[tokio::test]
async fn a_live_connection_is_due_at_the_end_of_its_token_or_of_its_two_hours() {
    let tables = Tables::new().await;
    let (id, alice) = tables.connect("c1=", "alice").await;
    let store = &tables.store;
    let end_of_token = alice.expires_at.plus_ms(30 * SECOND_MS);
    assert_eq!(connection_due(&tables, &id, end_of_token.plus_ms(-1)).await, None);
    assert_eq!(connection_due(&tables, &id, end_of_token).await, Some(end_of_token));

    // A fresh token moves the time, and what was found before is nobody's any more.
    let fresh = Principal { expires_at: NOW.plus_ms(HOUR_MS + HOUR_MS / 2), ..alice.clone() };
    store.authenticate(&live(&id, &alice), &Dialect::Json, &fresh, NOW).await.unwrap();
    assert_eq!(store.claim_connection(&id, end_of_token, end_of_token).await.unwrap(), None);
    assert_eq!(connection_due(&tables, &id, end_of_token).await, None);
    let later = fresh.expires_at.plus_ms(30 * SECOND_MS);
    assert_eq!(store.claim_connection(&id, later, later).await.unwrap(), close(ByeCode::TokenExpired, true));
    assert_eq!(
        store.connection(&id, later).await.unwrap().unwrap().state,
        ConnectionState::Closing(ByeCode::TokenExpired)
    );

    let long = Principal { expires_at: NOW.plus_ms(9 * HOUR_MS), ..alice };
    let connection = live(&"c2=".parse().unwrap(), &long);
    store.put_connection(&connection, NOW).await.unwrap();
    let cut = NOW.plus_ms(2 * HOUR_MS);
    assert_eq!(connection_due(&tables, &connection.id, cut).await, Some(cut));
    assert_eq!(store.claim_connection(&connection.id, cut, cut).await.unwrap(), Some(ConnectionEnd::Ghost));
    assert_eq!(store.remove_connection(&connection.id, cut).await.unwrap(), Some(long.user));
    assert_eq!(store.claim_connection(&connection.id, cut, cut).await.unwrap(), None, "it is gone");
}

#[tokio::test]
async fn a_replaced_connection_is_due_at_once() {
    let tables = Tables::with(&[("SESSIONS_PER_USER", "1")]).await;
    let (id, _) = tables.connect("c1=", "alice").await;
    tables.connect("c2=", "alice").await;
    assert_eq!(connection_due(&tables, &id, NOW).await, Some(NOW));
    let end = tables.store.claim_connection(&id, NOW, NOW).await.unwrap();
    assert_eq!(end, close(ByeCode::SessionReplaced, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sweeps_at_once_one_acts() {
    let tables = Tables::with(&[("SESSIONS_PER_USER", "100")]).await;
    let room = tables.room("room", &["alice"]).await;
    for index in 0..20 {
        tables.store.put_connection(&pending(&format!("p{index}=")), NOW).await.unwrap();
        tables.connect(&format!("s{index}="), &format!("user-{index}")).await;
        let (lagged, alice) = tables.connect(&format!("l{index}="), "alice").await;
        tables.subscribe(&lagged, &alice, std::slice::from_ref(&room)).await;
    }
    for subscription in tables.store.room_subscriptions(&room, NOW).await.unwrap() {
        tables.store.mark_lagged(&room, &subscription, seq(1), NOW).await.unwrap();
    }
    let now = NOW.plus_ms(61 * SECOND_MS);
    let sweep = |store: Arc<Store>| {
        tokio::spawn(async move {
            let mut claimed = 0;
            for Due { item, at } in all_due(&store, now).await {
                claimed += usize::from(match &item {
                    DueItem::Connection(id) => store.claim_connection(id, at, now).await.unwrap().is_some(),
                    DueItem::Subscription { room, connection, subscription } => {
                        store.claim_lagged((room, connection, subscription), at, now).await.unwrap().is_some()
                    }
                    DueItem::Sessions(user) => store.claim_sessions(user, at, now).await.unwrap().is_some(),
                });
            }
            claimed
        })
    };
    let (one, two) = (sweep(Arc::clone(&tables.store)), sweep(Arc::clone(&tables.store)));
    // 20 pending connections, 20 lagged subscriptions, and the unannounced sessions of 21 people.
    assert_eq!(one.await.unwrap() + two.await.unwrap(), 61);
    assert!(all_due(&tables.store, now).await.is_empty());
}

async fn lagged(tables: &Tables, room: &RoomId) -> RoomSubscription {
    tables.store.room_subscriptions(room, NOW).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_resync_is_due_soon_and_later_every_time_it_is_not_taken() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let (id, alice) = tables.connect("c1=", "alice").await;
    tables.subscribe(&id, &alice, std::slice::from_ref(&room)).await;
    let store = &tables.store;
    let due = async |now: Time| {
        let item =
            DueItem::Subscription { room: room.clone(), connection: id.clone(), subscription: "json".to_owned() };
        all_due(store, now).await.into_iter().find(|due| due.item == item).map(|due| due.at)
    };
    store.mark_lagged(&room, &lagged(&tables, &room).await, seq(5), NOW).await.unwrap();
    assert_eq!(due(NOW).await, None, "the next fan-out may bring it");
    let mut now = NOW.plus_ms(5 * SECOND_MS);
    for minutes in [1, 2, 4, 8, 16, 16] {
        let at = due(now).await.expect("a due resync");
        let claim = store.claim_lagged((&room, &id, "json"), at, now).await.unwrap().expect("a claim");
        assert_eq!((claim.seq, claim.subscription.user.as_str()), (seq(5), "alice"));
        store.postpone_lagged(&room, &claim, now).await.unwrap();
        let next = now.plus_ms(minutes * 60 * SECOND_MS);
        assert_eq!(due(next.plus_ms(-1)).await, None);
        now = next;
    }
    // A later mark is not cleared by what covers an earlier one, and begins anew.
    let claim = store.claim_lagged((&room, &id, "json"), due(now).await.unwrap(), now).await.unwrap().unwrap();
    store.mark_lagged(&room, &claim.subscription, seq(8), now).await.unwrap();
    store.clear_lagged(&room, &claim.subscription, claim.seq).await.unwrap();
    store.postpone_lagged(&room, &claim, now).await.unwrap();
    now = now.plus_ms(5 * SECOND_MS);
    let claim = store.claim_lagged((&room, &id, "json"), due(now).await.unwrap(), now).await.unwrap().unwrap();
    store.clear_lagged(&room, &claim.subscription, claim.seq).await.unwrap();
    assert_eq!(lagged(&tables, &room).await.lagged_seq, None);
    assert_eq!(due(now.plus_ms(HOUR_MS)).await, None);
}

#[tokio::test]
async fn a_resync_for_nobody_is_forgotten() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice"]).await;
    let (id, alice) = tables.connect("c1=", "alice").await;
    tables.subscribe(&id, &alice, std::slice::from_ref(&room)).await;
    tables.store.mark_lagged(&room, &lagged(&tables, &room).await, seq(5), NOW).await.unwrap();
    let expired = alice.expires_at.plus_ms(30 * SECOND_MS);
    let at = NOW.plus_ms(5 * SECOND_MS);
    assert_eq!(tables.store.claim_lagged((&room, &id, "json"), at, expired).await.unwrap(), None);
    let left = all_due(&tables.store, expired.plus_ms(HOUR_MS)).await;
    assert!(!left.iter().any(|due| matches!(due.item, DueItem::Subscription { .. })), "{left:?}");
}

#[tokio::test]
async fn sessions_are_due_until_somebody_looked() {
    let tables = Tables::new().await;
    let (id, alice) = tables.connect("c1=", "alice").await;
    let (user, store) = (&alice.user, &tables.store);
    let due = async |now: Time| {
        let item = DueItem::Sessions(user.clone());
        all_due(store, now).await.into_iter().find(|due| due.item == item).map(|due| due.at)
    };
    let check = NOW.plus_ms(60 * SECOND_MS);
    assert_eq!(due(check).await, Some(check));
    let claim = store.claim_sessions(user, check, check).await.unwrap().unwrap();
    assert!(claim.is_unannounced() && !claim.has_ghosts());
    // Somebody goes while the check is on its way: that write's own time stands.
    store.remove_connection(&id, check).await.unwrap();
    store.settle_sessions(user, &claim, check).await.unwrap();
    assert_eq!(due(check.plus_ms(HOUR_MS)).await, None, "nobody there, and nobody told otherwise");

    tables.connect("c2=", "alice").await;
    let claim = store.claim_sessions(user, check, check).await.unwrap().unwrap();
    store.settle_sessions(user, &claim, check).await.unwrap();
    assert_eq!(due(check.plus_ms(600 * SECOND_MS - 1)).await, None);
    let again = check.plus_ms(600 * SECOND_MS);
    assert_eq!(due(again).await, Some(again), "nothing came of it, so it is looked at again");
}

#[tokio::test]
async fn ghosts_are_dropped_from_the_sessions() {
    let tables = Tables::new().await;
    let (_, alice) = tables.connect("c1=", "alice").await;
    let (user, store) = (&alice.user, &tables.store);
    let key = ("USER#alice", "SESSIONS");
    tables.change("connections", key, "announced", aws_sdk_dynamodb::types::AttributeValue::Bool(true)).await;
    let cut = NOW.plus_ms(2 * HOUR_MS);
    let check = NOW.plus_ms(60 * SECOND_MS);
    let claim = store.claim_sessions(user, check, check).await.unwrap().unwrap();
    assert!(!claim.is_unannounced() && !claim.has_ghosts());
    store.settle_sessions(user, &claim, check).await.unwrap();
    let claim = store.claim_sessions(user, cut, cut).await.unwrap().expect("due when the oldest was cut");
    assert!(claim.has_ghosts());
    assert!(store.drop_ghosts(user, cut).await.unwrap());
    assert!(!store.drop_ghosts(user, cut).await.unwrap());
    let check = cut.plus_ms(60 * SECOND_MS);
    let claim = store.claim_sessions(user, check, check).await.unwrap().expect("due when the grace is over");
    assert!(claim.is_unannounced() && !claim.has_ghosts());
}

/// What a sweep reads depends on what is due, not on how many are connected.
#[tokio::test]
async fn a_sweep_reads_nothing_of_those_that_are_not_due() {
    let tables = Tables::new().await;
    let late = NOW.plus_ms(10 * SECOND_MS);
    let mut costs = Vec::new();
    let mut connected = 0;
    for count in [10, 300] {
        for index in connected..count {
            tables.connect(&format!("c{index}="), &format!("user-{index}")).await;
        }
        connected = count;
        let waiting = pending(&format!("p{count}="));
        tables.store.put_connection(&waiting, NOW).await.unwrap();
        tables.units();
        let due = all_due(&tables.store, late).await;
        assert_eq!(due.iter().map(|due| &due.item).collect::<Vec<_>>(), [&DueItem::Connection(waiting.id.clone())]);
        tables.store.claim_connection(&waiting.id, due[0].at, late).await.unwrap().unwrap();
        let units = tables.units();
        costs.push((units.read, units.write));
        tables.store.remove_connection(&waiting.id, late).await.unwrap();
    }
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0].0, f64::from(SWEEP_SHARDS) / 2.0 + 1.0, "half a unit a shard, and the one that is claimed");
}
