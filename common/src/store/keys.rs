//! Keys: the one place where they are built and split. Every part is a checked identity; where a part may contain the
//! separator, it stands last.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::StoreError;
use super::attributes::text;
use super::sweep::{DueItem, SWEEP_SHARDS};
use crate::id::{ConnectionId, RoomId, Seq, UserId};
use crate::room::state::DedupeKey;
use crate::time::Time;

/// A primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    partition: String,
    sort: String,
}

impl Key {
    fn new(partition: String, sort: impl Into<String>) -> Self {
        Self { partition, sort: sort.into() }
    }

    pub(super) fn into_item(self) -> HashMap<String, AttributeValue> {
        HashMap::from([("PK".to_owned(), text(self.partition)), ("SK".to_owned(), text(self.sort))])
    }

    pub(super) fn head(room: &RoomId) -> Self {
        Self::new(room_partition(room), "HEAD")
    }

    pub(super) fn member(room: &RoomId, user: &UserId) -> Self {
        Self::new(room_partition(room), format!("{MEMBER}{user}"))
    }

    pub(super) fn event(room: &RoomId, seq: Seq) -> Self {
        Self::new(room_partition(room), event_sort(seq))
    }

    pub(super) fn dedupe(room: &RoomId, key: &DedupeKey) -> Self {
        Self::new(dedupe_partition(room, &key.sender), key.slot.clone())
    }

    pub(super) fn connection(connection: &ConnectionId) -> Self {
        Self::new(connection_partition(connection), "META")
    }

    /// A subscription as its room sees it.
    pub(super) fn room_subscription(room: &RoomId, connection: &ConnectionId, subscription: &str) -> Self {
        Self::new(room_partition(room), format!("{CONNECTION}{connection}#{subscription}"))
    }

    /// A subscription as its connection sees it.
    pub(super) fn connection_subscription(connection: &ConnectionId, room: &RoomId, subscription: &str) -> Self {
        Self::new(connection_partition(connection), format!("{SUBSCRIPTION}{room}#{subscription}"))
    }

    pub(super) fn sessions(user: &UserId) -> Self {
        Self::new(user_partition(user), "SESSIONS")
    }
}

pub(super) const MEMBER: &str = "MEMBER#";
/// What stands before the connection in a subscription's sort key.
pub(super) const CONNECTION: &str = "CONN#";
pub(super) const SUBSCRIPTION: &str = "SUB#";

pub(super) fn room_partition(room: &RoomId) -> String {
    format!("ROOM#{room}")
}

pub(super) fn user_partition(user: &UserId) -> String {
    format!("USER#{user}")
}

pub(super) fn connection_partition(connection: &ConnectionId) -> String {
    format!("{CONNECTION}{connection}")
}

pub(super) fn dedupe_partition(room: &RoomId, sender: &UserId) -> String {
    format!("DEDUPE#{room}#{sender}")
}

pub(super) fn event_sort(seq: Seq) -> String {
    format!("EVENT#{:020}", seq.get())
}

/// Behind every event's sort key.
pub(super) fn event_sort_end() -> String {
    "EVENT#~".to_owned()
}

/// The partition of the index of what is due, in which the item with this key stands.
pub(super) fn sweep_partition(key: &Key) -> String {
    // FNV-1a, so that every version of every function finds the same shard.
    let bytes = key.partition.bytes().chain(key.sort.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    sweep_shard_partition(u32::try_from(hash % u64::from(SWEEP_SHARDS)).unwrap_or_default())
}

pub(super) fn sweep_shard_partition(shard: u32) -> String {
    format!("SWEEP#{shard}")
}

/// How times sort in that index: as texts of one length.
pub(super) fn sweep_sort(due: Time) -> String {
    format!("{:016}", due.unix_ms().max(0))
}

/// The time in that index's sort key.
pub(super) fn split_sweep_sort(sort: &str) -> Result<Time, StoreError> {
    sort.parse().map(Time::from_unix_ms).map_err(|_| StoreError::Item("GSI2SK"))
}

/// The connection of a connection's partition key.
pub(super) fn split_connection(partition: &str) -> Result<ConnectionId, StoreError> {
    partition.strip_prefix(CONNECTION).and_then(|id| id.parse().ok()).ok_or(StoreError::Item("PK"))
}

/// What is due, by its key.
pub(super) fn split_due(partition: &str, sort: &str) -> Result<DueItem, StoreError> {
    match sort {
        "META" => split_connection(partition).map(DueItem::Connection),
        "SESSIONS" => split_user(partition).map(DueItem::Sessions),
        sort => {
            let (connection, subscription) = split_room_subscription(sort)?;
            Ok(DueItem::Subscription {
                room: split_room(partition)?,
                connection,
                subscription: subscription.to_owned(),
            })
        }
    }
}

/// The user of a member's sort key.
pub(super) fn split_member(sort: &str) -> Result<UserId, StoreError> {
    sort.strip_prefix(MEMBER).and_then(|user| user.parse().ok()).ok_or(StoreError::Item("SK"))
}

/// The seq of an event's sort key.
pub(super) fn split_event(sort: &str) -> Result<Seq, StoreError> {
    let seq = sort.strip_prefix("EVENT#").and_then(|seq| seq.parse().ok());
    seq.and_then(|seq| Seq::new(seq).ok()).ok_or(StoreError::Item("SK"))
}

/// The sender of a dedupe item's partition key, whose room is known.
pub(super) fn split_dedupe(room: &RoomId, partition: &str) -> Result<UserId, StoreError> {
    let sender = partition.strip_prefix("DEDUPE#").and_then(|rest| rest.strip_prefix(room.as_str()));
    sender.and_then(|sender| sender.strip_prefix('#')?.parse().ok()).ok_or(StoreError::Item("PK"))
}

/// The connection and subscription id of a subscription's sort key in its room.
pub(super) fn split_room_subscription(sort: &str) -> Result<(ConnectionId, &str), StoreError> {
    let parts = sort.strip_prefix(CONNECTION).and_then(|rest| rest.split_once('#'));
    parts.and_then(|(connection, id)| Some((connection.parse().ok()?, id))).ok_or(StoreError::Item("SK"))
}

/// The room and subscription id of a subscription's sort key in its connection.
pub(super) fn split_connection_subscription(sort: &str) -> Result<(RoomId, &str), StoreError> {
    let parts = sort.strip_prefix(SUBSCRIPTION).and_then(|rest| rest.split_once('#'));
    parts.and_then(|(room, id)| Some((room.parse().ok()?, id))).ok_or(StoreError::Item("SK"))
}

/// The user of a sessions item's partition key.
pub(super) fn split_user(partition: &str) -> Result<UserId, StoreError> {
    partition.strip_prefix("USER#").and_then(|user| user.parse().ok()).ok_or(StoreError::Item("PK"))
}

/// The room of the index that lists a user's rooms.
pub(super) fn split_room(partition: &str) -> Result<RoomId, StoreError> {
    partition.strip_prefix("ROOM#").and_then(|room| room.parse().ok()).ok_or(StoreError::Item("PK"))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn splitting_is_the_inverse_of_building(
            room in "[A-Za-z0-9._~-]{1,64}",
            user in "[^\\p{Cc}]{1,30}",
            connection in "[A-Za-z0-9+/=_-]{1,128}",
            id in "[^\\p{Cc}]{0,30}",
            number in 0_u64..1 << 53,
        ) {
            let room: RoomId = room.parse().unwrap();
            let user: UserId = user.parse().unwrap();
            let connection: ConnectionId = connection.parse().unwrap();
            let seq = Seq::new(number).unwrap();
            proptest::prop_assert_eq!(split_member(&Key::member(&room, &user).sort).unwrap(), user.clone());
            proptest::prop_assert_eq!(split_event(&event_sort(seq)).unwrap(), seq);
            proptest::prop_assert_eq!(split_dedupe(&room, &dedupe_partition(&room, &user)).unwrap(), user);
            proptest::prop_assert_eq!(split_room(&room_partition(&room)).unwrap(), room.clone());
            let key = Key::room_subscription(&room, &connection, &id);
            proptest::prop_assert_eq!(split_room_subscription(&key.sort).unwrap(), (connection.clone(), id.as_str()));
            let key = Key::connection_subscription(&connection, &room, &id);
            proptest::prop_assert_eq!(split_connection_subscription(&key.sort).unwrap(), (room, id.as_str()));
        }

        #[test]
        fn what_is_due_is_found_by_its_key_in_one_of_the_shards(
            room in "[A-Za-z0-9._~-]{1,64}",
            user in "[^\\p{Cc}]{1,30}",
            connection in "[A-Za-z0-9+/=_-]{1,128}",
            ms in 0_i64..1 << 53,
        ) {
            let (room, connection): (RoomId, ConnectionId) = (room.parse().unwrap(), connection.parse().unwrap());
            let user: UserId = user.parse().unwrap();
            for (key, item) in [
                (Key::connection(&connection), DueItem::Connection(connection.clone())),
                (Key::sessions(&user), DueItem::Sessions(user)),
                (
                    Key::room_subscription(&room, &connection, "a#b"),
                    DueItem::Subscription { room, connection, subscription: "a#b".to_owned() },
                ),
            ] {
                proptest::prop_assert_eq!(split_due(&key.partition, &key.sort).unwrap(), item);
                let partition = sweep_partition(&key);
                proptest::prop_assert!((0..SWEEP_SHARDS).any(|shard| sweep_shard_partition(shard) == partition));
            }
            proptest::prop_assert_eq!(split_sweep_sort(&sweep_sort(Time::from_unix_ms(ms))).unwrap().unix_ms(), ms);
        }

        #[test]
        fn dues_sort_by_their_time(one in 0_i64..1 << 53, two in 0_i64..1 << 53) {
            let sort = |ms| sweep_sort(Time::from_unix_ms(ms));
            proptest::prop_assert_eq!(one.cmp(&two), sort(one).cmp(&sort(two)));
        }

        #[test]
        fn events_sort_by_their_seq(one in 0_u64..1 << 53, two in 0_u64..1 << 53) {
            let sort = |number| event_sort(Seq::new(number).unwrap());
            proptest::prop_assert_eq!(one.cmp(&two), sort(one).cmp(&sort(two)));
        }
    }
}
