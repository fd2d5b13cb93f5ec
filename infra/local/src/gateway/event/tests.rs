//! The events against the project's samples: the same keys, at every depth, with the same JSON types.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// Headers that the gateway adds or the client library sets for this connection.
const NOT_SENT: [&str; 4] = ["X-Amzn-Trace-Id", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"];

fn sample(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn origin() -> Origin {
    let client = Client {
        source_ip: [127, 0, 0, 1].into(),
        port: 8787,
        user_agent: Some("a browser".into()),
        host: "localhost:8787".into(),
    };
    Origin { connection_id: identifier::gateway(), connected_at: Timestamp::now(), client }
}

fn sent_headers(sample: &Value) -> HeaderMap {
    let headers = sample["headers"].as_object().unwrap();
    let sent = headers.iter().filter(|(name, _)| !NOT_SENT.iter().any(|added| added.eq_ignore_ascii_case(name)));
    sent.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap())).collect()
}

fn shape(path: &str, value: &Value, into: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(values) => {
            values.iter().for_each(|value| shape(&format!("{path}[]"), value, into));
            "array"
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| shape(&format!("{path}.{name}"), value, into));
            "object"
        }
    };
    into.insert(format!("{path}: {kind}"));
}

fn check(event: &Bytes, sample: &Value) {
    let (mut built, mut expected) = (BTreeSet::new(), BTreeSet::new());
    shape("", &serde_json::from_slice(event).unwrap(), &mut built);
    shape("", sample, &mut expected);
    assert_eq!(built, expected);
}

#[test]
fn connect_is_the_sample() {
    let sample = sample(include_str!("../../../../../events/websocket-connect.json"));
    let event = connect(&origin(), "id", &sent_headers(&sample), None, Timestamp::now());
    check(&event, &sample);
}

#[test]
fn connect_with_a_query_is_the_sample() {
    let sample = sample(include_str!("../../../../../events/websocket-connect-token.json"));
    let event = connect(&origin(), "id", &sent_headers(&sample), Some("token=abc"), Timestamp::now());
    check(&event, &sample);
}

#[test]
fn message_is_the_sample() {
    let sample = sample(include_str!("../../../../../events/websocket-message.json"));
    let body = sample["body"].as_str().unwrap();
    let event = message(&origin(), "id", body, Timestamp::now());
    check(&event, &sample);
    assert_eq!(serde_json::from_slice::<Value>(&event).unwrap()["body"], sample["body"]);
}

#[test]
fn disconnect_is_the_sample() {
    let sample = sample(include_str!("../../../../../events/websocket-disconnect.json"));
    check(&disconnect(&origin(), 1001, "Going away", Timestamp::now()), &sample);
}

#[test]
fn http_is_the_sample() {
    let sample = sample(include_str!("../../../../../events/http-request.json"));
    let headers = sent_headers(&sample);
    let body = sample["body"].as_str().unwrap();
    let request = (&Method::POST, &Uri::from_static("/rooms"), &headers);
    check(&http(&origin().client, "id", request, body.as_bytes(), Timestamp::now()), &sample);
}

#[test]
fn times_are_those_of_the_platform() {
    let time = Timestamp::from_millisecond(1_708_326_702_789).unwrap();
    let event: Value = serde_json::from_slice(&message(&origin(), "id", "", time)).unwrap();
    assert_eq!(event["requestContext"]["requestTime"], "19/Feb/2024:07:11:42 +0000");
    assert_eq!(event["requestContext"]["requestTimeEpoch"], 1_708_326_702_789_i64);
    assert_eq!(event["requestContext"]["domainName"], "localhost");
}

#[test]
fn header_names_have_the_case_that_browsers_write() {
    for (name, expected) in [("sec-websocket-key", "Sec-WebSocket-Key"), ("host", "Host"), ("user-agent", "User-Agent")]
    {
        assert_eq!(canonical(&name.parse().unwrap()), expected);
    }
}

/// Sources: aws/aws-lambda-rust-runtime#668 and aws-powertools/powertools-lambda-python#1098.
#[test]
fn paths_stay_encoded_and_queries_are_decoded_once() {
    let uri: Uri = "/rooms/a%2Fb/messages?cursor=a%2Bb%3D%3D&name=za%C5%BC&x=%ZZ&limit=1&limit=2".parse().unwrap();
    let request = (&Method::GET, &uri, &HeaderMap::new());
    let event: Value = serde_json::from_slice(&http(&origin().client, "id", request, b"", Timestamp::now())).unwrap();
    assert_eq!(event["rawPath"], "/rooms/a%2Fb/messages");
    assert_eq!(event["rawQueryString"], uri.query().unwrap());
    let parameters = &event["queryStringParameters"];
    assert_eq!(parameters["cursor"], "a+b==");
    assert_eq!(parameters["name"], "zaż");
    assert_eq!(parameters["x"], "%ZZ");
    assert_eq!(parameters["limit"], "1,2");
    assert_eq!(event.get("body"), None);
}

#[test]
fn bodies_that_are_no_text_are_base64() {
    let request = (&Method::PUT, &Uri::from_static("/"), &HeaderMap::new());
    let event: Value =
        serde_json::from_slice(&http(&origin().client, "id", request, b"\xff\x00", Timestamp::now())).unwrap();
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&Value::from("/wA="), &Value::from(true)));
}

#[test]
fn cookies_stand_apart() {
    let headers = HeaderMap::from_iter([(COOKIE, "a=1; b=2".parse().unwrap())]);
    let request = (&Method::GET, &Uri::from_static("/"), &headers);
    let event: Value = serde_json::from_slice(&http(&origin().client, "id", request, b"", Timestamp::now())).unwrap();
    assert_eq!(event["cookies"], serde_json::json!(["a=1", "b=2"]));
    assert_eq!(event["headers"].get("cookie"), None);
}
