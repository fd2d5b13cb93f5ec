//! Calls over HTTP that are not AWS's: key sets, and collectors of traces. TLS as the AWS clients have it.

use std::fmt;

use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;

/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 262_144;

/// A client; it keeps its connections.
pub(crate) struct Client(Connector);

/// What came back.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The whole body.
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new() -> Self {
        let tls = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        Self(Connector::builder().tls_provider(tls).build())
    }

    /// One call. It has no limit of time of its own.
    ///
    /// # Errors
    /// Why there is no whole answer.
    pub(crate) async fn call(&self, request: HttpRequest) -> Result<Answer, &'static str> {
        let response = self.0.call(request).await.map_err(|_| "no answer")?;
        let status = response.status().as_u16();
        let body = ByteStream::new(response.into_body()).collect().await.map_err(|_| "broken off")?.into_bytes();
        if body.len() > ANSWER_MAX_BYTES { Err("too large") } else { Ok(Answer { status, body }) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Client")
    }
}
