//! The harness of the end-to-end tests. It knows the system only from outside: WebSocket, HTTP, the Kafka protocol, the
//! environment, and, where no client can see it, the tables.
//!
//! | module | what it is |
//! |---|---|
//! | [`runtime`] | a running system: the shared one, or one of a test's own that may be harmed |
//! | [`person`] | a user with a token: HTTP calls, rooms, connections |
//! | [`client`] | one connection that speaks JSON, which checks what must always be true of what it hears |
//! | [`stomp`] | one that speaks STOMP, likewise |
//! | [`http`] | HTTP calls and answers |
//! | [`admin`] | the operators' command line, run as a process |
//! | [`contract`] | the published contracts, which judge every frame and answer |
//! | [`cluster`] | the Kafka cluster that systems use, when it is not the embedded one of each |
//! | [`collector`] | a collector of traces |
//! | [`broker`] | records straight to and from the topics |
//! | [`redis`] | a Redis server of a test's own |
//! | [`tables`] | what stands in the tables, and their keys |
//! | [`tcp`] | free ports, and a process's TCP connections |
//! | [`gate`] | a way to a server that can be shut |
//! | [`trouble`] | a way to the tables on which calls go wrong as DynamoDB lets them |
//! | [`ghosts`] | sessions that died without a word |
//! | [`ledger`] | a way to a server that writes down which function calls what |
//! | [`permitted`] | what each function may call |
//! | [`template`] | the stack that would be deployed |
//! | [`internals`] | what no client may hear of |
//! | [`deadline`] | waiting for something, never longer than a bound |
//!
//! The tests of `end_to_end` share one runtime, so every test uses users and rooms of its own. With the JSON line of a
//! running system in `MADANG_ENDPOINTS` they run on that one instead, whatever broker and tables it has. Run by
//! `infra/kafka/run -- cargo test …` every system uses one Kafka cluster, with topics of its own.

pub mod admin;
pub mod broker;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod contract;
pub mod deadline;
pub mod gate;
pub mod ghosts;
pub mod http;
pub mod internals;
pub mod ledger;
mod passage;
pub mod permitted;
pub mod person;
mod process;
pub mod redis;
pub mod runtime;
mod socket;
pub mod stomp;
pub mod tables;
pub mod tcp;
pub mod template;
pub mod trouble;
mod workspace;

pub use client::Client;
pub use person::Person;
pub use runtime::Runtime;
pub use stomp::Stomp;
pub use workspace::program;
