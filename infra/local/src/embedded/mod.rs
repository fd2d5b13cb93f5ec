//! Kafka and DynamoDB inside this process, for a machine that has neither.
//!
//! Both speak the real protocols on loopback ports of their own, so that the functions use their real clients.

mod broker;
mod tables;

pub(crate) use broker::{Broker, Gate};
pub(crate) use tables::Tables;
