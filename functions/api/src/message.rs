//! `POST` and `GET /rooms/{roomId}/messages`, and `GET /rooms/{roomId}/events`.

use common::code::ErrorCode;
use common::codec::frame::Commands;
use common::codec::json;
use common::command::{HistoryPage, HistoryStart};
use common::failure::Failure;
use common::history;
use common::id::{Epoch, RoomId, Seq};
use common::ingress::{self, Sender, require_member};
use common::limits::{CATCH_UP_MAX_EVENTS, HISTORY_DEFAULT_MESSAGES, HISTORY_MAX_MESSAGES};
use common::room::event::RoomEvent;
use serde::Serialize;

use crate::answer::Answer;
use crate::call::Call;
use crate::handler::Api;

#[derive(Serialize)]
struct MessagePage {
    messages: Vec<RoomEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventPage {
    epoch: Epoch,
    last_seq: Seq,
    events: Vec<RoomEvent>,
    more: bool,
}

impl Api {
    pub(crate) async fn send(&self, call: Call, room: RoomId) -> Result<Answer, Failure> {
        let send = json::send_message(&call.fields()?)?;
        let sender = Sender { user: call.user, received_at: call.now, reply_to: None };
        let command_id = ingress::send_message(&self.store, &self.cache, &self.producer, sender, room, send).await?;
        Ok(Answer::accepted(&Commands::One { command_id }))
    }

    pub(crate) async fn messages(&self, call: &Call, room: &RoomId) -> Result<Answer, Failure> {
        let limit = call.limit(HISTORY_DEFAULT_MESSAGES, HISTORY_MAX_MESSAGES)?;
        let cursor = call.parameter("cursor")?;
        let start = HistoryStart::new(call.parsed("before")?, call.parsed("after")?, cursor)?;
        let page = HistoryPage { start, limit };
        let (messages, cursor) = history::messages(&self.store, &self.cursors, room, &call.user, page).await?;
        Ok(Answer::ok(&MessagePage { messages, cursor }))
    }

    pub(crate) async fn events(&self, call: &Call, room: &RoomId) -> Result<Answer, Failure> {
        let limit = call.limit(CATCH_UP_MAX_EVENTS, CATCH_UP_MAX_EVENTS)?;
        let after = call.parsed("after")?.unwrap_or(Seq::ZERO);
        require_member(&self.store, room, &call.user).await?;
        let head = self.store.head(room).await?.ok_or(ErrorCode::RoomNotFound)?;
        let (events, more) = history::events_after(&self.store, room, after, limit).await?;
        // Once more, so that nobody reads past their removal.
        require_member(&self.store, room, &call.user).await?;
        // Events may have come between the two reads: the answer never says less than it holds.
        let last_seq = events.last().map_or(head.last_seq, |event| event.seq.max(head.last_seq));
        Ok(Answer::ok(&EventPage { epoch: head.epoch, last_seq, events, more }))
    }
}
