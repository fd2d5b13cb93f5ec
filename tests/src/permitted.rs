//! What each function may do: neither less than it does, nor more. The template grants exactly this (`tests/template`),
//! and the functions do all of it and nothing else when the whole suite runs (`tests/permissions`).

use std::collections::BTreeSet;

/// Something that a function does, or may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The function.
    pub function: String,
    /// On what: a table, an index of one, `@connections`, `topics`, or `topics, made`.
    pub on: String,
    /// What: an operation of DynamoDB, a method of the management API, or the topic that is written to, or made.
    pub what: String,
}

/// A transaction stands here by its parts, as IAM asks for them.
const PERMITTED: [(&str, &str, &[&str]); 25] = [
    (
        "connect",
        "connections",
        &["BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"],
    ),
    ("connect", "@connections", &["DELETE", "GET", "POST"]),
    ("connect", "topics", &["chat-presence"]),
    ("message", "chat", &["BatchGetItem", "ConditionCheckItem", "GetItem", "Query"]),
    ("message", "chat/index/GSI1", &["Query"]),
    (
        "message",
        "connections",
        &[
            "BatchGetItem",
            "BatchWriteItem",
            "ConditionCheckItem",
            "DeleteItem",
            "GetItem",
            "PutItem",
            "Query",
            "UpdateItem",
        ],
    ),
    ("message", "@connections", &["DELETE", "GET", "POST"]),
    ("message", "topics", &["chat-messages", "chat-presence", "chat-read-events"]),
    ("disconnect", "connections", &["BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query"]),
    ("disconnect", "topics", &["chat-presence"]),
    ("consumer", "chat", &["BatchGetItem", "ConditionCheckItem", "DeleteItem", "GetItem", "PutItem", "UpdateItem"]),
    ("consumer", "chat/index/GSI1", &["Query"]),
    (
        "consumer",
        "connections",
        &["BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"],
    ),
    ("consumer", "@connections", &["DELETE", "POST"]),
    ("consumer", "topics", &["chat-messages-dlt", "chat-presence"]),
    ("api", "chat", &["BatchGetItem", "GetItem", "PutItem", "Query"]),
    ("api", "chat/index/GSI1", &["Query"]),
    ("api", "connections", &["BatchGetItem"]),
    ("api", "topics", &["chat-messages", "chat-read-events"]),
    ("sweeper", "chat", &["GetItem"]),
    ("sweeper", "connections", &["BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"]),
    ("sweeper", "connections/index/GSI2", &["Query"]),
    ("sweeper", "@connections", &["DELETE", "POST"]),
    ("sweeper", "topics", &["chat-presence"]),
    ("provision", "topics, made", &["chat-messages", "chat-messages-dlt", "chat-presence", "chat-read-events"]),
];

/// Every call that is permitted.
#[must_use]
pub fn permitted() -> BTreeSet<Call> {
    let call =
        |function: &str, on: &str, what: &str| Call { function: function.into(), on: on.into(), what: what.into() };
    PERMITTED.iter().flat_map(|(function, on, whats)| whats.iter().map(move |what| call(function, on, what))).collect()
}
