//! Rooms and their members on table `chat`.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnConsumedCapacity, Select, TransactWriteItem};

use super::attributes::{Item, number, text};
use super::error::{classify, invalid};
use super::event::{event_from_item, event_item};
use super::keys::{self, Key};
use super::{Store, StoreError};
use crate::id::{RoomId, Seq, UserId};
use crate::limits::{DEDUPE_TTL_SECONDS, ROOMS_PER_USER_MAX};
use crate::room::event::RoomEvent;
use crate::room::state::DedupeKey;
use crate::room::{Head, Member, Role, RoomKind};
use crate::time::Time;

/// A room to be made: its head with `last_seq` 1, its first event and its first members.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// The head.
    pub head: Head,
    /// Event 1, `room.created`.
    pub event: RoomEvent,
    /// The members and their roles.
    pub members: Vec<(UserId, Role)>,
}

/// What came of making a room.
#[derive(Debug, Clone)]
pub enum Created {
    /// It is new.
    New,
    /// It stood there already.
    Before(Box<RoomBefore>),
}

/// A room that stood there when somebody wanted to make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomBefore {
    /// Its first event, which says what was asked for then.
    pub event: RoomEvent,
    /// Whether the record of that is known to be in Kafka.
    pub is_produced: bool,
}

/// A room's first event has this attribute until its record is known to be in Kafka.
const UNPRODUCED: &str = "unproduced";

/// A room as one of its members lists it.
#[derive(Debug, Clone)]
pub struct RoomListEntry {
    /// The head.
    pub head: Head,
    /// The membership.
    pub member: Member,
}

impl Store {
    /// Makes a room in one transaction, or finds the one that was made under the same id.
    ///
    /// # Errors
    /// The table cannot be read or written.
    pub async fn create_room(&self, room: NewRoom, now: Time) -> Result<Created, StoreError> {
        let event = event_item(&room.event).with(UNPRODUCED, AttributeValue::Bool(true));
        let mut items = vec![self.put_new(head_item(&room.head))?, self.put_new(event)?];
        let key = DedupeKey { sender: room.event.sender.clone(), slot: room.event.command_id.to_string() };
        let dedupe = Item::at(Key::dedupe(&room.head.room, &key))
            .with("acceptedId", text(room.event.command_id))
            .with("seq", number(room.event.seq))
            .with("contentHash", text(""))
            .with("ttl", number(now.unix_seconds() + DEDUPE_TTL_SECONDS));
        items.push(self.put_new(dedupe)?);
        for (user, role) in &room.members {
            items.push(self.put_new(member_item(&room.head.room, user, *role, room.event.seq))?);
        }
        match self.transact(items).await {
            Ok(()) => Ok(Created::New),
            Err(StoreError::Condition(_)) => self.created_before(&room.head.room).await,
            Err(error) => Err(error),
        }
    }

    fn put_new(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder().table_name(&self.chat).set_item(Some(item.0));
        let put = put.condition_expression("attribute_not_exists(PK)").build().map_err(invalid)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    async fn created_before(&self, room: &RoomId) -> Result<Created, StoreError> {
        let item = self.get(&self.chat, Key::event(room, Seq::ZERO.next())).await?.ok_or(StoreError::Item("EVENT"))?;
        let (event, is_produced) = (event_from_item(room, &item)?, !item.flag(UNPRODUCED));
        Ok(Created::Before(Box::new(RoomBefore { event, is_produced })))
    }

    /// Notes that the record of a room's first event is in Kafka: writes the event, which never changes, without the
    /// attribute that says otherwise.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn note_produced(&self, first: &RoomEvent) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&self.chat).set_item(Some(event_item(first).0));
        let output = put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify)?;
        self.count_write(output.consumed_capacity());
        Ok(())
    }

    /// A room's head, read consistently.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn head(&self, room: &RoomId) -> Result<Option<Head>, StoreError> {
        let item = self.get(&self.chat, Key::head(room)).await?;
        item.map(|item| head_from_item(room, &item)).transpose()
    }

    /// A membership, read consistently.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn member(&self, room: &RoomId, user: &UserId) -> Result<Option<Member>, StoreError> {
        let item = self.get(&self.chat, Key::member(room, user)).await?;
        item.map(|item| member_from_item(&item)).transpose()
    }

    /// Heads and one user's memberships of some rooms, read consistently; rooms without both are left out.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn room_list_entries(&self, user: &UserId, rooms: &[RoomId]) -> Result<Vec<RoomListEntry>, StoreError> {
        let keys = rooms.iter().flat_map(|room| [Key::head(room), Key::member(room, user)]).collect();
        let (mut heads, mut members) = (Vec::new(), std::collections::HashMap::new());
        for item in self.batch_get(&self.chat, keys).await? {
            let room = keys::split_room(item.text("PK")?)?;
            if item.sort_key()?.starts_with(keys::MEMBER) {
                members.insert(room, member_from_item(&item)?);
            } else {
                heads.push(head_from_item(&room, &item)?);
            }
        }
        let entry = |head: Head| members.remove(&head.room).map(|member| RoomListEntry { head, member });
        Ok(heads.into_iter().filter_map(entry).collect())
    }

    /// The rooms of a user, in no order, at most [`ROOMS_PER_USER_MAX`]. The index is eventually consistent.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn rooms_of(&self, user: &UserId) -> Result<Vec<RoomId>, StoreError> {
        let items = self.query(self.room_index(user), ROOMS_PER_USER_MAX).await?;
        items.iter().map(|item| keys::split_room(item.text("GSI1SK")?)).collect()
    }

    /// Members of a room in the order of their ids, from behind `after` on.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn members(
        &self,
        room: &RoomId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.chat)
            .key_condition_expression("PK = :room AND begins_with(SK, :member)")
            .expression_attribute_values(":room", text(keys::room_partition(room)))
            .expression_attribute_values(":member", text(keys::MEMBER))
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.map(|user| Key::member(room, user).into_item()));
        self.query(query, limit).await?.iter().map(member_from_item).collect()
    }

    /// How many rooms a user has, counted no further than the limit.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn count_rooms(&self, user: &UserId) -> Result<usize, StoreError> {
        let query = self.room_index(user).select(Select::Count);
        let query = query.limit(i32::try_from(ROOMS_PER_USER_MAX).unwrap_or(i32::MAX));
        Ok(usize::try_from(self.page(query).await?.count()).unwrap_or_default())
    }

    /// The index that lists a user's rooms.
    fn room_index(&self, user: &UserId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.chat)
            .index_name("GSI1")
            .key_condition_expression("GSI1PK = :user")
            .expression_attribute_values(":user", text(keys::user_partition(user)))
    }
}

fn head_item(head: &Head) -> Item {
    let item = Item::at(Key::head(&head.room))
        .with("kind", text(head.kind.as_str()))
        .with("name", text(&head.name))
        .with("epoch", text(&head.epoch))
        .with("lastSeq", number(head.last_seq))
        .with("lastMessageNo", number(head.last_message_no))
        .with("lastMessageSeq", number(head.last_message_seq))
        .with("memberCount", number(head.member_count))
        .with("ownerCount", number(head.owner_count))
        .with("createdAt", number(head.created_at.unix_ms()))
        .with("lastActivityAt", number(head.last_activity.unix_ms()))
        .with("deliveredSeq", number(head.delivered_seq));
    match &head.kind {
        RoomKind::Direct { users } => item.with("users", AttributeValue::L(users.iter().map(text).collect())),
        RoomKind::Group => item,
    }
}

pub(super) fn head_from_item(room: &RoomId, item: &Item) -> Result<Head, StoreError> {
    let kind = match item.text("kind")? {
        "direct" => {
            let users: Vec<UserId> = users(item, "users")?;
            RoomKind::Direct { users: users.try_into().map_err(|_| StoreError::Item("users"))? }
        }
        "group" => RoomKind::Group,
        _ => return Err(StoreError::Item("kind")),
    };
    Ok(Head {
        room: room.clone(),
        kind,
        name: item.text("name")?.to_owned(),
        epoch: item.parsed("epoch")?,
        last_seq: item.seq("lastSeq")?,
        last_message_no: item.number("lastMessageNo")?,
        last_message_seq: item.seq("lastMessageSeq")?,
        member_count: item.number("memberCount")?,
        owner_count: item.number("ownerCount")?,
        created_at: item.time("createdAt")?,
        last_activity: item.time("lastActivityAt")?,
        delivered_seq: item.seq("deliveredSeq")?,
    })
}

pub(super) fn users(item: &Item, name: &'static str) -> Result<Vec<UserId>, StoreError> {
    item.texts(name)?.into_iter().map(|user| user.parse().map_err(|_| StoreError::Item(name))).collect()
}

fn member_item(room: &RoomId, user: &UserId, role: Role, joined: Seq) -> Item {
    Item::at(Key::member(room, user))
        .with("role", text(role))
        .with("joinedSeq", number(joined))
        .with("readSeq", number(joined))
        .with("GSI1PK", text(keys::user_partition(user)))
        .with("GSI1SK", text(keys::room_partition(room)))
}

pub(super) fn member_from_item(item: &Item) -> Result<Member, StoreError> {
    Ok(Member {
        user: keys::split_member(item.sort_key()?)?,
        role: item.parsed("role")?,
        joined_seq: item.seq("joinedSeq")?,
        read_seq: item.seq("readSeq")?,
    })
}
