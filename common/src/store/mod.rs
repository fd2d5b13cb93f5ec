//! The tables: the one module tree that names the DynamoDB client. `keys` alone builds or splits a key.
//!
//! Every read that decides something is consistent; every query pages; every batch call asks again for what was left;
//! transaction conflicts are retried with jitter, since the SDK does not: those of transactions here, those of single
//! writes in `conflict`. Rows past their `ttl` or token expiry count as absent, although DynamoDB removes them
//! late. Units are counted in [`Metrics`].

mod attributes;
mod command;
mod commit;
mod conflict;
mod connection;
mod dialect;
mod event;
mod keys;
mod presence;
mod reading;
mod room;
mod session;
mod subscription;
mod sweep;

pub use command::CommandState;
pub use connection::{Connection, ConnectionState};
pub use presence::Presence;
pub use reading::RoomPreview;
pub use room::{Created, NewRoom, RoomListEntry};
pub use session::{LiveConnection, OpenError};
pub use subscription::{RoomSubscription, SubscribeError, Terms};
pub use sweep::{ConnectionEnd, Due, DueItem, DuePage, DuePosition, LaggedSubscription, SWEEP_SHARDS, SessionsClaim};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity, TransactWriteItem, WriteRequest,
};
use aws_sdk_dynamodb::{Client, Config};

use crate::code::ErrorCode;
use crate::complaint::Complaint;
use crate::config::{SessionConfig, SessionPolicy, StoreConfig};
use crate::limits::{BATCH_GET_MAX_KEYS, BATCH_WRITE_MAX_ITEMS};
use crate::metrics::Metrics;
use attributes::Item;
use conflict::SingleWrites;
use keys::Key;

/// How often a conflict, or a batch of which nothing is done, is tried again before the caller hears of it.
const ATTEMPTS_MAX: u32 = 8;

/// How long a transaction may take with all its attempts: below the shortest timeout of a function, so that a client
/// hears that the table is away.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(6);

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

/// Both tables.
#[derive(Clone)]
pub struct Store {
    client: Client,
    chat: String,
    connections: String,
    session_config: SessionConfig,
    metrics: Arc<Metrics>,
}

impl Store {
    /// Makes the client.
    #[must_use]
    pub fn new(config: StoreConfig, metrics: Arc<Metrics>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(Duration::from_secs(3))
            .operation_timeout(Duration::from_secs(8))
            .build();
        let mut client = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.aws.region))
            .credentials_provider(config.aws.credentials)
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(50)))
            .retry_classifier(SingleWrites)
            .timeout_config(timeouts);
        client.set_endpoint_url(config.endpoint);
        Self {
            client: Client::from_conf(client.build()),
            chat: config.chat_table,
            connections: config.connections_table,
            session_config: config.sessions,
            metrics,
        }
    }

    /// The same tables, where one session too many is refused whatever the policy: before one of the others gives way,
    /// the dead among them are to be found.
    #[must_use]
    pub fn refusing(&self) -> Self {
        let session_config = SessionConfig { policy: SessionPolicy::Refuse, ..self.session_config };
        Self { session_config, ..self.clone() }
    }

    fn count_read(&self, consumed: Option<&ConsumedCapacity>) {
        self.metrics.add_units(units(consumed), 0.0);
    }

    fn count_write(&self, consumed: Option<&ConsumedCapacity>) {
        self.metrics.add_units(0.0, units(consumed));
    }

    /// One item, read consistently.
    async fn get(&self, table: &str, key: Key) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(table).set_key(Some(key.into_item())).consistent_read(true);
        let output = get.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify)?;
        self.count_read(output.consumed_capacity());
        Ok(output.item.map(Item))
    }

    /// Any number of items by key, read consistently, in no order; those that do not exist are left out.
    async fn batch_get(&self, table: &str, keys: Vec<Key>) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::with_capacity(keys.len());
        let mut keys: Vec<_> = keys.into_iter().map(Key::into_item).collect();
        let mut attempt = 0;
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(BATCH_GET_MAX_KEYS));
            let asked = keys.len();
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(|error| StoreError::Invalid(error.to_string()))?;
            let get = self.client.batch_get_item().request_items(table, request);
            let output = get.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify)?;
            for consumed in output.consumed_capacity() {
                self.count_read(Some(consumed));
            }
            items.extend(output.responses.into_iter().flatten().flat_map(|(_, items)| items).map(Item));
            let unprocessed = output.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys);
            keys = unprocessed.collect();
            if !keys.is_empty() {
                attempt = pause(if keys.len() < asked { 0 } else { attempt }, "unprocessed keys").await?;
            }
            keys.extend(rest);
        }
        Ok(items)
    }

    /// Deletes any number of items by key.
    async fn batch_delete(&self, table: &str, keys: Vec<Key>) -> Result<(), StoreError> {
        let delete = |key: Key| {
            let request = aws_sdk_dynamodb::types::DeleteRequest::builder().set_key(Some(key.into_item())).build();
            request.map(|request| WriteRequest::builder().delete_request(request).build())
        };
        let mut requests: Vec<_> = keys
            .into_iter()
            .map(delete)
            .collect::<Result<_, _>>()
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        let mut attempt = 0;
        while !requests.is_empty() {
            let rest = requests.split_off(requests.len().min(BATCH_WRITE_MAX_ITEMS));
            let asked = requests.len();
            let write = self.client.batch_write_item().request_items(table, requests);
            let output =
                write.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.map_err(classify)?;
            for consumed in output.consumed_capacity() {
                self.count_write(Some(consumed));
            }
            requests = output.unprocessed_items.into_iter().flatten().flat_map(|(_, requests)| requests).collect();
            if !requests.is_empty() {
                attempt = pause(if requests.len() < asked { 0 } else { attempt }, "unprocessed items").await?;
            }
            requests.extend(rest);
        }
        Ok(())
    }

    /// Writes all, or nothing. Conflicts with other transactions and throttling are tried again with jitter.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        let outcome = tokio::time::timeout(TRANSACTION_TIMEOUT, self.try_transact(items)).await;
        outcome.unwrap_or_else(|_| Err(StoreError::Unavailable("a transaction took too long".to_owned())))
    }

    async fn try_transact(&self, items: Vec<TransactWriteItem>) -> Result<(), StoreError> {
        let mut attempt = 0;
        loop {
            let write = self.client.transact_write_items().set_transact_items(Some(items.clone()));
            match write.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await {
                Ok(output) => {
                    for consumed in output.consumed_capacity() {
                        self.count_write(Some(consumed));
                    }
                    return Ok(());
                }
                Err(error) => match classify_transaction(error) {
                    StoreError::Unavailable(cause) => attempt = pause(attempt, &cause).await?,
                    error => return Err(error),
                },
            }
        }
    }
}

fn units(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(ConsumedCapacity::capacity_units).unwrap_or_default()
}

/// Waits before the next attempt, longer each time and never twice the same; fails after the last.
async fn pause(attempt: u32, cause: &str) -> Result<u32, StoreError> {
    if attempt + 1 >= ATTEMPTS_MAX {
        return Err(StoreError::Unavailable(cause.to_owned()));
    }
    jitter(attempt).await;
    Ok(attempt + 1)
}

async fn jitter(attempt: u32) {
    let longest_ms = 20_u64 << attempt.min(5);
    tokio::time::sleep(Duration::from_millis(rand::random_range(longest_ms / 2..=longest_ms))).await;
}

fn classify<E, R>(error: SdkError<E, R>) -> StoreError
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

fn classify_transaction<R: std::fmt::Debug + 'static>(error: SdkError<TransactWriteItemsError, R>) -> StoreError {
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

/// Names for attributes that DynamoDB reserves.
fn names(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    Some(pairs.iter().map(|(name, attribute)| ((*name).to_owned(), (*attribute).to_owned())).collect())
}
