//! The tables: the one module tree that names the DynamoDB client. `keys` alone builds or splits a key.
//!
//! Every read that decides something is consistent; every query pages; every batch call asks again for what was left;
//! transaction conflicts are retried with jitter, since the SDK does not: those of transactions in `call`, those of
//! single writes in `conflict`. Rows past their `ttl` or token expiry count as absent, although DynamoDB removes them
//! late. Units are counted in [`Metrics`].

mod attributes;
mod call;
mod command;
mod commit;
mod conflict;
mod connection;
mod dialect;
mod error;
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
pub use error::StoreError;
pub use presence::Presence;
pub use reading::RoomPreview;
pub use room::{Created, NewRoom, RoomBefore, RoomListEntry};
pub use session::{LiveConnection, OpenError};
pub use subscription::{RoomSubscription, RoomSubscriptions, SubscribeError, Terms};
pub use sweep::{ConnectionEnd, Due, DueItem, DuePage, DuePosition, LaggedSubscription, SWEEP_SHARDS, SessionsClaim};

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::{Client, Config};

use crate::config::{SessionConfig, SessionPolicy, StoreConfig};
use crate::metrics::Metrics;
use conflict::SingleWrites;

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
}
