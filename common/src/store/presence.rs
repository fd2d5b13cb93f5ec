//! What others were last told of a user, beside what is: the part of the user's sessions that the announcing of
//! presence reads, and the one attribute of it that it writes.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::AttributeValue;

use super::attributes::{number, text};
use super::keys::{self, Key};
use super::session::{Sessions, sessions_from_item};
use super::{Store, StoreError};
use crate::auth::expired;
use crate::id::UserId;
use crate::time::Time;

/// What a note writes.
const NOTED: &str = "announced = :online, announcedAt = :now, version = :next";

/// Whether a user is there, as one consistent reading of their sessions found it.
#[derive(Debug, Clone)]
pub struct Presence {
    sessions: Sessions,
    now: Time,
}

impl Presence {
    /// Whether the user has a session that API Gateway cannot have cut yet and whose token is good.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.sessions.connections.values().any(|session| !expired(session.expires_at, self.now))
    }

    /// Whether others were last told that the user is there.
    #[must_use]
    pub const fn is_announced(&self) -> bool {
        self.sessions.announced
    }
}

impl Store {
    /// Who of these users is there, as frames about presence tell it: with a session, or so lately without that others
    /// are told nothing when one comes back.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn online(&self, users: &[UserId], now: Time) -> Result<HashSet<UserId>, StoreError> {
        let mut online = HashSet::new();
        for item in self.batch_get(&self.connections, users.iter().map(Key::sessions).collect()).await? {
            let presence = Presence { sessions: sessions_from_item(&item, now)?, now };
            if presence.is_online() || presence.is_announced() {
                online.insert(keys::split_user(item.text("PK")?)?);
            }
        }
        Ok(online)
    }

    /// A user's presence, read consistently.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn presence(&self, user: &UserId, now: Time) -> Result<Presence, StoreError> {
        Ok(Presence { sessions: self.sessions(user, now).await?, now })
    }

    /// Notes what others were told, on condition that the sessions are as they were read; and when the sweeper looks at
    /// them next, which is soon when that is not what is. False when they are not as they were read: a session came or
    /// went meanwhile, or somebody else told others.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn note_announced(&self, user: &UserId, read: &Presence, online: bool) -> Result<bool, StoreError> {
        let told = Sessions { announced: online, ..read.sessions.clone() };
        let key = Key::sessions(user);
        let shard = keys::sweep_partition(&key);
        let update = self
            .update(&self.connections, key)
            .condition_expression("version = :version")
            .expression_attribute_values(":online", AttributeValue::Bool(online))
            .expression_attribute_values(":now", number(read.now.unix_ms()))
            .expression_attribute_values(":next", number(told.version + 1))
            .expression_attribute_values(":version", number(told.version));
        let update = match told.due_at(self.session_config.grace_ms, read.now) {
            Some(due) => update
                .update_expression(format!("SET {NOTED}, GSI2PK = :shard, GSI2SK = :due"))
                .expression_attribute_values(":shard", text(shard))
                .expression_attribute_values(":due", text(keys::sweep_sort(due))),
            None => update.update_expression(format!("SET {NOTED} REMOVE GSI2PK, GSI2SK")),
        };
        Ok(self.update_if(update).await?.is_some())
    }
}
