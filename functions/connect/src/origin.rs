//! Which pages may open a connection. Browsers send `Origin` and do not apply CORS to WebSockets, so it is checked
//! here; native clients send none.

use common::config::AllowedOrigins;
use common::gateway::WebSocketEvent;

/// Absent, equal to the request's own host, or letter for letter on the list.
pub(crate) fn is_allowed(event: &WebSocketEvent, allowed: &AllowedOrigins) -> bool {
    let Some(origin) = event.header("Origin") else { return true };
    let own = origin.split_once("://").is_some_and(|(_, host)| event.header("Host") == Some(host));
    own || allowed.allows(origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::Environment;
    use serde_json::json;

    #[test]
    fn own_host_listed_origins_and_native_clients_may() {
        let allowed = Environment::of_pairs(&[("ALLOWED_ORIGINS", "https://app.example.com")]);
        let allowed = AllowedOrigins::new(&allowed).unwrap();
        let check = |origin: Option<&str>, good: bool| {
            let event = json!({
                "headers": {"Host": "chat.example:8787", "Origin": origin},
                "requestContext": {"connectionId": "c="},
            });
            let event = serde_json::from_value(event).unwrap();
            assert_eq!(is_allowed(&event, &allowed), good, "{origin:?}");
        };
        check(None, true);
        check(Some("http://chat.example:8787"), true);
        check(Some("https://app.example.com"), true);
        for other in
            ["null", "", "https://chat.example", "http://chat.example:8787.evil.test", "https://evil-app.example.com"]
        {
            check(Some(other), false);
        }
    }
}
