//! Sessions on table `connections`: one item per user names the user's live connections.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};

use super::attributes::{Item, number};
use super::commit::invalid;
use super::keys::Key;
use super::{Store, StoreError};
use crate::id::{ConnectionId, UserId};
use crate::limits::CONNECTION_MAX_MS;
use crate::time::Time;

/// One connection of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    /// When the connection was opened.
    pub(super) connected_at: Time,
    /// When its token expires.
    pub(super) expires_at: Time,
}

/// A live connection, found through its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveConnection {
    /// Whose it is.
    pub user: UserId,
    /// Its name.
    pub connection: ConnectionId,
    /// When it was opened.
    pub connected_at: Time,
}

/// How old a connection is when its `$connect` is over for certain, in milliseconds (API Gateway waits 29 s at most).
const ESTABLISHED_MS: i64 = 60_000;

impl LiveConnection {
    /// Whether its `$connect` is over: until then the gateway answers as if it were gone.
    #[must_use]
    pub fn is_established(&self, now: Time) -> bool {
        self.connected_at.plus_ms(ESTABLISHED_MS) < now
    }
}

/// A user's live connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    /// Changes with every write.
    version: u64,
    /// By connection; those that API Gateway must have cut are left out.
    pub(super) connections: HashMap<ConnectionId, Session>,
}

impl Store {
    pub(super) async fn sessions(&self, user: &UserId, now: Time) -> Result<Sessions, StoreError> {
        let item = self.get(&self.connections, Key::sessions(user)).await?;
        item.map_or_else(|| Ok(Sessions::default()), |item| sessions_from_item(&item, now))
    }

    /// The connections of users whose token is good: where something is told that concerns a user, not a room.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn live_connections(&self, users: &[UserId], now: Time) -> Result<Vec<LiveConnection>, StoreError> {
        let keys = users.iter().map(Key::sessions).collect();
        let mut live = Vec::new();
        for item in self.batch_get(&self.connections, keys).await? {
            let user = super::keys::split_user(item.text("PK")?)?;
            let sessions = sessions_from_item(&item, now)?;
            let good = sessions.connections.into_iter();
            let good = good.filter(|(_, session)| !crate::auth::expired(session.expires_at, now));
            live.extend(good.map(|(connection, session)| LiveConnection {
                user: user.clone(),
                connection,
                connected_at: session.connected_at,
            }));
        }
        Ok(live)
    }

    pub(super) fn put_sessions(
        &self,
        user: &UserId,
        sessions: &Sessions,
        now: Time,
    ) -> Result<TransactWriteItem, StoreError> {
        let connections = sessions.connections.iter().map(|(connection, session)| {
            let entry = HashMap::from([
                ("connectedAt".to_owned(), number(session.connected_at.unix_ms())),
                ("tokenExpiresAt".to_owned(), number(session.expires_at.unix_ms())),
            ]);
            (connection.to_string(), AttributeValue::M(entry))
        });
        let item = Item::at(Key::sessions(user))
            .with("version", number(sessions.version + 1))
            .with("connections", AttributeValue::M(connections.collect()))
            .with("ttl", number(now.plus_ms(2 * CONNECTION_MAX_MS).unix_seconds()));
        let put = Put::builder().table_name(&self.connections).set_item(Some(item.0));
        let put = if sessions.version == 0 {
            put.condition_expression("attribute_not_exists(PK)")
        } else {
            put.condition_expression("version = :version")
                .expression_attribute_values(":version", number(sessions.version))
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(invalid)?).build())
    }
}

fn sessions_from_item(item: &Item, now: Time) -> Result<Sessions, StoreError> {
    let mut connections = HashMap::new();
    for (connection, entry) in item.map("connections").into_iter().flatten() {
        let connection: ConnectionId = connection.parse().map_err(|_| StoreError::Item("connections"))?;
        let entry = Item(entry.as_m().map_err(|_| StoreError::Item("connections"))?.clone());
        let session = Session { connected_at: entry.time("connectedAt")?, expires_at: entry.time("tokenExpiresAt")? };
        if session.connected_at.plus_ms(CONNECTION_MAX_MS) > now {
            connections.insert(connection, session);
        }
    }
    Ok(Sessions { version: item.number("version")?, connections })
}
