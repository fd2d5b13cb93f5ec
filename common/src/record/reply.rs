//! Where a command's outcome is told.

use serde::{Deserialize, Serialize};

use crate::codec::stomp::{Ack, Subscription};
use crate::codec::{Codec, Dialect};
use crate::id::ConnectionId;

/// The connection that waits for an outcome, as it spoke when it said the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct ReplyTo {
    /// The connection.
    pub connection: ConnectionId,
    /// How it speaks.
    pub dialect: Dialect,
    /// What the client asked to be given back, where its dialect names commands so.
    pub receipt: Option<String>,
    /// When the token expires, in seconds since the Unix epoch; afterwards the outcome is told only to a connection that
    /// has shown another one.
    pub expires_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    connection: ConnectionId,
    /// JSON unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codec: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    queues: Vec<WireQueue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    expires_at: i64,
}

/// A subscription to the user's queue.
#[derive(Serialize, Deserialize)]
struct WireQueue {
    id: String,
    ack: bool,
}

impl From<ReplyTo> for Wire {
    fn from(ReplyTo { connection, dialect, receipt, expires_at }: ReplyTo) -> Self {
        let queue = |queue: &Subscription| WireQueue { id: queue.id.to_string(), ack: queue.ack == Ack::Client };
        let queues = dialect.queues().iter().map(queue).collect();
        let codec = Some(dialect.codec()).filter(|codec| *codec != Codec::Json).map(|codec| codec.to_string());
        Self { connection, codec, queues, receipt, expires_at }
    }
}

impl TryFrom<Wire> for ReplyTo {
    type Error = &'static str;
    fn try_from(Wire { connection, codec, queues, receipt, expires_at }: Wire) -> Result<Self, &'static str> {
        let codec = codec.map_or(Ok(Codec::Json), |codec| codec.parse()).map_err(|()| "an unknown codec")?;
        let queue = |WireQueue { id, ack }: WireQueue| {
            let ack = if ack { Ack::Client } else { Ack::Auto };
            id.try_into().map(|id| Subscription { id, ack }).map_err(|()| "no subscription id")
        };
        let queues = queues.into_iter().map(queue).collect::<Result<_, _>>()?;
        Ok(Self { connection, dialect: Dialect::new(codec, queues), receipt, expires_at })
    }
}
