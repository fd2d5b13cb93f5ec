//! Connections that do not take what is posted to them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::collector::{Collector, Span};
use tests::deadline::eventually;
use tests::{Client, Person, Runtime, Stomp};

/// What a connection may delay its room by, at most, in a debug build, and then some for a busy machine.
const BOUND: Duration = Duration::from_secs(40);

/// A room of three, all there: one who talks, one who listens, one whose connection is in trouble.
struct Trouble {
    madang: Runtime,
    room: String,
    troubled: Person,
    at_talker: Client,
    at_listener: Client,
    at_troubled: Client,
    connection: String,
}

impl Trouble {
    async fn begin() -> Self {
        let madang = Runtime::alone().await;
        let (talker, listener) = (madang.person("talker").await, madang.person("listener").await);
        let troubled = madang.person("troubled").await;
        let room = talker.make_room(&[&listener, &troubled]).await;
        let (at_talker, at_listener) = (talker.join(&room).await, listener.join(&room).await);
        let at_troubled = troubled.join(&room).await;
        let connection = madang.connection_of(&troubled, &room).await;
        Self { madang, room, troubled, at_talker, at_listener, at_troubled, connection }
    }

    async fn posts_are(&self, posts: &str) {
        self.madang.faults(json!({"posts": posts, "connections": [self.connection]})).await;
    }

    /// The others talk on, and that does not take them long.
    async fn others_talk(&mut self, id: &str) {
        let start = Instant::now();
        self.at_talker.send(&self.room, id, "hello").await;
        self.at_listener.message(&self.room, id).await;
        assert!(start.elapsed() < BOUND, "{id}: {:?}", start.elapsed());
        self.at_talker.message(&self.room, id).await;
    }

    /// Whoever was told to `resync` is up to date again, and hears what follows.
    async fn resyncs(&mut self, heard_until: u64) {
        // Where it did not take that in time either, the sweeper says so.
        let resync = self.madang.sweeping(self.at_troubled.push("resync")).await;
        assert_eq!(resync["roomId"], json!(self.room));
        let after = json!({"epoch": resync["epoch"], "seq": heard_until});
        let subscribed =
            self.at_troubled.request(json!({"action": "subscribe", "roomId": self.room, "after": after})).await;
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
        let missed = subscribed["events"].as_array().unwrap();
        let all = self.troubled.events(&self.room).await;
        let heard_until = usize::try_from(heard_until).unwrap();
        assert_eq!(missed.as_slice(), all.get(heard_until..).unwrap());
        assert!(subscribed["lastSeq"].as_u64() >= resync["lastSeq"].as_u64());
        self.others_talk("live-again").await;
        let room = self.room.clone();
        self.at_troubled.message(&room, "live-again").await;
    }
}

/// One connection that was gone made the whole fan-out fail elsewhere: georgeboot/laravel-echo-api-gateway #9,
/// aws-samples/simple-websockets-chat-app #44 (case 10).
#[tokio::test]
async fn a_gone_connection_is_forgotten() {
    let mut trouble = Trouble::begin().await;
    trouble.posts_are("gone").await;
    trouble.others_talk("one").await;
    let Trouble { madang, room, connection, .. } = &trouble;
    eventually("the connection's rows gone", async || {
        let rows = madang.rows_of_connection(connection).await;
        let subscribed = madang.subscriptions(room).await.iter().any(|(_, other)| other == connection);
        (rows == 0 && !subscribed).then_some(())
    })
    .await;
    assert!(madang.sessions_of(&trouble.troubled).await.is_empty());
    trouble.others_talk("two").await;
    // Should it be there after all, it is told to come back.
    trouble.at_troubled.ask(json!({"action": "subscribe", "roomId": trouble.room})).await;
    trouble.posts_are("ok").await;
    trouble.at_troubled.ask(json!({"action": "subscribe", "roomId": trouble.room})).await;
    trouble.at_troubled.closed().await;
    let mut again = trouble.troubled.join(&trouble.room).await;
    trouble.others_talk("three").await;
    again.message(&trouble.room, "three").await;
}

/// A room's row that nothing else is left of was posted to until its token ended, and never found.
#[tokio::test]
async fn what_a_gone_connection_left_behind_is_forgotten() {
    let mut trouble = Trouble::begin().await;
    trouble.madang.faults(json!({"dropDisconnect": true})).await;
    trouble.at_troubled = trouble.troubled.connect().await;
    trouble.madang.orphan_subscriptions(&trouble.connection).await;
    assert_eq!(trouble.madang.subscriptions(&trouble.room).await.len(), 3);
    let mut number = 0;
    eventually("the row gone", async || {
        number += 1;
        trouble.others_talk(&format!("c{number}")).await;
        (trouble.madang.subscriptions(&trouble.room).await.len() == 2).then_some(())
    })
    .await;
    trouble.posts_are("ok").await;
}

/// Case 10, a connection that fails once, and one that is throttled once: it is tried again, and misses nothing.
#[tokio::test]
async fn a_post_that_fails_once_is_made_good() {
    let mut trouble = Trouble::begin().await;
    for posts in ["fail", "throttle"] {
        let faults = json!({"posts": posts, "times": 1, "connections": [trouble.connection]});
        trouble.madang.faults(faults).await;
        trouble.others_talk(posts).await;
        trouble.at_troubled.message(&trouble.room, posts).await;
    }
    assert!(!trouble.at_troubled.pushes().iter().any(|push| push["type"] == "resync"));
    trouble.posts_are("ok").await;
}

/// Case 10, a throttled connection.
#[tokio::test]
async fn a_throttled_connection_is_told_to_resync() {
    let mut trouble = Trouble::begin().await;
    trouble.others_talk("heard").await;
    trouble.at_troubled.message(&trouble.room.clone(), "heard").await;
    trouble.posts_are("throttle").await;
    trouble.others_talk("one").await;
    trouble.others_talk("two").await;
    trouble.posts_are("ok").await;
    trouble.others_talk("three").await;
    trouble.resyncs(2).await;
}

/// Case 10, a connection that fails, and one that hangs.
#[tokio::test]
async fn a_hanging_connection_does_not_hold_its_room() {
    let mut trouble = Trouble::begin().await;
    trouble.others_talk("heard").await;
    trouble.at_troubled.message(&trouble.room.clone(), "heard").await;
    trouble.posts_are("hold").await;
    trouble.others_talk("one").await;
    trouble.others_talk("two").await;
    trouble.posts_are("fail").await;
    trouble.others_talk("three").await;
    trouble.posts_are("ok").await;
    trouble.others_talk("four").await;
    trouble.resyncs(2).await;
}

/// It was waited for until there was no time left to close the connection: the refusal was lost in silence.
#[tokio::test]
async fn a_hanging_connection_is_let_go_without_its_last_frame() {
    let madang = Runtime::alone().await;
    let (alice, _bob, room) = madang.pair().await;
    let mut stomp = Stomp::connect(&alice).await;
    stomp.send(&room, "c", "one").await;
    madang.faults(json!({"posts": "hold", "connections": madang.sessions_of(&alice).await})).await;
    stomp.send(&room, "c", "two").await;
    stomp.closed().await;
    madang.faults(json!({})).await;
}

/// Nothing marks it as too slow, so with each of its commands everybody waited for three tries.
#[tokio::test]
async fn a_hanging_connection_that_is_not_subscribed_is_tried_once() {
    let madang = Runtime::start::<&str>(&[]);
    let (talker, troubled) = (madang.person("talker").await, madang.person("troubled").await);
    let room = talker.make_room(&[&troubled]).await;
    let created = async || (madang.counted("consumer", &["Records"]).await[0] >= 1.0).then_some(());
    eventually("the room's creation, of which nobody connected is told", created).await;
    let (mut at_talker, mut at_troubled) = (talker.join(&room).await, troubled.connect().await);
    madang.faults(json!({"posts": "hold", "connections": madang.sessions_of(&troubled).await})).await;
    at_troubled.send(&room, "one", "hello").await;
    at_talker.message(&room, "one").await;
    // An invocation's figures come with its end.
    let posts = eventually("the end of the tries", async || {
        let [lagged, posts] = madang.counted("consumer", &["Lagged", "Posts"]).await;
        (lagged >= 1.0).then_some(posts)
    });
    assert!((posts.await - 2.0).abs() < f64::EPSILON, "one to each");
    madang.faults(json!({})).await;
}

/// It was given its time in each of its rooms, one after the other, and everybody's next messages waited for all of it.
#[tokio::test]
async fn a_hanging_connection_holds_up_all_its_rooms_once() {
    let collector = Collector::start();
    let madang = Runtime::start_with::<&str>(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())]);
    let (talker, listener) = (madang.person("talker").await, madang.person("listener").await);
    let troubled = madang.person("troubled").await;
    let mut rooms = Vec::new();
    for _ in 0..24 {
        rooms.push(talker.make_room(&[&listener, &troubled]).await);
    }
    let (mut at_talker, mut at_listener, mut at_troubled) =
        (talker.connect().await, listener.connect().await, troubled.connect().await);
    for client in [&mut at_listener, &mut at_troubled] {
        client.request(json!({"action": "subscribe", "roomIds": rooms})).await;
    }
    let connection = madang.connection_of(&troubled, &rooms[0]).await;
    // A batch for each partition.
    madang.faults(json!({"posts": "hold", "connections": [connection], "pauseEventSource": true})).await;
    let mut commands = HashSet::new();
    for room in &rooms {
        let ack = at_talker.send(room, "one", "hello").await;
        commands.insert(ack["commandId"].as_str().unwrap().to_owned());
    }
    madang.faults(json!({"posts": "hold", "connections": [connection]})).await;
    for room in &rooms {
        at_listener.message(room, "one").await;
    }
    // An invocation's spans come with its end.
    let tries = collector.eventually("the end of every batch", |spans| {
        let of = |span: &Span| span.attributes.get("command_id").filter(|id| commands.contains(*id)).cloned();
        let ended: HashSet<String> = spans.iter().filter(|span| span.name == "commit").filter_map(of).collect();
        let to_troubled = |span: &&Span| span.name == "post" && span.attributes["connection_id"] == connection;
        (ended == commands).then(|| spans.iter().filter(to_troubled).count())
    });
    let tries = tries.await;
    assert!((1..=rooms.len() / 4).contains(&tries), "{tries} tries for {} rooms", rooms.len());
    madang.faults(json!({})).await;
    for room in &rooms {
        at_talker.send(room, "three", "hello").await;
        let resync = at_troubled.push_where("resync", |push| push["type"] == "resync" && push["roomId"] == **room);
        // Where it did not take that in time either, the sweeper says so.
        madang.sweeping(resync).await;
    }
}

/// `$disconnect` is best effort: aws-samples/simple-websockets-chat-app #27, pallets-eco/flask-session #240 (case 65).
#[tokio::test]
async fn a_connection_whose_end_nobody_reported_is_found_out() {
    let mut trouble = Trouble::begin().await;
    trouble.madang.faults(json!({"dropDisconnect": true})).await;
    drop(trouble.at_troubled);
    trouble.at_troubled = trouble.troubled.connect().await;
    let Trouble { madang, room, connection, at_talker, at_listener, .. } = &mut trouble;
    let mut number = 0;
    eventually("the ghost's rows gone", async || {
        number += 1;
        at_talker.send(room, &format!("c{number}"), "hello").await;
        at_listener.message(room, &format!("c{number}")).await;
        (madang.rows_of_connection(connection).await == 0).then_some(())
    })
    .await;
    assert_eq!(madang.subscriptions(room).await.len(), 2);
    madang.faults(json!({})).await;
}
