//! `GET /rooms/{roomId}/commands/{commandId}`: what became of one's own command. It needs no membership, so that
//! somebody who was removed still learns what became of their last message.

use common::code::ErrorCode;
use common::failure::Failure;
use common::id::{CommandId, RoomId, Seq};
use common::store::CommandState;
use serde::Serialize;

use crate::answer::Answer;
use crate::call::Call;
use crate::handler::Api;

#[derive(Serialize)]
struct CommandView {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
}

impl Api {
    pub(crate) async fn command(&self, call: &Call, room: &RoomId, command: CommandId) -> Result<Answer, Failure> {
        let client_message_id = call.parsed("clientMessageId")?;
        let state = self.store.command_state(room, &call.user, command, client_message_id.as_ref(), call.now).await?;
        let (state, seq, code) = match state {
            CommandState::Pending => ("pending", None, None),
            CommandState::Committed(seq) => ("committed", Some(seq), None),
            CommandState::Duplicate(seq) => ("duplicate", Some(seq), None),
            CommandState::Refused(code) => ("refused", None, Some(code)),
        };
        Ok(Answer::ok(&CommandView { state, seq, code }))
    }
}
