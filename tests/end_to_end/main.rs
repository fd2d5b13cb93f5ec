//! The end-to-end suite: people who talk, and what may come between them. A module is an area of the system.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test, in its helpers too")]

mod auth;
mod bad_input;
mod chat;
mod commands;
mod configuration;
mod content;
mod contracts;
mod cors;
mod crash;
mod dead_letters;
mod delivery;
mod dlt;
mod editing;
mod groups;
mod history;
mod idempotency;
mod kicking;
mod local_runtime;
mod logs;
mod membership;
mod metrics;
mod opening;
mod order;
mod outage;
mod paging;
mod presence;
mod reading;
mod resume;
mod rooms;
mod sessions;
mod shutdown;
mod stomp;
mod sweeper;
mod traces;
mod trouble;
