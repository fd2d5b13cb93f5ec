//! Where the token stands: header, subprotocol entry, query, in this order.

use common::code::ErrorCode;
use common::gateway::WebSocketEvent;

/// The token of the request, if it has one.
///
/// # Errors
/// An `Authorization` header that is no bearer token: the client meant to authenticate.
pub(crate) fn find<'a>(event: &'a WebSocketEvent, bearer: Option<&'a str>) -> Result<Option<&'a str>, ErrorCode> {
    match event.header("Authorization") {
        Some(header) => common::auth::bearer(header).map(Some),
        None => Ok(bearer.or_else(|| event.query("token"))),
    }
}
