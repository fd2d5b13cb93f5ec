//! What a function answers to the gateway, and what the gateway says by itself.
//!
//! Sources: API Gateway's developer guide, "Set up route responses for WebSocket APIs" and payload format 2.0 of HTTP
//! APIs; the reference of the API Gateway Management API. The frames that the gateway says by itself are in no guide,
//! but in reports such as aws-samples/simple-websockets-chat-app#24.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An answer to a client of the gateway.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Headers that belong to the gateway's own connection, whatever a function says.
const OWN_HEADERS: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

/// A function's proxy response.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ProxyResponse {
    status_code: Option<u16>,
    headers: Option<Map<String, Value>>,
    multi_value_headers: Option<Map<String, Value>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// A function's answer that is no proxy response.
#[derive(Debug, thiserror::Error)]
#[error("the function's answer is no proxy response")]
pub(super) struct Malformed;

impl ProxyResponse {
    /// Reads a response to a WebSocket event: an object with a status.
    pub(super) fn of_websocket(answer: &[u8]) -> Result<Self, Malformed> {
        let response: Self = serde_json::from_slice(answer).map_err(|_| Malformed)?;
        if response.status().is_some() { Ok(response) } else { Err(Malformed) }
    }

    /// Reads a response to an HTTP event. Anything without a status is the body of a 200, as payload format 2.0 has it.
    pub(super) fn of_http(answer: &[u8]) -> Result<Self, Malformed> {
        let value: Value = serde_json::from_slice(answer).map_err(|_| Malformed)?;
        if value.get("statusCode").is_some() {
            return Self::of_websocket(answer);
        }
        let headers = Map::from_iter([("content-type".into(), Value::from("application/json"))]);
        let body = match value {
            Value::String(text) => text,
            value => value.to_string(),
        };
        Ok(Self { status_code: Some(200), headers: Some(headers), body: Some(body), ..Self::default() })
    }

    fn status(&self) -> Option<StatusCode> {
        self.status_code.filter(|code| (200..1000).contains(code)).and_then(|code| StatusCode::from_u16(code).ok())
    }

    pub(super) fn is_success(&self) -> bool {
        self.status().is_some_and(|status| status.is_success())
    }

    /// The header of this name, in either map, whatever its case.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.header_pairs().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as text, `None` when it is absent, empty or not text.
    pub(super) fn text(&self) -> Option<String> {
        String::from_utf8(self.body_bytes()?).ok().filter(|text| !text.is_empty())
    }

    /// The whole response, for an HTTP client.
    pub(super) fn into_answer(self, default_content_type: &'static str) -> Answer {
        let mut answer = Response::new(Full::from(Bytes::from(self.body_bytes().unwrap_or_default())));
        *answer.status_mut() = self.status().unwrap_or(StatusCode::BAD_GATEWAY);
        for (name, value) in self.header_pairs() {
            let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) else { continue };
            if !OWN_HEADERS.contains(&name) {
                answer.headers_mut().append(name, value);
            }
        }
        for cookie in self.cookies.iter().flatten().filter_map(|cookie| HeaderValue::from_str(cookie).ok()) {
            answer.headers_mut().append(SET_COOKIE, cookie);
        }
        let content_type = HeaderValue::from_static(default_content_type);
        answer.headers_mut().entry(CONTENT_TYPE).or_insert(content_type);
        answer
    }

    fn body_bytes(&self) -> Option<Vec<u8>> {
        let body = self.body.as_ref()?;
        if self.is_base64_encoded == Some(true) { STANDARD.decode(body).ok() } else { Some(body.clone().into_bytes()) }
    }

    fn header_pairs(&self) -> impl Iterator<Item = (String, String)> {
        let single = self.headers.iter().flatten().map(|(name, value)| (name, vec![value]));
        let multi = self.multi_value_headers.iter().flatten().map(move |(name, value)| (name, listed(value)));
        // A name that stands in both maps counts as the list has it.
        let in_both =
            |name: &str| self.multi_value_headers.iter().flatten().any(|(listed, _)| listed.eq_ignore_ascii_case(name));
        single
            .filter(move |(name, _)| !in_both(name))
            .chain(multi)
            .flat_map(|(name, values)| values.into_iter().filter_map(move |value| Some((name.clone(), plain(value)?))))
    }
}

fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("an answer holds only strings, numbers and maps with string keys");
    let mut answer = Response::new(Full::from(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer of the form that the gateway itself gives.
pub(crate) fn message(status: StatusCode, message: &str) -> Answer {
    json(status, &serde_json::json!({ "message": message }))
}

/// An error of the `@connections` API; SDKs take its name from the header.
pub(super) fn exception(status: StatusCode, name: &'static str, text: &str) -> Answer {
    let mut answer = message(status, text);
    answer.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(name));
    answer
}

/// The frame that tells a client of a failed message, byte for byte as the platform spaces it.
pub(super) fn internal_server_error(connection_id: &str, request_id: &str) -> String {
    format!(r#"{{"message": "Internal server error", "connectionId":"{connection_id}", "requestId":"{request_id}"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn websocket(answer: &str) -> ProxyResponse {
        ProxyResponse::of_websocket(answer.as_bytes()).unwrap()
    }

    #[test]
    fn a_header_is_found_in_either_map() {
        for answer in [
            r#"{"statusCode":200,"headers":{"Sec-WebSocket-Protocol":"chat.v1.json"}}"#,
            r#"{"statusCode":200,"headers":{},"multiValueHeaders":{"sec-websocket-protocol":["chat.v1.json"]}}"#,
        ] {
            assert_eq!(websocket(answer).header("Sec-WebSocket-Protocol").as_deref(), Some("chat.v1.json"));
        }
        assert_eq!(websocket(r#"{"statusCode":200,"headers":null}"#).header("Sec-WebSocket-Protocol"), None);
    }

    #[test]
    fn bodies_are_text_or_nothing() {
        assert_eq!(websocket(r#"{"statusCode":200,"body":"hi"}"#).text().as_deref(), Some("hi"));
        assert_eq!(websocket(r#"{"statusCode":200,"body":""}"#).text(), None);
        assert_eq!(websocket(r#"{"statusCode":200,"body":null}"#).text(), None);
        let encoded = r#"{"statusCode":200,"body":"aGk=","isBase64Encoded":true}"#;
        assert_eq!(websocket(encoded).text().as_deref(), Some("hi"));
    }

    #[test]
    fn what_is_no_proxy_response_is_malformed() {
        for answer in ["null", "[]", "{}", r#"{"statusCode":"x"}"#, r#"{"statusCode":99}"#, "not json"] {
            assert!(ProxyResponse::of_websocket(answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn http_answers_keep_status_headers_and_cookies() {
        let answer = r#"{"statusCode":201,"headers":{"content-type":"application/json","x-a":"1","content-length":"9"},
            "multiValueHeaders":{"x-a":["1","2"]},"cookies":["a=1","b=2"],"body":"{}"}"#;
        let answer = ProxyResponse::of_http(answer.as_bytes()).unwrap().into_answer("text/plain");
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(answer.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(answer.headers().get_all(SET_COOKIE).iter().count(), 2);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        assert!(!answer.headers().contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn an_http_answer_without_a_status_is_a_body() {
        let answer = ProxyResponse::of_http(br#"{"a":1}"#).unwrap();
        assert_eq!((answer.is_success(), answer.text().as_deref()), (true, Some(r#"{"a":1}"#)));
    }

    #[test]
    fn the_service_frame_is_spaced_as_the_platform_does() {
        assert_eq!(
            internal_server_error("PbTkjcISoAMCJNQ=", "PbTk7ET8IAMFs2g="),
            r#"{"message": "Internal server error", "connectionId":"PbTkjcISoAMCJNQ=", "requestId":"PbTk7ET8IAMFs2g="}"#
        );
    }
}
