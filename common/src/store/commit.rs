//! What the commit of a room reads and writes on table `chat`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnConsumedCapacity, TransactWriteItem, Update};

use super::attributes::{Item, number, text};
use super::keys::{self, Key};
use super::room::{event_from_item, event_item, head_from_item, member_from_item};
use super::{Store, StoreError, classify};
use crate::code::ErrorCode;
use crate::id::{CommandId, RoomId, Seq};
use crate::limits::DEDUPE_TTL_SECONDS;
use crate::room::commit::{Accepted, Dedupe, DedupeKey, DedupeWrite, RoomBatch, RoomState, Transaction};
use crate::room::event::RoomEvent;
use crate::time::Time;

impl Store {
    /// What a room's batch needs to know: the head first, then the rest, all consistent. A change of the rest always
    /// goes with a new `lastSeq`, so the head's condition covers what was read after it.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn load_room_state(&self, room: &RoomId, batch: &RoomBatch) -> Result<RoomState, StoreError> {
        let head = self.get(&self.chat, Key::head(room)).await?;
        let members = batch.member_lookups().into_iter().map(|user| Key::member(room, &user));
        let dedupe = batch.dedupe_lookups();
        let dedupe = dedupe.iter().map(|key| Key::dedupe(room, key));
        let items = self.batch_get(&self.chat, members.chain(dedupe).collect()).await?;
        let mut state = RoomState {
            head: head.as_ref().map(|item| head_from_item(room, item)).transpose()?,
            ..RoomState::default()
        };
        for item in &items {
            if item.text("PK")? == keys::room_partition(room) {
                let member = member_from_item(item)?;
                state.members.insert(member.user.clone(), member);
            } else {
                let (key, dedupe) = dedupe_from_item(room, item)?;
                state.dedupe.insert(key, dedupe);
            }
        }
        Ok(state)
    }

    /// Writes one transaction of a commit.
    ///
    /// # Errors
    /// [`StoreError::Condition`] when the head has moved: load again.
    pub async fn write_commit(&self, room: &RoomId, transaction: &Transaction, now: Time) -> Result<(), StoreError> {
        let mut items = Vec::with_capacity(1 + transaction.events.len() + transaction.dedupe.len());
        if let Some((head, expected)) = &transaction.head {
            let update = Update::builder()
                .table_name(&self.chat)
                .set_key(Some(Key::head(room).into_item()))
                .update_expression(
                    "SET lastSeq = :last, lastMessageNo = :messages, lastActivityAt = :activity, deliveredSeq = :delivered",
                )
                .condition_expression("lastSeq = :expected")
                .expression_attribute_values(":last", number(head.last_seq))
                .expression_attribute_values(":messages", number(head.last_message_no))
                .expression_attribute_values(":activity", number(head.last_activity.unix_ms()))
                .expression_attribute_values(":delivered", number(head.delivered_seq))
                .expression_attribute_values(":expected", number(expected))
                .build();
            items.push(TransactWriteItem::builder().update(update.map_err(invalid)?).build());
        }
        for event in &transaction.events {
            let put = Put::builder().table_name(&self.chat).set_item(Some(event_item(event).0)).build();
            items.push(TransactWriteItem::builder().put(put.map_err(invalid)?).build());
        }
        for write in &transaction.dedupe {
            let update = self.dedupe_update(room, write, now)?;
            items.push(TransactWriteItem::builder().update(update).build());
        }
        self.transact(items).await
    }

    fn dedupe_update(&self, room: &RoomId, write: &DedupeWrite, now: Time) -> Result<Update, StoreError> {
        let ttl = number(now.unix_seconds() + DEDUPE_TTL_SECONDS);
        let update = Update::builder().table_name(&self.chat).expression_attribute_values(":ttl", ttl);
        let update = match write {
            DedupeWrite::Accept(key, Accepted { id, seq, hash }) => update
                .set_key(Some(Key::dedupe(room, key).into_item()))
                .update_expression("SET acceptedId = :id, seq = :seq, contentHash = :hash, #ttl = :ttl")
                .expression_attribute_values(":id", text(id))
                .expression_attribute_values(":seq", number(seq))
                .expression_attribute_values(":hash", text(hash)),
            DedupeWrite::Refuse(key, id, code) => update
                .set_key(Some(Key::dedupe(room, key).into_item()))
                .update_expression("SET #ttl = :ttl ADD refused :refusal")
                .expression_attribute_values(":refusal", AttributeValue::Ss(vec![format!("{id} {code}")])),
        };
        update.expression_attribute_names("#ttl", "ttl").build().map_err(invalid)
    }

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
        Ok(events)
    }

    /// Notes how far a room's log is posted, unless that is known already.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn mark_delivered(&self, room: &RoomId, delivered: Seq) -> Result<(), StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.chat)
            .set_key(Some(Key::head(room).into_item()))
            .update_expression("SET deliveredSeq = :delivered")
            .condition_expression("deliveredSeq < :delivered AND lastSeq >= :delivered")
            .expression_attribute_values(":delivered", number(delivered))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match update.send().await.map_err(classify) {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(())
            }
            Err(StoreError::Condition(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn invalid(error: aws_sdk_dynamodb::error::BuildError) -> StoreError {
    StoreError::Invalid(error.to_string())
}

pub(super) fn dedupe_from_item(room: &RoomId, item: &Item) -> Result<(DedupeKey, Dedupe), StoreError> {
    let sender = keys::split_dedupe(room, item.text("PK")?)?;
    let accepted = match item.optional_text("acceptedId") {
        None => None,
        Some(_) => Some(Accepted {
            id: item.parsed("acceptedId")?,
            seq: item.seq("seq")?,
            hash: item.text("contentHash")?.to_owned(),
        }),
    };
    let refusal = |entry: &String| -> Option<(CommandId, ErrorCode)> {
        let (id, code) = entry.split_once(' ')?;
        Some((id.parse().ok()?, code.parse().ok()?))
    };
    let refused: HashMap<_, _> = item.text_set("refused").iter().filter_map(refusal).collect();
    Ok((DedupeKey { sender, slot: item.sort_key()?.to_owned() }, Dedupe { accepted, refused }))
}
