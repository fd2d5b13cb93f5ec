//! Development tokens: HS256 with a key that is made anew at each start, so that none outlives this runtime.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;

/// The issuer that the functions are told to expect.
pub(crate) const ISSUER: &str = "madang-local";
/// The audience that the functions are told to expect.
pub(crate) const AUDIENCE: &str = "madang";

/// Signs tokens.
#[derive(Clone)]
pub(crate) struct Signer {
    secret: [u8; 32],
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iss: &'static str,
    aud: &'static str,
    iat: i64,
    exp: i64,
}

impl Signer {
    /// A signer with a new key.
    pub(crate) fn new() -> Self {
        Self { secret: rand::random() }
    }

    /// The key, as the functions' `JWT_KEY` has it.
    pub(crate) fn key(&self) -> String {
        STANDARD.encode(self.secret)
    }

    /// A token for a subject; `expires_in_s` may be negative, for a token that has expired.
    ///
    /// # Errors
    /// The token could not be signed.
    pub(crate) fn token(
        &self,
        subject: &str,
        expires_in_s: i64,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = now.as_second();
        let claims = Claims { sub: subject, iss: ISSUER, aud: AUDIENCE, iat, exp: iat.saturating_add(expires_in_s) };
        encode(&Header::default(), &claims, &EncodingKey::from_secret(&self.secret))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_token_verifies_with_the_key_and_the_expected_claims() {
        let signer = Signer::new();
        let token = signer.token("alice", 60, Timestamp::now()).unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        let key = DecodingKey::from_secret(&STANDARD.decode(signer.key()).unwrap());
        let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
        let expired = signer.token("alice", -600, Timestamp::now()).unwrap();
        assert!(decode::<Value>(&expired, &key, &validation).is_err());
    }
}
