//! Why a request came to nothing: what the client is told is kept apart from what the log is told.

use crate::code::{ErrorCode, Refusal};
use crate::producer::ProduceError;
use crate::store::StoreError;

/// A request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request is at fault; nothing to log.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A table is.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker is.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code.into())
    }
}

impl Failure {
    /// What the client is told. The cause goes to the log here, once: call this where the failure is answered.
    #[must_use]
    pub fn answer(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Store(error) => {
                tracing::error!(%error, "a table call failed");
                ErrorCode::from(error).into()
            }
            // Neither is a fault of anything.
            Self::Produce(error @ (ProduceError::Closed | ProduceError::Ending)) => {
                tracing::info!(%error, "nothing is handed on for now");
                ErrorCode::Unavailable.into()
            }
            Self::Produce(error) => {
                tracing::error!(%error, "a record was not acknowledged");
                ErrorCode::Unavailable.into()
            }
        }
    }
}
