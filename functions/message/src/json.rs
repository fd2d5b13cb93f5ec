//! `chat.v1.json`: one frame a message, and one answer to it when it has an id.

use common::code::ByeCode;
use common::codec::frame::{ClientFrame, FrameFault, ServerFrame};
use common::codec::json;
use common::failure::Failure;
use common::gateway::WebSocketResponse;
use common::store::Connection;
use common::time::Time;

use crate::handler::MessageFunction;
use crate::obey::Stop;

impl MessageFunction {
    pub(crate) async fn handle_json(
        &self,
        connection: &Connection,
        decoded: Result<ClientFrame, FrameFault>,
        said: Time,
        now: Time,
    ) -> WebSocketResponse {
        let ClientFrame { id, command } = match decoded {
            Ok(frame) => frame,
            Err(fault) => return error(fault),
        };
        let client_message_id = command.client_message_id().cloned();
        match self.obey(connection, id.clone(), command, said, now).await {
            // Without an id only errors are answered.
            Ok(_) if id.is_none() => WebSocketResponse::accepted(),
            Ok(answer) => WebSocketResponse::frame(json::encode(&answer)),
            Err(Stop::Farewell(code)) => self.end(&connection.id, &connection.dialect.farewell(code)).await,
            Err(Stop::Protocol(_)) => {
                self.end(&connection.id, &connection.dialect.farewell(ByeCode::ProtocolError)).await
            }
            Err(Stop::Refused(failure)) => error(FrameFault { id, client_message_id, refusal: failure.answer() }),
        }
    }
}

/// The answer to a frame whose connection cannot be looked up; to one that could not be read, why not.
pub(crate) fn refuse(decoded: Result<ClientFrame, FrameFault>, failure: Failure) -> WebSocketResponse {
    error(decoded.map_or_else(
        |fault| fault,
        |ClientFrame { id, command }| {
            let client_message_id = command.client_message_id().cloned();
            FrameFault { id, client_message_id, refusal: failure.answer() }
        },
    ))
}

fn error(FrameFault { id, client_message_id, refusal }: FrameFault) -> WebSocketResponse {
    let error = ServerFrame::Error { id, client_message_id, reason: refusal.into() };
    WebSocketResponse::frame(json::encode(&error))
}
