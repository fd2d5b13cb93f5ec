//! Obeying one command, whatever dialect it was said in.

use common::auth::{Principal, expired};
use common::code::{ByeCode, ErrorCode, Refusal};
use common::codec::Dialect;
use common::codec::frame::{Commands, ServerFrame};
use common::codec::stomp::ProtocolError;
use common::command::{Command, RoomAction, Subscribe};
use common::failure::Failure;
use common::history;
use common::id::RoomId;
use common::ingress::{self, Sender};
use common::record::ReplyTo;
use common::store::{Connection, ConnectionState, StoreError};
use common::time::Time;

use crate::handler::MessageFunction;

/// Why a command comes to nothing.
pub(crate) enum Stop {
    /// It is refused.
    Refused(Failure),
    /// Its connection ends.
    Farewell(ByeCode),
    /// It is against the protocol, and its connection ends.
    Protocol(ProtocolError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<ErrorCode> for Stop {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code.into())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl MessageFunction {
    /// Obeys a command that was said at a time of the gateway's; the answer carries the frame's id.
    pub(crate) async fn obey(
        &self,
        connection: &Connection,
        id: Option<String>,
        command: Command,
        said: Time,
        now: Time,
    ) -> Result<ServerFrame, Stop> {
        if let ConnectionState::Closing(code) = connection.state {
            return Err(Stop::Farewell(code));
        }
        Ok(match command {
            Command::Auth { token } => {
                let dialect = &connection.dialect;
                let Principal { user, expires_at } = self.authenticate(connection, dialect, &token, now).await?;
                ServerFrame::Authenticated { id, user_id: user, expires_at }
            }
            // The handler has answered it already, without a look at the connection.
            Command::Ping => ServerFrame::Pong { id },
            Command::Subscribe(Subscribe { rooms, signals }) => {
                let rooms = self.subscribe(connection, live(connection, now)?, rooms, signals, said).await?;
                ServerFrame::Subscribed { id, rooms }
            }
            Command::Unsubscribe { rooms } => {
                live(connection, now)?;
                self.store.unsubscribe(&connection.id, &rooms, said).await?;
                ServerFrame::Unsubscribed { id, room_ids: rooms }
            }
            Command::History { room, page } => {
                let user = &live(connection, now)?.user;
                let (messages, cursor) = history::messages(&self.store, &self.cursors, &room, user, page).await?;
                ServerFrame::History { id, room_id: room, messages, cursor }
            }
            Command::Act { room, action } => {
                self.produce(connection, live(connection, now)?, id, room, action, now).await?
            }
        })
    }

    /// Hands on what somebody does in a room; it stands in Kafka when it is acked.
    async fn produce(
        &self,
        connection: &Connection,
        principal: &Principal,
        id: Option<String>,
        room: RoomId,
        action: RoomAction,
        now: Time,
    ) -> Result<ServerFrame, Failure> {
        let (store, cache, producer, user) = (&self.store, &self.cache, &self.producer, &principal.user);
        let reply_to = ReplyTo {
            connection: connection.id.clone(),
            dialect: connection.dialect.clone(),
            receipt: match connection.dialect {
                Dialect::Json => None,
                Dialect::Stomp(_) => id.clone(),
            },
            expires_at: principal.expires_at.unix_seconds(),
        };
        let sender = Sender { user: user.clone(), received_at: now, reply_to: Some(reply_to) };
        let mut client_message_id = None;
        let commands = match action {
            RoomAction::Send(send) => {
                client_message_id = Some(send.client_message_id.clone());
                let command_id = ingress::send_message(store, cache, producer, sender, room, send).await?;
                Some(Commands::One { command_id })
            }
            RoomAction::Change(change) => Some(ingress::change_room(store, producer, sender, room, change).await?),
            RoomAction::Read { seq } => {
                let command_id = ingress::mark_read(store, cache, producer, user, &room, seq, now).await?;
                Some(Commands::One { command_id })
            }
            RoomAction::Typing => {
                ingress::type_in(store, cache, producer, user, &room, now).await?;
                None
            }
        };
        Ok(ServerFrame::Ack { id, commands, client_message_id })
    }
}

/// Who speaks on the connection, if their token is good.
pub(crate) fn live(connection: &Connection, now: Time) -> Result<&Principal, Refusal> {
    match &connection.state {
        ConnectionState::Pending | ConnectionState::Closing(_) => Err(ErrorCode::TokenMissing.into()),
        ConnectionState::Live(principal) if expired(principal.expires_at, now) => Err(ErrorCode::TokenExpired.into()),
        ConnectionState::Live(principal) => Ok(principal),
    }
}
