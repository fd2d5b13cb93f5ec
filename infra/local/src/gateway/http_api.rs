//! The HTTP API: one `$default` route in front of the function `api`, payload format 2.0.

use std::net::IpAddr;

use http_body_util::{BodyExt as _, Limited};
use hyper::{Request, StatusCode, body::Incoming, header::HeaderValue};
use jiff::Timestamp;

use super::{
    Answer, Gateway, IntegrationError,
    event::{self, Client},
    response::{ProxyResponse, message},
};
use crate::identifier;

/// The largest request. Source: API Gateway quotas, payload size of an HTTP API.
const REQUEST_LIMIT_BYTES: usize = 10 * 1024 * 1024;
/// What a body without a content type is.
const DEFAULT_CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// Answers a request by the function `api`.
pub(super) async fn answer(gateway: &Gateway, source_ip: IpAddr, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, REQUEST_LIMIT_BYTES).collect().await else {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    };
    let request_id = identifier::gateway();
    let client = Client::new(source_ip, gateway.port, &head.headers);
    let request = (&head.method, &head.uri, &head.headers);
    let event = event::http(&client, &request_id, request, &body.to_bytes(), Timestamp::now());
    let mut answer = match gateway.invoke("api", event).await {
        Ok(answer) => match ProxyResponse::of_http(&answer) {
            Ok(response) => response.into_answer(DEFAULT_CONTENT_TYPE),
            Err(error) => {
                tracing::error!(request_id, %error, "an HTTP request failed");
                message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
            }
        },
        Err(IntegrationError::TimedOut | IntegrationError::Unavailable) => {
            message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
        Err(IntegrationError::Failed) => message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
    };
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        answer.headers_mut().insert("apigw-requestid", value);
    }
    answer
}
