//! The store against the real DynamoDB API: the real client, tables as `infra/tables.json` declares them, an embedded
//! DynamoDB behind a loopback port. Each test has tables of its own.

#![expect(clippy::unwrap_used, reason = "what fails in a test's preparation fails the test")]

mod commit;
mod connection;
mod cost;
mod history;
mod log;
mod presence;
mod race;
mod reading;
mod room;
mod session;
mod subscription;
mod sweep;
mod tables;
