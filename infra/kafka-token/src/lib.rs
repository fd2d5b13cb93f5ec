//! A token for a client of librdkafka that asks for none.
//!
//! rdkafka's producers and consumers ask their context for a token; its admin client never does, and so cannot sign in
//! by OAUTHBEARER at all (fede1024/rust-rdkafka#757). librdkafka itself takes a token at any time, by a call that rdkafka
//! does not offer: [`hand_over`] makes it. When rdkafka mends that, this crate goes.

use std::ffi::CString;
use std::ptr;

use rdkafka::ClientContext;
use rdkafka::bindings::rd_kafka_oauthbearer_set_token;
use rdkafka::client::{Client, OAuthToken};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;

/// Gives a client a token, with which it signs in from now on. It gets no other by itself: whoever makes the client
/// sees to it that it does not outlive the token.
///
/// # Errors
/// The token has ended, or the client's `sasl.mechanism` is not OAUTHBEARER.
pub fn hand_over<C: ClientContext>(client: &Client<C>, token: &OAuthToken) -> KafkaResult<()> {
    let value = CString::new(token.token.as_str()).map_err(KafkaError::Nul)?;
    let principal = CString::new(token.principal_name.as_str()).map_err(KafkaError::Nul)?;
    #[expect(unsafe_code, reason = "rdkafka has no safe form of this call for a client that it does not poll")]
    // SAFETY: the client is alive as long as it is borrowed, both texts end in NUL and are copied before the call
    // returns, and librdkafka takes no extensions and writes no reason where their lengths are 0.
    let outcome = unsafe {
        rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            0,
        )
    };
    match outcome {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        refused => Err(KafkaError::Global(refused.into())),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::admin::AdminClient;
    use rdkafka::client::DefaultClientContext;
    use rdkafka::error::RDKafkaErrorCode;

    use super::*;

    fn handed_over(mechanism: &str, lifetime_ms: i64) -> Option<RDKafkaErrorCode> {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", "somebody")
            .set("sasl.password", "secret")
            .create()
            .expect("a client");
        let token = OAuthToken { token: "dG9rZW4".to_owned(), principal_name: "somebody".to_owned(), lifetime_ms };
        hand_over(admin.inner(), &token).err().and_then(|error| error.rdkafka_error_code())
    }

    #[test]
    fn a_client_takes_a_token_that_it_can_use() {
        assert_eq!(handed_over("OAUTHBEARER", i64::MAX / 1_000), None);
        assert_eq!(handed_over("OAUTHBEARER", 1), Some(RDKafkaErrorCode::InvalidArgument));
        assert_eq!(handed_over("PLAIN", i64::MAX / 1_000), Some(RDKafkaErrorCode::State));
    }
}
