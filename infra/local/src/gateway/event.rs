//! The events that API Gateway hands to functions, field for field.
//!
//! Sources: API Gateway's developer guide, "WebSocket API mapping template reference" and payload format 2.0 of HTTP
//! APIs; the sample events of aws/aws-lambda-rust-runtime. Times are integer milliseconds and the common log format,
//! both in UTC. Request ids are new for every event.

use std::{collections::BTreeMap, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{
    Method, Uri,
    header::{COOKIE, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::STAGE;
use crate::identifier;

const API_ID: &str = "local";
const ACCOUNT_ID: &str = "000000000000";
const DEFAULT: &str = "$default";

/// Request headers that the gateway keeps for itself on `$connect`.
const KEPT_BY_GATEWAY: [&str; 3] = ["connection", "upgrade", "content-length"];

/// What every event of one connection repeats.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The connection's id.
    pub(crate) connection_id: String,
    /// When the connection was asked for.
    pub(crate) connected_at: Timestamp,
    /// Who connects.
    pub(crate) client: Client,
}

/// Who asks, and under which name of this server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// The peer's address.
    pub(crate) source_ip: IpAddr,
    /// The port that was reached.
    pub(crate) port: u16,
    /// The `User-Agent` header.
    pub(crate) user_agent: Option<String>,
    /// The `Host` header.
    pub(crate) host: String,
}

impl Client {
    /// Reads the request's own headers.
    pub(crate) fn new(source_ip: IpAddr, port: u16, headers: &HeaderMap) -> Self {
        let host = headers.get(hyper::header::HOST).map_or_else(|| format!("127.0.0.1:{port}"), text);
        Self { source_ip, port, user_agent: headers.get(USER_AGENT).map(text), host }
    }

    /// The name without a port, as `domainName` has it.
    fn domain_name(&self) -> &str {
        self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name)
    }
}

type Headers = BTreeMap<String, String>;
type MultiValueHeaders = BTreeMap<String, Vec<String>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebSocketEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<MultiValueHeaders>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_string_parameters: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_query_string_parameters: Option<MultiValueHeaders>,
    request_context: WebSocketContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebSocketContext<'a> {
    route_key: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_status_code: Option<u16>,
    event_type: &'static str,
    extended_request_id: &'a str,
    request_time: String,
    message_direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect_reason: Option<&'a str>,
    stage: &'static str,
    connected_at: i64,
    request_time_epoch: i64,
    identity: Identity<'a>,
    request_id: &'a str,
    domain_name: &'a str,
    connection_id: &'a str,
    api_id: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    source_ip: IpAddr,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpEvent<'a> {
    version: &'static str,
    route_key: &'static str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<Vec<String>>,
    headers: Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_string_parameters: Option<Headers>,
    request_context: HttpContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpContext<'a> {
    account_id: &'static str,
    api_id: &'static str,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: HttpDescription<'a>,
    request_id: &'a str,
    route_key: &'static str,
    stage: &'static str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpDescription<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: IpAddr,
    user_agent: &'a str,
}

/// The `$connect` event of a handshake.
pub(crate) fn connect(
    origin: &Origin,
    request_id: &str,
    headers: &HeaderMap,
    query: Option<&str>,
    now: Timestamp,
) -> Bytes {
    let mut multi_value_headers = MultiValueHeaders::new();
    for (name, value) in headers {
        if !KEPT_BY_GATEWAY.contains(&name.as_str()) {
            multi_value_headers.entry(canonical(name)).or_default().push(text(value));
        }
    }
    for (name, value) in added_by_gateway(&origin.client) {
        multi_value_headers.insert(name.into(), vec![value]);
    }
    let query = query.filter(|query| !query.is_empty()).map(pairs);
    let multi_value_query = query.map(|pairs| {
        let mut parameters = MultiValueHeaders::new();
        for (name, value) in pairs {
            parameters.entry(name).or_default().push(value);
        }
        parameters
    });
    let event = WebSocketEvent {
        headers: Some(last_values(&multi_value_headers)),
        multi_value_headers: Some(multi_value_headers),
        query_string_parameters: multi_value_query.as_ref().map(last_values),
        multi_value_query_string_parameters: multi_value_query,
        request_context: context(origin, "$connect", "CONNECT", request_id, now),
        body: None,
        is_base64_encoded: false,
    };
    encoded(&event)
}

/// The `$default` event of a message: without headers and query.
pub(crate) fn message(origin: &Origin, request_id: &str, body: &str, now: Timestamp) -> Bytes {
    let mut context = context(origin, DEFAULT, "MESSAGE", request_id, now);
    context.message_id = Some(identifier::gateway());
    encoded(&bare(context, Some(body)))
}

/// The `$disconnect` event of a closed connection: with four fixed headers.
pub(crate) fn disconnect(origin: &Origin, status_code: u16, reason: &str, now: Timestamp) -> Bytes {
    let request_id = identifier::gateway();
    let mut context = context(origin, "$disconnect", "DISCONNECT", &request_id, now);
    context.disconnect_status_code = Some(status_code);
    context.disconnect_reason = Some(reason);
    let host = origin.client.host.as_str();
    let headers = [("Host", host), ("x-api-key", ""), ("X-Forwarded-For", ""), ("x-restapi", "")];
    let multi_value_headers =
        headers.into_iter().map(|(name, value)| (name.to_owned(), vec![value.to_owned()])).collect();
    let mut event = bare(context, None);
    event.headers = Some(last_values(&multi_value_headers));
    event.multi_value_headers = Some(multi_value_headers);
    encoded(&event)
}

/// The event of a request to the HTTP API. The path stays as it was sent, percent-encoding included.
pub(crate) fn http(
    client: &Client,
    request_id: &str,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    body: &[u8],
    now: Timestamp,
) -> Bytes {
    let raw_query_string = uri.query().unwrap_or_default();
    let (body, is_base64_encoded) = match std::str::from_utf8(body) {
        Ok("") => (None, false),
        Ok(text) => (Some(text.to_owned()), false),
        Err(_) => (Some(STANDARD.encode(body)), true),
    };
    let event = HttpEvent {
        version: "2.0",
        route_key: DEFAULT,
        raw_path: uri.path(),
        raw_query_string,
        cookies: cookies(headers),
        headers: joined_headers(client, headers),
        query_string_parameters: (!raw_query_string.is_empty()).then(|| joined(pairs(raw_query_string))),
        request_context: HttpContext {
            account_id: ACCOUNT_ID,
            api_id: API_ID,
            domain_name: client.domain_name(),
            domain_prefix: client.domain_name().split('.').next().unwrap_or_default(),
            http: HttpDescription {
                method: method.as_str(),
                path: uri.path(),
                protocol: "HTTP/1.1",
                source_ip: client.source_ip,
                user_agent: client.user_agent.as_deref().unwrap_or_default(),
            },
            request_id,
            route_key: DEFAULT,
            stage: DEFAULT,
            time: common_log_time(now),
            time_epoch: now.as_millisecond(),
        },
        body,
        is_base64_encoded,
    };
    encoded(&event)
}

fn context<'a>(
    origin: &'a Origin,
    route_key: &'static str,
    event_type: &'static str,
    request_id: &'a str,
    now: Timestamp,
) -> WebSocketContext<'a> {
    let client = &origin.client;
    WebSocketContext {
        route_key,
        message_id: None,
        disconnect_status_code: None,
        event_type,
        extended_request_id: request_id,
        request_time: common_log_time(now),
        message_direction: "IN",
        disconnect_reason: None,
        stage: STAGE,
        connected_at: origin.connected_at.as_millisecond(),
        request_time_epoch: now.as_millisecond(),
        identity: Identity { user_agent: client.user_agent.as_deref(), source_ip: client.source_ip },
        request_id,
        domain_name: client.domain_name(),
        connection_id: &origin.connection_id,
        api_id: API_ID,
    }
}

fn bare<'a>(request_context: WebSocketContext<'a>, body: Option<&'a str>) -> WebSocketEvent<'a> {
    WebSocketEvent {
        headers: None,
        multi_value_headers: None,
        query_string_parameters: None,
        multi_value_query_string_parameters: None,
        request_context,
        body,
        is_base64_encoded: false,
    }
}

fn encoded(event: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(event).expect("an event holds only strings, numbers and maps with string keys"))
}

fn added_by_gateway(client: &Client) -> [(&'static str, String); 4] {
    [
        ("X-Amzn-Trace-Id", identifier::trace_root()),
        ("X-Forwarded-For", client.source_ip.to_string()),
        ("X-Forwarded-Port", client.port.to_string()),
        ("X-Forwarded-Proto", "http".into()),
    ]
}

/// The header's name as browsers write it, since the server under this only keeps lower case.
fn canonical(name: &HeaderName) -> String {
    let part = |part: &str| match part {
        "websocket" => "WebSocket".to_owned(),
        part => {
            let mut letters = part.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
        }
    };
    name.as_str().split('-').map(part).collect::<Vec<_>>().join("-")
}

fn last_values(multi_values: &MultiValueHeaders) -> Headers {
    let last = |(name, values): (&String, &Vec<String>)| Some((name.clone(), values.last()?.clone()));
    multi_values.iter().filter_map(last).collect()
}

/// Names and values of a query, decoded as forms are.
fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// Payload format 2.0 joins what stands several times by commas.
fn joined(pairs: impl IntoIterator<Item = (String, String)>) -> Headers {
    let mut joined = Headers::new();
    for (name, value) in pairs {
        joined
            .entry(name)
            .and_modify(|values| {
                values.push(',');
                values.push_str(&value);
            })
            .or_insert(value);
    }
    joined
}

fn joined_headers(client: &Client, headers: &HeaderMap) -> Headers {
    let sent = headers.iter().filter(|(name, _)| *name != COOKIE);
    let mut joined = joined(sent.map(|(name, value)| (name.as_str().to_owned(), text(value))));
    joined.extend(added_by_gateway(client).map(|(name, value)| (name.to_ascii_lowercase(), value)));
    joined
}

fn cookies(headers: &HeaderMap) -> Option<Vec<String>> {
    let cookies: Vec<String> = headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|value| text(value).split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    Some(cookies).filter(|cookies| !cookies.is_empty())
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn common_log_time(time: Timestamp) -> String {
    time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests;
