//! The story of one client frame: decode, know the connection, obey, answer. The sender is the connection's user; no
//! field of the frame can say otherwise.

use common::auth::{Principal, Verifier, expired};
use common::code::{ByeCode, ErrorCode, Refusal};
use common::codec::frame::{ClientFrame, Commands, FrameFault, ServerFrame};
use common::codec::json;
use common::command::Command;
use common::cursor::Cursors;
use common::failure::Failure;
use common::gateway::{WebSocketEvent, WebSocketResponse};
use common::history;
use common::id::ConnectionId;
use common::ingress::{self, Origin};
use common::outbound::Outbound;
use common::producer::Producer;
use common::record::ReplyTo;
use common::store::{Connection, ConnectionState, Store};
use common::time::Time;

/// What `$default` works with.
pub(crate) struct MessageFunction {
    pub(crate) verifier: Verifier,
    pub(crate) store: Store,
    pub(crate) producer: Producer,
    pub(crate) outbound: Outbound,
    pub(crate) cursors: Cursors,
}

/// How a frame ends.
pub(crate) enum Ending {
    /// With this answer, if the client asked for one.
    Answer(Box<ServerFrame>),
    /// With the end of the connection.
    Farewell(ByeCode),
}

impl MessageFunction {
    /// Answers one frame.
    pub(crate) async fn handle(&self, event: WebSocketEvent, now: Time) -> WebSocketResponse {
        let text = event.text().unwrap_or_default();
        // An empty frame is the gateway's own way to say nothing; some clients send one to stay alive.
        if text.is_empty() {
            return WebSocketResponse::accepted();
        }
        let ClientFrame { id, command } = match json::decode(text) {
            Ok(frame) => frame,
            Err(FrameFault { id, client_message_id, refusal }) => {
                let fault = ServerFrame::Error { id, client_message_id, reason: refusal.into() };
                return WebSocketResponse::frame(json::encode(&fault));
            }
        };
        let client_message_id = match &command {
            Command::Send(send) => Some(send.client_message_id.clone()),
            _ => None,
        };
        let connection_id = &event.request_context.connection_id;
        match self.obey(connection_id, id.clone(), command, now).await {
            // Without an id only errors are answered.
            Ok(Ending::Answer(_)) if id.is_none() => WebSocketResponse::accepted(),
            Ok(Ending::Answer(frame)) => WebSocketResponse::frame(json::encode(&frame)),
            Ok(Ending::Farewell(code)) => self.say_farewell(connection_id, code).await,
            Err(failure) => {
                let error = ServerFrame::Error { id, client_message_id, reason: failure.answer().into() };
                WebSocketResponse::frame(json::encode(&error))
            }
        }
    }

    async fn obey(
        &self,
        connection_id: &ConnectionId,
        id: Option<String>,
        command: Command,
        now: Time,
    ) -> Result<Ending, Failure> {
        // A ping costs no table read: it is how a client stays connected.
        if command == Command::Ping {
            return Ok(Ending::Answer(Box::new(ServerFrame::Pong { id })));
        }
        let Some(connection) = self.store.connection(connection_id, now).await? else {
            return Ok(Ending::Farewell(ByeCode::ProtocolError));
        };
        if let ConnectionState::Closing(code) = connection.state {
            return Ok(Ending::Farewell(code));
        }
        if let Command::Auth { token } = &command {
            return self.authenticate(&connection, id, token, now).await;
        }
        let principal = live(&connection, now)?;
        let answer = match command {
            Command::Subscribe(subscribe) => self.subscribe(&connection, principal, id, subscribe, now).await?,
            Command::Unsubscribe { rooms } => {
                self.store.unsubscribe(&connection.id, &rooms).await?;
                ServerFrame::Unsubscribed { id, room_ids: rooms }
            }
            Command::History { room, page } => {
                let (messages, cursor) =
                    history::messages(&self.store, &self.cursors, &room, &principal.user, page).await?;
                ServerFrame::History { id, room_id: room, messages, cursor }
            }
            Command::Auth { .. } | Command::Ping => ServerFrame::Pong { id },
            command => self.produce(&connection, principal, id, command, now).await?,
        };
        Ok(Ending::Answer(Box::new(answer)))
    }

    /// Obeys what is answered with `ack`: it stands in Kafka then.
    async fn produce(
        &self,
        connection: &Connection,
        principal: &Principal,
        id: Option<String>,
        command: Command,
        now: Time,
    ) -> Result<ServerFrame, Failure> {
        let (store, producer, user) = (&self.store, &self.producer, &principal.user);
        let reply_to = ReplyTo { connection: connection.id.clone(), expires_at: principal.expires_at.unix_seconds() };
        let origin = Origin { sender: user.clone(), received_at: now, reply_to: Some(reply_to) };
        let mut client_message_id = None;
        let commands = match command {
            Command::Send(send) => {
                client_message_id = Some(send.client_message_id.clone());
                Some(Commands::One { command_id: ingress::send_message(store, producer, origin, send).await? })
            }
            Command::Change { room, change } => {
                Some(ingress::change_room(store, producer, origin, room, change).await?)
            }
            Command::Read { room, seq } => {
                Some(Commands::One { command_id: ingress::mark_read(store, producer, user, &room, seq, now).await? })
            }
            Command::Typing { room } => {
                ingress::type_in(store, producer, user, &room, now).await?;
                None
            }
            // Those are answered with frames of their own.
            Command::Auth { .. }
            | Command::Subscribe(_)
            | Command::Unsubscribe { .. }
            | Command::History { .. }
            | Command::Ping => None,
        };
        Ok(ServerFrame::Ack { id, commands, client_message_id })
    }
}

/// Who speaks on the connection, if their token is good.
fn live(connection: &Connection, now: Time) -> Result<&Principal, Refusal> {
    match &connection.state {
        ConnectionState::Pending | ConnectionState::Closing(_) => Err(ErrorCode::TokenMissing.into()),
        ConnectionState::Live(principal) if expired(principal.expires_at, now) => Err(ErrorCode::TokenExpired.into()),
        ConnectionState::Live(principal) => Ok(principal),
    }
}
