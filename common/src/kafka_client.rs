//! What every client of Kafka has from us beside its settings: a token where the cluster takes tokens, and an ear for
//! what goes wrong behind its back.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

#[cfg(feature = "msk-iam")]
use crate::msk_iam::TokenSigner;

/// What librdkafka calls back: the same for producers, consumers and operators' clients.
///
/// It asks for a token when a client is made and again when four fifths of the token's time are over, by the clock of
/// the machine: after a freeze of any length within a second, but always from the thread that polls the client. So a
/// first connection after a long freeze may still show a token that has ended and be refused. The client then tries
/// again with the new one, within the time that a record has.
#[derive(Clone, Default)]
pub struct KafkaContext {
    #[cfg(feature = "msk-iam")]
    signer: Option<TokenSigner>,
    /// Why librdkafka does not get on: its calls only say that time is up. Its own lines go to the `log` crate, to which
    /// nobody listens.
    cause: Arc<Mutex<Option<RDKafkaErrorCode>>>,
}

impl KafkaContext {
    /// Why nothing has arrived since something last did.
    pub(crate) fn cause(&self) -> Option<RDKafkaErrorCode> {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has arrived.
    pub(crate) fn forget_cause(&self) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note_cause(&self, code: RDKafkaErrorCode) {
        use RDKafkaErrorCode::{Authentication, Resolve, SSL};
        // What follows these is only that no broker is left.
        let is_telling = |code: RDKafkaErrorCode| matches!(code, Authentication | Resolve | SSL);
        if is_telling(code) || !self.cause().is_some_and(is_telling) {
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
        }
    }

    /// Signs tokens.
    #[cfg(feature = "msk-iam")]
    pub(crate) fn with_tokens(signer: TokenSigner) -> Self {
        Self { signer: Some(signer), ..Self::default() }
    }

    #[cfg(feature = "msk-iam")]
    fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let signer = self.signer.as_ref().ok_or("this cluster was said to take no tokens")?;
        Ok(signer.token(std::time::SystemTime::now())?)
    }

    #[cfg(not(feature = "msk-iam"))]
    #[expect(clippy::unused_self, reason = "a build with the feature looks at the signer")]
    fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        Err("this build signs no tokens".into())
    }
}

impl ClientContext for KafkaContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.token().inspect_err(|error| tracing::error!(error, "no token for Kafka can be signed"))
    }

    /// A record that waits for a sign-in tells only that its time is up. Whatever else there is librdkafka mends by
    /// itself, or it becomes the error of a record.
    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.note_cause(code);
        }
        // What the operator has to do is said once, by whoever waits for the record.
        tracing::debug!(reason, "librdkafka does not get on");
    }
}

impl ConsumerContext for KafkaContext {}
