//! Posting frames to connections: the one module that names the management API.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::config::timeout::TimeoutConfig;
use aws_sdk_apigatewaymanagement::config::{BehaviorVersion, Region};
use aws_sdk_apigatewaymanagement::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_sdk_apigatewaymanagement::{Client, Config};

use crate::complaint::Complaint;
use crate::config::OutboundConfig;
use crate::id::ConnectionId;
use crate::metrics::{Count, Metrics};
use crate::time::limit_ms;

/// How long one post may take: a connection that needs longer is slow, not its room.
const POST_TIMEOUT: Duration = limit_ms(1_000);

/// A frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The connection is no more, or not yet.
    #[error("the connection is gone")]
    Gone,
    /// The connection or the API is too slow or failing now.
    #[error("the connection does not take frames now")]
    Slow,
    /// The API refuses the call itself: endpoint, stage, credentials or permission are wrong.
    #[error("the management API refuses the call: check MANAGEMENT_ENDPOINT and execute-api:ManageConnections")]
    Refused,
}

/// Posts frames, asks about connections and closes them.
pub struct Outbound {
    client: Client,
    complaint: Complaint,
    metrics: Arc<Metrics>,
}

impl Outbound {
    /// Makes the client.
    #[must_use]
    pub fn new(config: OutboundConfig, metrics: Arc<Metrics>) -> Self {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.aws.region))
            .credentials_provider(config.aws.credentials)
            .endpoint_url(config.endpoint)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(POST_TIMEOUT).build())
            .build();
        Self { client: Client::from_conf(config), complaint: Complaint::new(), metrics }
    }

    /// Posts one frame.
    ///
    /// # Errors
    /// Why it was not taken; there is no retry here.
    pub async fn post(&self, connection: &ConnectionId, frame: &[u8]) -> Result<(), PostError> {
        let post = self.client.post_to_connection().connection_id(connection.as_str()).data(Blob::new(frame));
        self.metrics.add(Count::Posts, 1);
        post.send().await.map(|_| ()).map_err(|error| self.classify(&error))
    }

    /// Asks whether a connection is open.
    ///
    /// # Errors
    /// [`PostError::Gone`] when it is not; else why that could not be found out.
    pub async fn ask_about(&self, connection: &ConnectionId) -> Result<(), PostError> {
        let get = self.client.get_connection().connection_id(connection.as_str());
        get.send().await.map(|_| ()).map_err(|error| self.classify(&error))
    }

    /// Closes a connection.
    ///
    /// # Errors
    /// Why it could not be closed.
    pub async fn close(&self, connection: &ConnectionId) -> Result<(), PostError> {
        let close = self.client.delete_connection().connection_id(connection.as_str());
        close.send().await.map(|_| ()).map_err(|error| self.classify(&error))
    }

    fn classify<E: ProvideErrorMetadata, R>(&self, error: &SdkError<E, R>) -> PostError {
        match error {
            SdkError::ServiceError(service) => match service.err().code() {
                Some("GoneException") => PostError::Gone,
                Some("ForbiddenException" | "AccessDeniedException") => {
                    self.complaint.say(
                        "the management API refuses calls: MANAGEMENT_ENDPOINT must name this API and its stage, and the \
                         role have execute-api:ManageConnections",
                    );
                    PostError::Refused
                }
                Some(
                    "UnrecognizedClientException"
                    | "MissingAuthenticationTokenException"
                    | "InvalidSignatureException"
                    | "ExpiredTokenException",
                ) => {
                    self.complaint.say(
                        "the management API refuses the credentials: MANAGEMENT_ENDPOINT must be in AWS_REGION, and \
                         AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN those of the role, which Lambda \
                         sets",
                    );
                    PostError::Refused
                }
                _ => PostError::Slow,
            },
            SdkError::DispatchFailure(failure) if !failure.is_timeout() => {
                self.complaint.say(
                    "the management API cannot be reached: look at MANAGEMENT_ENDPOINT, and at the function's way to the \
                     network",
                );
                PostError::Slow
            }
            _ => PostError::Slow,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::Environment;

    /// What comes of a post when the API answers so.
    async fn post(status: u16, kind: &'static str) -> Result<(), PostError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}/prod", listener.local_addr().unwrap());
        let environment = Environment::of_pairs(&[
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("MANAGEMENT_ENDPOINT", &endpoint),
        ]);
        let metrics = Arc::new(Metrics::new("consumer".to_owned()));
        let outbound = Outbound::new(OutboundConfig::new(&environment).unwrap(), metrics);
        let answer = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let body = r#"{"message":"as the service says it"}"#;
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} x\r\nx-amzn-errortype: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let connection = "connection".parse().unwrap();
        tokio::join!(outbound.post(&connection, b"{}"), answer).0
    }

    /// Credentials and regions that are refused were taken for clients that are slow, and nothing was said.
    #[tokio::test]
    async fn refusals_of_the_call_are_told_from_slow_connections() {
        for kind in [
            "ForbiddenException",
            "AccessDeniedException",
            "InvalidSignatureException",
            "UnrecognizedClientException",
            "MissingAuthenticationTokenException",
            "ExpiredTokenException",
        ] {
            assert_eq!(post(403, kind).await, Err(PostError::Refused), "{kind}");
        }
        assert_eq!(post(410, "GoneException").await, Err(PostError::Gone));
        assert_eq!(post(429, "LimitExceededException").await, Err(PostError::Slow));
        assert_eq!(post(500, "InternalServerErrorException").await, Err(PostError::Slow));
    }
}
