//! Traces: one message, followed from the gateway's event through Kafka into the commit and every post.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use tests::collector::{Collector, Span, SpanKind};
use tests::deadline::eventually;
use tests::gate::{Gate, Way};
use tests::{Runtime, Stomp};

/// A system that exports all its traces.
fn traced(arguments: &[&str]) -> (Runtime, Collector) {
    let collector = Collector::start();
    let authorization = "authorization=Bearer%20of-the-collector";
    let address = collector.url();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", authorization)];
    (Runtime::start_with(arguments, &variables), collector)
}

/// The spans below one, with this name.
fn below<'a>(spans: &'a [Span], parent: &Span, name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent == parent.id && span.name == name).collect()
}

/// The commit of a command.
fn commit_of<'a>(spans: &'a [Span], command: &Value) -> Option<&'a Span> {
    spans.iter().find(|span| span.name == "commit" && json!(span.attributes.get("command_id")) == *command)
}

#[tokio::test]
async fn a_message_is_one_trace_from_its_frame_to_every_post() {
    let (madang, collector) = traced(&[]);
    let (alice, bob, carol) = (madang.person("alice").await, madang.person("bob").await, madang.person("carol").await);
    let room = alice.make_room(&[&bob, &carol]).await;
    let (mut at_alice, mut at_bob) = (alice.join(&room).await, bob.join(&room).await);
    let mut at_carol = Stomp::connect(&carol).await;
    at_carol.subscribe("room", &room).await;
    let ack = at_alice.send(&room, "c1", "PII-9c1").await;
    at_alice.message(&room, "c1").await;
    at_bob.message(&room, "c1").await;
    at_carol.message("room", "c1").await;

    let (spans, commit, posts) = collector
        .eventually("the posts of the message", |spans| {
            let commit = commit_of(spans, &ack["commandId"])?.clone();
            let posts: Vec<Span> = below(spans, &commit, "post").into_iter().cloned().collect();
            (posts.len() == 3).then(|| (spans.to_vec(), commit, posts))
        })
        .await;
    let parent = |of: &Span| spans.iter().find(|span| span.id == of.parent && span.trace == of.trace).cloned().unwrap();
    let send = parent(&commit);
    let invocation = parent(&send);
    let seen = [&invocation, &send, &commit].map(|span| (span.service.as_str(), span.name.as_str(), span.kind));
    assert_eq!(
        seen,
        [
            ("madang-message", "message", SpanKind::Server),
            ("madang-message", "send chat-messages", SpanKind::Producer),
            ("madang-consumer", "commit", SpanKind::Consumer),
        ]
    );
    assert_eq!(commit.attributes["outcome"], "committed");
    let connections: BTreeSet<&str> = posts.iter().map(|post| post.attributes["connection_id"].as_str()).collect();
    assert_eq!(connections.len(), 3, "every connection once");
    for post in &posts {
        assert_eq!((post.service.as_str(), post.kind, post.failed), ("madang-consumer", SpanKind::Client, false));
        assert_eq!(post.trace, commit.trace);
    }
    // The trace began with what Lambda handed the function: X-Ray's ids begin with the second that they were made in.
    let second = u64::from_str_radix(invocation.trace.get(..8).unwrap(), 16).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 300..=now).contains(&second), "{}", invocation.trace);
    assert_eq!(invocation.parent.len(), 16, "{invocation:?}");
    // The batch has a trace of its own, and the commit is linked to the room's part of it.
    let of_room = collector
        .eventually("the room's span", |spans| {
            spans.iter().find(|span| commit.links.contains(&span.id) && span.name == "room").cloned()
        })
        .await;
    assert_eq!(of_room.attributes["room_id"], room);
    assert_ne!(of_room.trace, commit.trace);

    let signature = alice.token.rsplit('.').next().unwrap();
    for secret in [signature, "PII-9c1"] {
        assert!(!collector.has_seen(secret), "{secret}");
    }
    assert!(collector.authorizations().iter().all(|value| value == "Bearer of-the-collector"));
}

/// With a window several messages come in one frame: whoever looks at one of them finds its post all the same.
#[tokio::test]
async fn posts_of_several_messages_are_linked_to_each() {
    let (madang, collector) = traced(&["--batching-window-ms", "300"]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.join(&room).await);
    let mut commands = Vec::new();
    for id in ["a", "b", "c", "d"] {
        commands.push(at_alice.send(&room, id, "hello").await["commandId"].clone());
    }
    at_bob.hear_events(&room, commands.len()).await;
    let linked = collector
        .eventually("a post for each", |spans| {
            let commits: Option<Vec<&Span>> = commands.iter().map(|command| commit_of(spans, command)).collect();
            let mut linked = HashMap::new();
            for commit in commits? {
                let posts = spans.iter().filter(|span| span.name == "post");
                let of_commit = posts.filter(|post| post.parent == commit.id || post.links.contains(&commit.id));
                let connections: BTreeSet<String> =
                    of_commit.map(|post| post.attributes["connection_id"].clone()).collect();
                linked.insert(commit.id.clone(), connections);
            }
            linked.values().all(|connections| connections.len() == 2).then_some(linked)
        })
        .await;
    assert_eq!(linked.len(), commands.len());
}

#[tokio::test]
async fn a_refusal_is_seen_in_its_trace() {
    let (madang, collector) = traced(&[]);
    let (alice, bob, room) = madang.pair().await;
    let mut at_alice = alice.connect().await;
    at_alice.send(&room, "c1", "one").await;
    at_alice.message(&room, "c1").await;
    let conflict = at_alice.send(&room, "c1", "another").await;
    at_alice.push("nack").await;
    let commit = collector
        .eventually("the refusal's post", |spans| {
            let commit = commit_of(spans, &conflict["commandId"])?;
            (below(spans, commit, "post").len() == 1).then(|| commit.clone())
        })
        .await;
    assert_eq!(commit.attributes["outcome"], "idempotency_conflict");
    drop(bob);
}

/// A collector that never answers costs spans: no message, and no ack.
#[tokio::test]
async fn without_an_answering_collector_people_talk_as_ever() {
    let collector = Collector::start();
    let gate = Gate::to(&collector.url()).await;
    gate.set(Way::Silent);
    let madang = Runtime::start_with::<&str>(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &gate.url())]);
    let (alice, bob, room) = madang.pair().await;
    let (mut at_alice, mut at_bob) = (alice.connect().await, bob.join(&room).await);
    for id in ["a", "b", "c"] {
        at_alice.send(&room, id, "hello").await;
    }
    at_bob.hear_events(&room, 3).await;
    eventually("the loss told", async || (madang.log_lines_with("spans are lost") > 0).then_some(())).await;
    assert!(collector.spans().is_empty());
}
