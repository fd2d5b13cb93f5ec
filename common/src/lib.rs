//! What Madang's functions share.
//!
//! One type per stage of a message's way, conversions only between neighbours:
//!
//! | stage | module |
//! |---|---|
//! | event (what AWS hands a function) | [`gateway`], [`kafka_event`] |
//! | client frame → command | [`codec`], [`fields`], [`command`] |
//! | command → record (on Kafka) | [`ingress`], [`record`], [`producer`], [`kafka_client`] |
//! | room event (in a room's log) | [`room`] |
//! | item (in DynamoDB) | [`store`] |
//! | server frame → connection | [`codec`], [`outbound`] |
//!
//! Beside them: identities ([`id`]), texts ([`text`]), times ([`time`]), the fields of what strangers wrote as JSON
//! ([`fields`]), digests ([`digest`]), limits ([`limits`]), error codes ([`code`]) and what is answered to failures ([`failure`]), settings
//! ([`config`]), tokens ([`auth`]), pages of history ([`history`]) and their cursors ([`cursor`]), the cache of
//! memberships ([`cache`]), farewells ([`farewell`]), departures ([`departure`]) and those who left without a word
//! ([`ghost`]), calls over HTTP ([`http`]), logs and traces ([`telemetry`]), counts ([`metrics`]), what every function
//! does around its handler ([`function`]), what its operator is told ([`complaint`]), and how its process ends
//! ([`shutdown`]).

pub mod auth;
pub mod cache;
pub mod code;
pub mod codec;
pub mod command;
pub mod complaint;
pub mod config;
pub mod cursor;
pub mod departure;
pub mod digest;
pub mod failure;
pub mod farewell;
pub mod fields;
pub mod function;
pub mod gateway;
pub mod ghost;
pub mod history;
pub mod http;
pub mod id;
pub mod ingress;
pub mod kafka_client;
pub mod kafka_event;
pub mod limits;
pub mod metrics;
#[cfg(feature = "msk-iam")]
mod msk_iam;
pub mod outbound;
pub mod producer;
pub mod record;
pub mod room;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod time;
