//! Tokens: who speaks. A JWT's algorithm is fixed by the configured key, never by the token; `exp`, `sub`, the issuer
//! and the audience are required, `nbf` is checked when present, with one leeway
//! ([`TOKEN_LEEWAY_SECONDS`]). Every forged token gets the same answer.

mod jwks;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use crate::code::ErrorCode;
use crate::config::{ConfigError, JwtConfig, JwtKey};
use crate::id::UserId;
use crate::limits::{TOKEN_LEEWAY_SECONDS, TOKEN_MAX_BYTES};
use crate::time::Time;

/// Who a valid token speaks for, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's subject.
    pub user: UserId,
    /// The token's `exp`.
    pub expires_at: Time,
}

/// Whether something that expires at this time has expired, leeway included.
#[must_use]
pub const fn expired(expires_at: Time, now: Time) -> bool {
    now.unix_ms() >= end_of_leeway(expires_at).unix_ms()
}

/// From when on something that expires at this time has expired.
#[must_use]
pub const fn end_of_leeway(expires_at: Time) -> Time {
    expires_at.plus_ms(leeway_ms())
}

const fn leeway_ms() -> i64 {
    TOKEN_LEEWAY_SECONDS.cast_signed() * 1_000
}

/// The token of an `Authorization` header.
///
/// # Errors
/// The scheme is not `Bearer`.
pub fn bearer(header: &str) -> Result<&str, ErrorCode> {
    let (scheme, token) = header.trim().split_once(' ').ok_or(ErrorCode::TokenInvalid)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(ErrorCode::TokenInvalid) }
}

/// Checks tokens.
#[derive(Debug)]
pub struct Verifier {
    keys: Keys,
    validation: Validation,
    issuer: String,
    audience: String,
    audience_claim: String,
}

enum Keys {
    Static(Box<DecodingKey>),
    Jwks(jwks::Jwks),
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Static(_) => "Static",
            Self::Jwks(_) => "Jwks",
        })
    }
}

impl Verifier {
    /// With the configured key, issuer and audience.
    ///
    /// # Errors
    /// `JWT_KEY` is not a key of the configured algorithm.
    pub fn new(config: JwtConfig) -> Result<Self, ConfigError> {
        let keys = match config.key {
            JwtKey::Static(key) => Keys::Static(Box::new(decoding_key(config.algorithm, &key)?)),
            JwtKey::Jwks(url) => Keys::Jwks(jwks::Jwks::new(url)),
        };
        let mut validation = Validation::new(config.algorithm);
        // The claims are checked below, against the clock and the claim name that are handed in.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let JwtConfig { issuer, audience, audience_claim, .. } = config;
        Ok(Self { keys, validation, issuer, audience, audience_claim })
    }

    /// Checks one token.
    ///
    /// # Errors
    /// `token_expired` when it was good once, `token_invalid` for everything else, `unavailable` when the keys cannot
    /// be fetched.
    pub async fn verify(&self, token: &str, now: Time) -> Result<Principal, ErrorCode> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(ErrorCode::TokenInvalid);
        }
        let claims = match &self.keys {
            Keys::Static(key) => self.claims(token, key),
            Keys::Jwks(jwks) => {
                let header = jsonwebtoken::decode_header(token).map_err(|_| ErrorCode::TokenInvalid)?;
                let key = jwks.key(header.kid.as_deref(), now).await?;
                self.claims(token, &key)
            }
        }?;
        self.principal(&claims, now)
    }

    fn claims(&self, token: &str, key: &DecodingKey) -> Result<Map<String, Value>, ErrorCode> {
        jsonwebtoken::decode(token, key, &self.validation).map(|data| data.claims).map_err(|_| ErrorCode::TokenInvalid)
    }

    fn principal(&self, claims: &Map<String, Value>, now: Time) -> Result<Principal, ErrorCode> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let ours = text("iss") == Some(&self.issuer) && self.is_audience(claims.get(&self.audience_claim));
        let not_before = claims.get("nbf").map(|value| unix_time(value).ok_or(ErrorCode::TokenInvalid)).transpose()?;
        let early = not_before.is_some_and(|not_before| now.plus_ms(leeway_ms()) < not_before);
        let user = text("sub").and_then(|subject| subject.parse().ok()).ok_or(ErrorCode::TokenInvalid)?;
        let expires_at = claims.get("exp").and_then(unix_time).ok_or(ErrorCode::TokenInvalid)?;
        if !ours || early {
            return Err(ErrorCode::TokenInvalid);
        }
        if expired(expires_at, now) {
            return Err(ErrorCode::TokenExpired);
        }
        Ok(Principal { user, expires_at })
    }

    fn is_audience(&self, claim: Option<&Value>) -> bool {
        match claim {
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience.as_str() == Some(&self.audience)),
            _ => false,
        }
    }
}

/// A numeric date: seconds since the epoch, a fraction perhaps (RFC 7519, section 2). The year 2286 is far enough.
fn unix_time(value: &Value) -> Option<Time> {
    let seconds = value.as_f64().filter(|seconds| (0.0..1e10).contains(seconds))?;
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    Some(Time::from_unix_ms((seconds * 1_000.0) as i64))
}

fn decoding_key(algorithm: Algorithm, key: &[u8]) -> Result<DecodingKey, ConfigError> {
    let invalid = |_| ConfigError::invalid("JWT_KEY", "a public key in PEM form for JWT_ALGORITHM");
    match algorithm {
        Algorithm::RS256 => DecodingKey::from_rsa_pem(key).map_err(invalid),
        Algorithm::ES256 => DecodingKey::from_ec_pem(key).map_err(invalid),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(key).map_err(invalid),
        _ => Ok(DecodingKey::from_secret(key)),
    }
}

#[cfg(test)]
mod tests;
