//! What CloudFormation asks of a custom resource, and what it is answered. Source: CloudFormation's user guide, custom
//! resource request and response objects.

use serde::{Deserialize, Serialize};

/// A custom resource's name when it has none yet. There is one cluster a stack, so it never changes.
const PHYSICAL_ID: &str = "topics";

/// What CloudFormation wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum RequestType {
    /// The stack gets topics.
    Create,
    /// Something about them has changed.
    Update,
    /// The stack goes.
    Delete,
}

/// A request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Event {
    /// What is wanted.
    pub(crate) request_type: RequestType,
    /// Where the answer goes; whoever has it can answer, so it is never logged.
    #[serde(rename = "ResponseURL")]
    pub(crate) response_url: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    physical_resource_id: Option<String>,
}

/// An answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer<'a> {
    status: &'static str,
    reason: &'a str,
    physical_resource_id: &'a str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
}

impl Event {
    /// The answer to this request; what failed is a sentence that the stack's events show.
    pub(crate) fn answer<'a>(&'a self, outcome: &'a Result<(), String>) -> Answer<'a> {
        let (status, reason) = match outcome {
            Ok(()) => ("SUCCESS", ""),
            Err(reason) => ("FAILED", reason.as_str()),
        };
        Answer {
            status,
            reason,
            physical_resource_id: self.physical_resource_id.as_deref().unwrap_or(PHYSICAL_ID),
            stack_id: &self.stack_id,
            request_id: &self.request_id,
            logical_resource_id: &self.logical_resource_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_names_its_request() {
        let path = format!("{}/../../events/custom-resource.json", env!("CARGO_MANIFEST_DIR"));
        let event: Event = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(event.request_type, RequestType::Create);
        let failed = Err("no broker answers".to_owned());
        let expected = |status: &str, reason: &str| {
            json!({
                "Status": status, "Reason": reason, "PhysicalResourceId": "topics", "LogicalResourceId": "Topics",
                "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/madang/5b918d10-cd98-11ea-90d5-0a9cd3354c10",
                "RequestId": "afd8d7c5-9376-4013-8b3b-307517b8719e",
            })
        };
        assert_eq!(json!(event.answer(&Ok(()))), expected("SUCCESS", ""));
        assert_eq!(json!(event.answer(&failed)), expected("FAILED", "no broker answers"));
    }
}
