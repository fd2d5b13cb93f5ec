//! Sessions on table `connections`: one item per user names the user's live connections, and what others were last told
//! about them. Every write is conditional on the version that was read and makes a new one, so none is lost.
//!
//! The item stands in the index of what is due while there is something to look at later: at the earlier of two times,
//! when the oldest connection must have been cut, and, while others were told something else than what is, when the
//! grace is over.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};

use super::attributes::{Item, number};
use super::call::jitter;
use super::error::invalid;
use super::keys::Key;
use super::{Store, StoreError};
use crate::codec::Dialect;
use crate::codec::stomp::Subscription;
use crate::config::{SessionConfig, SessionPolicy};
use crate::id::{ConnectionId, UserId};
use crate::limits::{CONNECTION_MAX_MS, SESSIONS_REPLACED_MAX};
use crate::time::Time;

/// How often a session change is tried again when somebody else changed the user's sessions.
const SESSION_ATTEMPTS_MAX: u32 = 24;

/// One connection of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// When the connection was opened.
    pub(super) connected_at: Time,
    /// When its token expires.
    pub(super) expires_at: Time,
    /// How it speaks.
    pub(super) dialect: Dialect,
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
    /// How it speaks.
    pub dialect: Dialect,
}

/// How old a connection is when its `$connect` is over for certain, in milliseconds (API Gateway waits 29 s at most).
const ESTABLISHED_MS: i64 = 60_000;

impl LiveConnection {
    /// Whether its `$connect` is over: until then the gateway answers as if it were gone.
    #[must_use]
    pub fn is_established(&self, now: Time) -> bool {
        is_established(self.connected_at, now)
    }
}

pub(super) fn is_established(connected_at: Time, now: Time) -> bool {
    connected_at.plus_ms(ESTABLISHED_MS) < now
}

impl Session {
    fn live(self, user: &UserId, connection: ConnectionId) -> LiveConnection {
        let Self { connected_at, dialect, .. } = self;
        LiveConnection { user: user.clone(), connection, connected_at, dialect }
    }
}

/// A user's live connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    /// Changes with every write; 0 while there is no item.
    pub(super) version: u64,
    /// By connection; those that API Gateway must have cut are left out.
    pub(super) connections: HashMap<ConnectionId, Session>,
    /// How many were left out; the next write drops them.
    pub(super) ghosts: usize,
    /// Whether others were last told that the user is there.
    pub(super) announced: bool,
    /// When they were told so.
    pub(super) announced_at: Option<Time>,
}

/// The user has as many sessions as allowed.
pub(super) struct SessionLimit;

impl Sessions {
    /// Whether what others were told is not so any more.
    pub(super) fn is_unannounced(&self) -> bool {
        self.announced == self.connections.is_empty()
    }

    /// When the oldest connection must have been cut.
    pub(super) fn ghost_at(&self) -> Option<Time> {
        let oldest = self.connections.values().map(|session| session.connected_at).min();
        oldest.map(|connected_at| connected_at.plus_ms(CONNECTION_MAX_MS))
    }

    /// When the sweeper looks at these sessions, written now.
    pub(super) fn due_at(&self, grace_ms: i64, now: Time) -> Option<Time> {
        let check = self.is_unannounced().then(|| now.plus_ms(grace_ms));
        check.into_iter().chain(self.ghost_at()).min()
    }

    /// Gives a session its next token, and its dialect unless it has that. What is subscribed to the user's queue stays as
    /// it is here: it may have changed since the connection was read.
    fn refresh(&mut self, connection: &ConnectionId, session: Session) {
        let kept = self.connections.remove(connection).map(|session| session.dialect);
        let is_the_same = |dialect: &Dialect| dialect.codec() == session.dialect.codec();
        let dialect = kept.filter(is_the_same).unwrap_or_else(|| session.dialect.clone());
        self.connections.insert(connection.clone(), Session { dialect, ..session });
    }

    /// Adds one more session; gives those that give way to it.
    fn take(
        &mut self,
        connection: &ConnectionId,
        session: Session,
        config: &SessionConfig,
    ) -> Result<Vec<(ConnectionId, Session)>, SessionLimit> {
        let mut replaced = Vec::new();
        let excess = match self.connections.contains_key(connection) {
            true => 0,
            false => (self.connections.len() + 1).saturating_sub(config.per_user),
        };
        match config.policy {
            SessionPolicy::Refuse if excess > 0 => return Err(SessionLimit),
            SessionPolicy::Replace | SessionPolicy::Refuse => {}
        }
        let mut oldest: Vec<_> =
            self.connections.iter().map(|(connection, session)| (session.connected_at, connection.clone())).collect();
        oldest.sort_unstable_by(|one, two| one.0.cmp(&two.0).then_with(|| one.1.as_str().cmp(two.1.as_str())));
        for (_, connection) in oldest.into_iter().take(excess.min(SESSIONS_REPLACED_MAX)) {
            replaced.extend(self.connections.remove_entry(&connection));
        }
        self.connections.insert(connection.clone(), session);
        Ok(replaced)
    }
}

/// How a session is opened.
pub(super) enum Opening {
    /// It takes one of the user's slots.
    Takes,
    /// It has one.
    Has,
}

/// Why a session was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The user has as many as allowed.
    #[error("the user has as many sessions as allowed")]
    SessionLimit,
    /// The connection is not as it was read, or gone.
    #[error("the connection has changed")]
    Changed,
    /// The table cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
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
            live.extend(good.map(|(connection, session)| session.live(&user, connection)));
        }
        Ok(live)
    }

    /// Writes a connection with its user's sessions, all or nothing, and marks those that give way as closing. Gives
    /// those.
    pub(super) async fn open_session(
        &self,
        (user, connection, session): (&UserId, &ConnectionId, Session),
        opening: Opening,
        write: TransactWriteItem,
        now: Time,
    ) -> Result<Vec<LiveConnection>, OpenError> {
        let mut gone: Vec<ConnectionId> = Vec::new();
        for attempt in 0..SESSION_ATTEMPTS_MAX {
            let mut sessions = self.sessions(user, now).await?;
            sessions.connections.retain(|connection, _| !gone.contains(connection));
            let replaced = match opening {
                Opening::Takes => sessions.take(connection, session.clone(), &self.session_config),
                Opening::Has => {
                    sessions.refresh(connection, session.clone());
                    Ok(Vec::new())
                }
            };
            let replaced = replaced.map_err(|SessionLimit| OpenError::SessionLimit)?;
            let mut items = vec![self.put_sessions(user, &sessions, now)?, write.clone()];
            for (connection, _) in &replaced {
                items.push(self.replaced(connection, now)?);
            }
            match self.transact(items).await {
                Ok(()) => {
                    let live = |(connection, session): (ConnectionId, Session)| session.live(user, connection);
                    return Ok(replaced.into_iter().map(live).collect());
                }
                Err(StoreError::Condition(at)) if at.contains(&1) => return Err(OpenError::Changed),
                Err(StoreError::Condition(at)) => {
                    // A session without its connection's row is only a name.
                    let named = at.iter().filter_map(|index| replaced.get(index.checked_sub(2)?));
                    gone.extend(named.map(|(connection, _)| connection.clone()));
                    jitter(attempt.min(3)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the sessions keep changing".to_owned()).into())
    }

    /// Writes a session's subscriptions to the user's queue with its connection's, all or nothing.
    pub(super) async fn change_session_queues(
        &self,
        (user, connection): (&UserId, &ConnectionId),
        queues: &[Subscription],
        write: TransactWriteItem,
        now: Time,
    ) -> Result<(), OpenError> {
        for attempt in 0..SESSION_ATTEMPTS_MAX {
            let mut sessions = self.sessions(user, now).await?;
            match sessions.connections.get_mut(connection).map(|session| &mut session.dialect) {
                Some(Dialect::Stomp(session)) => session.queues = queues.to_vec(),
                Some(Dialect::Json) | None => return Err(OpenError::Changed),
            }
            match self.transact(vec![self.put_sessions(user, &sessions, now)?, write.clone()]).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Condition(at)) if at.contains(&1) => return Err(OpenError::Changed),
                Err(StoreError::Condition(_)) => jitter(attempt.min(3)).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the sessions keep changing".to_owned()).into())
    }

    /// Ends one session, or none, and drops those that must have been cut. Tells whether there was any.
    pub(super) async fn end_session(
        &self,
        user: &UserId,
        connection: Option<&ConnectionId>,
        now: Time,
    ) -> Result<bool, StoreError> {
        for attempt in 0..SESSION_ATTEMPTS_MAX {
            let mut sessions = self.sessions(user, now).await?;
            let ended = connection.is_some_and(|connection| sessions.connections.remove(connection).is_some());
            if !ended && sessions.ghosts == 0 {
                return Ok(false);
            }
            match self.transact(vec![self.put_sessions(user, &sessions, now)?]).await {
                Ok(()) => return Ok(true),
                Err(StoreError::Condition(_)) => jitter(attempt.min(3)).await,
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Unavailable("the sessions keep changing".to_owned()))
    }

    fn put_sessions(&self, user: &UserId, sessions: &Sessions, now: Time) -> Result<TransactWriteItem, StoreError> {
        let connections = sessions.connections.iter().map(|(connection, session)| {
            let entry = Item::default()
                .with("connectedAt", number(session.connected_at.unix_ms()))
                .with("tokenExpiresAt", number(session.expires_at.unix_ms()))
                .with_dialect(&session.dialect);
            (connection.to_string(), AttributeValue::M(entry.0))
        });
        let mut item = Item::at(Key::sessions(user))
            .with("version", number(sessions.version + 1))
            .with("connections", AttributeValue::M(connections.collect()))
            .with("ttl", number(now.plus_ms(2 * CONNECTION_MAX_MS).unix_seconds()))
            .with("announced", AttributeValue::Bool(sessions.announced));
        if let Some(at) = sessions.announced_at {
            item = item.with("announcedAt", number(at.unix_ms()));
        }
        if let Some(due) = sessions.due_at(self.session_config.grace_ms, now) {
            item = item.with_due(&Key::sessions(user), due);
        }
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

pub(super) fn sessions_from_item(item: &Item, now: Time) -> Result<Sessions, StoreError> {
    let mut sessions = Sessions {
        version: item.number("version")?,
        announced: item.flag("announced"),
        announced_at: item.optional_number("announcedAt")?.map(Time::from_unix_ms),
        ..Sessions::default()
    };
    for (connection, entry) in item.map("connections").into_iter().flatten() {
        let connection: ConnectionId = connection.parse().map_err(|_| StoreError::Item("connections"))?;
        let entry = Item(entry.as_m().map_err(|_| StoreError::Item("connections"))?.clone());
        let session = Session {
            connected_at: entry.time("connectedAt")?,
            expires_at: entry.time("tokenExpiresAt")?,
            dialect: entry.dialect()?,
        };
        if session.connected_at.plus_ms(CONNECTION_MAX_MS) > now {
            sessions.connections.insert(connection, session);
        } else {
            sessions.ghosts += 1;
        }
    }
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: SessionConfig = SessionConfig { per_user: 2, policy: SessionPolicy::Replace, grace_ms: 60_000 };

    fn at(ms: i64) -> Session {
        Session { connected_at: Time::from_unix_ms(ms), expires_at: Time::from_unix_ms(ms), dialect: Dialect::Json }
    }

    fn id(name: &str) -> ConnectionId {
        name.parse().unwrap()
    }

    fn taken(sessions: &mut Sessions, name: &str, ms: i64, config: &SessionConfig) -> Option<Vec<String>> {
        let replaced = sessions.take(&id(name), at(ms), config).ok()?;
        Some(replaced.into_iter().map(|(connection, _)| connection.to_string()).collect())
    }

    #[test]
    fn the_oldest_gives_way_and_never_the_new_one() {
        let mut sessions = Sessions::default();
        let mut take = |name, ms| taken(&mut sessions, name, ms, &CONFIG).unwrap();
        assert!(take("b=", 20).is_empty());
        assert!(take("c=", 30).is_empty());
        assert!(take("c=", 30).is_empty(), "it has a slot");
        assert_eq!(take("a=", 10), ["b="]);
        assert_eq!(take("d=", 40), ["a="]);
        assert_eq!(sessions.connections.len(), 2);
        assert_eq!(taken(&mut sessions, "e=", 50, &SessionConfig { per_user: 1, ..CONFIG }).unwrap(), ["c=", "d="]);
    }

    #[test]
    fn the_new_one_is_refused_where_that_is_the_policy() {
        let config = SessionConfig { policy: SessionPolicy::Refuse, ..CONFIG };
        let mut sessions = Sessions::default();
        for name in ["a=", "b=", "a="] {
            assert_eq!(taken(&mut sessions, name, 10, &config), Some(Vec::new()));
        }
        assert_eq!(taken(&mut sessions, "c=", 10, &config), None);
        assert_eq!(sessions.connections.len(), 2);
    }

    #[test]
    fn sessions_are_due_at_the_earlier_of_check_and_ghost() {
        let check = |connected_at: &[i64], announced: bool, now: i64, expected: Option<i64>| {
            let connections = connected_at.iter().map(|ms| (id(&format!("c{ms}=")), at(*ms))).collect();
            let sessions = Sessions { connections, announced, ..Sessions::default() };
            let due = sessions.due_at(60_000, Time::from_unix_ms(now)).map(Time::unix_ms);
            assert_eq!(due, expected, "{connected_at:?} {announced} {now}");
        };
        check(&[], false, 5, None);
        check(&[], true, 5, Some(60_005));
        check(&[7], false, 9, Some(60_009));
        check(&[7, 3], true, 9, Some(CONNECTION_MAX_MS + 3));
        check(&[7, 3], false, CONNECTION_MAX_MS, Some(CONNECTION_MAX_MS + 3));
    }
}
