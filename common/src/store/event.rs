//! Events of a room's log on table `chat`, in their current state: a message as it stands now, and an edit with what
//! the message says now.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::AttributeValue;

use super::attributes::{Item, number, text};
use super::keys::{self, Key};
use super::room::users;
use super::{Store, StoreError};
use crate::id::{MessageId, RoomId, Seq};
use crate::limits::ANSWER_MAX_BYTES;
use crate::room::event::{EventBody, Message, RoomEvent};
use crate::time::Time;

/// The first page of a query for fewer events has so many: some may not be wanted.
const PAGE_MIN_EVENTS: usize = 10;
/// No page grows above so many events (256 KB of ordinary ones).
const PAGE_MAX_EVENTS: usize = 640;

/// Which way a query goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forwards,
    Backwards,
}

impl Store {
    /// Events by seq, in order, in their current state.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn events_at(&self, room: &RoomId, seqs: &[Seq]) -> Result<Vec<RoomEvent>, StoreError> {
        let keys = seqs.iter().map(|seq| Key::event(room, *seq)).collect();
        let items = self.batch_get(&self.chat, keys).await?;
        let mut events: Vec<RoomEvent> =
            items.iter().map(|item| event_from_item(room, item)).collect::<Result<_, _>>()?;
        events.sort_unstable_by_key(|event| event.seq);
        self.join_edits(room, events).await
    }

    /// Puts into edits what their messages say now; those are looked up, even if they stand beside the edit: the
    /// page was read piece by piece.
    async fn join_edits(&self, room: &RoomId, mut events: Vec<RoomEvent>) -> Result<Vec<RoomEvent>, StoreError> {
        let edited: HashSet<Seq> = events.iter().filter_map(RoomEvent::edited_seq).collect();
        if edited.is_empty() {
            return Ok(events);
        }
        let keys = edited.into_iter().map(|seq| Key::event(room, seq)).collect();
        let mut messages = HashMap::new();
        for item in self.batch_get(&self.chat, keys).await? {
            let event = event_from_item(room, &item)?;
            messages.insert(event.seq, event);
        }
        for event in &mut events {
            if let Some(edited) = event.edited_seq() {
                event.join(messages.get(&edited).and_then(RoomEvent::message));
            }
        }
        Ok(events)
    }

    /// Events behind a seq, oldest first.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn events_after(&self, room: &RoomId, after: Seq, limit: usize) -> Result<Vec<RoomEvent>, StoreError> {
        let events = self.events(room, (after.next(), None), Direction::Forwards, limit, |_| true).await?;
        self.join_edits(room, events).await
    }

    /// Messages behind a seq, oldest first.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn messages_after(&self, room: &RoomId, after: Seq, limit: usize) -> Result<Vec<RoomEvent>, StoreError> {
        self.events(room, (after.next(), None), Direction::Forwards, limit, is_message).await
    }

    /// Messages before a seq, newest first; the newest of all without one.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn messages_before(
        &self,
        room: &RoomId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<RoomEvent>, StoreError> {
        let range = (Seq::ZERO, before.map(Seq::previous));
        self.events(room, range, Direction::Backwards, limit, is_message).await
    }

    /// Events of a range of seqs that are wanted, page after page until there are enough, or more than one answer takes: no
    /// page ends early because its events were not wanted. Each page may be twice the one before, so that a long run of
    /// others is few calls.
    async fn events(
        &self,
        room: &RoomId,
        (from, to): (Seq, Option<Seq>),
        direction: Direction,
        limit: usize,
        wanted: fn(&RoomEvent) -> bool,
    ) -> Result<Vec<RoomEvent>, StoreError> {
        let mut events = Vec::new();
        let mut bytes = 0;
        let last = to.map_or_else(keys::event_sort_end, keys::event_sort);
        let first = keys::event_sort(from);
        let mut start = None;
        let mut page_events = PAGE_MIN_EVENTS;
        // An empty range is an invalid call to DynamoDB.
        if last < first {
            return Ok(events);
        }
        loop {
            page_events = page_events.max(limit - events.len());
            let query = self
                .client
                .query()
                .table_name(&self.chat)
                .key_condition_expression("PK = :room AND SK BETWEEN :first AND :last")
                .expression_attribute_values(":room", text(keys::room_partition(room)))
                .expression_attribute_values(":first", text(&first))
                .expression_attribute_values(":last", text(&last))
                .scan_index_forward(direction == Direction::Forwards)
                .consistent_read(true)
                .limit(i32::try_from(page_events).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start);
            let page = self.page(query).await?;
            for item in page.items.unwrap_or_default() {
                let event = event_from_item(room, &Item(item))?;
                if wanted(&event) {
                    bytes += event.message().and_then(|message| message.content.as_deref()).map_or(0, str::len);
                    events.push(event);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() || events.len() >= limit || bytes > ANSWER_MAX_BYTES {
                events.truncate(limit);
                return Ok(events);
            }
            page_events = (2 * page_events).min(PAGE_MAX_EVENTS);
        }
    }
}

fn is_message(event: &RoomEvent) -> bool {
    event.message().is_some()
}

pub(super) fn event_item(event: &RoomEvent) -> Item {
    let item = Item::at(Key::event(&event.room, event.seq))
        .with("kind", text(event.body.kind()))
        .with("at", number(event.at.unix_ms()))
        .with("sender", text(&event.sender))
        .with("commandId", text(event.command_id));
    match &event.body {
        EventBody::RoomCreated { name, users } => {
            let users = users.iter().map(text).collect();
            item.with("name", text(name)).with("users", AttributeValue::L(users))
        }
        // A new message has neither been edited nor deleted.
        EventBody::Message(message) => item
            .with("epoch", text(&message.id.epoch))
            .with("clientMessageId", text(&message.client_message_id))
            .with("messageNo", number(message.number))
            .with("content", text(message.content.as_deref().unwrap_or_default())),
        EventBody::MessageEdited { message_id, .. } | EventBody::MessageDeleted { message_id } => {
            item.with("messageId", text(message_id))
        }
        EventBody::RoomRenamed { name } => item.with("name", text(name)),
        EventBody::MemberInvited { user } | EventBody::MemberKicked { user } => item.with("user", text(user)),
        EventBody::MemberLeft { user, successor } => {
            let item = item.with("user", text(user));
            match successor {
                Some(successor) => item.with("successor", text(successor)),
                None => item,
            }
        }
        EventBody::MemberRole { user, role } => item.with("user", text(user)).with("role", text(role)),
    }
}

pub(super) fn event_from_item(room: &RoomId, item: &Item) -> Result<RoomEvent, StoreError> {
    let seq = keys::split_event(item.sort_key()?)?;
    let body = match item.text("kind")? {
        "room.created" => EventBody::RoomCreated { name: item.text("name")?.to_owned(), users: users(item, "users")? },
        "message" => EventBody::Message(Message {
            id: MessageId { epoch: item.parsed("epoch")?, seq },
            client_message_id: item.parsed("clientMessageId")?,
            number: item.number("messageNo")?,
            content: item.optional_text("content").map(str::to_owned),
            edited_at: item.optional_text("content").and(item.optional_number("editedAt")?.map(Time::from_unix_ms)),
        }),
        "message.edited" => EventBody::MessageEdited { message_id: item.parsed("messageId")?, content: None },
        "message.deleted" => EventBody::MessageDeleted { message_id: item.parsed("messageId")? },
        "room.renamed" => EventBody::RoomRenamed { name: item.text("name")?.to_owned() },
        "member.invited" => EventBody::MemberInvited { user: item.parsed("user")? },
        "member.left" => EventBody::MemberLeft {
            user: item.parsed("user")?,
            successor: item.optional_text("successor").map(|_| item.parsed("successor")).transpose()?,
        },
        "member.kicked" => EventBody::MemberKicked { user: item.parsed("user")? },
        "member.role" => EventBody::MemberRole { user: item.parsed("user")?, role: item.parsed("role")? },
        _ => return Err(StoreError::Item("kind")),
    };
    Ok(RoomEvent {
        seq,
        room: room.clone(),
        at: item.time("at")?,
        sender: item.parsed("sender")?,
        command_id: item.parsed("commandId")?,
        body,
    })
}
