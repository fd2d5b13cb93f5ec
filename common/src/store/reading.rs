//! How far members have read, and what they have not: markers on the members' items, exact counts of unread messages,
//! and what a room list shows of each room. A marker only moves forward; it never makes a membership.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, Select};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::attributes::{Item, number, text};
use super::error::classify;
use super::event::event_from_item;
use super::keys::{self, Key};
use super::room::{head_from_item, member_from_item};
use super::{Store, StoreError};
use crate::id::{RoomId, Seq, UserId};
use crate::limits::{UNREAD_MAX, UNREAD_SCAN_MAX_EVENTS};
use crate::record::Marker;
use crate::room::event::RoomEvent;
use crate::room::{Head, Member};

/// How many rooms are counted at once.
const COUNTS_AT_ONCE: usize = 16;

/// What a room list shows of one room to one of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomPreview {
    /// The head.
    pub head: Head,
    /// The membership.
    pub member: Member,
    /// The last message in its current state, a deleted one as its tombstone; none while nothing was said.
    pub last_message: Option<RoomEvent>,
    /// How many messages the member has not read; [`UNREAD_MAX`] means that or more.
    pub unread: u64,
}

impl Store {
    /// Moves a marker to a seq that the room has, and tells to where it was moved: none when it stands there already or
    /// further, or when there is no such membership (any more). The same marker once more, delivered again, tells
    /// the same once more and moves nothing, so that a crash behind the write loses no receipt.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn move_marker(&self, marker: &Marker, seq: Seq) -> Result<Option<Seq>, StoreError> {
        let update = self
            .update(&self.chat, Key::member(&marker.room_id, &marker.user_id))
            .update_expression("SET readSeq = :seq, readWith = :id")
            .condition_expression(
                "attribute_exists(SK) AND joinedSeq <= :seq AND readSeq < :seq \
                 AND (attribute_not_exists(readWith) OR readWith <> :id)",
            )
            .expression_attribute_values(":seq", number(seq))
            .expression_attribute_values(":id", text(marker.id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match update.send().await {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                return Ok(Some(seq));
            }
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) = error.as_service_error() else {
            return Err(classify(error));
        };
        let Some(member) = failed.item().cloned().map(Item) else { return Ok(None) };
        let moved_before = member.optional_text("readWith") == Some(marker.id.to_string().as_str());
        if moved_before { member.seq("readSeq").map(Some) } else { Ok(None) }
    }

    /// How many messages of others stand behind a seq and are not deleted, up to the room's last message;
    /// [`UNREAD_MAX`] means that or more. Exact while no more than [`UNREAD_SCAN_MAX_EVENTS`] are to be looked at: where
    /// so many of one's own, deleted, or other events stand in front of the last message, it is taken for
    /// [`UNREAD_MAX`].
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn unread(&self, room: &RoomId, user: &UserId, read: Seq, last_message: Seq) -> Result<u64, StoreError> {
        let (mut count, mut scanned) = (0, 0);
        let mut start = None;
        // All read; an empty range is an invalid call to DynamoDB, too.
        if last_message <= read {
            return Ok(0);
        }
        loop {
            let query = self
                .client
                .query()
                .table_name(&self.chat)
                .key_condition_expression("PK = :room AND SK BETWEEN :first AND :last")
                // Messages alone have content, as long as they are not deleted.
                .filter_expression("attribute_exists(content) AND sender <> :user")
                .expression_attribute_values(":room", text(keys::room_partition(room)))
                .expression_attribute_values(":first", text(keys::event_sort(read.next())))
                .expression_attribute_values(":last", text(keys::event_sort(last_message)))
                .expression_attribute_values(":user", text(user))
                .select(Select::Count)
                .consistent_read(true)
                .limit(i32::try_from(UNREAD_MAX).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start);
            let page = self.page(query).await?;
            count += u64::try_from(page.count()).unwrap_or_default();
            scanned += u64::try_from(page.scanned_count()).unwrap_or_default();
            start = page.last_evaluated_key;
            if start.is_none() || count >= UNREAD_MAX {
                return Ok(count.min(UNREAD_MAX));
            }
            if scanned >= UNREAD_SCAN_MAX_EVENTS {
                return Ok(UNREAD_MAX);
            }
        }
    }

    /// The heads of rooms, read consistently, in no order; rooms that do not exist are left out.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn heads(&self, rooms: &[RoomId]) -> Result<Vec<Head>, StoreError> {
        let items = self.batch_get(&self.chat, rooms.iter().map(Key::head).collect()).await?;
        items.iter().map(|item| head_from_item(&keys::split_room(item.text("PK")?)?, item)).collect()
    }

    /// What a user's room list shows of these rooms, in their order; rooms that the user is no member of (any more)
    /// are left out. Memberships are read behind the messages, and nothing is counted or shown that came behind these
    /// heads, so that nobody reads past their removal.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn room_previews(&self, user: &UserId, heads: &[Head]) -> Result<Vec<RoomPreview>, StoreError> {
        let spoken_in = heads.iter().filter(|head| head.last_message_seq > Seq::ZERO);
        let keys = spoken_in.map(|head| Key::event(&head.room, head.last_message_seq)).collect();
        let mut messages = HashMap::new();
        for item in self.batch_get(&self.chat, keys).await? {
            let room = keys::split_room(item.text("PK")?)?;
            messages.insert(room.clone(), event_from_item(&room, &item)?);
        }
        let mut members = HashMap::new();
        for item in self.batch_get(&self.chat, heads.iter().map(|head| Key::member(&head.room, user)).collect()).await?
        {
            members.insert(keys::split_room(item.text("PK")?)?, member_from_item(&item)?);
        }
        let of_members = heads.iter().filter_map(|head| Some((head, members.remove(&head.room)?)));
        let previews: Vec<_> = of_members
            .map(|(head, member)| (head.clone(), member, messages.remove(&head.room)))
            .map(|(head, member, last_message)| async move {
                let unread = self.unread(&head.room, user, member.read_seq, head.last_message_seq).await?;
                Ok(RoomPreview { head, member, last_message, unread })
            })
            .collect();
        futures_util::stream::iter(previews).buffered(COUNTS_AT_ONCE).try_collect().await
    }
}
