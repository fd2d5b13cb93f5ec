//! One WebSocket connection that speaks STOMP, with a reader and a writer of its own, and checks of everything it hears
//! what must always be true: heads and bodies are as `infra/asyncapi.yaml` says, and a `message-id` names one event.

use std::collections::{HashMap, VecDeque};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::contract::contracts;
use crate::person::Person;
use crate::socket::{Closed, Refused, Socket};

/// What clients offer.
pub const SUBPROTOCOLS: &str = "v12.stomp, v11.stomp, v10.stomp";

/// One frame, with its headers unescaped as 1.2 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The command.
    pub command: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Frame {
    /// A header.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A header that must be there.
    ///
    /// # Panics
    /// It is not.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no header {name}: {self:?}"))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// A connection.
pub struct Stomp {
    /// The subprotocols that the handshake's answer named.
    pub subprotocols: Vec<String>,
    socket: Socket,
    frames: VecDeque<Frame>,
    copies: HashMap<(String, String), String>,
    sent_count: u64,
    texts: usize,
    longest_bytes: usize,
}

impl Stomp {
    /// Opens a connection, with the subprotocols that clients offer.
    ///
    /// # Errors
    /// How the handshake was refused.
    pub async fn open(person: &Person, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let mut all = vec![("sec-websocket-protocol", SUBPROTOCOLS)];
        all.extend(headers);
        Self::open_without_offer(person, &all).await
    }

    /// Opens a connection without a subprotocol, as Spring's client does.
    ///
    /// # Errors
    /// How the handshake was refused.
    pub async fn open_without_offer(person: &Person, headers: &[(&str, &str)]) -> Result<Self, Refused> {
        let socket = Socket::open(&person.id, &person.websocket, headers).await?;
        let subprotocols = socket.subprotocols().to_vec();
        Ok(Self {
            subprotocols,
            socket,
            frames: VecDeque::new(),
            copies: HashMap::new(),
            sent_count: 0,
            texts: 0,
            longest_bytes: 0,
        })
    }

    /// Opens a connection and says CONNECT with the token.
    ///
    /// # Panics
    /// It is refused.
    pub async fn connect(person: &Person) -> Self {
        let mut stomp = Self::open(person, &[]).await.expect("an open connection");
        let bearer = format!("Bearer {}", person.token);
        stomp.say("CONNECT", &[("accept-version", "1.0,1.1,1.2"), ("host", "x"), ("Authorization", &bearer)], "").await;
        let connected = stomp.frame("CONNECTED").await;
        assert_eq!(connected.get("version"), Some("1.2"));
        stomp
    }

    /// Sends a text as it is.
    pub async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await;
    }

    /// Sends a binary message.
    pub async fn say_binary(&mut self, bytes: &'static [u8]) {
        self.socket.send(Message::binary(bytes)).await;
    }

    /// Sends a frame.
    pub async fn say(&mut self, command: &str, headers: &[(&str, &str)], body: &str) {
        self.say_text(&write(command, headers, body)).await;
    }

    /// Sends a frame and waits for its RECEIPT.
    ///
    /// # Panics
    /// It is refused.
    pub async fn ask(&mut self, command: &str, headers: &[(&str, &str)], body: &str) {
        let answer = self.answer(command, headers, body).await;
        assert_eq!(answer.command, "RECEIPT", "{command} {headers:?} {body}: {answer:?}");
        if command != "NACK" {
            let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            contracts().judge_stomp(command, &headers);
        }
    }

    /// Sends a frame with a receipt of its own, and gives the one frame that answers it.
    pub async fn answer(&mut self, command: &str, headers: &[(&str, &str)], body: &str) -> Frame {
        self.sent_count += 1;
        let receipt = format!("q{}", self.sent_count);
        let mut all = vec![("receipt", receipt.as_str())];
        all.extend(headers);
        self.say(command, &all, body).await;
        self.frame_where(&format!("the answer to {command}"), |frame| frame.get("receipt-id") == Some(&receipt)).await
    }

    /// Subscribes to a room's events.
    pub async fn subscribe(&mut self, id: &str, room: &str) {
        self.ask("SUBSCRIBE", &[("id", id), ("destination", &format!("/topic/rooms/{room}"))], "").await;
    }

    /// Subscribes to the user's queue.
    pub async fn subscribe_queue(&mut self, id: &str) {
        self.ask("SUBSCRIBE", &[("id", id), ("destination", "/user/queue/events")], "").await;
    }

    /// Sends a command to a room and waits for its RECEIPT.
    pub async fn act(&mut self, room: &str, action: &str, body: &Value) {
        self.ask("SEND", &[("destination", &format!("/app/rooms/{room}/{action}"))], &body.to_string()).await;
    }

    /// Sends a message to a room and waits for its RECEIPT.
    pub async fn send(&mut self, room: &str, client_message_id: &str, content: &str) {
        self.act(room, "send", &json!({"clientMessageId": client_message_id, "content": content})).await;
    }

    /// The first frame that is like this, heard before or still to come.
    pub async fn frame_where(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            if let Some(at) = self.frames.iter().position(&is_it) {
                return self.frames.remove(at).expect("found");
            }
            self.hear(what).await;
        }
    }

    /// The first frame with this command.
    pub async fn frame(&mut self, command: &str) -> Frame {
        self.frame_where(command, |frame| frame.command == command).await
    }

    /// The first copy on a subscription that carries the room's event of this kind.
    pub async fn event(&mut self, subscription: &str, kind: &str) -> Frame {
        let is_it = |frame: &Frame| {
            frame.get("subscription") == Some(subscription)
                && frame.get("type") == Some("event")
                && frame.json()["kind"] == kind
        };
        self.frame_where(&format!("{kind} on {subscription}"), is_it).await
    }

    /// The first copy on a subscription of the message with a `clientMessageId`.
    pub async fn message(&mut self, subscription: &str, client_message_id: &str) -> Frame {
        let is_it = |frame: &Frame| {
            frame.get("subscription") == Some(subscription) && frame.get("client-message-id") == Some(client_message_id)
        };
        self.frame_where(&format!("{client_message_id} on {subscription}"), is_it).await
    }

    /// Reads everything that was sent to this connection up to now.
    pub async fn catch_up(&mut self) {
        self.ask("ACK", &[("id", "x")], "").await;
    }

    /// What was heard and not asked for yet.
    pub fn heard(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter()
    }

    /// The next WebSocket message that holds this, as it is.
    pub async fn text_with(&mut self, part: &str) -> String {
        loop {
            let text = self.socket.hear(part).await.expect("an open connection");
            if text.contains(part) {
                return text;
            }
        }
    }

    /// How many WebSocket messages were heard.
    #[must_use]
    pub const fn texts(&self) -> usize {
        self.texts
    }

    /// The length of the longest of them, in bytes.
    #[must_use]
    pub const fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    /// The ERROR with which the connection ends, after its close.
    pub async fn ended(&mut self) -> Frame {
        let error = self.frame("ERROR").await;
        let closed = self.closed().await;
        assert_eq!(closed, Closed { code: Some(1000) });
        error
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

    async fn hear(&mut self, awaited: &str) {
        let Some(text) = self.socket.hear(awaited).await else { return };
        self.texts += 1;
        self.longest_bytes = self.longest_bytes.max(text.len());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (frame, behind) = read(rest);
            self.judge(&frame);
            self.frames.push_back(frame);
            rest = behind;
        }
    }

    fn judge(&mut self, frame: &Frame) {
        contracts().judge_stomp(&frame.command, &frame.headers);
        let kind = frame.get("type");
        match (frame.command.as_str(), kind) {
            ("MESSAGE", Some("event")) => {
                let (room, epoch, event) = (frame.header("room-id"), frame.header("epoch"), frame.json());
                assert_eq!(frame.header("seq"), event["seq"].to_string());
                assert_eq!(frame.header("destination"), format!("/topic/rooms/{room}"));
                contracts().judge_frame(&json!({"type": "events", "roomId": room, "epoch": epoch, "events": [event]}));
                let name = (frame.header("subscription").to_owned(), frame.header("message-id").to_owned());
                let seq = frame.header("seq").to_owned();
                let known = self.copies.entry(name).or_insert_with(|| seq.clone());
                assert_eq!(*known, seq, "two events with one message-id: {frame:?}");
            }
            ("MESSAGE", Some(kind)) => {
                let body = frame.json();
                assert_eq!(body["type"], kind, "{frame:?}");
                contracts().judge_frame(&body);
            }
            ("ERROR", None) => contracts().judge_frame(&frame.json()),
            ("CONNECTED" | "RECEIPT", None) => assert_eq!(frame.body, "", "{frame:?}"),
            _ => panic!("{}: an odd frame: {frame:?}", self.socket),
        }
        if frame.command == "MESSAGE" && frame.get("ack").is_some() {
            assert_eq!(frame.get("ack"), frame.get("message-id"));
        }
    }
}

/// A frame as 1.2 has it.
#[must_use]
pub fn write(command: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{command}\n");
    for (name, value) in headers {
        let value = if command == "CONNECT" { (*value).to_owned() } else { escape(value) };
        text.push_str(&format!("{name}:{value}\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length:{}\n", body.len()));
    }
    format!("{text}\n{body}\0")
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n").replace(':', "\\c")
}

/// The first frame of a text, and what stands behind it.
fn read(text: &str) -> (Frame, &str) {
    let (head, rest) = text.split_once("\n\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.split('\n');
    let command = lines.next().expect("a line").to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
        (name.to_owned(), unescape(value))
    };
    let headers: Vec<(String, String)> = lines.map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse());
    let length = length.map_or_else(|| rest.find('\0').expect("a NUL"), |length| length.expect("a number of bytes"));
    let (body, behind) = rest.split_at_checked(length).unwrap_or_else(|| panic!("content-length: {text:?}"));
    let behind = behind.strip_prefix('\0').unwrap_or_else(|| panic!("no NUL behind the body: {text:?}"));
    (Frame { command, headers, body: body.to_owned() }, behind)
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => match characters.next() {
                Some('c') => ':',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('\\') => '\\',
                other => panic!("an undefined escape {other:?}: {text:?}"),
            },
            character => character,
        });
    }
    out
}
