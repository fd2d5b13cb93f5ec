//! From a command to its record: the door that sockets and HTTP share. What is checked here is checked again at the
//! commit, which decides.

use crate::code::ErrorCode;
use crate::command::SendMessage;
use crate::failure::Failure;
use crate::id::{CommandId, RoomId, UserId};
use crate::producer::{MESSAGES_TOPIC, ProduceError, Producer};
use crate::record::{Record, RecordBody, ReplyTo, SCHEMA_HEADER, SCHEMA_VERSION};
use crate::room::Member;
use crate::store::{Store, StoreError};
use crate::time::Time;

/// The membership of a user in a room.
///
/// # Errors
/// `not_member`, `room_not_found`, or the table cannot be read.
pub async fn require_member(store: &Store, room: &RoomId, user: &UserId) -> Result<Member, Failure> {
    match store.member(room, user).await? {
        Some(member) => Ok(member),
        None => Err(missing_membership(store, room).await?.into()),
    }
}

/// Why somebody is not a member: there is no such room, or they are not in it.
///
/// # Errors
/// The table cannot be read.
pub async fn missing_membership(store: &Store, room: &RoomId) -> Result<ErrorCode, StoreError> {
    Ok(if store.head(room).await?.is_some() { ErrorCode::NotMember } else { ErrorCode::RoomNotFound })
}

/// Who wants something, and since when, and where they hear of the outcome.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The token's subject.
    pub sender: UserId,
    /// When the command was received.
    pub received_at: Time,
    /// The connection that waits, if one does.
    pub reply_to: Option<ReplyTo>,
}

/// Hands a message to the room's one writer; when this returns, it cannot be lost.
///
/// # Errors
/// The sender is not a member, or the record was not acknowledged.
pub async fn send_message(
    store: &Store,
    producer: &Producer,
    origin: Origin,
    send: SendMessage,
) -> Result<CommandId, Failure> {
    require_member(store, &send.room, &origin.sender).await?;
    let body = RecordBody::Send { client_message_id: send.client_message_id, content: send.content };
    let id = CommandId::new(origin.received_at, rand::random());
    produce(producer, id, origin, send.room, body).await?;
    Ok(id)
}

/// Produces one command's record.
///
/// # Errors
/// It was not acknowledged.
pub async fn produce(
    producer: &Producer,
    id: CommandId,
    origin: Origin,
    room_id: RoomId,
    body: RecordBody,
) -> Result<(), ProduceError> {
    let Origin { sender, received_at, reply_to } = origin;
    let record = Record { v: SCHEMA_VERSION, id, room_id, sender, received_at, reply_to, body };
    let headers = [(SCHEMA_HEADER.to_owned(), Some(SCHEMA_VERSION.to_string().into_bytes()))];
    producer.send(MESSAGES_TOPIC, Some(record.key().as_bytes()), Some(&record.value()), &headers).await
}
