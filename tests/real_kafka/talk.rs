//! Two people who talk in a room whatever happens, and what must be true of it afterwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use tests::client::send;
use tests::person::assert_dense;
use tests::{Client, Person, Runtime};

/// A room with its people: both speak, and somebody else's connection listens.
pub(crate) struct Talk {
    alice: Person,
    room: String,
    speakers: [Client; 2],
    listener: Client,
}

/// How far a talk has come.
#[derive(Default)]
pub(crate) struct Progress {
    /// Messages that were acked.
    pub(crate) acked: AtomicUsize,
    /// Answers that asked for a retry, or failed invocations.
    pub(crate) refused: AtomicUsize,
    /// Nobody says anything more.
    pub(crate) is_over: AtomicBool,
}

impl Talk {
    pub(crate) async fn begin(madang: &Runtime) -> Self {
        let (alice, bob, room) = madang.pair().await;
        let speakers = [alice.join(&room).await, bob.join(&room).await];
        Self { listener: bob.join(&room).await, alice, room, speakers }
    }

    /// Both speak, each message until it is acked, until the talk is over; how many each has said.
    pub(crate) async fn go_on(&mut self, progress: &Progress) -> [usize; 2] {
        let [alice, bob] = &mut self.speakers;
        let (first, second) =
            tokio::join!(speak(alice, &self.room, "a", progress), speak(bob, &self.room, "b", progress));
        [first, second]
    }

    /// The first of them says one thing.
    pub(crate) async fn say(&mut self, number: usize, progress: &Progress) {
        let [alice, _] = &mut self.speakers;
        say(alice, &self.room, &format!("a-{number}"), progress).await;
    }

    /// The history has what both have said, each once, in the order of each, and everybody has heard just that.
    pub(crate) async fn check(&mut self, said: [usize; 2]) {
        let count = said.iter().sum();
        let history = self.alice.messages_once_there(&self.room, count).await;
        assert_dense(&history, 2);
        for (speaker, count) in ["a", "b"].into_iter().zip(said) {
            let ids = history.iter().map(|message| message["clientMessageId"].as_str().unwrap());
            let ids: Vec<&str> = ids.filter(|id| id.starts_with(speaker)).collect();
            let expected: Vec<String> = (1..=count).map(|number| format!("{speaker}-{number}")).collect();
            assert_eq!(ids, expected);
        }
        for client in self.speakers.iter_mut().chain([&mut self.listener]) {
            assert_eq!(client.hear_events(&self.room, count).await, history);
        }
    }
}

async fn speak(client: &mut Client, room: &str, name: &str, progress: &Progress) -> usize {
    let mut count = 0;
    while !progress.is_over.load(Ordering::Relaxed) {
        count += 1;
        say(client, room, &format!("{name}-{count}"), progress).await;
    }
    count
}

/// Says something until it is acked.
async fn say(client: &mut Client, room: &str, id: &str, progress: &Progress) {
    let frame = send(room, id, "hello");
    loop {
        let asked = client.ask(frame.clone()).await;
        let answer: Value = client.answer_or_fault(&asked).await.expect("the connection stays open");
        match answer["type"].as_str() {
            Some("ack") => break,
            Some("error") if answer["code"] == "unavailable" => {}
            // The gateway's own frame for a function that failed.
            None => assert_eq!(answer["message"], "Internal server error", "{answer}"),
            Some(_) => panic!("{answer}"),
        }
        progress.refused.fetch_add(1, Ordering::Relaxed);
    }
    progress.acked.fetch_add(1, Ordering::Relaxed);
}
