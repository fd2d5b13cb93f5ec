//! A user with a token.

use serde_json::{Value, json};

use crate::client::{Client, Refused};
use crate::deadline::eventually;
use crate::http::Http;

/// A user with a token.
#[derive(Clone)]
pub struct Person {
    /// The token's subject.
    pub id: String,
    /// The token.
    pub token: String,
    /// HTTP calls with that token.
    pub http: Http,
    /// The address of the WebSocket API.
    pub websocket: String,
}

impl Person {
    /// Opens a connection, with the token in the header.
    ///
    /// # Panics
    /// It is refused.
    pub async fn connect(&self) -> Client {
        self.try_to_connect().await.unwrap_or_else(|refused| panic!("{}: {refused:?}", self.id))
    }

    /// Opens a connection, with the token in the header, or does not.
    ///
    /// # Errors
    /// How the handshake was refused.
    pub async fn try_to_connect(&self) -> Result<Client, Refused> {
        self.open("", &[("authorization", &format!("Bearer {}", self.token))]).await
    }

    /// Opens a connection with a query and headers of the test's own choice.
    ///
    /// # Errors
    /// How the handshake was refused.
    pub async fn open(&self, query: &str, headers: &[(&str, &str)]) -> Result<Client, Refused> {
        Client::open(&self.id, &format!("{}{query}", self.websocket), headers).await
    }

    /// Opens a connection and subscribes it to a room.
    pub async fn join(&self, room: &str) -> Client {
        let mut client = self.connect().await;
        client.subscribe(room).await;
        client
    }

    /// Makes a group with others; its id.
    pub async fn make_room(&self, others: &[&Self]) -> String {
        let users: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
        let room = self.http.post("/rooms", &json!({"name": "Courtyard", "userIds": users})).await.good(201);
        room["roomId"].as_str().expect("a room id").to_owned()
    }

    /// All messages of a room by its history, oldest first, page after page.
    pub async fn messages(&self, room: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut path = format!("/rooms/{room}/messages?after=0&limit=100");
        loop {
            let page = self.http.get(&path).await.good(200);
            messages.extend(page["messages"].as_array().expect("messages").iter().cloned());
            match page["cursor"].as_str() {
                Some(cursor) => path = format!("/rooms/{room}/messages?limit=100&cursor={cursor}"),
                None => return messages,
            }
        }
    }

    /// All events of a room, page after page.
    pub async fn events(&self, room: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events.last().map_or(0, seq_of);
            let page = self.http.get(&format!("/rooms/{room}/events?after={after}")).await.good(200);
            events.extend(page["events"].as_array().expect("events").iter().cloned());
            if page["more"] == false {
                return events;
            }
        }
    }

    /// Waits until the history of a room has so many messages, and gives them.
    pub async fn messages_once_there(&self, room: &str, count: usize) -> Vec<Value> {
        // An event stands before the messages: the room's creation.
        let path = format!("/rooms/{room}");
        eventually(&format!("{count} messages in the history of {room}"), async || {
            let last = self.http.get(&path).await.good(200)["lastSeq"].as_u64().expect("lastSeq");
            (last > count as u64).then_some(())
        })
        .await;
        let messages = self.messages(room).await;
        assert_eq!(messages.len(), count, "{messages:#?}");
        messages
    }
}

/// The seq of an event.
///
/// # Panics
/// It has none.
#[must_use]
pub fn seq_of(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or_else(|| panic!("an event without seq: {event}"))
}

/// Checks that events are numbered without a hole or a repetition, starting with a seq.
///
/// # Panics
/// They are not.
pub fn assert_dense(events: &[Value], first: u64) {
    let seqs: Vec<u64> = events.iter().map(seq_of).collect();
    let dense: Vec<u64> = (first..).take(seqs.len()).collect();
    assert_eq!(seqs, dense);
}
