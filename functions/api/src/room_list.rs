//! `GET /rooms`: a user's rooms, newest activity first, each with its last message and what is unread.
//!
//! Rooms move up while somebody pages. So a cursor names where its page ended and, by short digests, which rooms were
//! given so far: a room that has moved up from behind the page's end comes next, and one that was given does not come
//! again. Activity is the time of an event's command, which may be older than a page that was read before its commit, so
//! times alone could not tell them apart.

use common::digest;
use common::failure::Failure;
use common::id::RoomId;
use common::limits::{LIST_DEFAULT_ENTRIES, LIST_MAX_ENTRIES};
use common::room::Head;
use common::room::event::RoomEvent;
use common::store::RoomPreview;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::call::Call;
use crate::handler::Api;
use crate::room::RoomView;

const LIST: &str = "rooms";

/// How many characters of a room's digest a cursor carries, 6 bits each: two rooms of a thousand are alike once in two
/// thousand lists, and only one that moves up past its like is missed then, until the list is read again.
const DIGEST_CHARACTERS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedRoom<'a> {
    #[serde(flatten)]
    room: RoomView<'a>,
    unread: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<&'a RoomEvent>,
}

#[derive(Serialize)]
struct RoomList<'a> {
    rooms: Vec<ListedRoom<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A place in the list: newest activity first, by id where two are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place(std::cmp::Reverse<i64>, RoomId);

impl Place {
    fn of(head: &Head) -> Self {
        Self(std::cmp::Reverse(head.last_activity.unix_ms()), head.room.clone())
    }
}

/// How far somebody has paged.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Walk {
    /// The furthest place that was given.
    end: Option<Place>,
    /// The digests of the rooms that were given, one after the other.
    given: String,
}

impl Walk {
    fn is_to_come(&self, head: &Head) -> bool {
        self.end.as_ref().is_none_or(|end| Place::of(head) > *end) || !self.has_given(&head.room)
    }

    fn has_given(&self, room: &RoomId) -> bool {
        let digest = digest(room);
        self.given.as_bytes().chunks(DIGEST_CHARACTERS).any(|given| given == digest.as_bytes())
    }

    fn give(&mut self, heads: &[Head]) {
        for head in heads {
            self.given.push_str(&digest(&head.room));
        }
        self.end = self.end.take().max(heads.iter().map(Place::of).max());
    }
}

fn digest(room: &RoomId) -> String {
    digest::digest(room.as_str()).chars().take(DIGEST_CHARACTERS).collect()
}

impl Api {
    pub(crate) async fn list_rooms(&self, call: &Call) -> Result<Answer, Failure> {
        let limit = call.limit(LIST_DEFAULT_ENTRIES, LIST_MAX_ENTRIES)?;
        let mut walk: Walk = match call.parameter("cursor")? {
            Some(cursor) => self.cursors.open(LIST, &call.user, cursor)?,
            None => Walk::default(),
        };
        let rooms = self.store.rooms_of(&call.user).await?;
        let mut heads = self.store.heads(&rooms).await?;
        heads.retain(|head| walk.is_to_come(head));
        heads.sort_by_cached_key(Place::of);
        let mut to_come = heads.as_slice();
        let mut previews: Vec<RoomPreview> = Vec::new();
        // The index still names rooms for a moment that were just left: others take their place on the page.
        while previews.len() < limit && !to_come.is_empty() {
            let (next, later) = to_come.split_at(to_come.len().min(limit - previews.len()));
            previews.extend(self.store.room_previews(&call.user, next).await?);
            walk.give(next);
            to_come = later;
        }
        let cursor = (!to_come.is_empty()).then(|| self.cursors.seal(LIST, &call.user, &walk));
        Ok(Answer::ok(&RoomList { rooms: previews.iter().map(listed).collect(), cursor }))
    }
}

fn listed(preview: &RoomPreview) -> ListedRoom<'_> {
    let RoomPreview { head, member, last_message, unread } = preview;
    ListedRoom { room: RoomView::new(head, member), unread: *unread, last_message: last_message.as_ref() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use common::cursor::Cursors;
    use common::id::Seq;
    use common::room::RoomKind;
    use common::time::Time;

    use super::*;

    fn head(room: usize, activity: i64) -> Head {
        Head {
            room: format!("room-{room}").parse().unwrap(),
            kind: RoomKind::Group,
            name: String::new(),
            epoch: "e".parse().unwrap(),
            last_seq: Seq::ZERO,
            last_message_no: 0,
            last_message_seq: Seq::ZERO,
            member_count: 1,
            owner_count: 1,
            created_at: Time::from_unix_ms(0),
            last_activity: Time::from_unix_ms(activity),
            delivered_seq: Seq::ZERO,
        }
    }

    /// What the next page holds, and whether one follows.
    fn page(heads: &[Head], walk: &mut Walk, limit: usize) -> (Vec<Head>, bool) {
        let mut to_come: Vec<Head> = heads.iter().filter(|head| walk.is_to_come(head)).cloned().collect();
        to_come.sort_by_cached_key(Place::of);
        let more = to_come.len() > limit;
        to_come.truncate(limit);
        walk.give(&to_come);
        (to_come, more)
    }

    #[test]
    fn a_list_at_rest_is_walked_newest_first() {
        // Two each are active at the same time.
        let heads: Vec<Head> = (0..1_000).map(|room| head(room, room as i64 / 2)).collect();
        let (mut walk, mut walked) = (Walk::default(), Vec::new());
        loop {
            let (page, more) = page(&heads, &mut walk, 30);
            walked.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(walked.len(), 1_000);
        assert!(walked.is_sorted_by_key(Place::of));
        // With the longest that the contract knows a request must stay below API Gateway's limit for a request line and all
        // headers.
        let contract: yaml_serde::Value = yaml_serde::from_str(include_str!("../../../infra/schemas.yaml")).unwrap();
        assert_eq!(contract["$defs"]["Cursor"]["pattern"].as_str(), Some("^[A-Za-z0-9_-]{1,8192}$"));
        let user = "somebody".parse().unwrap();
        let cursor = Cursors::new(b"key").seal(LIST, &user, &walk);
        assert!(cursor.len() <= 8_192, "{}", cursor.len());
    }

    /// Also by a time before the walk began, as when a command waited in Kafka.
    #[test]
    fn rooms_that_move_up_meanwhile_are_not_lost_and_none_comes_twice() {
        for limit in [1, 2, 7] {
            for (later, step) in [(1_000, 3), (90, 7), (0, 5)] {
                let mut heads: Vec<Head> = (0..100).map(|room| head(room, room as i64)).collect();
                let (mut walk, mut walked, mut moving) = (Walk::default(), Vec::new(), 0);
                loop {
                    let (page, more) = page(&heads, &mut walk, limit);
                    walked.extend(page.into_iter().map(|head| head.room));
                    if !more {
                        break;
                    }
                    moving = (moving + step) % heads.len();
                    let moved = &mut heads[moving].last_activity;
                    *moved = Time::from_unix_ms(moved.unix_ms().max(later));
                }
                assert_eq!(walked.len(), 100, "none twice");
                assert_eq!(walked.iter().collect::<HashSet<_>>().len(), 100, "all of them");
            }
        }
    }
}
