//! Tokens for people who try the system out: from a local runtime, or signed here with HS256.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::runtime::{Runtime, RuntimeError, RuntimeUrl};

/// Shorter keys than the hash are refused, as RFC 7518 section 3.2 demands.
const KEY_MIN_BYTES: usize = 32;

/// Where the token comes from, and for whom.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["url", "key_base64"]))]
pub(crate) struct TokenOptions {
    /// The token's subject: the user
    #[arg(long = "sub", value_name = "SUBJECT")]
    subject: String,
    /// A running local runtime, such as http://127.0.0.1:8787
    #[arg(long)]
    url: Option<RuntimeUrl>,
    /// The HS256 key, in base64, instead of a runtime
    #[arg(long, requires = "issuer", requires = "audience")]
    key_base64: Option<String>,
    /// The issuer claim, with a key
    #[arg(long, requires = "key_base64")]
    issuer: Option<String>,
    /// The audience claim, with a key
    #[arg(long, requires = "key_base64")]
    audience: Option<String>,
    /// How long the token is valid
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    expires_in: u64,
}

/// No token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the key is not base64")]
    KeyEncoding,
    #[error("the key has fewer than {KEY_MIN_BYTES} bytes")]
    KeyLength,
    #[error("the token cannot be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: u64,
    exp: u64,
}

/// Prints one token.
///
/// # Errors
/// Neither the runtime nor the key gave one.
pub(crate) async fn run(options: &TokenOptions) -> Result<(), TokenError> {
    let token = match (&options.url, &options.key_base64) {
        (Some(url), _) => {
            let runtime = Runtime::new(url.clone());
            runtime.token(&options.subject, Duration::from_secs(options.expires_in)).await?
        }
        (None, key) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            sign(options, key.as_deref().unwrap_or_default(), now)?
        }
    };
    println!("{token}");
    Ok(())
}

fn sign(options: &TokenOptions, key_base64: &str, now: u64) -> Result<String, TokenError> {
    let key = STANDARD.decode(key_base64).map_err(|_| TokenError::KeyEncoding)?;
    if key.len() < KEY_MIN_BYTES {
        return Err(TokenError::KeyLength);
    }
    let claims = Claims {
        sub: &options.subject,
        iss: options.issuer.as_deref(),
        aud: options.audience.as_deref(),
        iat: now,
        exp: now.saturating_add(options.expires_in),
    };
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&key))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    fn options() -> TokenOptions {
        TokenOptions {
            subject: "alice".to_owned(),
            url: None,
            key_base64: None,
            issuer: Some("issuer".to_owned()),
            audience: Some("madang".to_owned()),
            expires_in: 60,
        }
    }

    #[test]
    fn a_signed_token_verifies() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = sign(&options(), &STANDARD.encode([7; 32]), now).unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&["madang"]);
        validation.set_issuer(&["issuer"]);
        let key = DecodingKey::from_secret(&[7; 32]);
        let claims = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap().claims;
        assert_eq!((claims["sub"].as_str(), claims["exp"].as_u64()), (Some("alice"), Some(now + 60)));
    }

    #[test]
    fn a_weak_key_is_refused() {
        assert!(matches!(sign(&options(), "***", 0), Err(TokenError::KeyEncoding)));
        assert!(matches!(sign(&options(), &STANDARD.encode([7; 31]), 0), Err(TokenError::KeyLength)));
    }
}
