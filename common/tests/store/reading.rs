//! Read markers, unread counts and what a room list shows.

use common::id::{CommandId, RoomId, Seq, UserId};
use common::record::{Marker, Record, RecordBody, SCHEMA_VERSION};
use common::room::Role;
use futures_util::future::join_all;

use crate::log::{Log, id};
use crate::tables::{NOW, Tables, record, send, seq};

/// A marker of somebody who says that they have read up to a seq.
pub(crate) fn marker(room: &RoomId, number: u128, user: &str, said: u64) -> Marker {
    Marker {
        v: SCHEMA_VERSION,
        id: CommandId::new(NOW, number),
        room_id: room.clone(),
        user_id: user.parse().unwrap(),
        seq: seq(said),
        received_at: NOW,
    }
}

fn messages(room: &RoomId, from: u128, count: u128, sender: &str) -> Vec<Record> {
    (from..from + count).map(|number| send(room, number, sender, &format!("m-{number}"), "hello")).collect()
}

async fn read_seq(tables: &Tables, room: &RoomId, user: &str) -> Option<u64> {
    let member = tables.store.member(room, &user.parse().unwrap()).await.unwrap();
    member.map(|member| member.read_seq.get())
}

#[tokio::test]
async fn a_marker_only_moves_forward() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    tables.commit(&room, messages(&room, 1, 9, "bob")).await;
    let moved = async |number, said, end: u64| {
        let marker = marker(&room, number, "alice", said);
        let moved = tables.store.move_marker(&marker, marker.seq.min(seq(end))).await.unwrap();
        (moved.map(Seq::get), read_seq(&tables, &room, "alice").await.unwrap())
    };
    assert_eq!(moved(1, 5, 10).await, (Some(5), 5));
    assert_eq!(moved(2, 4, 10).await, (None, 5), "back");
    assert_eq!(moved(3, 5, 10).await, (None, 5), "the same place again");
    assert_eq!(moved(1, 5, 10).await, (Some(5), 5), "the same marker, delivered again, is told again");
    assert_eq!(moved(4, 999, 10).await, (Some(10), 10), "to the end");
    tables.commit(&room, messages(&room, 100, 5, "bob")).await;
    assert_eq!(moved(4, 999, 15).await, (Some(10), 10), "delivered again when the log has grown, it moves nothing");
    assert_eq!(moved(1, 5, 15).await, (None, 10), "an older one, delivered again");
    assert_eq!(moved(5, 12, 15).await, (Some(12), 12));
    assert_eq!(read_seq(&tables, &room, "bob").await, Some(1), "nobody else's");
}

/// A marker that makes an item brings back whoever was removed.
#[tokio::test]
async fn a_marker_never_makes_a_membership() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    let bob: UserId = "bob".parse().unwrap();
    let kick = RecordBody::Kick { user_id: bob.clone() };
    tables.commit(&room, messages(&room, 1, 3, "alice")).await;
    tables.commit(&room, vec![record(&room, 10, "alice", kick)]).await;
    let items = tables.items("chat").await.len();
    for (number, user, room) in [(20, "bob", &room), (21, "mallory", &room), (22, "bob", &"nowhere".parse().unwrap())] {
        let marker = marker(room, number, user, 4);
        assert_eq!(tables.store.move_marker(&marker, seq(4)).await.unwrap(), None);
    }
    assert_eq!(tables.items("chat").await.len(), items);
    // Behind the new membership, what was said before it moves nothing.
    tables.commit(&room, vec![record(&room, 11, "alice", RecordBody::Invite { user_id: bob })]).await;
    tables.commit(&room, messages(&room, 30, 3, "alice")).await;
    let member = tables.store.member(&room, &"bob".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((member.joined_seq, member.read_seq, member.role), (seq(6), seq(6), Role::Member));
    assert_eq!(tables.store.move_marker(&marker(&room, 20, "bob", 4), seq(4)).await.unwrap(), None);
    assert_eq!(tables.store.move_marker(&marker(&room, 23, "bob", 7), seq(7)).await.unwrap(), Some(seq(7)));
    assert_eq!(read_seq(&tables, &room, "bob").await, Some(7));
}

/// Conflicts ended as errors elsewhere: pynamodb/PynamoDB #1264 (case 29).
#[tokio::test(flavor = "multi_thread")]
async fn thirty_markers_at_once_end_at_the_highest() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    tables.commit(&room, messages(&room, 1, 40, "alice")).await;
    let racers = (0..30_u64).map(|number| {
        let (store, room) = (std::sync::Arc::clone(&tables.store), room.clone());
        let said = 2 + (number * 7) % 30;
        tokio::spawn(
            async move { store.move_marker(&marker(&room, number.into(), "bob", said), seq(said)).await.unwrap() },
        )
    });
    let change = |role: Role| {
        let number = 100 + role as u128;
        tables.commit(
            &room,
            vec![record(&room, number, "alice", RecordBody::ChangeRole { user_id: "bob".parse().unwrap(), role })],
        )
    };
    let ((), moved) = tokio::join!(
        async {
            change(Role::Admin).await;
            change(Role::Owner).await;
        },
        join_all(racers)
    );
    let highest = moved.into_iter().filter_map(Result::unwrap).max();
    assert_eq!(highest, Some(seq(31)));
    assert_eq!(read_seq(&tables, &room, "bob").await, Some(31));
    let member = tables.store.member(&room, &"bob".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(member.role, Role::Owner, "neither write undoes the other");
}

#[tokio::test]
async fn unread_counts_what_others_said() {
    let tables = Tables::new().await;
    let mut log = Log::of_two(&tables, 1).await;
    let room = log.room.clone();
    let alice: UserId = "alice".parse().unwrap();
    let unread = async |log: &Log, read| {
        let last = log.messages.keys().last().copied().unwrap_or_default();
        tables.store.unread(&log.room, &alice, seq(read), seq(last)).await.unwrap()
    };
    assert_eq!(unread(&log, 1).await, 0);
    log.commit(&tables, messages(&room, 1_000, 99, "bob")).await;
    assert_eq!((unread(&log, 1).await, unread(&log, 51).await), (99, 49));
    log.commit(&tables, messages(&room, 2_000, 150, "alice")).await;
    assert_eq!((unread(&log, 1).await, unread(&log, 100).await), (99, 0), "one's own are not counted");
    log.commit(&tables, messages(&room, 3_000, 1, "bob")).await;
    assert_eq!(unread(&log, 1).await, 100);
    log.commit(&tables, messages(&room, 4_000, 50, "bob")).await;
    assert_eq!((unread(&log, 1).await, unread(&log, 251).await), (100, 50), "100 means that or more");
    // Deleting an unread message left the badge up elsewhere: johnsideserf/siggy #484 (case 50).
    let deletions = [260, 261, 10, 20].into_iter().zip(5_000..);
    let deletions =
        deletions.map(|(seq, number)| record(&room, number, "alice", RecordBody::Delete { message_id: id(seq) }));
    log.commit(&tables, deletions.collect()).await;
    assert_eq!((unread(&log, 251).await, unread(&log, 100).await, unread(&log, 201).await), (48, 49, 49));
    // An edited one is as unread as before.
    let (message_id, content) = (id(270), "edited".to_owned().try_into().unwrap());
    log.commit(&tables, vec![record(&room, 6_000, "bob", RecordBody::Edit { message_id, content })]).await;
    assert_eq!(unread(&log, 251).await, 48);
}

#[tokio::test]
async fn unread_is_what_a_reader_would_count_in_any_log() {
    let tables = Tables::new().await;
    for seed in 1..=3 {
        let mut log = Log::of_two(&tables, seed).await;
        log.live_on(&tables, 280).await;
        log.rename_often(&tables, 60).await;
        let last = *log.messages.keys().last().unwrap();
        for user in ["alice", "bob"] {
            for read in (1..=log.last_seq).step_by(13).chain([last - 1, last, last + 1, log.last_seq]) {
                let is_unread = |(at, said): &(&u64, &crate::log::Said)| {
                    **at > read && said.sender != user && said.content.is_some()
                };
                let expected = log.messages.iter().filter(is_unread).count().min(100) as u64;
                let unread =
                    tables.store.unread(&log.room, &user.parse().unwrap(), seq(read), seq(last)).await.unwrap();
                assert_eq!(unread, expected, "{user} behind {read} of {} in log {seed}", log.last_seq);
            }
        }
    }
}

/// Somebody who writes and never reads: what may be looked at is bounded.
#[tokio::test]
async fn unread_looks_at_two_thousand_events_at_most() {
    let tables = Tables::new().await;
    let room = tables.room("room", &["alice", "bob"]).await;
    let alice: UserId = "alice".parse().unwrap();
    for chunk in 0..21 {
        tables.commit(&room, messages(&room, chunk * 100, 100, "alice")).await;
    }
    tables.commit(&room, messages(&room, 9_000, 1, "bob")).await;
    let unread = async |read| tables.store.unread(&room, &alice, seq(read), seq(2_102)).await.unwrap();
    assert_eq!(unread(200).await, 1, "exact");
    tables.units();
    assert_eq!(unread(1).await, 100, "too many to look at");
    let read = tables.units().read;
    assert!(read <= 110.0, "{read} read units");
}

#[tokio::test]
async fn a_preview_is_the_last_message_as_it_stands_now() {
    let tables = Tables::new().await;
    let (quiet, loud, left) = (
        tables.room("quiet", &["alice", "bob"]).await,
        tables.room("loud", &["alice", "bob"]).await,
        tables.room("left", &["bob", "alice"]).await,
    );
    let previews = async || {
        let rooms = [&loud, &quiet, &left].map(Clone::clone);
        let mut heads = tables.store.heads(&rooms).await.unwrap();
        heads.sort_by_key(|head| rooms.iter().position(|room| *room == head.room));
        let previews = tables.store.room_previews(&"alice".parse().unwrap(), &heads).await.unwrap();
        let shown = |preview: common::store::RoomPreview| {
            let message = preview.last_message.map(|event| serde_json::to_value(event).unwrap());
            (preview.head.room.to_string(), preview.unread, message)
        };
        previews.into_iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(
        previews().await,
        [("loud".to_owned(), 0, None), ("quiet".to_owned(), 0, None), ("left".to_owned(), 0, None)]
    );
    tables.commit(&loud, vec![send(&loud, 1, "alice", "a", "first"), send(&loud, 2, "bob", "b", "SECRET-7f3")]).await;
    // Whatever else happens, the last message stays the last one.
    let renames = (10..40).map(|number| {
        let name = format!("name {number}").try_into().unwrap();
        record(&loud, number, "alice", RecordBody::Rename { name })
    });
    tables.commit(&loud, renames.collect()).await;
    tables.commit(&left, vec![record(&left, 3, "alice", RecordBody::Leave { successor: None })]).await;
    let shown = previews().await;
    assert_eq!((shown.len(), &shown[0].0, shown[0].1), (2, &"loud".to_owned(), 1), "who left sees nothing");
    let message = shown[0].2.as_ref().unwrap();
    assert_eq!((&message["seq"], &message["content"]), (&3.into(), &"SECRET-7f3".into()));

    let edit = RecordBody::Edit { message_id: id(3), content: "SECRET-8e4".to_owned().try_into().unwrap() };
    tables.commit(&loud, vec![record(&loud, 50, "bob", edit)]).await;
    let message = previews().await[0].2.clone().unwrap();
    assert_eq!((&message["content"], message.get("editedAt").is_some()), (&"SECRET-8e4".into(), true));

    // A deleted message was still the preview elsewhere: NodeBB/NodeBB #11961 (case 52).
    tables.commit(&loud, vec![record(&loud, 51, "bob", RecordBody::Delete { message_id: id(3) })]).await;
    let shown = previews().await;
    let message = shown[0].2.as_ref().unwrap();
    assert_eq!((&message["deleted"], message.get("content"), message.get("editedAt")), (&true.into(), None, None));
    assert_eq!(shown[0].1, 0, "and it is unread no more");
    let items = format!("{:?}", tables.items("chat").await);
    assert!(!items.contains("SECRET"), "nothing keeps its text");
}
