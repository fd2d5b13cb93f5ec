//! Codecs: client frames in, commands out; outcomes in, server frames out. The only home of what stands on a socket.
//!
//! A connection speaks one [`Dialect`] from its handshake on. Whatever is told to connections goes through it: a
//! [`Push`] is encoded once and put into each connection's form.

pub mod frame;
pub mod json;
pub mod stomp;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::code::{ByeCode, ErrorCode};
use crate::id::{FrameId, RoomId};
use frame::ServerFrame;
use stomp::destination::Source;
use stomp::message::Message;
use stomp::{Subscription, Version};

/// How a connection speaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `chat.v1.json`.
    Json,
    /// STOMP.
    Stomp(StompState),
}

/// What is settled with a STOMP client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StompState {
    /// What CONNECT settled, once it has.
    pub version: Option<Version>,
    /// The client's subscriptions to the user's queue; each gets a copy.
    pub queues: Vec<Subscription>,
}

/// The name of a dialect in tables and records: `json`, `stomp` before CONNECT, then `stomp-1.2` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `chat.v1.json`.
    Json,
    /// STOMP, in the version that CONNECT settled.
    Stomp(Option<Version>),
}

const JSON_CODEC: &str = "json";
const STOMP_CODEC: &str = "stomp";

impl fmt::Display for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json => formatter.write_str(JSON_CODEC),
            Self::Stomp(None) => formatter.write_str(STOMP_CODEC),
            Self::Stomp(Some(version)) => write!(formatter, "{STOMP_CODEC}-{version}"),
        }
    }
}

impl FromStr for Codec {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match (text, text.strip_prefix(STOMP_CODEC).and_then(|rest| rest.strip_prefix('-'))) {
            (JSON_CODEC, _) => Ok(Self::Json),
            (STOMP_CODEC, _) => Ok(Self::Stomp(None)),
            (_, Some(version)) => version.parse().map(|version| Self::Stomp(Some(version))),
            (_, None) => Err(()),
        }
    }
}

/// How a subscription's frames look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Form {
    /// `chat.v1.json`.
    Json,
    /// MESSAGE frames.
    Stomp(Subscription),
}

impl Dialect {
    /// From its name and what is subscribed to the user's queue.
    #[must_use]
    pub fn new(codec: Codec, queues: Vec<Subscription>) -> Self {
        match codec {
            Codec::Json => Self::Json,
            Codec::Stomp(version) => Self::Stomp(StompState { version, queues }),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        match self {
            Self::Json => Codec::Json,
            Self::Stomp(state) => Codec::Stomp(state.version),
        }
    }

    /// The subscriptions to the user's queue.
    #[must_use]
    pub fn queues(&self) -> &[Subscription] {
        match self {
            Self::Json => &[],
            Self::Stomp(state) => &state.queues,
        }
    }

    /// Whether a text begins with CONNECT, which speaks for itself: Spring's client offers no subprotocol.
    #[must_use]
    pub fn is_connect(text: &str) -> bool {
        let command = text.trim_start_matches(['\r', '\n']).split('\n').next().unwrap_or_default();
        matches!(command.strip_suffix('\r').unwrap_or(command), "CONNECT" | "STOMP")
    }

    /// What a text seems to be in, when its connection cannot be looked up: a STOMP frame never begins like an object.
    #[must_use]
    pub fn guess(text: &str) -> Self {
        if text.trim_start().starts_with('{') { Self::Json } else { Self::Stomp(StompState::default()) }
    }

    /// Tells that something was refused, with an `error` or a `nack`: in a frame, or where the dialect has no place for
    /// that, with the connection's end.
    #[must_use]
    pub fn refuse(&self, code: ErrorCode, frame: &ServerFrame, name: FrameId, receipt: Option<&str>) -> Told {
        let push = Push::new(frame, name);
        let frames = push.to_connection(self, receipt);
        if frames.is_empty() {
            return Told::Last(stomp::message::refusal(code, &push.json, receipt).into());
        }
        Told::Frames(frames)
    }

    /// The last frame of a connection that the server closes.
    #[must_use]
    pub fn farewell(&self, code: ByeCode) -> String {
        match self {
            Self::Json => json::encode(&ServerFrame::bye(code)),
            Self::Stomp(_) => stomp::message::farewell(code),
        }
    }
}

/// How somebody is told something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// With a frame, or a copy for each place that the connection has for it.
    Frames(Vec<Arc<str>>),
    /// With the last frame of the connection.
    Last(Arc<str>),
}

/// A server frame on its way to connections.
#[derive(Debug)]
pub struct Push {
    kind: &'static str,
    name: FrameId,
    json: Arc<str>,
}

impl Push {
    /// Encodes a frame, which gets a name for the dialects that need one.
    #[must_use]
    pub fn new(frame: &ServerFrame, name: FrameId) -> Self {
        Self { kind: frame.kind(), name, json: json::encode(frame).into() }
    }

    /// For a connection as such, whatever it subscribes to, with the receipt of the client's frame that it is about: a copy
    /// for each place that its dialect has for that. Together they may be longer than a WebSocket message.
    #[must_use]
    pub fn to_connection(&self, dialect: &Dialect, receipt: Option<&str>) -> Vec<Arc<str>> {
        match dialect {
            Dialect::Json => vec![Arc::clone(&self.json)],
            Dialect::Stomp(state) => {
                let message = self.message(&Source::UserQueue, receipt);
                state.queues.iter().map(|queue| message.to_text(queue).into()).collect()
            }
        }
    }

    /// For a subscription to a room's events.
    #[must_use]
    pub fn to_room(&self, room: &RoomId, form: &Form) -> Arc<str> {
        self.to_source(&Source::Room(room.clone()), form)
    }

    /// For a subscription to a room's signals.
    #[must_use]
    pub fn to_signals(&self, room: &RoomId, form: &Form) -> Arc<str> {
        self.to_source(&Source::Signals(room.clone()), form)
    }

    fn message(&self, source: &Source, receipt: Option<&str>) -> Message {
        Message::push(self.kind, Arc::clone(&self.json), source, self.name, receipt)
    }

    fn to_source(&self, source: &Source, form: &Form) -> Arc<str> {
        match form {
            Form::Json => Arc::clone(&self.json),
            Form::Stomp(subscription) => self.message(source, None).to_text(subscription).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codecs_name_is_read_back() {
        let versions = Version::ALL.map(|version| Codec::Stomp(Some(version)));
        for codec in [Codec::Json, Codec::Stomp(None)].into_iter().chain(versions) {
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        for odd in ["", "stomp-", "stomp-1.3", "stomp1.2", "JSON", "json-1.0"] {
            assert_eq!(odd.parse::<Codec>(), Err(()), "{odd}");
        }
    }

    #[test]
    fn what_cannot_be_looked_up_is_told_by_its_first_character() {
        assert_eq!(Dialect::guess(" {\"action\":\"ping\"}"), Dialect::Json);
        assert!(matches!(Dialect::guess("SEND\n\n\0"), Dialect::Stomp(_)));
        assert!(Dialect::is_connect("\nCONNECT\r\n\n\0") && Dialect::is_connect("STOMP\n\n\0"));
        assert!(!Dialect::is_connect("CONNECTED\n\n\0") && !Dialect::is_connect("{}"));
    }
}
