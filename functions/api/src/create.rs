//! `POST /rooms` and `PUT /direct/{userId}`. A room's id is derived from what must be unique about it, so two people
//! who race, or one who tries again, get one room.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::code::{ErrorCode, Refusal};
use common::codec::json;
use common::failure::Failure;
use common::id::{CommandId, Epoch, RoomId, Seq, UserId};
use common::ingress::{self, Sender};
use common::limits::ROOM_CREATE_MAX_USERS;
use common::record::RecordBody;
use common::room::event::{EventBody, RoomEvent};
use common::room::{Head, Role, RoomKind};
use common::store::{Created, NewRoom, RoomBefore};
use common::telemetry::trace;

use crate::answer::Answer;
use crate::call::Call;
use crate::handler::Api;
use crate::room::{RoomView, own_membership};

/// What is asked for.
struct Wanted {
    room: RoomId,
    kind: RoomKind,
    name: String,
    members: Vec<(UserId, Role)>,
}

impl Api {
    pub(crate) async fn create_room(&self, call: &Call) -> Result<Answer, Failure> {
        let fields = call.fields()?;
        let name = json::room_name(&fields)?;
        let mut users: Vec<UserId> = fields.list_without_repeats("userIds", 0..=ROOM_CREATE_MAX_USERS)?;
        users.retain(|user| *user != call.user);
        let room = match &call.idempotency_key {
            Some(key) => RoomId::derived('g', &[call.user.as_str(), key]),
            None => RoomId::derived('g', &[&random_text()]),
        };
        let owner = std::iter::once((call.user.clone(), Role::Owner));
        let members = owner.chain(users.into_iter().map(|user| (user, Role::Member))).collect();
        self.make(call, Wanted { room, kind: RoomKind::Group, name: name.into(), members }).await
    }

    pub(crate) async fn open_direct(&self, call: &Call, peer: UserId) -> Result<Answer, Failure> {
        if peer == call.user {
            return Err(Refusal::field("userId").into());
        }
        let mut users = [call.user.clone(), peer];
        users.sort_unstable();
        let room = RoomId::derived('d', &[users[0].as_str(), users[1].as_str()]);
        let members = users.iter().map(|user| (user.clone(), Role::Member)).collect();
        self.make(call, Wanted { room, kind: RoomKind::Direct { users }, name: String::new(), members }).await
    }

    /// Makes the room, or finds it; then tells its members through the log's own way.
    async fn make(&self, call: &Call, wanted: Wanted) -> Result<Answer, Failure> {
        trace::about_room(&wanted.room);
        if self.store.head(&wanted.room).await?.is_none() {
            self.producer.check_ingress()?;
            let users: Vec<UserId> = wanted.members.iter().map(|(user, _)| user.clone()).collect();
            let field = match wanted.kind {
                RoomKind::Direct { .. } => "userId",
                RoomKind::Group => "userIds",
            };
            ingress::require_rooms_left(&self.store, &call.user, &users, field).await?;
        }
        let room = new_room(call, wanted)?;
        let (is_new, unproduced) = match self.store.create_room(room.clone(), call.now).await? {
            Created::New => (true, Some(room.event)),
            Created::Before(before) => {
                let RoomBefore { event, is_produced } = *before;
                if !is_repeated(&room.head.kind, &event.body, &room.event.body) {
                    return Err(ErrorCode::IdempotencyConflict.into());
                }
                // The call that made the room may have ended before its record stood.
                (false, (!is_produced).then_some(event))
            }
        };
        if let Some(event) = unproduced {
            let sender = Sender { user: event.sender.clone(), received_at: event.at, reply_to: None };
            let body = RecordBody::RoomCreated {};
            ingress::produce(&self.producer, event.command_id, sender, event.room.clone(), body).await?;
            // Whoever asks for the room again would only produce the same record once more.
            if let Err(error) = self.store.note_produced(&event).await {
                tracing::warn!(%error, "it is not noted that a room was announced");
            }
        }
        let entries = self.store.room_list_entries(&call.user, std::slice::from_ref(&room.head.room)).await?;
        let entry = own_membership(&entries)?;
        let view = RoomView::new(&entry.head, &entry.member);
        Ok(if is_new { Answer::created(&view) } else { Answer::ok(&view) })
    }
}

fn new_room(call: &Call, wanted: Wanted) -> Result<NewRoom, Failure> {
    let Wanted { room, kind, name, members } = wanted;
    let epoch: Epoch = random_text().parse().map_err(|_| ErrorCode::Internal)?;
    let first = Seq::ZERO.next();
    let mut users: Vec<UserId> = members.iter().map(|(user, _)| user.clone()).collect();
    users.sort_by_key(|user| *user != call.user);
    let event = RoomEvent {
        seq: first,
        room: room.clone(),
        at: call.now,
        sender: call.user.clone(),
        command_id: CommandId::new(call.now, rand::random()),
        body: EventBody::RoomCreated { name: name.clone(), users },
    };
    let head = Head {
        room,
        kind,
        name,
        epoch,
        last_seq: first,
        last_message_no: 0,
        last_message_seq: Seq::ZERO,
        member_count: members.len() as u64,
        owner_count: members.iter().filter(|(_, role)| *role == Role::Owner).count() as u64,
        created_at: call.now,
        last_activity: call.now,
        delivered_seq: Seq::ZERO,
    };
    Ok(NewRoom { head, event, members })
}

/// Whether a call repeats the one that made a room, rather than ask for another one under the same key: the room's
/// first event says what was asked for. A direct room is the same whoever opens it.
fn is_repeated(kind: &RoomKind, before: &EventBody, wanted: &EventBody) -> bool {
    match kind {
        RoomKind::Direct { .. } => true,
        RoomKind::Group => before == wanted,
    }
}

fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>())
}
