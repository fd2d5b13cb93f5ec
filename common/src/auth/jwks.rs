//! Keys by URL (RFC 7517), fetched when first needed, kept for an hour, and fetched again for an unknown `kid` at
//! most once a minute, so that made-up key ids cost nothing.

use std::sync::Arc;
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

/// A cached key set.
pub(super) struct Jwks {
    url: String,
    client: http::Client,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    set: Option<Arc<JwkSet>>,
    fetched_at: Option<Time>,
    tried_at: Option<Time>,
}

impl Jwks {
    pub(super) fn new(url: String) -> Self {
        Self { url, client: http::Client::new(), cache: Mutex::default() }
    }

    /// The key that a token names; the only key of the set when it names none.
    pub(super) async fn key(&self, kid: Option<&str>, now: Time) -> Result<DecodingKey, ErrorCode> {
        let set = self.set(kid, now).await?;
        let key = match kid {
            Some(kid) => set.find(kid),
            None if set.keys.len() == 1 => set.keys.first(),
            None => None,
        };
        DecodingKey::from_jwk(key.ok_or(ErrorCode::TokenInvalid)?).map_err(|_| ErrorCode::TokenInvalid)
    }

    /// The set, fetched when it is absent, old, or does not know the key. One fetch at a time; the lock is held over
    /// it on purpose, so that a burst of tokens waits for one answer.
    async fn set(&self, kid: Option<&str>, now: Time) -> Result<Arc<JwkSet>, ErrorCode> {
        let mut cache = self.cache.lock().await;
        let since = |time: Option<Time>| time.map_or(i64::MAX, |time| now.unix_ms() - time.unix_ms());
        let known = cache.set.as_ref().is_some_and(|set| kid.is_none_or(|kid| set.find(kid).is_some()));
        let fresh = since(cache.fetched_at) < KEEP_MS;
        if !(known && fresh) && since(cache.tried_at) >= PAUSE_MS {
            cache.tried_at = Some(now);
            match self.fetch().await {
                Ok(set) => {
                    cache.set = Some(Arc::new(set));
                    cache.fetched_at = Some(now);
                }
                // A set that is too old still beats none: its keys were right.
                Err(cause) => tracing::warn!(cause, "the key set of JWT_JWKS_URL cannot be fetched"),
            }
        }
        cache.set.clone().ok_or(ErrorCode::Unavailable)
    }

    async fn fetch(&self) -> Result<JwkSet, &'static str> {
        let request = HttpRequest::get(self.url.as_str()).map_err(|_| "not a URL")?;
        let answer = tokio::time::timeout(FETCH_TIMEOUT, self.client.call(request)).await.map_err(|_| "too slow")??;
        if !(200..300).contains(&answer.status) {
            return Err("not a success");
        }
        serde_json::from_slice(&answer.body).map_err(|_| "not a key set")
    }
}
