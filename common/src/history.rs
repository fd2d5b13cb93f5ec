//! Pages of a room's log, for its members: the same over a socket and over HTTP.

use serde::{Deserialize, Serialize};

use crate::code::ErrorCode;
use crate::codec::json::encode_event;
use crate::command::{HistoryPage, HistoryStart};
use crate::cursor::Cursors;
use crate::failure::Failure;
use crate::id::{RoomId, Seq, UserId};
use crate::ingress::require_member;
use crate::limits::ANSWER_MAX_BYTES;
use crate::room::event::RoomEvent;
use crate::store::Store;

/// What an answer needs beside its events, in bytes.
const ANSWER_ENVELOPE_BYTES: usize = 1_024;

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    #[serde(rename = "b")]
    Before(u64),
    #[serde(rename = "a")]
    After(u64),
}

/// A page of messages, and the cursor of the next one when there is one. Membership is checked before reading, so that a
/// stranger learns nothing from how long it takes, and costs no more; and after it, so that nobody reads past their
/// removal.
///
/// # Errors
/// `bad_cursor`, `not_member`, `room_not_found`, or the table cannot be read.
pub async fn messages(
    store: &Store,
    cursors: &Cursors,
    room: &RoomId,
    user: &UserId,
    page: HistoryPage,
) -> Result<(Vec<RoomEvent>, Option<String>), Failure> {
    let list = format!("messages {room}");
    let place = match page.start {
        HistoryStart::Newest => None,
        HistoryStart::Before(seq) => Some(Place::Before(seq.get())),
        HistoryStart::After(seq) => Some(Place::After(seq.get())),
        HistoryStart::Cursor(cursor) => Some(cursors.open(&list, user, &cursor)?),
    };
    let seq = |seq| Seq::new(seq).map_err(|_| ErrorCode::BadCursor);
    require_member(store, room, user).await?;
    let one_more = page.limit + 1;
    let mut messages = match place {
        None => store.messages_before(room, None, one_more).await?,
        Some(Place::Before(before)) => store.messages_before(room, Some(seq(before)?), one_more).await?,
        Some(Place::After(after)) => store.messages_after(room, seq(after)?, one_more).await?,
    };
    require_member(store, room, user).await?;
    let more = cut(&mut messages, page.limit);
    let end = messages.last().filter(|_| more).map(|last| match place {
        Some(Place::After(_)) => Place::After(last.seq.get()),
        None | Some(Place::Before(_)) => Place::Before(last.seq.get()),
    });
    Ok((messages, end.map(|place| cursors.seal(&list, user, &place))))
}

/// Events behind a seq, oldest first, and whether there are more. Who asks is checked by the caller.
///
/// # Errors
/// The table cannot be read.
pub async fn events_after(
    store: &Store,
    room: &RoomId,
    after: Seq,
    limit: usize,
) -> Result<(Vec<RoomEvent>, bool), Failure> {
    let mut events = store.events_after(room, after, limit + 1).await?;
    let more = cut(&mut events, limit);
    Ok((events, more))
}

/// Keeps what fits the limit and one answer; tells whether something was cut.
fn cut(events: &mut Vec<RoomEvent>, limit: usize) -> bool {
    let mut bytes = ANSWER_ENVELOPE_BYTES;
    let fits = |event: &&RoomEvent| {
        bytes += encode_event(event).len() + 1;
        bytes <= ANSWER_MAX_BYTES
    };
    let kept = events.iter().take(limit).take_while(fits).count();
    let more = kept < events.len();
    events.truncate(kept);
    more
}
