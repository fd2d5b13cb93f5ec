//! One open WebSocket: frames in, each its own invocation; frames out, from the connection's queue; and its close.
//!
//! Frames of one connection are invoked concurrently, so their answers have no order. What a client does wrong closes
//! its own socket with the platform's code; what a function does wrong is a service frame, and the socket stays open.
//! Sources: API Gateway's developer guide, "Quotas for configuring and running a WebSocket API" and "Binary media types
//! for WebSocket APIs".

use std::{sync::Arc, time::Duration};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Semaphore, mpsc::UnboundedReceiver},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        error::ProtocolError,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    Gateway, INTEGRATION_TIMEOUT, MESSAGE_LIMIT_BYTES,
    connections::{Connection, Outgoing},
    event::{self, Origin},
    response::{ProxyResponse, internal_server_error},
};
use crate::identifier;

/// The largest frame. Source: quotas of a WebSocket API.
const FRAME_LIMIT_BYTES: usize = 32 * 1024;
/// How many messages of one connection are invoked at a time; then its socket is not read until one is answered.
const IN_FLIGHT_COUNT: u32 = 64;
/// How long a close may take when the client does not play along.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// What the codec reads at once; the default of 128 KiB a connection is much for a thousand of them.
const READ_BUFFER_BYTES: usize = 8 * 1024;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Closing {
    /// The client closed it, with a code or without.
    ByClient(Option<(u16, String)>),
    /// The gateway closed it.
    ByGateway(u16, &'static str),
    /// It broke.
    Lost,
}

impl Closing {
    const DELETED: Self = Self::ByGateway(1000, "");
    const GOING_AWAY: Self = Self::ByGateway(1001, "Going away");

    /// `disconnectStatusCode` and `disconnectReason`.
    fn reported(&self) -> (u16, &str) {
        match self {
            Self::ByClient(None) => (1005, "Client-side close frame status not set"),
            Self::ByClient(Some((code, reason))) => (*code, reason),
            Self::ByGateway(code, reason) => (*code, reason),
            Self::Lost => (1006, "Connection closed abnormally"),
        }
    }
}

/// Runs a connection to its end and reports that to `$disconnect`.
pub(super) async fn run(
    gateway: &Arc<Gateway>,
    connection: Arc<Connection>,
    queue: UnboundedReceiver<Outgoing>,
    upgraded: Upgraded,
) {
    let config = WebSocketConfig::default()
        .max_frame_size(Some(FRAME_LIMIT_BYTES))
        .max_message_size(Some(MESSAGE_LIMIT_BYTES))
        .read_buffer_size(READ_BUFFER_BYTES);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sink, mut stream) = socket.split();
    let mut writer = tokio::spawn(write(sink, queue, Arc::clone(&connection)));
    let closing = read(gateway, &connection, &mut stream).await;
    gateway.connections.remove(&connection);
    let close = async {
        if let Closing::ByGateway(code, reason) = closing {
            connection.close(CloseFrame { code: CloseCode::from(code), reason: reason.into() });
            if let Ok(Ok(sink)) = timeout(CLOSE_LIMIT, &mut writer).await {
                hang_up(sink, stream).await;
            }
        }
        writer.abort();
    };
    tokio::join!(close, report(gateway, &connection.origin, &closing));
}

/// Invokes `$disconnect`; its answer goes nowhere.
pub(super) async fn report(gateway: &Gateway, origin: &Origin, closing: &Closing) {
    let connection_id = &origin.connection_id;
    let (status_code, reason) = closing.reported();
    tracing::debug!(connection_id, status_code, "a connection closed");
    if gateway.faults.drops_disconnect() {
        return;
    }
    let event = event::disconnect(origin, status_code, reason, Timestamp::now());
    if gateway.invoke("disconnect", event).await.is_err() {
        tracing::warn!(connection_id, "$disconnect was not delivered");
    }
}

/// Reads frames until the connection ends.
async fn read(gateway: &Arc<Gateway>, connection: &Arc<Connection>, stream: &mut SplitStream<Socket>) -> Closing {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_COUNT as usize));
    let oldest = Instant::now() + gateway.settings.connection_limit;
    loop {
        tokio::select! {
            frame = stream.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    connection.touch();
                    answer(gateway, connection, &in_flight, text).await;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    // The codec's own close frame leaves with the next read.
                    drop(timeout(CLOSE_LIMIT, stream.next()).await);
                    return Closing::ByClient(frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
                }
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => return Closing::ByGateway(1003, "Binary is not supported"),
                Some(Err(error)) => return fault(&error),
                None => return Closing::Lost,
            },
            () = connection.deleted() => return Closing::DELETED,
            () = idle(connection, gateway.settings.idle_limit) => return Closing::GOING_AWAY,
            () = sleep_until(oldest) => return Closing::GOING_AWAY,
            () = gateway.until_draining() => {
                // Every permit back means that every message has its answer.
                drop(timeout(INTEGRATION_TIMEOUT, in_flight.acquire_many(IN_FLIGHT_COUNT)).await);
                return Closing::GOING_AWAY;
            }
        }
    }
}

/// What a codec error means for the connection.
fn fault(error: &Error) -> Closing {
    match error {
        Error::Capacity(_) => Closing::ByGateway(1009, "Message too long"),
        Error::Utf8(_) => Closing::ByGateway(1007, "Invalid UTF-8"),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Closing::Lost,
        Error::Protocol(_) => Closing::ByGateway(1002, "Protocol error"),
        _ => Closing::Lost,
    }
}

/// Waits until nothing has passed for the idle limit. Pings do not count as traffic: whether they do on the platform is
/// not known, and a client should not rely on it.
async fn idle(connection: &Connection, limit: Duration) {
    loop {
        let quiet = Timestamp::now().duration_since(connection.last_active()).unsigned_abs();
        match limit.checked_sub(quiet) {
            Some(rest) if !rest.is_zero() => sleep(rest).await,
            _ => return,
        }
    }
}

/// Invokes `$default` for a message, beside the others of this connection, and queues the route response.
async fn answer(gateway: &Arc<Gateway>, connection: &Arc<Connection>, in_flight: &Arc<Semaphore>, text: Utf8Bytes) {
    let Ok(permit) = Arc::clone(in_flight).acquire_owned().await else { return };
    let (tracker, gateway, connection) = (Arc::clone(gateway), Arc::clone(gateway), Arc::clone(connection));
    tokio::spawn(tracker.work.track(async move {
        if let Some(frame) = route_response(&gateway, &connection.origin, &text).await
            && let Err(error) = connection.post(frame.into())
        {
            let connection_id = &connection.origin.connection_id;
            tracing::debug!(connection_id, ?error, "a route response was not sent");
        }
        drop(permit);
    }));
}

async fn route_response(gateway: &Gateway, origin: &Origin, text: &str) -> Option<String> {
    let request_id = identifier::gateway();
    let connection_id = &origin.connection_id;
    let event = event::message(origin, &request_id, text, Timestamp::now());
    let failed = || Some(internal_server_error(connection_id, &request_id));
    let Ok(answer) = gateway.invoke("message", event).await else { return failed() };
    match ProxyResponse::of_websocket(&answer) {
        // With a route response in place, one observer saw anything but a 2xx replaced by the service frame.
        Ok(response) if response.is_success() => response
            .text()
            .filter(|text| text.len() <= MESSAGE_LIMIT_BYTES)
            .or_else(|| if response.text().is_some() { failed() } else { None }),
        Ok(_) => failed(),
        Err(error) => {
            tracing::error!(connection_id, request_id, %error, "a message failed");
            failed()
        }
    }
}

/// Sends what is queued, in order, until the close frame or the end of the connection.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut queue: UnboundedReceiver<Outgoing>,
    connection: Arc<Connection>,
) -> SplitSink<Socket, Message> {
    while let Some(outgoing) = queue.recv().await {
        let (message, last) = match outgoing {
            Outgoing::Text(text) => (Message::Text(text), false),
            Outgoing::Close(frame) => (Message::Close(Some(frame)), true),
        };
        let length = message.len();
        let sent = sink.send(message).await;
        if !last {
            connection.sent(length);
        }
        if last || sent.is_err() {
            break;
        }
    }
    sink
}

/// Ends the TCP connection after our close frame: no more from us, and what the client still sends is read and dropped.
/// Closing with bytes unread would reset the connection and could take the close frame away from the client.
async fn hang_up(sink: SplitSink<Socket, Message>, stream: SplitStream<Socket>) {
    let Ok(socket) = sink.reunite(stream) else { return };
    let mut transport = socket.into_inner();
    let rest = async {
        transport.shutdown().await?;
        let mut dropped = [0; 4096];
        while transport.read(&mut dropped).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    drop(timeout(CLOSE_LIMIT, rest).await);
}
