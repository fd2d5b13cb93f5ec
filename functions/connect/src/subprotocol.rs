//! `Sec-WebSocket-Protocol`: the first known family wins, within STOMP the highest version; exactly one is echoed, never a
//! token.

use common::codec::stomp::Version;
use common::codec::{Dialect, StompState};

/// The subprotocol of the JSON protocol.
const JSON: &str = "chat.v1.json";
/// Browsers cannot set headers on a WebSocket; this entry carries the token instead.
const BEARER: &str = "bearer.";

/// What a client offered that is of use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer<'a> {
    /// What is echoed; none when nothing was offered.
    pub(crate) subprotocol: Option<&'a str>,
    /// What is spoken.
    pub(crate) dialect: Dialect,
    /// The token among the entries.
    pub(crate) bearer: Option<&'a str>,
}

/// Reads the header. No header means JSON.
///
/// # Errors
/// 400 when something was offered, but nothing known: a browser would drop a connection that echoes none.
pub(crate) fn negotiate(header: Option<&str>) -> Result<Offer<'_>, u16> {
    let Some(header) = header else {
        return Ok(Offer { subprotocol: None, dialect: Dialect::Json, bearer: None });
    };
    let entries = || header.split(',').map(str::trim);
    let bearer = entries().find_map(|entry| entry.strip_prefix(BEARER));
    let first = entries().find(|entry| *entry == JSON || stomp_version(entry).is_some()).ok_or(400_u16)?;
    if first == JSON {
        return Ok(Offer { subprotocol: Some(JSON), dialect: Dialect::Json, bearer });
    }
    let highest = entries().filter_map(stomp_version).max();
    let dialect = Dialect::Stomp(StompState::default());
    Ok(Offer { subprotocol: highest.map(Version::subprotocol), dialect, bearer })
}

fn stomp_version(entry: &str) -> Option<Version> {
    Version::ALL.into_iter().find(|version| version.subprotocol() == entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_known_subprotocol_is_chosen() {
        let check = |header, expected| {
            let offer = negotiate(header);
            assert_eq!(offer.map(|offer| (offer.subprotocol, offer.bearer)), expected, "{header:?}");
        };
        check(Some("v10.stomp, v12.stomp,v11.stomp"), Ok((Some("v12.stomp"), None)));
        check(Some("v11.stomp, chat.v1.json, bearer.a.b.c"), Ok((Some("v11.stomp"), Some("a.b.c"))));
        check(Some("chat.v1.json, v12.stomp"), Ok((Some("chat.v1.json"), None)));
        check(Some("v13.stomp"), Err(400));
        check(None, Ok((None, None)));
        check(Some("chat.v1.json"), Ok((Some("chat.v1.json"), None)));
        check(Some("x, chat.v1.json , bearer.a.b.c"), Ok((Some("chat.v1.json"), Some("a.b.c"))));
        check(Some("bearer.a.b.c"), Err(400));
        check(Some("chat.v2.json"), Err(400));
        check(Some(""), Err(400));
    }
}
