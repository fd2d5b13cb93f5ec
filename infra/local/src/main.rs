//! Madang on one machine: API Gateway, Lambda and the Kafka event source in front of the real functions.

mod embedded;
mod event_source;
mod kafka;
mod lambda;
mod provision;

fn main() {}
