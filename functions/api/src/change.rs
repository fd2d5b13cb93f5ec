//! Calls that change a room, each one record or several; the same changes as on the sockets.

use common::codec::frame::Commands;
use common::codec::json;
use common::command::RoomChange;
use common::failure::Failure;
use common::id::{MessageId, RoomId, UserId};
use common::ingress::{self, Sender};

use crate::answer::Answer;
use crate::call::Call;
use crate::handler::Api;

impl Api {
    pub(crate) async fn rename(&self, call: &Call, room: RoomId) -> Result<Answer, Failure> {
        self.change(call, room, json::rename(&call.fields()?)?).await
    }

    pub(crate) async fn invite(&self, call: &Call, room: RoomId) -> Result<Answer, Failure> {
        self.change(call, room, json::invite(&call.fields()?)?).await
    }

    pub(crate) async fn change_role(&self, call: &Call, room: RoomId, user: UserId) -> Result<Answer, Failure> {
        self.change(call, room, json::role(user, &call.fields()?)?).await
    }

    /// A kick, or leaving when it is oneself; then the query may name a successor.
    pub(crate) async fn remove_member(&self, call: &Call, room: RoomId, user: UserId) -> Result<Answer, Failure> {
        let change = if user == call.user {
            RoomChange::Leave { successor: call.parsed("successor")? }
        } else {
            RoomChange::Kick { user }
        };
        self.change(call, room, change).await
    }

    pub(crate) async fn edit_message(&self, call: &Call, room: RoomId, message: MessageId) -> Result<Answer, Failure> {
        self.change(call, room, json::edit(message, &call.fields()?)?).await
    }

    pub(crate) async fn delete_message(
        &self,
        call: &Call,
        room: RoomId,
        message: MessageId,
    ) -> Result<Answer, Failure> {
        self.change(call, room, RoomChange::Delete { message }).await
    }

    pub(crate) async fn read(&self, call: &Call, room: &RoomId) -> Result<Answer, Failure> {
        let seq = json::read_seq(&call.fields()?)?;
        let command_id =
            ingress::mark_read(&self.store, &self.cache, &self.producer, &call.user, room, seq, call.now).await?;
        Ok(Answer::accepted(&Commands::One { command_id }))
    }

    async fn change(&self, call: &Call, room: RoomId, change: RoomChange) -> Result<Answer, Failure> {
        let sender = Sender { user: call.user.clone(), received_at: call.now, reply_to: None };
        let commands = ingress::change_room(&self.store, &self.producer, sender, room, change).await?;
        Ok(Answer::accepted(&commands))
    }
}
