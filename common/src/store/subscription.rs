//! Subscriptions on table `connections`, each in two rows: its room's, for the fan-out, and its connection's, for
//! cleaning up.

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::attributes::{Item, number, text};
use super::error::invalid;
use super::keys::{self, Key};
use super::{Store, StoreError};
use crate::auth::{Principal, expired};
use crate::codec::Form;
use crate::codec::stomp::SubscriptionId;
use crate::command::Signals;
use crate::id::{ConnectionId, RoomId, Seq, UserId};
use crate::limits::CONNECTION_MAX_MS;
use crate::room::Member;
use crate::time::Time;

/// How long the sweeper leaves a `resync` to the next fan-out, in milliseconds.
const RESYNC_DELAY_MS: i64 = 5_000;

/// How many rows are updated at once.
const UPDATES_AT_ONCE: usize = 16;

/// Why a subscription was not written.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// These memberships are not as they were read.
    #[error("a membership has changed")]
    Membership,
    /// The connection is not as it was read.
    #[error("the connection has changed")]
    Connection,
    /// The table cannot be written.
    #[error(transparent)]
    Store(StoreError),
}

/// What a connection subscribes to in a room, and how it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How frames look.
    pub form: Form,
    /// Whether the room's events are wanted.
    pub events: bool,
    /// What beside events is wanted.
    pub signals: Signals,
}

impl Terms {
    /// What tells the subscription from others of its connection to the same room.
    fn id(&self) -> &str {
        match &self.form {
            Form::Json => JSON_SUBSCRIPTION,
            Form::Stomp(subscription) => subscription.id.as_str(),
        }
    }
}

/// The subscription id of connections whose codec has none of its own: one subscription a room.
const JSON_SUBSCRIPTION: &str = "json";
/// A subscription that does not want events has this attribute.
const SIGNALS_ONLY: &str = "signalsOnly";
/// When a subscription was said, by the gateway's clock.
const SAID: &str = "saidAt";
/// What was said this close together, in milliseconds, may have been said in either order: nobody promises more of the
/// gateway's clock.
const SAME_TIME_MS: i64 = 100;

/// A subscription, as the fan-out sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSubscription {
    /// The connection.
    pub connection: ConnectionId,
    /// Whose connection it is.
    pub user: UserId,
    /// The membership that it rests on.
    pub joined_seq: Seq,
    /// What is wanted.
    pub terms: Terms,
    /// Events up to here were skipped on this connection; a `resync` is due.
    pub lagged_seq: Option<Seq>,
}

/// A room's subscriptions, as one look found them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomSubscriptions {
    /// Those whose row and token are good: they are told what happens.
    pub good: Vec<RoomSubscription>,
    /// The others: a fresh token may be on its way to them.
    pub lapsed: Vec<RoomSubscription>,
}

impl RoomSubscription {
    pub(super) fn key(&self, room: &RoomId) -> Key {
        Key::room_subscription(room, &self.connection, self.terms.id())
    }

    /// The same row as its connection sees it.
    fn connection_key(&self, room: &RoomId) -> Key {
        Key::connection_subscription(&self.connection, room, self.terms.id())
    }
}

impl Store {
    /// Subscribes a connection to rooms at once, on condition that the memberships and the connection are as they
    /// were read. It was said at a time of the gateway's: what ends subscriptions and was clearly said before does not end
    /// these.
    ///
    /// # Errors
    /// As [`SubscribeError`] says.
    pub async fn subscribe(
        &self,
        connection: &ConnectionId,
        principal: &Principal,
        memberships: &[(RoomId, Member)],
        terms: &Terms,
        said: Time,
    ) -> Result<(), SubscribeError> {
        let mut items =
            vec![self.connection_unchanged(connection, principal.expires_at).map_err(SubscribeError::Store)?];
        for (room, member) in memberships {
            let rows = self.subscription(connection, principal, (room, member), terms, said);
            items.extend(rows.map_err(SubscribeError::Store)?);
        }
        match self.transact(items).await {
            Ok(()) => Ok(()),
            Err(StoreError::Condition(at)) if at.contains(&0) => Err(SubscribeError::Connection),
            Err(StoreError::Condition(_)) => Err(SubscribeError::Membership),
            Err(error) => Err(SubscribeError::Store(error)),
        }
    }

    fn subscription(
        &self,
        connection: &ConnectionId,
        principal: &Principal,
        (room, member): (&RoomId, &Member),
        terms: &Terms,
        said: Time,
    ) -> Result<[TransactWriteItem; 3], StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.chat)
            .set_key(Some(Key::member(room, &principal.user).into_item()))
            .condition_expression("joinedSeq = :joined")
            .expression_attribute_values(":joined", number(member.joined_seq))
            .build()
            .map_err(invalid)?;
        let put = |row: Item| {
            let mut item = row
                .with("user", text(&principal.user))
                .with("joinedSeq", number(member.joined_seq))
                .with("tokenExpiresAt", number(principal.expires_at.unix_ms()))
                .with("ttl", number(said.plus_ms(CONNECTION_MAX_MS).unix_seconds() + 3_600))
                .with_form(&terms.form);
            if !terms.events {
                item = item.with(SIGNALS_ONLY, AttributeValue::Bool(true));
            }
            let names: Vec<String> = terms.signals.names().map(str::to_owned).collect();
            // DynamoDB has no empty sets.
            if !names.is_empty() {
                item = item.with("signals", AttributeValue::Ss(names));
            }
            let put = Put::builder().table_name(&self.connections).set_item(Some(item.0)).build().map_err(invalid)?;
            Ok::<_, StoreError>(TransactWriteItem::builder().put(put).build())
        };
        Ok([
            TransactWriteItem::builder().condition_check(check).build(),
            put(Item::at(Key::room_subscription(room, connection, terms.id())))?,
            // Where it costs the fan-out nothing to read.
            put(
                Item::at(Key::connection_subscription(connection, room, terms.id())).with(SAID, number(said.unix_ms()))
            )?,
        ])
    }

    /// Ends the subscriptions to rooms of a connection that has one a room, but for those that were clearly said later.
    /// Idempotent. Both rows of each go at once: what subscribes at the same time comes before or after.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn unsubscribe(&self, connection: &ConnectionId, rooms: &[RoomId], said: Time) -> Result<(), StoreError> {
        let keys = rooms.iter().map(|room| both_keys(room, connection, JSON_SUBSCRIPTION));
        self.unsubscribe_all(keys.collect(), said).await
    }

    /// Ends the subscription that a client calls so, unless that was clearly said later. Idempotent.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn unsubscribe_id(
        &self,
        connection: &ConnectionId,
        room: &RoomId,
        id: &SubscriptionId,
        said: Time,
    ) -> Result<(), StoreError> {
        self.unsubscribe_all(vec![both_keys(room, connection, id.as_str())], said).await
    }

    async fn unsubscribe_all(&self, mut keys: Vec<[Key; 2]>, said: Time) -> Result<(), StoreError> {
        while !keys.is_empty() {
            let mut items = Vec::with_capacity(2 * keys.len());
            for [of_room, of_connection] in &keys {
                let delete =
                    |key: &Key| Delete::builder().table_name(&self.connections).set_key(Some(key.clone().into_item()));
                let of_connection = delete(of_connection)
                    .condition_expression(format!("attribute_not_exists({SAID}) OR {SAID} <= :latest"))
                    .expression_attribute_values(":latest", number(said.plus_ms(SAME_TIME_MS).unix_ms()));
                for delete in [delete(of_room), of_connection] {
                    items.push(TransactWriteItem::builder().delete(delete.build().map_err(invalid)?).build());
                }
            }
            match self.transact(items).await {
                // Those that were said later, of each the second item, stay; the others go without them.
                Err(StoreError::Condition(at)) => {
                    let earlier = keys.into_iter().enumerate().filter(|(pair, _)| !at.contains(&(2 * pair + 1)));
                    keys = earlier.map(|(_, keys)| keys).collect();
                }
                outcome => return outcome,
            }
        }
        Ok(())
    }

    /// Deletes a room's rows of subscriptions of a connection that is gone: those that were left behind are not found
    /// under it.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn forget_subscriptions(
        &self,
        room: &RoomId,
        subscriptions: &[&RoomSubscription],
    ) -> Result<(), StoreError> {
        let keys = subscriptions.iter().map(|subscription| subscription.key(room)).collect();
        self.batch_delete(&self.connections, keys).await
    }

    /// Deletes subscriptions, the rooms' rows first: what is left when that fails is found under the connection, from
    /// where the next attempt starts.
    pub(super) async fn delete_subscriptions(
        &self,
        keys: impl IntoIterator<Item = [Key; 2]>,
    ) -> Result<(), StoreError> {
        let (of_rooms, of_connection) = keys.into_iter().map(|[room, connection]| (room, connection)).unzip();
        self.batch_delete(&self.connections, of_rooms).await?;
        self.batch_delete(&self.connections, of_connection).await
    }

    /// Ends subscriptions whose member was removed by an event, both rows of each, unless they rest on a later
    /// membership: a late or repeated clean-up spares whoever was invited again. Idempotent.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn end_subscriptions(
        &self,
        room: &RoomId,
        subscriptions: &[RoomSubscription],
        removed_with: Seq,
    ) -> Result<(), StoreError> {
        let keys = |subscription: &RoomSubscription| (subscription.connection_key(room), subscription.key(room));
        let keys: Vec<_> = subscriptions.iter().map(keys).collect();
        let end = |(of_connection, of_room)| async move {
            // The room's row last: it is what a repeated clean-up starts from.
            self.end_subscription(of_connection, removed_with).await?;
            self.end_subscription(of_room, removed_with).await
        };
        futures_util::stream::iter(keys.into_iter().map(end)).buffer_unordered(UPDATES_AT_ONCE).try_collect().await
    }

    async fn end_subscription(&self, key: Key, removed_with: Seq) -> Result<(), StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.connections)
            .set_key(Some(key.into_item()))
            .condition_expression("joinedSeq < :removed")
            .expression_attribute_values(":removed", number(removed_with));
        self.delete_if(delete).await
    }

    /// A connection's subscriptions to rooms, each with its id.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn connection_subscriptions(
        &self,
        connection: &ConnectionId,
    ) -> Result<Vec<(RoomId, String)>, StoreError> {
        let rows = self.connection_rows(connection).await?;
        let sorts = rows.iter().filter_map(|row| row.sort_key().ok());
        let subscription = |sort| {
            let (room, id) = keys::split_connection_subscription(sort)?;
            Ok((room, id.to_owned()))
        };
        sorts.filter(|sort| sort.starts_with(keys::SUBSCRIPTION)).map(subscription).collect()
    }

    /// Everything under a connection's partition key, read consistently.
    pub(super) async fn connection_rows(&self, connection: &ConnectionId) -> Result<Vec<Item>, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.connections)
            .key_condition_expression("PK = :connection")
            .expression_attribute_values(":connection", text(keys::connection_partition(connection)))
            .consistent_read(true);
        self.query(query, usize::MAX).await
    }

    /// Every subscription of a room whose row and token are good, read consistently.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn room_subscriptions(&self, room: &RoomId, now: Time) -> Result<Vec<RoomSubscription>, StoreError> {
        Ok(self.all_room_subscriptions(room, now).await?.good)
    }

    /// Every subscription of a room, read consistently: for whoever ends them, too.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn all_room_subscriptions(&self, room: &RoomId, now: Time) -> Result<RoomSubscriptions, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.connections)
            .key_condition_expression("PK = :room AND begins_with(SK, :connection)")
            .expression_attribute_values(":room", text(keys::room_partition(room)))
            .expression_attribute_values(":connection", text(keys::CONNECTION))
            .consistent_read(true);
        let mut subscriptions = RoomSubscriptions::default();
        for row in self.query(query, usize::MAX).await? {
            let of_its_kind = if has_lapsed(&row, now)? { &mut subscriptions.lapsed } else { &mut subscriptions.good };
            of_its_kind.push(read_subscription(&row)?);
        }
        Ok(subscriptions)
    }

    /// Moves the token's expiry ahead on every subscription of a connection, and never back: of two refreshes at once
    /// the later token counts. A row that went away meanwhile stays away.
    pub(super) async fn refresh_subscriptions(
        &self,
        connection: &ConnectionId,
        expires_at: Time,
    ) -> Result<(), StoreError> {
        let mut subscriptions = Vec::new();
        for row in self.connection_rows(connection).await? {
            let sort = row.sort_key()?;
            if sort.starts_with(keys::SUBSCRIPTION) && row.time("tokenExpiresAt")? < expires_at {
                let (room, subscription) = keys::split_connection_subscription(sort)?;
                subscriptions.push((both_keys(&room, connection, subscription), row.seq("joinedSeq")?));
            }
        }
        let refresh = |([of_room, of_connection], joined): ([Key; 2], Seq)| async move {
            // The room's row first: where the connection's row has moved, the room's has.
            self.refresh_subscription(of_room, joined, expires_at).await?;
            self.refresh_subscription(of_connection, joined, expires_at).await
        };
        futures_util::stream::iter(subscriptions.into_iter().map(refresh))
            .buffer_unordered(UPDATES_AT_ONCE)
            .try_collect()
            .await
    }

    async fn refresh_subscription(&self, key: Key, joined: Seq, expires_at: Time) -> Result<(), StoreError> {
        let update = self
            .update(&self.connections, key)
            .update_expression("SET tokenExpiresAt = :expires")
            .condition_expression("joinedSeq = :joined AND tokenExpiresAt < :expires")
            .expression_attribute_values(":joined", number(joined))
            .expression_attribute_values(":expires", number(expires_at.unix_ms()));
        self.update_if(update).await.map(drop)
    }

    /// Notes that events up to a seq were skipped on a connection that was too slow. The next fan-out brings its
    /// `resync`, or the sweeper when there is none.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn mark_lagged(
        &self,
        room: &RoomId,
        subscription: &RoomSubscription,
        seq: Seq,
        now: Time,
    ) -> Result<(), StoreError> {
        let key = subscription.key(room);
        let shard = keys::sweep_partition(&key);
        let update = self
            .update(&self.connections, key)
            .update_expression("SET laggedSeq = :seq, GSI2PK = :shard, GSI2SK = :due")
            .condition_expression("joinedSeq = :joined")
            .expression_attribute_values(":joined", number(subscription.joined_seq))
            .expression_attribute_values(":seq", number(seq))
            .expression_attribute_values(":shard", text(shard))
            .expression_attribute_values(":due", text(keys::sweep_sort(now.plus_ms(RESYNC_DELAY_MS))));
        self.update_if(update).await.map(drop)
    }

    /// Clears the note once a `resync` that covers it was posted; a later note stays.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn clear_lagged(
        &self,
        room: &RoomId,
        subscription: &RoomSubscription,
        seq: Seq,
    ) -> Result<(), StoreError> {
        let update = self
            .update(&self.connections, subscription.key(room))
            .update_expression("REMOVE laggedSeq, GSI2PK, GSI2SK, resyncs")
            .condition_expression("laggedSeq = :seq")
            .expression_attribute_values(":seq", number(seq));
        self.update_if(update).await.map(drop)
    }
}

/// The keys of a subscription's two rows, the room's first.
pub(super) fn both_keys(room: &RoomId, connection: &ConnectionId, id: &str) -> [Key; 2] {
    [Key::room_subscription(room, connection, id), Key::connection_subscription(connection, room, id)]
}

/// A subscription in its room's row; none when the row or its token is over.
pub(super) fn subscription_from_row(row: &Item, now: Time) -> Result<Option<RoomSubscription>, StoreError> {
    if has_lapsed(row, now)? { Ok(None) } else { read_subscription(row).map(Some) }
}

fn has_lapsed(row: &Item, now: Time) -> Result<bool, StoreError> {
    Ok(row.is_over(now) || expired(row.time("tokenExpiresAt")?, now))
}

fn read_subscription(row: &Item) -> Result<RoomSubscription, StoreError> {
    let (connection, id) = keys::split_room_subscription(row.sort_key()?)?;
    let id = id.parse().map_err(|()| StoreError::Item("SK"))?;
    let mut signals = Signals::default();
    for name in row.text_set("signals") {
        // A name that a later version wrote means nothing here.
        signals.add(name);
    }
    Ok(RoomSubscription {
        connection,
        user: row.parsed("user")?,
        joined_seq: row.seq("joinedSeq")?,
        terms: Terms { form: row.form(&id)?, events: !row.flag(SIGNALS_ONLY), signals },
        lagged_seq: row.optional_number("laggedSeq")?.and_then(|seq| Seq::new(seq).ok()),
    })
}
