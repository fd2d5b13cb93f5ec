//! STOMP 1.2, 1.1 and 1.0 (<https://stomp.github.io/stomp-specification-1.2.html>), as a second codec beside JSON: the
//! same commands come out of it, and the same server frames and room events go into it.
//!
//! | module | bytes ↔ |
//! |---|---|
//! | [`frame`] | client frames: command, headers, body |
//! | [`request`] | what a client frame asks for |
//! | [`destination`] | where to |
//! | [`message`] | server frames |
//! | [`escape`] | header values, by version |
//!
//! Whole frames only, several to one WebSocket message; a frame that is split over messages cannot be put together by
//! functions of which each sees one message.

pub mod destination;
pub mod escape;
pub mod frame;
pub mod message;
pub mod request;

use std::fmt;
use std::str::FromStr;

use crate::limits::STOMP_SUBSCRIPTION_ID_MAX_BYTES;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// No escapes, and a subscription need not have an id.
    V10,
    /// Line feed, colon and backslash are escaped.
    V11,
    /// Carriage return too.
    V12,
}

impl Version {
    /// Every version, the best first.
    pub const ALL: [Self; 3] = [Self::V12, Self::V11, Self::V10];

    /// As headers have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }

    /// As `Sec-WebSocket-Protocol` has it.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::V10 => "v10.stomp",
            Self::V11 => "v11.stomp",
            Self::V12 => "v12.stomp",
        }
    }
}

impl FromStr for Version {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or(())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a client calls one of its subscriptions: 1 to 128 bytes without NUL, whatever else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(String);

impl SubscriptionId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SubscriptionId {
    type Error = ();
    fn try_from(text: String) -> Result<Self, ()> {
        let good = (1..=STOMP_SUBSCRIPTION_ID_MAX_BYTES).contains(&text.len()) && !text.contains('\0');
        if good { Ok(Self(text)) } else { Err(()) }
    }
}

impl FromStr for SubscriptionId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a subscription's client means to acknowledge what it gets. It is obliged with an `ack` header; nothing is sent
/// again when it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// `auto`.
    Auto,
    /// `client` or `client-individual`.
    Client,
}

/// One subscription of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// What the client calls it.
    pub id: SubscriptionId,
    /// Whether it acknowledges.
    pub ack: Ack,
}

/// The client does not follow the protocol: it is told with ERROR, and its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The text ends before the frame does.
    #[error(
        "the frame is not whole in its WebSocket message; frames must not be split (leave out splitLargeFrames of \
         stompjs, raise maxWebSocketFrameSize of webstomp-client)"
    )]
    Split,
    /// No such command.
    #[error("there is no such command")]
    Command,
    /// A line of the head is no header.
    #[error("a header line is not name and value with a colon between them")]
    Header,
    /// Too many headers, or one that is too long.
    #[error("too many headers, or one that is too long")]
    TooLarge,
    /// A header has an escape that its version does not know.
    #[error("a header has an undefined escape")]
    Escape,
    /// `content-length` is no number of bytes, or the frame does not end behind them.
    #[error("the frame does not end where content-length says")]
    ContentLength,
    /// Only SEND has a body.
    #[error("this command has no body")]
    Body,
    /// More frames in a WebSocket message than are taken.
    #[error("too many frames in one WebSocket message")]
    TooMany,
    /// A frame before CONNECT.
    #[error("the first frame must be CONNECT")]
    NotConnected,
    /// CONNECT where it was said before.
    #[error("CONNECT was said before")]
    Connected,
    /// No version in common.
    #[error("none of these versions is supported")]
    Version,
    /// A header that the command needs.
    #[error("the header {0} is missing or not valid")]
    Required(&'static str),
    /// The id names a subscription that there is.
    #[error("the id names another subscription of this connection")]
    Repeated,
    /// Transactions.
    #[error("transactions are not supported")]
    Transaction,
}
