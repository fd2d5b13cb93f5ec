//! Answers: JSON, or a problem (RFC 9457) with a code of the closed list.

use common::code::Refusal;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

/// A good answer.
pub(crate) struct Answer {
    status: StatusCode,
    body: String,
}

impl Answer {
    /// 200 with a body.
    pub(crate) fn ok(body: &impl Serialize) -> Self {
        Self::with(StatusCode::OK, body)
    }

    /// 201 with a body.
    pub(crate) fn created(body: &impl Serialize) -> Self {
        Self::with(StatusCode::CREATED, body)
    }

    /// 202 with a body: the command stands in Kafka.
    pub(crate) fn accepted(body: &impl Serialize) -> Self {
        Self::with(StatusCode::ACCEPTED, body)
    }

    fn with(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("an answer has string keys and no failing serializer");
        Self { status, body }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        response(self.status, "application/json", self.body)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
}

/// A refusal as a problem.
pub(crate) fn problem(refusal: Refusal, request_id: &str) -> Response<Body> {
    let Refusal { code, field } = refusal;
    let problem = Problem {
        r#type: format!("urn:madang:error:{code}"),
        title: code.sentence(),
        status: code.status(),
        code: code.as_str(),
        request_id,
        field,
    };
    let body = serde_json::to_string(&problem).expect("a problem has string keys and no failing serializer");
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(status, "application/problem+json", body);
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110, section 15.5.2; some clients take no 401 without it.
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if code.retryable() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
