//! What the commit of a room reads and writes on table `chat`.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update};

use super::attributes::{Item, names, number, text};
use super::error::invalid;
use super::event::{event_from_item, event_item};
use super::keys::{self, Key};
use super::room::{head_from_item, member_from_item};
use super::{Store, StoreError};
use crate::code::ErrorCode;
use crate::id::{CommandId, RoomId, Seq};
use crate::limits::DEDUPE_TTL_SECONDS;
use crate::room::Head;
use crate::room::commit::{DedupeWrite, Transaction};
use crate::room::state::{Accepted, Change, Dedupe, DedupeKey, Lookups, RoomState};
use crate::time::Time;

impl Store {
    /// What is needed to decide something in a room: the head first, then the rest, all consistent. A change of the
    /// rest always goes with a new `lastSeq`, so the head's condition covers what was read after it.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn room_state(&self, room: &RoomId, lookups: &Lookups) -> Result<RoomState, StoreError> {
        let head = self.get(&self.chat, Key::head(room)).await?;
        let mut state = RoomState {
            head: head.as_ref().map(|item| head_from_item(room, item)).transpose()?,
            ..RoomState::default()
        };
        let members = lookups.members.iter().map(|user| Key::member(room, user));
        let targets = lookups.targets.iter().map(|seq| Key::event(room, *seq));
        let dedupe = lookups.dedupe.iter().map(|key| Key::dedupe(room, key));
        for item in &self.batch_get(&self.chat, members.chain(targets).chain(dedupe).collect()).await? {
            if item.text("PK")? != keys::room_partition(room) {
                let (key, dedupe) = dedupe_from_item(room, item)?;
                state.dedupe.insert(key, dedupe);
            } else if item.sort_key()?.starts_with(keys::MEMBER) {
                let member = member_from_item(item)?;
                state.members.insert(member.user.clone(), member);
            } else {
                let event = event_from_item(room, item)?;
                state.targets.insert(event.seq, event);
            }
        }
        Ok(state)
    }

    /// Writes one transaction of a commit.
    ///
    /// # Errors
    /// [`StoreError::Condition`] when the head has moved, or refusals have been remembered beside: load again.
    pub async fn write_commit(&self, room: &RoomId, transaction: &Transaction, now: Time) -> Result<(), StoreError> {
        let mut items = vec![match &transaction.head {
            Some(head) => self.head_update(head, transaction.expected)?,
            None => self.head_unchanged(room, transaction.expected)?,
        }];
        for event in &transaction.events {
            let put = Put::builder().table_name(&self.chat).set_item(Some(event_item(event).0)).build();
            items.push(TransactWriteItem::builder().put(put.map_err(invalid)?).build());
        }
        for change in &transaction.changes {
            items.push(self.change(room, change)?);
        }
        for write in &transaction.dedupe {
            let update = self.dedupe_update(room, write, now)?;
            items.push(TransactWriteItem::builder().update(update).build());
        }
        self.transact(items).await
    }

    fn head_update(&self, head: &Head, expected: Option<Seq>) -> Result<TransactWriteItem, StoreError> {
        let update = Update::builder()
            .table_name(&self.chat)
            .set_key(Some(Key::head(&head.room).into_item()))
            .update_expression(
                "SET lastSeq = :last, lastMessageNo = :messages, lastMessageSeq = :message, lastActivityAt = :activity, \
                 deliveredSeq = :delivered, #name = :name, memberCount = :members, ownerCount = :owners",
            )
            .condition_expression("lastSeq = :expected")
            .set_expression_attribute_names(names(&[("#name", "name")]))
            .expression_attribute_values(":last", number(head.last_seq))
            .expression_attribute_values(":messages", number(head.last_message_no))
            .expression_attribute_values(":message", number(head.last_message_seq))
            .expression_attribute_values(":activity", number(head.last_activity.unix_ms()))
            .expression_attribute_values(":delivered", number(head.delivered_seq))
            .expression_attribute_values(":name", text(&head.name))
            .expression_attribute_values(":members", number(head.member_count))
            .expression_attribute_values(":owners", number(head.owner_count))
            .expression_attribute_values(":expected", number(expected.unwrap_or(Seq::ZERO)));
        Ok(TransactWriteItem::builder().update(update.build().map_err(invalid)?).build())
    }

    /// A condition for a transaction: the head stands where it stood, or there is still none.
    fn head_unchanged(&self, room: &RoomId, expected: Option<Seq>) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder().table_name(&self.chat).set_key(Some(Key::head(room).into_item()));
        let check = match expected {
            None => check.condition_expression("attribute_not_exists(PK)"),
            Some(seq) => {
                check.condition_expression("lastSeq = :expected").expression_attribute_values(":expected", number(seq))
            }
        };
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(invalid)?).build())
    }

    /// Attributes change, never whole items: a read marker may move at the same moment.
    fn change(&self, room: &RoomId, change: &Change) -> Result<TransactWriteItem, StoreError> {
        let update = |key: Key| Update::builder().table_name(&self.chat).set_key(Some(key.into_item()));
        let update = match change {
            Change::Leave(user) => {
                let key = Key::member(room, user).into_item();
                let delete = Delete::builder().table_name(&self.chat).set_key(Some(key)).build().map_err(invalid)?;
                return Ok(TransactWriteItem::builder().delete(delete).build());
            }
            Change::Join(member) => update(Key::member(room, &member.user))
                .update_expression(
                    "SET #role = :role, joinedSeq = :joined, readSeq = :read, GSI1PK = :user, GSI1SK = :room",
                )
                .set_expression_attribute_names(names(&[("#role", "role")]))
                .expression_attribute_values(":role", text(member.role))
                .expression_attribute_values(":joined", number(member.joined_seq))
                .expression_attribute_values(":read", number(member.read_seq))
                .expression_attribute_values(":user", text(keys::user_partition(&member.user)))
                .expression_attribute_values(":room", text(keys::room_partition(room))),
            Change::Role(user, role) => update(Key::member(room, user))
                .update_expression("SET #role = :role")
                .condition_expression("attribute_exists(PK)")
                .set_expression_attribute_names(names(&[("#role", "role")]))
                .expression_attribute_values(":role", text(role)),
            Change::Edit { seq, content, at } => update(Key::event(room, *seq))
                .update_expression("SET content = :content, editedAt = :at")
                .condition_expression("attribute_exists(PK)")
                .expression_attribute_values(":content", text(content))
                .expression_attribute_values(":at", number(at.unix_ms())),
            Change::Erase(seq) => update(Key::event(room, *seq))
                .update_expression("REMOVE content, editedAt")
                .condition_expression("attribute_exists(PK)"),
        };
        Ok(TransactWriteItem::builder().update(update.build().map_err(invalid)?).build())
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
                .expression_attribute_values(":refusal", refusals([(id, code)])),
            DedupeWrite::RefuseAnew { key, oldest, refused } => update
                .set_key(Some(Key::dedupe(room, key).into_item()))
                .update_expression("SET #ttl = :ttl, refused = :refused")
                .condition_expression("contains(refused, :oldest)")
                .expression_attribute_values(":oldest", text(refusal(&oldest.0, &oldest.1)))
                .expression_attribute_values(":refused", refusals(refused)),
        };
        update.expression_attribute_names("#ttl", "ttl").build().map_err(invalid)
    }

    /// Notes how far a room's log is posted, unless that is known already.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn mark_delivered(&self, room: &RoomId, delivered: Seq) -> Result<(), StoreError> {
        let update = self
            .update(&self.chat, Key::head(room))
            .update_expression("SET deliveredSeq = :delivered")
            .condition_expression("deliveredSeq < :delivered AND lastSeq >= :delivered")
            .expression_attribute_values(":delivered", number(delivered));
        self.update_if(update).await.map(drop)
    }
}

fn refusals<'a>(refused: impl IntoIterator<Item = (&'a CommandId, &'a ErrorCode)>) -> AttributeValue {
    AttributeValue::Ss(refused.into_iter().map(|(id, code)| refusal(id, code)).collect())
}

fn refusal(id: &CommandId, code: &ErrorCode) -> String {
    format!("{id} {code}")
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
