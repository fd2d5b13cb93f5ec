//! What others were last told of a user, beside what is: the part of the user's sessions that the announcing of
//! presence reads, and the one attribute of it that it writes.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};

use super::attributes::number;
use super::keys::Key;
use super::session::Sessions;
use super::{Store, StoreError, classify};
use crate::auth::expired;
use crate::id::UserId;
use crate::time::Time;

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
    /// A user's presence, read consistently.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn presence(&self, user: &UserId, now: Time) -> Result<Presence, StoreError> {
        Ok(Presence { sessions: self.sessions(user, now).await?, now })
    }

    /// Notes what others were told, on condition that the sessions are as they were read. False when they are not: a
    /// session came or went meanwhile, or somebody else told others.
    ///
    /// # Errors
    /// The table cannot be written.
    pub async fn note_announced(&self, user: &UserId, read: &Presence, online: bool) -> Result<bool, StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.connections)
            .set_key(Some(Key::sessions(user).into_item()))
            .update_expression("SET announced = :online, version = :next")
            .condition_expression("version = :version")
            .expression_attribute_values(":online", AttributeValue::Bool(online))
            .expression_attribute_values(":next", number(read.sessions.version + 1))
            .expression_attribute_values(":version", number(read.sessions.version))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match update.send().await.map_err(classify) {
            Ok(output) => {
                self.count_write(output.consumed_capacity());
                Ok(true)
            }
            Err(StoreError::Condition(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
