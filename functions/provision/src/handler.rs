//! The topics, and the answer to CloudFormation, which waits for one whatever happens.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use common::config::{ConfigError, Environment, KafkaConfig, topic_care};
use common::http::Client;
use topics::{Risk, TopicError};

use crate::event::{Event, RequestType};

/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The topics are not as they should be.
#[derive(Debug, thiserror::Error)]
enum ProvisionError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// CloudFormation did not take the answer. The platform then invokes the function again, which is safe.
#[derive(Debug, thiserror::Error)]
#[error("CloudFormation has not taken the answer: {0}")]
pub(crate) struct UnansweredError(&'static str);

/// What the function works with.
pub(crate) struct Provision {
    /// Read at each request, so that a wrong setting is an answer, too.
    pub(crate) environment: Environment,
}

impl Provision {
    /// Does what is wanted, and answers.
    ///
    /// # Errors
    /// The answer was not taken.
    pub(crate) async fn handle(&self, event: Event) -> Result<(), UnansweredError> {
        let outcome = match event.request_type {
            RequestType::Create | RequestType::Update => self.apply().await,
            // They hold what was acknowledged.
            RequestType::Delete => Ok(()),
        };
        match &outcome {
            Ok(()) => tracing::info!(request = ?event.request_type, "the topics are as declared"),
            Err(error) => tracing::error!(%error, "the topics are not as declared"),
        }
        answer(&event, &outcome.map_err(|error| error.to_string())).await
    }

    async fn apply(&self) -> Result<(), ProvisionError> {
        let environment = &self.environment;
        let (config, care) = (KafkaConfig::new(environment)?, topic_care(environment)?);
        let tell = |risk: &Risk| tracing::warn!(%risk, "acknowledged records may be lost");
        topics::see_to(care, &config.client, &config.context, config.topics(), tell).await?;
        Ok(())
    }
}

async fn answer(event: &Event, outcome: &Result<(), String>) -> Result<(), UnansweredError> {
    let body = serde_json::to_vec(&event.answer(outcome)).map_err(|_| UnansweredError("it cannot be written"))?;
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_uri(event.response_url.as_str()).map_err(|_| UnansweredError("not a URL"))?;
    request.set_method("PUT").map_err(|_| UnansweredError("not a method"))?;
    let taken = tokio::time::timeout(ANSWER_TIMEOUT, Client::default().call(request)).await;
    let taken = taken.map_err(|_| UnansweredError("too slow"))?.map_err(UnansweredError)?;
    if taken.is_success() { Ok(()) } else { Err(UnansweredError("refused")) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What CloudFormation hears: the request's first line, and the answer.
    async fn heard(request_type: &str, settings: &[(&str, &str)]) -> (String, Value) {
        let cloud_formation = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let event: Event = serde_json::from_value(json!({
            "RequestType": request_type, "StackId": "stack", "RequestId": "request", "LogicalResourceId": "Topics",
            "ResponseURL": format!("http://{}/sample", cloud_formation.local_addr().unwrap()),
        }))
        .unwrap();
        let listening = async {
            let (mut stream, _) = cloud_formation.accept().await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"}") {
                assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0, "no answer");
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8(text).unwrap()
        };
        let provision = Provision { environment: Environment::of_pairs(settings) };
        let (text, outcome) = tokio::join!(listening, provision.handle(event));
        outcome.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn a_wrong_setting_is_an_answer() {
        let (line, answer) = heard("Create", &[]).await;
        assert_eq!(line, "PUT /sample HTTP/1.1");
        assert_eq!(answer["Status"], "FAILED");
        let reason = answer["Reason"].as_str().unwrap();
        assert!(reason.starts_with("the environment variable KAFKA_BOOTSTRAP_SERVERS is not set"), "{reason}");
    }

    #[tokio::test]
    async fn a_cluster_that_is_away_is_an_answer() {
        let settings = [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"), ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT")];
        let (_, answer) = heard("Update", &settings).await;
        assert_eq!(answer["Status"], "FAILED");
        assert!(answer["Reason"].as_str().unwrap().starts_with("no broker answers at 127.0.0.1:1"), "{answer}");
    }

    #[tokio::test]
    async fn topics_stay_when_the_stack_goes() {
        let (_, answer) = heard("Delete", &[]).await;
        assert_eq!((&answer["Status"], &answer["PhysicalResourceId"]), (&json!("SUCCESS"), &json!("topics")));
    }
}
