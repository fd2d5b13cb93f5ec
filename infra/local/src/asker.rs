//! Who asks a server of this runtime. They all listen on loopback, where every page that a browser on this machine
//! shows can reach them, too.

use std::net::Ipv4Addr;

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};

/// How a page stands to the server that its browser asks: also with a GET for a picture, which names no origin.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a request came by a name of this machine, and from no page of another server.
pub(crate) fn is_own(headers: &HeaderMap) -> bool {
    let origin_is_own =
        text(headers, &ORIGIN).is_none_or(|origin| origin.strip_prefix("http://").is_some_and(is_local));
    came_by_own_name(headers) && origin_is_own
}

/// Whether a request came by a name of this machine, and from no page at all.
pub(crate) fn is_program(headers: &HeaderMap) -> bool {
    came_by_own_name(headers) && ![ORIGIN, FETCH_SITE].iter().any(|name| headers.contains_key(name))
}

/// Another name that leads here is DNS rebinding.
fn came_by_own_name(headers: &HeaderMap) -> bool {
    is_local(text(headers, &HOST).unwrap_or_default())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn is_local(authority: &str) -> bool {
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse() == Ok(Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, others: &[(HeaderName, &str)], own: bool, program: bool) {
        let mut headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        headers.extend(others.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())));
        assert_eq!((is_own(&headers), is_program(&headers)), (own, program), "{host} {others:?}");
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        check("localhost:8787", &[], true, true);
        check("127.0.0.1", &[], true, true);
        check("rebound.example:8787", &[], false, false);
        check("127.0.0.1.example", &[], false, false);
        assert!(!is_own(&HeaderMap::new()) && !is_program(&HeaderMap::new()));
    }

    #[test]
    fn a_page_is_no_program_and_another_servers_page_is_not_own() {
        check("LOCALHOST:8787", &[(ORIGIN, "http://localhost:8787")], true, false);
        check("localhost:8787", &[(ORIGIN, "https://evil.example")], false, false);
        check("localhost:8787", &[(ORIGIN, "null")], false, false);
        check("localhost:8787", &[(FETCH_SITE, "cross-site")], true, false);
    }
}
