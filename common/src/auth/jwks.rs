//! Keys by URL (RFC 7517), fetched when first needed, kept for an hour, and fetched again for an unknown `kid` at
//! most once a minute, so that made-up key ids cost nothing. After a fetch that failed an unknown `kid` is no reason to
//! refuse a token: its key may be new.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::JwkSet;
use tokio::sync::Mutex;

use crate::code::ErrorCode;
use crate::http;
use crate::time::Time;

const KEEP_MS: i64 = 3_600_000;
const PAUSE_MS: i64 = 60_000;
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause while there is no set: as long as a fetch may take, so that whoever waited for one that failed does not begin
/// another.
const PAUSE_WITHOUT_SET_MS: i64 = 3_000;

/// A cached key set.
pub(super) struct Jwks {
    url: String,
    client: http::Client,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    set: Option<JwkSet>,
    fetched_at: Option<Time>,
    tried_at: Option<Time>,
}

impl Jwks {
    pub(super) fn new(url: String) -> Self {
        Self { url, client: http::Client::default(), cache: Mutex::default() }
    }

    /// The key that a token names; the only key of the set when it names none.
    pub(super) async fn key(&self, kid: Option<&str>, now: Time) -> Result<DecodingKey, ErrorCode> {
        // One fetch at a time; the lock is held over it on purpose, so that a burst of tokens waits for one answer.
        let mut cache = self.cache.lock().await;
        self.refresh(&mut cache, kid, now).await;
        let set = cache.set.as_ref().ok_or(ErrorCode::Unavailable)?;
        let key = match kid {
            Some(kid) => set.find(kid),
            None if set.keys.len() == 1 => set.keys.first(),
            None => None,
        };
        let is_current = cache.fetched_at == cache.tried_at;
        let unknown = if is_current { ErrorCode::TokenInvalid } else { ErrorCode::Unavailable };
        DecodingKey::from_jwk(key.ok_or(unknown)?).map_err(|_| ErrorCode::TokenInvalid)
    }

    /// Fetches the set when it is absent, old, or does not know the key.
    async fn refresh(&self, cache: &mut Cache, kid: Option<&str>, now: Time) {
        let since = |time: Option<Time>| time.map_or(i64::MAX, |time| now.unix_ms() - time.unix_ms());
        let known = cache.set.as_ref().is_some_and(|set| kid.is_none_or(|kid| set.find(kid).is_some()));
        let fresh = since(cache.fetched_at) < KEEP_MS;
        let pause_ms = if cache.set.is_some() { PAUSE_MS } else { PAUSE_WITHOUT_SET_MS };
        if (known && fresh) || since(cache.tried_at) < pause_ms {
            return;
        }
        cache.tried_at = Some(now);
        match self.fetch().await {
            Ok(set) => {
                cache.set = Some(set);
                cache.fetched_at = Some(now);
            }
            // A set that is too old still beats none: its keys were right.
            Err(cause) => tracing::warn!(cause, "the key set of JWT_JWKS_URL cannot be fetched"),
        }
    }

    async fn fetch(&self) -> Result<JwkSet, &'static str> {
        let request = HttpRequest::get(self.url.as_str()).map_err(|_| "not a URL")?;
        let answer = tokio::time::timeout(FETCH_TIMEOUT, self.client.call(request)).await.map_err(|_| "too slow")??;
        if !answer.is_success() {
            return Err("not a success");
        }
        serde_json::from_slice(&answer.body).map_err(|_| "not a key set")
    }
}
