//! Connections on table `connections`: who speaks on a socket, and until when.

use std::time::Duration;

use aws_sdk_dynamodb::types::{ConditionCheck, Put, TransactWriteItem, Update};

use super::attributes::{Item, names, number, text};
use super::error::invalid;
use super::keys::{self, Key};
use super::session::{LiveConnection, OpenError, Opening, Session};
use super::subscription::both_keys;
use super::{Store, StoreError, dialect};
use crate::auth::{Principal, end_of_leeway};
use crate::code::ByeCode;
use crate::codec::stomp::Subscription;
use crate::codec::{Codec, Dialect};
use crate::id::{ConnectionId, UserId};
use crate::limits::{CONNECTION_MAX_MS, PENDING_MAX_MS};
use crate::metrics::Count;
use crate::time::Time;

/// How often a connection's rows are looked at until none is left; two do unless something happens meanwhile.
const REMOVAL_PASSES_MAX: usize = 8;

/// How long opening a session may take with all its attempts: below the shortest timeout of a function, with room for
/// what follows.
const OPENING_TIMEOUT: Duration = Duration::from_secs(6);

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// When it was opened.
    pub connected_at: Time,
    /// How it speaks.
    pub dialect: Dialect,
    /// Who speaks on it, if anybody yet.
    pub state: ConnectionState,
}

/// Whether a connection speaks for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// It has not shown a token.
    Pending,
    /// It speaks for this user until the token expires.
    Live(Principal),
    /// It is being closed and speaks for nobody any more.
    Closing(ByeCode),
}

impl Connection {
    fn ttl(&self) -> i64 {
        // An hour after API Gateway has cut it for certain.
        self.connected_at.plus_ms(CONNECTION_MAX_MS).unix_seconds() + 3_600
    }

    /// Whether it is too late for its first token.
    #[must_use]
    pub fn is_too_late(&self, now: Time) -> bool {
        self.connected_at.plus_ms(PENDING_MAX_MS) <= now
    }

    /// When the sweeper looks at it: at its end, whatever that will be.
    pub(super) fn due(&self) -> Time {
        let cut = self.connected_at.plus_ms(CONNECTION_MAX_MS);
        match &self.state {
            ConnectionState::Pending => self.connected_at.plus_ms(PENDING_MAX_MS),
            ConnectionState::Live(principal) => cut.min(end_of_leeway(principal.expires_at)),
            ConnectionState::Closing(_) => self.connected_at,
        }
    }
}

impl Store {
    /// Writes a new connection; with a user, also the user's session. Gives the connections that gave way to it; they
    /// are marked as closing.
    ///
    /// # Errors
    /// The user has as many sessions as allowed, or the table cannot be written.
    pub async fn put_connection(&self, connection: &Connection, now: Time) -> Result<Vec<LiveConnection>, OpenError> {
        let key = Key::connection(&connection.id);
        let mut item = Item::at(key.clone())
            .with("connectedAt", number(connection.connected_at.unix_ms()))
            .with("ttl", number(connection.ttl()))
            .with_dialect(&connection.dialect)
            .with_due(&key, connection.due());
        if let ConnectionState::Live(Principal { user, expires_at }) = &connection.state {
            item = item.with("user", text(user)).with("tokenExpiresAt", number(expires_at.unix_ms()));
        }
        let put = Put::builder().table_name(&self.connections).set_item(Some(item.0)).build().map_err(invalid)?;
        let put = TransactWriteItem::builder().put(put).build();
        match &connection.state {
            ConnectionState::Live(principal) => {
                self.open(connection, &connection.dialect, principal, Opening::Takes, put, now).await
            }
            ConnectionState::Pending | ConnectionState::Closing(_) => {
                self.transact(vec![put]).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Gives a connection its user, or its user's next token, and the dialect that it speaks from now on. On a live
    /// connection the expiry moves on its subscriptions too, and there first: whoever dies in between leaves one that
    /// ends with its last token and is told so, never one that is open and deaf. Gives the connections that gave way to
    /// it; they are marked as closing.
    ///
    /// # Errors
    /// [`OpenError::Changed`] when the connection is no more, is closing, is somebody else's, or has settled on another
    /// version of STOMP.
    pub async fn authenticate(
        &self,
        connection: &Connection,
        dialect: &Dialect,
        principal: &Principal,
        now: Time,
    ) -> Result<Vec<LiveConnection>, OpenError> {
        let key = Key::connection(&connection.id);
        let live = Connection { state: ConnectionState::Live(principal.clone()), ..connection.clone() };
        let update = Update::builder()
            .table_name(&self.connections)
            .update_expression(
                "SET #user = :user, tokenExpiresAt = :expires, GSI2PK = :shard, GSI2SK = :due, codec = :codec",
            )
            .condition_expression(
                "codec IN (:codec, :json, :stomp) AND attribute_not_exists(closing) \
                 AND (attribute_not_exists(#user) OR #user = :user)",
            )
            .expression_attribute_values(":json", text(Codec::Json))
            .expression_attribute_values(":stomp", text(Codec::Stomp(None)))
            .expression_attribute_values(":codec", text(dialect.codec()))
            .set_expression_attribute_names(names(&[("#user", "user")]))
            .expression_attribute_values(":user", text(&principal.user))
            .expression_attribute_values(":expires", number(principal.expires_at.unix_ms()))
            .expression_attribute_values(":shard", text(keys::sweep_partition(&key)))
            .expression_attribute_values(":due", text(keys::sweep_sort(live.due())))
            .set_key(Some(key.into_item()))
            .build()
            .map_err(invalid)?;
        let update = TransactWriteItem::builder().update(update).build();
        match connection.state {
            ConnectionState::Pending => self.open(connection, dialect, principal, Opening::Takes, update, now).await,
            ConnectionState::Live(_) => {
                self.refresh_subscriptions(&connection.id, principal.expires_at).await?;
                self.open(connection, dialect, principal, Opening::Has, update, now).await?;
                // What was subscribed meanwhile has the last token.
                self.refresh_subscriptions(&connection.id, principal.expires_at).await?;
                Ok(Vec::new())
            }
            ConnectionState::Closing(_) => Err(OpenError::Changed),
        }
    }

    async fn open(
        &self,
        connection: &Connection,
        dialect: &Dialect,
        principal: &Principal,
        opening: Opening,
        write: TransactWriteItem,
        now: Time,
    ) -> Result<Vec<LiveConnection>, OpenError> {
        let session = Session {
            connected_at: connection.connected_at,
            expires_at: principal.expires_at,
            dialect: dialect.clone(),
        };
        let opened = self.open_session((&principal.user, &connection.id, session), opening, write, now);
        in_time(opened).await
    }

    /// Changes a live connection's subscriptions to its user's queue, on the connection and in its session alike.
    ///
    /// # Errors
    /// [`OpenError::Changed`] when the connection is not as it was read.
    pub async fn change_queues(
        &self,
        connection: &Connection,
        principal: &Principal,
        queues: &[Subscription],
        now: Time,
    ) -> Result<(), OpenError> {
        let key = Key::connection(&connection.id);
        let before = connection.dialect.queues();
        let unchanged =
            if before.is_empty() { "(attribute_not_exists(queues) OR queues = :before)" } else { "queues = :before" };
        let update = Update::builder()
            .table_name(&self.connections)
            .set_key(Some(key.into_item()))
            .update_expression("SET queues = :queues")
            .condition_expression(format!(
                "{unchanged} AND tokenExpiresAt = :expires AND attribute_not_exists(closing)"
            ))
            .expression_attribute_values(":before", dialect::queues(before))
            .expression_attribute_values(":queues", dialect::queues(queues))
            .expression_attribute_values(":expires", number(principal.expires_at.unix_ms()))
            .build()
            .map_err(invalid)?;
        let update = TransactWriteItem::builder().update(update).build();
        in_time(self.change_session_queues((&principal.user, &connection.id), queues, update, now)).await
    }

    /// What marks a connection as closing because a newer session took its place; due at once, so that the sweeper
    /// closes it if whoever took it does not.
    pub(super) fn replaced(&self, id: &ConnectionId, now: Time) -> Result<TransactWriteItem, StoreError> {
        let key = Key::connection(id);
        let update = Update::builder()
            .table_name(&self.connections)
            .update_expression("SET closing = if_not_exists(closing, :code), GSI2PK = :shard, GSI2SK = :due")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_values(":code", text(ByeCode::SessionReplaced))
            .expression_attribute_values(":shard", text(keys::sweep_partition(&key)))
            .expression_attribute_values(":due", text(keys::sweep_sort(now)))
            .set_key(Some(key.into_item()))
            .build()
            .map_err(invalid)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// A connection, unless its row is over.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn connection(&self, id: &ConnectionId, now: Time) -> Result<Option<Connection>, StoreError> {
        let Some(item) = self.get(&self.connections, Key::connection(id)).await? else { return Ok(None) };
        if item.is_over(now) {
            return Ok(None);
        }
        connection_from_item(id, &item).map(Some)
    }

    /// Removes a connection that the gateway does not know any more, and counts it; and its session of a user, where that
    /// is known from elsewhere, even if nothing else is left of it.
    ///
    /// # Errors
    /// As [`Self::remove_connection`] says.
    pub async fn remove_gone(
        &self,
        id: &ConnectionId,
        user: Option<&UserId>,
        now: Time,
    ) -> Result<Option<UserId>, StoreError> {
        self.metrics.add(Count::Gone, 1);
        self.remove(id, user.cloned(), now).await
    }

    /// Removes a connection with its subscriptions and its session. Idempotent. What may be written meanwhile rests on
    /// the connection's row, so once that is gone, one more look finds the last of it. Gives the user whose session
    /// ended with it.
    ///
    /// # Errors
    /// The table cannot be read or written; to be tried again.
    pub async fn remove_connection(&self, id: &ConnectionId, now: Time) -> Result<Option<UserId>, StoreError> {
        self.remove(id, None, now).await
    }

    async fn remove(
        &self,
        id: &ConnectionId,
        mut user: Option<UserId>,
        now: Time,
    ) -> Result<Option<UserId>, StoreError> {
        let mut ended = None;
        for _ in 0..REMOVAL_PASSES_MAX {
            let rows = self.connection_rows(id).await?;
            if rows.is_empty() {
                // The same token, shown once more meanwhile, has written the session again; now nothing can.
                if let Some(user) = user
                    && self.end_session(&user, Some(id), now).await?
                {
                    ended = Some(user);
                }
                return Ok(ended);
            }
            let mut subscriptions = Vec::new();
            let mut as_read: Option<&Item> = None;
            for row in &rows {
                let sort = row.sort_key()?;
                if sort.starts_with(keys::SUBSCRIPTION) {
                    let (room, subscription) = keys::split_connection_subscription(sort)?;
                    subscriptions.push(both_keys(&room, id, subscription));
                } else {
                    as_read = Some(row);
                }
                if row.optional_text("user").is_some() {
                    user = Some(row.parsed("user")?);
                }
            }
            if let Some(user) = &user
                && self.end_session(user, Some(id), now).await?
            {
                ended = Some(user.clone());
            }
            self.delete_subscriptions(subscriptions).await?;
            // Last, so that a failure before it leaves what the next attempt starts from.
            if let Some(row) = as_read {
                self.delete_connection(id, row).await?;
            }
        }
        Err(StoreError::Unavailable("the connection keeps changing".to_owned()))
    }

    /// Deletes a connection's own row, unless it has got its user, or its next token, since it was read: that has written
    /// the session again.
    async fn delete_connection(&self, id: &ConnectionId, as_read: &Item) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.connections);
        let delete = delete.set_key(Some(Key::connection(id).into_item()));
        let delete = match as_read.optional_number::<i64>("tokenExpiresAt")? {
            None => delete.condition_expression("attribute_not_exists(tokenExpiresAt)"),
            Some(expires_at) => delete
                .condition_expression("tokenExpiresAt = :expires")
                .expression_attribute_values(":expires", number(expires_at)),
        };
        self.delete_if(delete).await
    }

    /// A condition for a transaction: the connection is live and its token is the one that was read.
    pub(super) fn connection_unchanged(
        &self,
        id: &ConnectionId,
        expires_at: Time,
    ) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.connections)
            .set_key(Some(Key::connection(id).into_item()))
            .condition_expression("tokenExpiresAt = :expires AND attribute_not_exists(closing)")
            .expression_attribute_values(":expires", number(expires_at.unix_ms()))
            .build()
            .map_err(invalid)?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}

/// The outcome of opening or changing a session, within the time that there is for it.
async fn in_time<T>(opened: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let outcome = tokio::time::timeout(OPENING_TIMEOUT, opened).await;
    outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("opening a session took too long".to_owned()).into()))
}

pub(super) fn connection_from_item(id: &ConnectionId, item: &Item) -> Result<Connection, StoreError> {
    let state = if item.optional_text("closing").is_some() {
        // A code that a later version wrote: whoever is told comes back and is told more.
        ConnectionState::Closing(item.parsed("closing").unwrap_or(ByeCode::ProtocolError))
    } else if item.optional_text("user").is_some() {
        ConnectionState::Live(Principal { user: item.parsed("user")?, expires_at: item.time("tokenExpiresAt")? })
    } else {
        ConnectionState::Pending
    };
    Ok(Connection { id: id.clone(), connected_at: item.time("connectedAt")?, dialect: item.dialect()?, state })
}
