//! One WebSocket connection that speaks `chat.v1.json`. It reads only while a test waits for something, and checks of
//! everything it hears what must always be true: what `infra/asyncapi.yaml` says, one answer per id, events of a frame
//! without holes, and a repeated event equal to its first copy, but for texts: those are shown in their current state.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

use crate::contract::contracts;
use crate::deadline::within;
use crate::person::seq_of;
use crate::socket::Socket;

pub use crate::socket::{Closed, Refused};

/// A connection.
pub struct Client {
    /// Whose it is, for messages.
    pub user: String,
    /// The subprotocols that the handshake's answer named.
    pub subprotocols: Vec<String>,
    socket: Socket,
    sent_count: u64,
    asked: HashMap<String, Value>,
    answers: HashMap<String, Value>,
    answered: HashSet<String>,
    pushes: Vec<Value>,
    events: HashMap<String, BTreeMap<u64, Value>>,
    epochs: HashMap<String, Value>,
}

impl Client {
    /// Opens a connection.
    ///
    /// # Errors
    /// How the handshake was refused.
    ///
    /// # Panics
    /// It failed in another way, or not in time.
    pub async fn open(user: &str, address: &str, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let socket = Socket::open(user, address, headers).await?;
        Ok(Self {
            user: user.to_owned(),
            subprotocols: socket.subprotocols().to_vec(),
            socket,
            sent_count: 0,
            asked: HashMap::new(),
            answers: HashMap::new(),
            answered: HashSet::new(),
            pushes: Vec::new(),
            events: HashMap::new(),
            epochs: HashMap::new(),
        })
    }

    /// Sends a frame as it is; a connection that is closed meanwhile is noticed when something is awaited.
    pub async fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        if let Ok(frame) = serde_json::from_str::<Value>(&text)
            && let Some(id) = frame["id"].as_str()
        {
            self.asked.insert(id.to_owned(), frame);
        }
        self.socket.send(Message::text(text)).await;
    }

    /// Sends parts of a message as they are, whatever they are.
    pub async fn say_raw(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.socket.send(Message::Frame(frame)).await;
        }
    }

    /// Sends a frame with an id of its own and waits for the one answer.
    pub async fn request(&mut self, frame: Value) -> Value {
        let id = self.ask(frame).await;
        self.answer(&id).await
    }

    /// Sends a frame with an id of its own, and gives the id.
    pub async fn ask(&mut self, mut frame: Value) -> String {
        self.sent_count += 1;
        let id = format!("q{}", self.sent_count);
        frame["id"] = json!(id);
        self.say(frame.to_string()).await;
        id
    }

    /// The answer to an id.
    pub async fn answer(&mut self, id: &str) -> Value {
        loop {
            if let Some(answer) = self.answers.remove(id) {
                return answer;
            }
            self.hear(&format!("the answer to {id}")).await;
        }
    }

    /// The answer to an id, or the frame that the gateway sends when a function failed, or nothing when the connection
    /// is closed.
    pub async fn answer_or_fault(&mut self, id: &str) -> Option<Value> {
        loop {
            if let Some(answer) = self.answers.remove(id) {
                return Some(answer);
            }
            if let Some(at) = self.pushes.iter().position(|push| push.get("type").is_none()) {
                return Some(self.pushes.remove(at));
            }
            if self.is_closed() {
                return None;
            }
            self.hear(&format!("the answer to {id}, or a service frame")).await;
        }
    }

    /// The first push that is like this, heard before or still to come.
    pub async fn push_where(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(at) = self.pushes.iter().position(&is_it) {
                return self.pushes.remove(at);
            }
            self.hear(what).await;
        }
    }

    /// The first push of a type.
    pub async fn push(&mut self, kind: &str) -> Value {
        self.push_where(kind, |push| push["type"] == kind).await
    }

    /// The newest event of a room that is like this, heard before or still to come.
    pub async fn event_where(&mut self, room: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut heard = self.events.get(room).into_iter().flat_map(|events| events.values().rev());
            if let Some(event) = heard.find(|event| is_it(event)) {
                return event.clone();
            }
            self.hear(&format!("an event: {what}")).await;
        }
    }

    /// The message with a `clientMessageId`, as an event.
    pub async fn message(&mut self, room: &str, client_message_id: &str) -> Value {
        let what = format!("the message {client_message_id}");
        self.event_where(room, &what, |event| event["clientMessageId"] == client_message_id).await
    }

    /// Waits until so many different events of a room were heard.
    pub async fn hear_events(&mut self, room: &str, count: usize) -> Vec<Value> {
        loop {
            let heard = self.events.get(room).map_or(0, BTreeMap::len);
            if heard >= count {
                assert_eq!(heard, count, "{}: too many events", self.user);
                return self.events(room);
            }
            self.hear(&format!("{count} events of {room} (have {heard})")).await;
        }
    }

    /// The events of a room that were heard so far, each once, by seq.
    #[must_use]
    pub fn events(&self, room: &str) -> Vec<Value> {
        self.events.get(room).map(|events| events.values().cloned().collect()).unwrap_or_default()
    }

    /// The pushes that were heard so far and nobody asked for.
    #[must_use]
    pub fn pushes(&self) -> &[Value] {
        &self.pushes
    }

    /// The same beside notices: who comes right after a room is made, or a member is, may still be told of it.
    pub fn pushes_beside_notices(&self) -> Vec<&Value> {
        self.pushes.iter().filter(|push| push["type"] != "notice").collect()
    }

    /// Reads everything that was sent to this connection up to now.
    pub async fn catch_up(&mut self) {
        let pong = self.request(json!({"action": "ping"})).await;
        assert_eq!(pong["type"], "pong");
    }

    /// Subscribes to a room from its end on.
    pub async fn subscribe(&mut self, room: &str) -> Value {
        let subscribed = self.request(json!({"action": "subscribe", "roomId": room})).await;
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
        subscribed
    }

    /// Subscribes to a room from its end on, with signals.
    pub async fn subscribe_with(&mut self, room: &str, signals: &[&str]) {
        let frame = json!({"action": "subscribe", "roomId": room, "signals": signals});
        let subscribed = self.request(frame).await;
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
    }

    /// Sends a message and waits for its ack; the ack.
    pub async fn send(&mut self, room: &str, client_message_id: &str, content: &str) -> Value {
        let ack = self.request(send(room, client_message_id, content)).await;
        assert_eq!(ack["type"], "ack", "{}: {ack}", self.user);
        assert_eq!(ack["clientMessageId"], client_message_id);
        ack
    }

    /// Sends a frame that must be acked; the ack.
    pub async fn act(&mut self, frame: Value) -> Value {
        let ack = self.request(frame.clone()).await;
        assert_eq!(ack["type"], "ack", "{}: {frame}: {ack}", self.user);
        ack
    }

    /// Sends a frame until it is answered with this type; whatever is answered before is an error that the contract lets
    /// one try again.
    pub async fn insist(&mut self, frame: Value, kind: &str) -> Value {
        within(kind, async {
            loop {
                let answer = self.request(frame.clone()).await;
                if answer["type"] == kind {
                    return answer;
                }
                let told = (&answer["type"], &answer["code"], &answer["retryable"]);
                assert_eq!(told, (&json!("error"), &json!("unavailable"), &json!(true)), "{}: {answer}", self.user);
            }
        })
        .await
    }

    /// Sends a frame that must be refused at once.
    pub async fn refused(&mut self, frame: Value, code: &str) {
        let error = self.request(frame.clone()).await;
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{}: {frame}: {error}",
            self.user
        );
    }

    /// The nack of a command.
    pub async fn nack(&mut self, command: &Value) -> Value {
        self.push_where("a nack", |push| push["type"] == "nack" && push["commandId"] == *command).await
    }

    /// The newest event of a kind in a room, heard before or still to come.
    pub async fn event(&mut self, room: &str, kind: &str) -> Value {
        self.event_where(room, kind, |event| event["kind"] == kind).await
    }

    /// The first notice of a kind about a room.
    pub async fn notice(&mut self, room: &str, kind: &str) -> Value {
        let is_it = |push: &Value| push["type"] == "notice" && push["kind"] == kind && push["roomId"] == room;
        self.push_where(&format!("the notice {kind}"), is_it).await
    }

    /// Sends many messages, some at once and so in no order, and waits for all acks: `<prefix>1`, `<prefix>2`, …
    pub async fn send_many(&mut self, room: &str, prefix: &str, count: usize) {
        let mut asked = std::collections::VecDeque::new();
        for number in 1..=count {
            let frame = send(room, &format!("{prefix}{number}"), &format!("message {number}"));
            asked.push_back(self.ask(frame).await);
            if asked.len() == 16 || number == count {
                for id in asked.drain(..) {
                    let ack = self.answer(&id).await;
                    assert_eq!(ack["type"], "ack", "{ack}");
                }
            }
        }
    }

    /// Closes, with a code and a reason of one's own.
    pub async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.socket.send(Message::Close(Some(frame))).await;
    }

    /// Waits until the other side closes, reading on until then.
    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Some(closed) = self.socket.closed() {
                return closed.clone();
            }
            self.hear("the close").await;
        }
    }

    /// Whether the other side has closed, as far as was heard.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.socket.closed().is_some()
    }

    /// Reads one frame and files it.
    async fn hear(&mut self, awaited: &str) {
        if let Some(text) = self.socket.hear(awaited).await {
            self.file(&text);
        }
    }

    fn file(&mut self, text: &str) {
        let frame: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{}: not JSON: {text}", self.user));
        contracts().judge_frame(&frame);
        if let Some(id) = frame["id"].as_str() {
            if let Some(asked) = self.asked.remove(id) {
                contracts().judge_exchange(&asked, &frame);
            }
            assert!(self.answered.insert(id.to_owned()), "{}: a second answer to {id}", self.socket);
            self.answers.insert(id.to_owned(), frame);
        } else if frame["type"] == "events" {
            self.file_events(&frame);
        } else {
            self.pushes.push(frame);
        }
    }

    fn file_events(&mut self, frame: &Value) {
        let room = frame["roomId"].as_str().expect("a room id");
        let events = frame["events"].as_array().expect("events");
        assert!(!events.is_empty(), "{}: an empty frame of events", self.user);
        let epoch = self.epochs.entry(room.to_owned()).or_insert_with(|| frame["epoch"].clone());
        assert_eq!(*epoch, frame["epoch"], "{}: the epoch of {room} has changed", self.user);
        let first = seq_of(&events[0]);
        let known = self.events.entry(room.to_owned()).or_default();
        for (seq, event) in (first..).zip(events) {
            assert_eq!(seq_of(event), seq, "{}: a hole in a frame", self.user);
            assert_eq!(event["roomId"], room, "{}: an event of another room", self.user);
            if let Some(before) = known.insert(seq, event.clone()) {
                let (before, event) = (without_text(&before), without_text(event));
                assert_eq!(before, event, "{}: two different events with seq {seq} in {room}", self.user);
            }
        }
    }
}

/// An event but for what an edit or a deletion changes about it.
fn without_text(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(object) = event.as_object_mut() {
        object.retain(|name, _| !["content", "editedAt", "deleted"].contains(&name.as_str()));
    }
    event
}

/// A `send` frame.
#[must_use]
pub fn send(room: &str, client_message_id: &str, content: &str) -> Value {
    json!({"action": "send", "roomId": room, "clientMessageId": client_message_id, "content": content})
}
