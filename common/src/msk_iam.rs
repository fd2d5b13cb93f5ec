//! Tokens by which MSK knows a role of IAM: the signed URL of a call that is never made, in base64. Nobody is asked for
//! one, so signing takes microseconds and cannot fail for want of a network.
//!
//! Source: aws/aws-msk-iam-auth, "Details", and the signers for other languages beside it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningError, SigningSettings, sign as signature_of,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::client::OAuthToken;

use crate::config::AwsConfig;

/// How long a token is good for; MSK takes no longer one.
const LIFETIME: Duration = Duration::from_secs(900);
/// What IAM calls the service, and who calls: MSK logs it, and it is no part of what is signed.
const SERVICE: &str = "kafka-cluster";
const USER_AGENT: &str = "madang";

/// Everything that a URL's query does not take as it is. Source: RFC 3986, unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// No token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("a token for Kafka cannot be signed: {0}")]
    Signing(#[from] SigningError),
    #[error("a token for Kafka cannot be signed: {0}")]
    Parameters(#[from] v4::signing_params::BuildError),
}

/// Signs tokens with a role's credentials, which a function keeps as long as its environment lives.
#[derive(Clone)]
pub(crate) struct TokenSigner {
    region: String,
    identity: Identity,
}

impl TokenSigner {
    pub(crate) fn new(AwsConfig { region, credentials }: AwsConfig) -> Self {
        Self { region, identity: credentials.into() }
    }

    /// A token that is good from now on.
    ///
    /// # Errors
    /// The region is no part of a host's name.
    pub(crate) fn token(&self, now: SystemTime) -> Result<OAuthToken, TokenError> {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(LIFETIME);
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(SERVICE)
            .time(now)
            .settings(settings)
            .build()?
            .into();
        let mut url = format!("https://kafka.{}.amazonaws.com/?Action=kafka-cluster%3AConnect", self.region);
        let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[]))?;
        let (signed, _) = signature_of(request, &parameters)?.into_parts();
        for (name, value) in signed.params() {
            url = format!("{url}&{name}={}", utf8_percent_encode(value, ENCODED));
        }
        url = format!("{url}&User-Agent={USER_AGENT}");
        Ok(OAuthToken {
            token: URL_SAFE_NO_PAD.encode(url),
            // librdkafka wants a name and does nothing with it.
            principal_name: USER_AGENT.to_owned(),
            lifetime_ms: milliseconds(now + LIFETIME),
        })
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;

    use super::*;

    /// What stands in a token that is signed at the first second of 2026.
    fn url(session: Option<&str>) -> String {
        let credentials =
            Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", session.map(str::to_owned), None, "test");
        let signer = TokenSigner::new(AwsConfig { region: "eu-central-1".to_owned(), credentials });
        let token = signer.token(UNIX_EPOCH + Duration::from_secs(1_767_225_600)).unwrap();
        assert_eq!(token.lifetime_ms, 1_767_226_500_000);
        String::from_utf8(URL_SAFE_NO_PAD.decode(token.token).unwrap()).unwrap()
    }

    /// The signatures were computed apart from this code, from the description of Signature Version 4.
    #[test]
    fn a_token_is_a_signed_url() {
        let expected = |signature: &str, session: &str| {
            format!(
                "https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect\
                 &X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIDEXAMPLE%2F20260101%2Feu-central-1%2Fkafka-cluster%2Faws4_request\
                 &X-Amz-Date=20260101T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host\
                 &X-Amz-Signature={signature}{session}&User-Agent=madang"
            )
        };
        assert_eq!(url(None), expected("b45238cdb68aa7a161b3fb20982cdb5dd72f7804110f6240363e6897506f6c18", ""));
        let session = "&X-Amz-Security-Token=IQoJ%2Fb3%3D";
        assert_eq!(
            url(Some("IQoJ/b3=")),
            expected("57ecd8bde1ad492d53fd402b5249864cd9d2aeb97473efc1da4b36982211a42b", session)
        );
    }
}
