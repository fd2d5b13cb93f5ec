//! Closing a connection from the server's side. A function cannot close after its route response, so `bye` is posted,
//! awaited, and then the connection is deleted.

use common::codec::frame::{ByeCode, Reconnect, ServerFrame};
use common::codec::json;
use common::gateway::WebSocketResponse;
use common::id::ConnectionId;
use common::outbound::PostError;

use crate::handler::MessageFunction;

impl MessageFunction {
    pub(crate) async fn say_farewell(&self, connection: &ConnectionId, code: ByeCode) -> WebSocketResponse {
        let bye = json::encode(&ServerFrame::Bye { code, reconnect: Reconnect::Now, retry_after_ms: 0 });
        for outcome in [self.outbound.post(connection, bye.as_bytes()).await, self.outbound.close(connection).await] {
            match outcome {
                Ok(()) | Err(PostError::Gone) => {}
                Err(error) => tracing::warn!(%error, connection_id = %connection, "the connection cannot be closed"),
            }
        }
        WebSocketResponse::accepted()
    }
}
