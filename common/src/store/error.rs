//! Failed calls to tables, sorted by what can be done about them; what is set wrong is told to the operator.

use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;

use crate::code::ErrorCode;
use crate::complaint::Complaint;

/// Tables that cannot be used as they are set, for the operator.
static COMPLAINT: Complaint = Complaint::new();

/// A call to a table failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The conditions of these items of the transaction did not hold (0 for a single write).
    #[error("a condition did not hold")]
    Condition(Vec<usize>),
    /// Throttled, in conflict, or away: the same call may succeed later.
    #[error("the table is not available: {0}")]
    Unavailable(String),
    /// DynamoDB refuses the call as invalid.
    #[error("the table refuses the call as invalid: {0}")]
    Invalid(String),
    /// A permission or a table is missing: nothing here will ever succeed.
    #[error("the table is missing or access is denied: {0}")]
    Denied(String),
    /// An item is not as this version writes it.
    #[error("an item cannot be read: attribute {0}")]
    Item(&'static str),
}

impl From<StoreError> for ErrorCode {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Condition(_) => Self::Unavailable,
            StoreError::Invalid(_) | StoreError::Denied(_) | StoreError::Item(_) => Self::Internal,
        }
    }
}

pub(super) fn classify<E, R>(error: SdkError<E, R>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let SdkError::ServiceError(service) = &error else {
        if matches!(&error, SdkError::DispatchFailure(failure) if !failure.is_timeout()) {
            COMPLAINT.say(
                "DynamoDB cannot be reached: look at AWS_REGION, at AWS_ENDPOINT_URL_DYNAMODB where it is set, and at the \
                 function's way to the network",
            );
        }
        return StoreError::Unavailable(with_causes(&error));
    };
    let code = service.err().code().unwrap_or_default().to_owned();
    if let Some(sentence) = advice(&code) {
        COMPLAINT.say(sentence);
    }
    match code.as_str() {
        "ConditionalCheckFailedException" => StoreError::Condition(vec![0]),
        "ValidationException" | "ItemCollectionSizeLimitExceededException" => {
            StoreError::Invalid(service.err().message().unwrap_or_default().to_owned())
        }
        "AccessDeniedException"
        | "ResourceNotFoundException"
        | "UnrecognizedClientException"
        | "MissingAuthenticationTokenException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "KMSAccessDeniedException" => StoreError::Denied(code),
        _ => StoreError::Unavailable(code),
    }
}

pub(super) fn classify_transaction<R: std::fmt::Debug + 'static>(
    error: SdkError<TransactWriteItemsError, R>,
) -> StoreError {
    let canceled = match &error {
        SdkError::ServiceError(service) => match service.err() {
            TransactWriteItemsError::TransactionCanceledException(canceled) => Some(canceled),
            _ => None,
        },
        _ => None,
    };
    let Some(canceled) = canceled else { return classify(error) };
    let codes: Vec<&str> =
        canceled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None")).collect();
    let at = |wanted: &str| -> Vec<usize> {
        codes.iter().enumerate().filter(|(_, code)| **code == wanted).map(|(index, _)| index).collect()
    };
    let failed = at("ConditionalCheckFailed");
    if !failed.is_empty() {
        StoreError::Condition(failed)
    } else if codes.iter().any(|code| matches!(*code, "ValidationError" | "ItemCollectionSizeLimitExceeded")) {
        StoreError::Invalid(codes.join(", "))
    } else if codes.contains(&"AccessDenied") {
        StoreError::Denied(codes.join(", "))
    } else {
        StoreError::Unavailable(codes.join(", "))
    }
}

/// A call that lacks what every such call has.
pub(super) fn invalid(error: BuildError) -> StoreError {
    StoreError::Invalid(error.to_string())
}

/// An error with its causes, on one line.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Which setting to look at when DynamoDB says this, if one is to blame.
fn advice(code: &str) -> Option<&'static str> {
    match code {
        "ResourceNotFoundException" => Some(
            "a table or its index is missing: CHAT_TABLE and CONNECTIONS_TABLE must name tables of AWS_REGION, made as \
             infra/tables.json declares them",
        ),
        "AccessDeniedException" | "KMSAccessDeniedException" => Some(
            "the function's role may not use CHAT_TABLE or CONNECTIONS_TABLE: infra/template.yaml has its policies",
        ),
        "UnrecognizedClientException"
        | "MissingAuthenticationTokenException"
        | "InvalidSignatureException"
        | "ExpiredTokenException" => Some(
            "DynamoDB refuses the credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN must be \
             those of the role, which Lambda sets",
        ),
        _ => None,
    }
}
