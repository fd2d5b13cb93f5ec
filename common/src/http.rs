//! Calls over HTTP that no client of AWS's makes: for key sets, to collectors of traces and to CloudFormation. TLS as
//! those clients have it.

use std::fmt;

use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::{Bytes, BytesMut};

/// The longest body that is taken (ours: a key set has some kilobytes).
const RESPONSE_MAX_BYTES: usize = 262_144;

/// A client; it keeps its connections.
pub struct Client(Connector);

/// What came back.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the call was taken.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Default for Client {
    fn default() -> Self {
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        Self(Connector::builder().tls_provider(tls).build())
    }
}

impl Client {
    /// One call. It has no limit of time of its own.
    ///
    /// # Errors
    /// Why there is no whole answer.
    pub async fn call(&self, request: HttpRequest) -> Result<Answer, &'static str> {
        let response = self.0.call(request).await.map_err(|_| "no answer")?;
        let status = response.status().as_u16();
        let mut parts = ByteStream::new(response.into_body());
        let mut body = BytesMut::new();
        while let Some(part) = parts.next().await {
            body.extend_from_slice(&part.map_err(|_| "broken off")?);
            if body.len() > RESPONSE_MAX_BYTES {
                return Err("too large");
            }
        }
        Ok(Answer { status, body: body.freeze() })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Client")
    }
}
