//! The end of a connection that has just spoken.

use common::code::ByeCode;
use common::farewell;
use common::gateway::WebSocketResponse;
use common::id::ConnectionId;
use common::outbound::PostError;

use crate::handler::MessageFunction;

impl MessageFunction {
    pub(crate) async fn say_farewell(&self, connection: &ConnectionId, code: ByeCode) -> WebSocketResponse {
        match farewell::say(&self.outbound, connection, code).await {
            Ok(()) | Err(PostError::Gone) => {}
            Err(error) => tracing::warn!(%error, connection_id = %connection, "the connection cannot be closed"),
        }
        WebSocketResponse::accepted()
    }
}
