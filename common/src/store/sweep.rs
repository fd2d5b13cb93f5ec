//! What is due on table `connections`. An item that something is to be done about later stands in the sparse index
//! `GSI2`: in one of [`SWEEP_SHARDS`] partitions by a hash of its key, sorted by its time. So whoever looks for what is
//! due now reads that and nothing else.
//!
//! The index follows its table late, and two sweepers may look at once. So everything is **claimed** first: by a write
//! on the item that moves its time ahead, on condition that it is the time that was found. Whoever made that write acts,
//! and nobody else; if they die, the moved time brings the next one.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use super::attributes::{Item, names, number, text};
use super::connection::connection_from_item;
use super::keys::{self, Key};
use super::session::{Sessions, is_established, sessions_from_item};
use super::subscription::subscription_from_row;
use super::{Connection, ConnectionState, RoomSubscription, Store, StoreError};
use crate::auth::expired;
use crate::code::ByeCode;
use crate::codec::Dialect;
use crate::id::{ConnectionId, RoomId, Seq, UserId};
use crate::limits::CONNECTION_MAX_MS;
use crate::time::Time;

/// How many partitions the index has: at 1,000 writes a second each, far more than API Gateway lets connections in.
pub const SWEEP_SHARDS: u32 = 16;

/// How long whoever claims something has for it, in milliseconds: longer than a sweep may run.
const CLAIM_MS: i64 = 120_000;

/// When sessions that were handed to the user's consumer are looked at again if nothing came of it, in milliseconds.
const RECHECK_MS: i64 = 600_000;

/// The pause after a first `resync` that was not taken, in milliseconds; it doubles with every further one.
const RESYNC_PAUSE_MS: i64 = 60_000;

/// How often that pause doubles at most: up to 16 minutes.
const RESYNC_DOUBLINGS_MAX: u32 = 4;

/// What something is due about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueItem {
    /// A connection ends.
    Connection(ConnectionId),
    /// A subscription waits for its `resync`.
    Subscription {
        /// The room.
        room: RoomId,
        /// The connection.
        connection: ConnectionId,
        /// What tells it from others of the connection.
        subscription: String,
    },
    /// A user's sessions are not as others were told, or one must have been cut.
    Sessions(UserId),
}

impl DueItem {
    /// What it is, without whose.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Subscription { .. } => "subscription",
            Self::Sessions(_) => "sessions",
        }
    }
}

/// Something that is due, as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// What.
    pub item: DueItem,
    /// Since when.
    pub at: Time,
}

/// Part of what is due.
#[derive(Debug)]
pub struct DuePage {
    /// The oldest first.
    pub due: Vec<Due>,
    /// Where the next page starts, when there is one.
    pub next: Option<DuePosition>,
}

/// A place in the index.
#[derive(Debug, Clone)]
pub struct DuePosition(HashMap<String, AttributeValue>);

/// How a connection that is due ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// It is told why, and closed.
    Close {
        /// Why.
        code: ByeCode,
        /// How it speaks.
        dialect: Dialect,
        /// Whether its `$connect` is over for certain: until then the gateway answers as if it were gone.
        is_established: bool,
    },
    /// API Gateway has cut it, and nobody heard.
    Ghost,
}

/// A subscription that was claimed for its `resync`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaggedSubscription {
    /// The subscription.
    pub subscription: RoomSubscription,
    /// Events up to here were skipped.
    pub seq: Seq,
    tries: u32,
    claimed_until: Time,
}

/// A user's sessions that were claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionsClaim {
    sessions: Sessions,
    claimed_until: Time,
}

impl SessionsClaim {
    /// Whether there are sessions that must have been cut.
    #[must_use]
    pub const fn has_ghosts(&self) -> bool {
        self.sessions.ghosts > 0
    }

    /// Whether others were told something else than what is.
    #[must_use]
    pub fn is_unannounced(&self) -> bool {
        self.sessions.is_unannounced()
    }
}

impl Item {
    /// This item, due at a time. The key is its own.
    pub(super) fn with_due(self, key: &Key, due: Time) -> Self {
        self.with("GSI2PK", text(keys::sweep_partition(key))).with("GSI2SK", text(keys::sweep_sort(due)))
    }

    fn is_due_at(&self, at: Time) -> bool {
        self.optional_text("GSI2SK") == Some(keys::sweep_sort(at).as_str())
    }
}

impl Connection {
    /// How the connection ends, if it does now.
    fn end(&self, now: Time) -> Option<ConnectionEnd> {
        if self.connected_at.plus_ms(CONNECTION_MAX_MS) <= now {
            return Some(ConnectionEnd::Ghost);
        }
        let code = match &self.state {
            ConnectionState::Closing(code) => Some(*code),
            ConnectionState::Pending => self.is_too_late(now).then_some(ByeCode::AuthTimeout),
            ConnectionState::Live(principal) => expired(principal.expires_at, now).then_some(ByeCode::TokenExpired),
        };
        let (dialect, is_established) = (self.dialect.clone(), is_established(self.connected_at, now));
        Some(ConnectionEnd::Close { code: code?, dialect, is_established })
    }
}

impl Store {
    /// What is due in one shard of the index, page after page. What does not belong there is left out, and logged.
    ///
    /// # Errors
    /// The index cannot be read.
    pub async fn due(&self, shard: u32, from: Option<DuePosition>, now: Time) -> Result<DuePage, StoreError> {
        let query = self
            .client
            .query()
            .table_name(&self.connections)
            .index_name("GSI2")
            .key_condition_expression("GSI2PK = :shard AND GSI2SK <= :now")
            .expression_attribute_values(":shard", text(keys::sweep_shard_partition(shard)))
            .expression_attribute_values(":now", text(keys::sweep_sort(now)))
            .set_exclusive_start_key(from.map(|position| position.0));
        let page = self.page(query).await?;
        let mut due = Vec::new();
        for item in page.items.unwrap_or_default().into_iter().map(Item) {
            match due_from_item(&item) {
                Ok(entry) => due.push(entry),
                Err(error) => tracing::error!(%error, shard, "something is due that cannot be read"),
            }
        }
        Ok(DuePage { due, next: page.last_evaluated_key.map(DuePosition) })
    }

    /// Claims a connection and marks it as closing, unless it is not due any more.
    ///
    /// # Errors
    /// The table cannot be read or written.
    pub async fn claim_connection(
        &self,
        id: &ConnectionId,
        at: Time,
        now: Time,
    ) -> Result<Option<ConnectionEnd>, StoreError> {
        let Some(row) = self.get(&self.connections, Key::connection(id)).await? else { return Ok(None) };
        if !row.is_due_at(at) {
            return Ok(None);
        }
        let connection = connection_from_item(id, &row)?;
        let end = connection.end(now);
        let until = if end.is_some() { now.plus_ms(CLAIM_MS) } else { connection.due() };
        let claim = self.claim(Key::connection(id), at, until);
        let claim = match &end {
            Some(ConnectionEnd::Close { code, .. }) => claim
                .update_expression("SET GSI2SK = :until, closing = :code")
                .expression_attribute_values(":code", text(code)),
            Some(ConnectionEnd::Ghost) | None => claim.update_expression("SET GSI2SK = :until"),
        };
        // It may have got its user, or its next token, since it was read.
        let claim = match &connection.state {
            ConnectionState::Pending => claim
                .condition_expression("GSI2SK = :found AND attribute_not_exists(#user)")
                .set_expression_attribute_names(names(&[("#user", "user")])),
            ConnectionState::Live(principal) => claim
                .condition_expression("GSI2SK = :found AND tokenExpiresAt = :expires")
                .expression_attribute_values(":expires", number(principal.expires_at.unix_ms())),
            ConnectionState::Closing(_) => claim.condition_expression("GSI2SK = :found"),
        };
        Ok(self.update_if(claim).await?.and(end))
    }

    /// Claims a subscription that waits for its `resync`, unless it does not any more.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn claim_lagged(
        &self,
        (room, connection, subscription): (&RoomId, &ConnectionId, &str),
        at: Time,
        now: Time,
    ) -> Result<Option<LaggedSubscription>, StoreError> {
        let key = Key::room_subscription(room, connection, subscription);
        let claimed_until = now.plus_ms(CLAIM_MS);
        let claim = self
            .claim(key.clone(), at, claimed_until)
            .update_expression("SET GSI2SK = :until ADD resyncs :one")
            .condition_expression("GSI2SK = :found AND attribute_exists(laggedSeq)")
            .expression_attribute_values(":one", number(1));
        let Some(row) = self.update_if(claim).await? else { return Ok(None) };
        let subscription = subscription_from_row(&row, now)?;
        match subscription.and_then(|subscription| Some((subscription.lagged_seq?, subscription))) {
            Some((seq, subscription)) => {
                let tries = row.optional_number("resyncs")?.unwrap_or_default();
                Ok(Some(LaggedSubscription { subscription, seq, tries, claimed_until }))
            }
            None => {
                // Nothing is sent on it any more; its connection ends by itself.
                self.update_if(self.move_due(key, claimed_until, None, "")).await?;
                Ok(None)
            }
        }
    }

    /// Leaves a `resync` that was not taken for later; the more often it was tried, the later.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn postpone_lagged(
        &self,
        room: &RoomId,
        lagged: &LaggedSubscription,
        now: Time,
    ) -> Result<(), StoreError> {
        let key = lagged.subscription.key(room);
        let doublings = lagged.tries.saturating_sub(1).min(RESYNC_DOUBLINGS_MAX);
        let due = now.plus_ms(RESYNC_PAUSE_MS << doublings);
        self.update_if(self.move_due(key, lagged.claimed_until, Some(due), "")).await.map(drop)
    }

    /// Claims a user's sessions, unless they are not due any more.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn claim_sessions(
        &self,
        user: &UserId,
        at: Time,
        now: Time,
    ) -> Result<Option<SessionsClaim>, StoreError> {
        let claimed_until = now.plus_ms(CLAIM_MS);
        let claim = self.claim(Key::sessions(user), at, claimed_until);
        let claim = claim.update_expression("SET GSI2SK = :until").condition_expression("GSI2SK = :found");
        let Some(item) = self.update_if(claim).await? else { return Ok(None) };
        Ok(Some(SessionsClaim { sessions: sessions_from_item(&item, now)?, claimed_until }))
    }

    /// Drops the sessions of a user that must have been cut. Tells whether there were any.
    ///
    /// # Errors
    /// The table cannot be read or written.
    pub async fn drop_ghosts(&self, user: &UserId, now: Time) -> Result<bool, StoreError> {
        self.end_session(user, None, now).await
    }

    /// Lets claimed sessions be, now that the user's consumer was asked to look at them; unless they have changed
    /// meanwhile. Should nothing come of it, they are due again later.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn settle_sessions(&self, user: &UserId, claim: &SessionsClaim, now: Time) -> Result<(), StoreError> {
        let SessionsClaim { sessions, claimed_until } = claim;
        let recheck = sessions.is_unannounced().then(|| now.plus_ms(RECHECK_MS));
        let due = recheck.into_iter().chain(sessions.ghost_at()).min();
        let settle = self
            .move_due(Key::sessions(user), *claimed_until, due, " AND version = :version")
            .expression_attribute_values(":version", number(sessions.version));
        self.update_if(settle).await.map(drop)
    }

    /// A write that moves an item's time ahead, on condition that it is the one that was found; conditions and what
    /// else is written are the caller's. It returns the item as it is then.
    fn claim(&self, key: Key, found: Time, until: Time) -> UpdateItemFluentBuilder {
        self.update(&self.connections, key)
            .expression_attribute_values(":found", text(keys::sweep_sort(found)))
            .expression_attribute_values(":until", text(keys::sweep_sort(until)))
            .return_values(ReturnValue::AllNew)
    }

    /// A write that gives a claimed item its next time, or none.
    fn move_due(&self, key: Key, claimed_until: Time, due: Option<Time>, further: &str) -> UpdateItemFluentBuilder {
        let update = self
            .update(&self.connections, key)
            .condition_expression(format!("GSI2SK = :claimed{further}"))
            .expression_attribute_values(":claimed", text(keys::sweep_sort(claimed_until)));
        match due {
            Some(due) => update
                .update_expression("SET GSI2SK = :due")
                .expression_attribute_values(":due", text(keys::sweep_sort(due))),
            None => update.update_expression("REMOVE GSI2PK, GSI2SK"),
        }
    }
}

fn due_from_item(item: &Item) -> Result<Due, StoreError> {
    Ok(Due {
        item: keys::split_due(item.text("PK")?, item.sort_key()?)?,
        at: keys::split_sweep_sort(item.text("GSI2SK")?)?,
    })
}
