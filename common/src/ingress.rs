//! From a command to its record: the door that sockets and HTTP share. What is checked here is checked again at the
//! commit, which decides; but for how many rooms somebody has ([`require_rooms_left`]).

use std::time::Duration;

use futures_util::stream::{FuturesOrdered, TryStreamExt as _};
use tracing::{Instrument as _, Span};

use crate::cache::Cache;
use crate::code::{ErrorCode, Refusal};
use crate::codec::frame::Commands;
use crate::command::{RoomChange, SendMessage};
use crate::failure::Failure;
use crate::id::{CommandId, RoomId, Seq, UserId};
use crate::limits::{ROOMS_BY_OTHERS_MAX, ROOMS_PER_USER_MAX};
use crate::producer::{ProduceError, Producer};
use crate::record::{self, Marker, OnTopic, Record, RecordBody, ReplyTo, SCHEMA_VERSION, Signal, SignalBody};
use crate::room::state::Lookups;
use crate::room::{Member, rules};
use crate::store::{Store, StoreError};
use crate::telemetry::trace::{self, TraceContext};
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

/// Lets a member in where nothing but the membership is asked, and where it is asked once more behind the door: the cache
/// may say yes, the table alone says no.
async fn admit(store: &Store, cache: &Cache, room: &RoomId, user: &UserId) -> Result<(), Failure> {
    if cache.knows_member(room, user).await {
        return Ok(());
    }
    require_member(store, room, user).await.map(drop)
}

/// Why somebody who is not a member gets nothing: see [`rules::missing_membership`].
///
/// # Errors
/// The table cannot be read.
pub async fn missing_membership(store: &Store, room: &RoomId) -> Result<ErrorCode, StoreError> {
    Ok(rules::missing_membership(store.head(room).await?.as_ref()))
}

/// Who wants something, and since when, and where they hear of the outcome.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The token's subject.
    pub user: UserId,
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
    cache: &Cache,
    producer: &Producer,
    sender: Sender,
    room: RoomId,
    send: SendMessage,
) -> Result<CommandId, Failure> {
    admit(store, cache, &room, &sender.user).await?;
    let body = RecordBody::Send { client_message_id: send.client_message_id, content: send.content };
    let id = CommandId::new(sender.received_at, rand::random());
    produce(producer, id, sender, room, body).await?;
    Ok(id)
}

/// Hands a change of a room to the room's one writer; an invitation as one record per person.
///
/// # Errors
/// It is not allowed as the room stands now, for none of the people when it names several; or a record was not
/// acknowledged.
pub async fn change_room(
    store: &Store,
    producer: &Producer,
    sender: Sender,
    room: RoomId,
    change: RoomChange,
) -> Result<Commands, Failure> {
    let invited = match &change {
        RoomChange::Invite { users } => users.clone(),
        _ => Vec::new(),
    };
    let bodies = bodies(change);
    let mut lookups = Lookups::default();
    for body in &bodies {
        lookups.add(&sender.user, body);
    }
    let state = store.room_state(&room, &lookups).await?;
    let refusals: Vec<Refusal> =
        bodies.iter().filter_map(|body| rules::check(&state, &sender.user, body).err()).collect();
    if let (Some(refusal), true) = (refusals.first(), refusals.len() == bodies.len()) {
        return Err(refusal.clone().into());
    }
    require_rooms_left(store, &sender.user, &invited, "userIds").await?;
    let produce = |body| {
        let (id, sender, room) = (CommandId::new(sender.received_at, rand::random()), sender.clone(), room.clone());
        async move { produce(producer, id, sender, room, body).await.map(|()| id) }
    };
    let mut command_ids: Vec<CommandId> =
        bodies.into_iter().map(produce).collect::<FuturesOrdered<_>>().try_collect().await?;
    Ok(match command_ids.pop() {
        Some(command_id) if invited.is_empty() => Commands::One { command_id },
        last => {
            command_ids.extend(last);
            Commands::Many { command_ids }
        }
    })
}

/// Whether each of these people may have one more room because somebody asks for it: one of them, or somebody else, who
/// stands in a field. This is the one rule that the commit does not check again: what is on its way is not counted, and the
/// index is eventually consistent, so whoever asks for many at once may pass the limit.
///
/// # Errors
/// `limit_reached`, with the field when it is somebody else's; or the table cannot be read.
pub async fn require_rooms_left(
    store: &Store,
    asking: &UserId,
    users: &[UserId],
    field: &'static str,
) -> Result<(), Failure> {
    let counts = users.iter().map(|user| store.count_rooms(user)).collect::<FuturesOrdered<_>>();
    let counts: Vec<usize> = counts.try_collect().await?;
    for (user, count) in users.iter().zip(counts) {
        let (limit, field) =
            if user == asking { (ROOMS_PER_USER_MAX, None) } else { (ROOMS_BY_OTHERS_MAX, Some(field)) };
        if count >= limit {
            return Err(Refusal { code: ErrorCode::LimitReached, field }.into());
        }
    }
    Ok(())
}

fn bodies(change: RoomChange) -> Vec<RecordBody> {
    vec![match change {
        RoomChange::Edit { message, content } => RecordBody::Edit { message_id: message, content },
        RoomChange::Delete { message } => RecordBody::Delete { message_id: message },
        RoomChange::Rename { name } => RecordBody::Rename { name },
        RoomChange::Leave { successor } => RecordBody::Leave { successor },
        RoomChange::Kick { user } => RecordBody::Kick { user_id: user },
        RoomChange::Role { user, role } => RecordBody::ChangeRole { user_id: user, role },
        RoomChange::Invite { users } => {
            return users.into_iter().map(|user_id| RecordBody::Invite { user_id }).collect();
        }
    }]
}

/// Hands on how far somebody has read. The marker never moves back and never past the room's end, whatever is said.
///
/// # Errors
/// The reader is not a member, or the record was not acknowledged.
pub async fn mark_read(
    store: &Store,
    cache: &Cache,
    producer: &Producer,
    reader: &UserId,
    room: &RoomId,
    seq: Seq,
    now: Time,
) -> Result<CommandId, Failure> {
    admit(store, cache, room, reader).await?;
    let id = CommandId::new(now, rand::random());
    let (room_id, user_id) = (room.clone(), reader.clone());
    let marker = Marker { v: SCHEMA_VERSION, id, room_id, user_id, seq, received_at: now };
    put(producer, &marker).await?;
    Ok(id)
}

/// Hands on that somebody is typing.
///
/// # Errors
/// They are not a member, or the record was not acknowledged.
pub async fn type_in(
    store: &Store,
    cache: &Cache,
    producer: &Producer,
    user: &UserId,
    room: &RoomId,
    now: Time,
) -> Result<(), Failure> {
    admit(store, cache, room, user).await?;
    Ok(signal(producer, user, SignalBody::Typing { room_id: room.clone() }, now).await?)
}

/// Produces one signal of a user.
///
/// # Errors
/// It was not acknowledged.
pub async fn signal(producer: &Producer, user: &UserId, body: SignalBody, now: Time) -> Result<(), ProduceError> {
    let signal = Signal { v: SCHEMA_VERSION, user_id: user.clone(), at: now, body };
    put(producer, &signal).await
}

/// How long a session's signal may hold up the call that it is about.
const SESSION_SIGNAL_LIMIT: Duration = Duration::from_secs(1);

/// Produces a signal about a user's sessions, if Kafka takes it at once: nothing depends on it, since the sweeper makes
/// good what did not come.
pub async fn session_signal(producer: &Producer, user: &UserId, body: SignalBody, now: Time) {
    match tokio::time::timeout(SESSION_SIGNAL_LIMIT, signal(producer, user, body, now)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a session's signal is left to the sweeper"),
        Err(_) => tracing::warn!("a session's signal took too long and is left to the sweeper"),
    }
}

/// Produces one command's record.
///
/// # Errors
/// It was not acknowledged.
pub async fn produce(
    producer: &Producer,
    id: CommandId,
    sender: Sender,
    room_id: RoomId,
    body: RecordBody,
) -> Result<(), ProduceError> {
    let Sender { user, received_at, reply_to } = sender;
    let record = Record { v: SCHEMA_VERSION, id, room_id, sender: user, received_at, reply_to, body };
    put(producer, &record).await
}

async fn put<R: OnTopic>(producer: &Producer, record: &R) -> Result<(), ProduceError> {
    let span = trace::send(R::TOPIC);
    let headers = record::headers(TraceContext::of_span(&span).as_ref());
    let send = async {
        let sent = producer.send(R::TOPIC, Some(record.key().as_bytes()), Some(&record.value()), &headers).await;
        sent.inspect_err(|error| trace::fail(&Span::current(), error))
    };
    send.instrument(span).await
}
