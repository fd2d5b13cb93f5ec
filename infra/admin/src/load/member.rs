//! One user of the load: one WebSocket connection that is subscribed to one room. What it hears goes to one channel
//! with the time it was heard; what it says comes from another.

use std::time::{Duration, Instant};

use futures_util::stream::SplitStream;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::frame::{self, CONNECTION_CLOSED, Heard};
use crate::runtime::RuntimeUrl;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A cold function and a full table may take their time; a load that cannot even join has no figures.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A member that cannot take part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("a WebSocket was refused: {0}")]
    Refused(Box<tungstenite::Error>),
    #[error("a subscription was answered with {0}")]
    Subscription(String),
    #[error("a WebSocket was closed before its subscription was answered")]
    Closed,
    #[error("a user could not join within {} s", JOIN_TIMEOUT.as_secs())]
    Late,
}

impl From<tungstenite::Error> for JoinError {
    fn from(error: tungstenite::Error) -> Self {
        Self::Refused(Box::new(error))
    }
}

/// What one member heard, and when.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Which user.
    pub(crate) user: usize,
    /// When it was heard.
    pub(crate) at: Instant,
    /// What.
    pub(crate) heard: Heard,
}

/// Where a member joins, and where it reports to.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Which user.
    pub(crate) user: usize,
    /// The user's token.
    pub(crate) token: String,
    /// The user's room.
    pub(crate) room_id: String,
    /// What tells our messages from others.
    pub(crate) session: String,
    /// Where everything heard goes.
    pub(crate) observations: UnboundedSender<Observation>,
}

/// A connected and subscribed member. Dropping it closes its connection.
#[derive(Debug)]
pub(crate) struct Member {
    /// Where frames to be sent go.
    pub(crate) outbox: UnboundedSender<String>,
    /// The room's `lastSeq` when it subscribed.
    pub(crate) last_seq: u64,
}

/// Connects and subscribes.
///
/// # Errors
/// What kept the member out.
pub(crate) async fn join(url: &RuntimeUrl, seat: Seat) -> Result<Member, JoinError> {
    tokio::time::timeout(JOIN_TIMEOUT, enter(url, seat)).await.map_err(|_| JoinError::Late)?
}

async fn enter(url: &RuntimeUrl, seat: Seat) -> Result<Member, JoinError> {
    let mut request = url.websocket(&seat.token).into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("chat.v1.json"));
    let (mut socket, _) = connect_async(request).await?;
    socket.send(Message::text(frame::subscribe(&seat.room_id))).await?;
    let last_seq = loop {
        let message = socket.next().await.ok_or(JoinError::Closed)??;
        let Message::Text(text) = message else { continue };
        match frame::read(&text, &seat.session) {
            Heard::Subscribed(last_seq) => break last_seq,
            Heard::Fault(code, _) => return Err(JoinError::Subscription(code)),
            Heard::Ack(_) | Heard::Events(_) | Heard::Other => {}
        }
    };
    let (outbox, frames) = unbounded_channel();
    let (sink, stream) = socket.split();
    tokio::spawn(listen(stream, seat));
    tokio::spawn(speak(sink, frames));
    Ok(Member { outbox, last_seq })
}

async fn listen(mut stream: SplitStream<Socket>, seat: Seat) {
    let Seat { user, session, observations, .. } = seat;
    loop {
        let heard = match stream.next().await {
            Some(Ok(Message::Text(text))) => frame::read(&text, &session),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Heard::Fault(CONNECTION_CLOSED.to_owned(), None),
            Some(Ok(_)) => continue,
        };
        let ended = matches!(&heard, Heard::Fault(code, _) if code == CONNECTION_CLOSED);
        let observation = Observation { user, at: Instant::now(), heard };
        if observations.send(observation).is_err() || ended {
            return;
        }
    }
}

async fn speak(mut sink: futures_util::stream::SplitSink<Socket, Message>, mut frames: UnboundedReceiver<String>) {
    while let Some(frame) = frames.recv().await {
        if sink.send(Message::text(frame)).await.is_err() {
            return; // The listening half has told it already.
        }
    }
    if let Err(error) = sink.send(Message::Close(None)).await {
        eprintln!("admin: a connection was closed uncleanly: {error}");
    }
}
