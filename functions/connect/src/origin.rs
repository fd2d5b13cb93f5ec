//! Which pages may open a connection. Browsers send `Origin` and do not apply CORS to WebSockets, so it is checked
//! here; native clients send none.

use common::config::AllowedOrigins;
use common::gateway::WebSocketEvent;

/// Absent, equal to the request's own host, or letter for letter on the list.
pub(crate) fn is_allowed(event: &WebSocketEvent, allowed: &AllowedOrigins) -> bool {
    let Some(origin) = event.header("Origin") else { return true };
    let hosts = [event.header("Host"), event.request_context.domain_name.as_deref()];
    let own = origin.split_once("://").is_some_and(|(_, host)| hosts.contains(&Some(host)));
    own || allowed.allows(origin)
}
