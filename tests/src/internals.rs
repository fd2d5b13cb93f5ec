//! What no client may hear of.

use serde_json::Value;

/// Names of what is behind the system, and of its settings.
const INTERNALS: [&str; 14] = [
    "127.0.0.1",
    "DynamoDB",
    "CHAT_TABLE",
    "MANAGEMENT",
    "ResourceNotFound",
    "amazonaws",
    "kafka",
    "Kafka",
    "KAFKA_",
    "SASL",
    "AWS_",
    "arn:",
    "Exception",
    "credential",
];

/// Checks that an answer says nothing of what is behind it.
///
/// # Panics
/// It does.
pub fn assert_tells_nothing(answer: &Value) {
    let text = answer.to_string();
    for internal in INTERNALS {
        assert!(!text.contains(internal), "{text}");
    }
}
