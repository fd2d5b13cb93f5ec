//! Connections on table `connections`: who speaks on a socket, and until when.

use aws_sdk_dynamodb::types::{ConditionCheck, Put, ReturnConsumedCapacity, TransactWriteItem, Update};

use super::attributes::{Item, number, text};
use super::commit::invalid;
use super::keys::{self, Key};
use super::session::Session;
use super::{Store, StoreError, classify, names};
use crate::auth::Principal;
use crate::id::{ConnectionId, UserId};
use crate::limits::CONNECTION_MAX_MS;
use crate::time::Time;

/// How often a session change is tried again when somebody else changed the user's sessions.
const SESSION_ATTEMPTS_MAX: u32 = 12;

/// How often a connection's rows are looked at until none is left; two do unless something happens meanwhile.
const REMOVAL_PASSES_MAX: usize = 8;

/// A live connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// When it was opened.
    pub connected_at: Time,
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
}

impl Connection {
    fn ttl(&self) -> i64 {
        // An hour after API Gateway has cut it for certain.
        self.connected_at.plus_ms(CONNECTION_MAX_MS).unix_seconds() + 3_600
    }
}

impl Store {
    /// Writes a new connection; with a user, also the user's session.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn put_connection(&self, connection: &Connection, now: Time) -> Result<(), StoreError> {
        let mut item = Item::at(Key::connection(&connection.id))
            .with("connectedAt", number(connection.connected_at.unix_ms()))
            .with("ttl", number(connection.ttl()));
        if let ConnectionState::Live(Principal { user, expires_at }) = &connection.state {
            item = item.with("user", text(user)).with("tokenExpiresAt", number(expires_at.unix_ms()));
        }
        let put = Put::builder().table_name(&self.connections).set_item(Some(item.0)).build().map_err(invalid)?;
        let put = TransactWriteItem::builder().put(put).build();
        match &connection.state {
            ConnectionState::Pending => self.transact(vec![put]).await,
            ConnectionState::Live(principal) => self.open_session(connection, principal, put, now).await,
        }
    }

    /// Gives a connection its user, or its user's next token. On a live connection the expiry moves on its
    /// subscriptions too.
    ///
    /// # Errors
    /// [`StoreError::Condition`] when the connection is no more.
    pub async fn authenticate(
        &self,
        connection: &Connection,
        principal: &Principal,
        now: Time,
    ) -> Result<(), StoreError> {
        let update = Update::builder()
            .table_name(&self.connections)
            .set_key(Some(Key::connection(&connection.id).into_item()))
            .update_expression("SET #user = :user, tokenExpiresAt = :expires")
            .condition_expression("attribute_exists(PK) AND (attribute_not_exists(#user) OR #user = :user)")
            .set_expression_attribute_names(names(&[("#user", "user")]))
            .expression_attribute_values(":user", text(&principal.user))
            .expression_attribute_values(":expires", number(principal.expires_at.unix_ms()))
            .build()
            .map_err(invalid)?;
        let update = TransactWriteItem::builder().update(update).build();
        self.open_session(connection, principal, update, now).await?;
        match connection.state {
            ConnectionState::Pending => Ok(()),
            ConnectionState::Live(_) => self.move_expiry(&connection.id, principal.expires_at, now).await,
        }
    }

    /// Moves the expiry on a connection's subscriptions. Two refreshes at once may write the rows in another order than
    /// the connection: whoever ends last follows the connection, or events would stop before the connection does.
    async fn move_expiry(&self, id: &ConnectionId, mut expires_at: Time, now: Time) -> Result<(), StoreError> {
        loop {
            self.refresh_subscriptions(id, expires_at).await?;
            match self.connection(id, now).await?.map(|connection| connection.state) {
                Some(ConnectionState::Live(principal)) if principal.expires_at != expires_at => {
                    expires_at = principal.expires_at;
                }
                Some(ConnectionState::Live(_) | ConnectionState::Pending) | None => return Ok(()),
            }
        }
    }

    /// Writes the connection and its user's sessions at once, on condition that nobody changed the sessions since
    /// they were read.
    async fn open_session(
        &self,
        connection: &Connection,
        principal: &Principal,
        write: TransactWriteItem,
        now: Time,
    ) -> Result<(), StoreError> {
        let session = Session { connected_at: connection.connected_at, expires_at: principal.expires_at };
        self.change_sessions(&principal.user, now, Some(write), |sessions| {
            sessions.insert(connection.id.clone(), session);
            true
        })
        .await
    }

    /// Reads, changes and writes a user's sessions, again when somebody else was faster. `change` tells whether there
    /// is anything to write.
    async fn change_sessions(
        &self,
        user: &UserId,
        now: Time,
        with: Option<TransactWriteItem>,
        change: impl Fn(&mut std::collections::HashMap<ConnectionId, Session>) -> bool,
    ) -> Result<(), StoreError> {
        for attempt in 0.. {
            let mut sessions = self.sessions(user, now).await?;
            if !change(&mut sessions.connections) {
                return Ok(());
            }
            let put = self.put_sessions(user, &sessions, now)?;
            let items: Vec<_> = std::iter::once(put).chain(with.clone()).collect();
            match self.transact(items).await {
                // Item 0 are the sessions; another condition is the caller's.
                Err(StoreError::Condition(at)) if at.contains(&0) && attempt + 1 < SESSION_ATTEMPTS_MAX => {
                    super::pause(attempt.min(4), "sessions").await?;
                }
                outcome => return outcome,
            }
        }
        Ok(())
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
        let state = match item.optional_text("user") {
            None => ConnectionState::Pending,
            Some(_) => ConnectionState::Live(Principal {
                user: item.parsed("user")?,
                expires_at: item.time("tokenExpiresAt")?,
            }),
        };
        Ok(Some(Connection { id: id.clone(), connected_at: item.time("connectedAt")?, state }))
    }

    /// Removes a connection with its subscriptions and its session. Idempotent. What may be written meanwhile rests on
    /// the connection's row, so once that is gone, one more look finds the last of it.
    ///
    /// # Errors
    /// The table cannot be read or written; to be tried again.
    pub async fn remove_connection(&self, id: &ConnectionId, now: Time) -> Result<(), StoreError> {
        for _ in 0..REMOVAL_PASSES_MAX {
            let rows = self.connection_rows(id).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut keys = Vec::new();
            let (mut user, mut has_connection): (Option<UserId>, bool) = (None, false);
            for row in &rows {
                let sort = row.sort_key()?;
                if sort.starts_with(keys::SUBSCRIPTION) {
                    let (room, subscription) = keys::split_connection_subscription(sort)?;
                    keys.push(Key::room_subscription(&room, id, subscription));
                    keys.push(Key::connection_subscription(id, &room, subscription));
                } else {
                    has_connection = true;
                }
                if row.optional_text("user").is_some() {
                    user = Some(row.parsed("user")?);
                }
            }
            if let Some(user) = &user {
                self.change_sessions(user, now, None, |sessions| sessions.remove(id).is_some()).await?;
            }
            self.batch_delete(&self.connections, keys).await?;
            // Last, so that a failure before it leaves what the next attempt starts from.
            if has_connection {
                self.delete_connection(id, user.as_ref()).await?;
            }
        }
        Err(StoreError::Unavailable("the connection keeps changing".to_owned()))
    }

    /// Deletes a connection's own row, unless it has become somebody's since it was read.
    async fn delete_connection(&self, id: &ConnectionId, user: Option<&UserId>) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.connections);
        let delete = delete.set_key(Some(Key::connection(id).into_item()));
        let delete = delete.set_expression_attribute_names(names(&[("#user", "user")]));
        let delete = match user {
            None => delete.condition_expression("attribute_not_exists(#user)"),
            Some(user) => delete.condition_expression("#user = :user").expression_attribute_values(":user", text(user)),
        };
        match delete.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify) {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(())
            }
            Err(StoreError::Condition(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A condition for a transaction: the connection exists and its token is the one that was read.
    pub(super) fn connection_unchanged(
        &self,
        id: &ConnectionId,
        expires_at: Time,
    ) -> Result<TransactWriteItem, StoreError> {
        let check = ConditionCheck::builder()
            .table_name(&self.connections)
            .set_key(Some(Key::connection(id).into_item()))
            .condition_expression("tokenExpiresAt = :expires")
            .expression_attribute_values(":expires", number(expires_at.unix_ms()))
            .build()
            .map_err(invalid)?;
        Ok(TransactWriteItem::builder().condition_check(check).build())
    }
}
