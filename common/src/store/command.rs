//! What became of a command, for its sender.

use super::commit::dedupe_from_item;
use super::keys::Key;
use super::{Store, StoreError};
use crate::code::ErrorCode;
use crate::id::{ClientMessageId, CommandId, RoomId, Seq, UserId};
use crate::limits::{COMMAND_DECIDED_AFTER_MS, REFUSALS_REMEMBERED_MAX};
use crate::room::state::{Dedupe, DedupeKey};
use crate::time::Time;

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandState {
    /// Not committed yet, or never received.
    Pending,
    /// It is this event.
    Committed(Seq),
    /// Another command of the sender with the same `clientMessageId` is this event.
    Duplicate(Seq),
    /// It was refused.
    Refused(ErrorCode),
}

impl Store {
    /// Looks a command up. A message is remembered under its `clientMessageId`, everything else under the command's
    /// own id.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn command_state(
        &self,
        room: &RoomId,
        sender: &UserId,
        command: CommandId,
        client_message_id: Option<&ClientMessageId>,
        now: Time,
    ) -> Result<CommandState, StoreError> {
        let slot = client_message_id.map_or_else(|| command.to_string(), ToString::to_string);
        let key = DedupeKey { sender: sender.clone(), slot };
        let Some(item) = self.get(&self.chat, Key::dedupe(room, &key)).await? else {
            return Ok(CommandState::Pending);
        };
        let (_, dedupe) = dedupe_from_item(room, &item)?;
        Ok(match (&dedupe.accepted, dedupe.refused.get(&command)) {
            (Some(accepted), _) if accepted.id == command => CommandState::Committed(accepted.seq),
            (_, Some(code)) => CommandState::Refused(*code),
            (Some(accepted), None) if refusal_would_stand(command, &dedupe, now) => {
                CommandState::Duplicate(accepted.seq)
            }
            (_, None) => CommandState::Pending,
        })
    }
}

/// Whether a command's refusal, had there been one, would stand here: a repetition is not remembered, since that would
/// be a write for each, so it is known by the lack of a refusal alone.
fn refusal_would_stand(command: CommandId, dedupe: &Dedupe, now: Time) -> bool {
    let may_be_forgotten = dedupe.refused.len() >= REFUSALS_REMEMBERED_MAX;
    let is_newer = dedupe.refused.keys().min().is_some_and(|oldest| *oldest < command);
    (is_newer || !may_be_forgotten) && command.time().plus_ms(COMMAND_DECIDED_AFTER_MS) <= now
}
