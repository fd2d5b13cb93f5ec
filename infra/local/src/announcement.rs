//! What is said on standard output when all is ready: one line of JSON for scripts, or a few lines for people.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{identifier, token::Signer};

/// How long the tokens of the announcement last.
const TOKEN_EXPIRES_IN_S: i64 = 12 * 3600;
/// The time between two tries to make the ready room.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// Every address; this is the line of JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Addresses {
    /// The WebSocket API.
    pub(crate) websocket: String,
    /// The HTTP API.
    pub(crate) http: String,
    /// The management API.
    pub(crate) management: String,
    /// The Kafka cluster.
    pub(crate) kafka: String,
    /// The DynamoDB endpoint.
    pub(crate) dynamodb: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Room {
    room_id: String,
}

/// Prints the line of JSON.
///
/// # Errors
/// Standard output is closed.
pub(crate) fn print_json(addresses: &Addresses) -> io::Result<()> {
    print(&format!("{}\n", serde_json::to_string(addresses)?))
}

/// Makes the ready room, which may take so long, and prints what a newcomer needs.
///
/// # Errors
/// Standard output is closed.
pub(crate) async fn print_banner(addresses: &Addresses, signer: &Signer, room_limit: Duration) -> io::Result<()> {
    let token = |subject| signer.token(subject, TOKEN_EXPIRES_IN_S, Timestamp::now()).unwrap_or_default();
    let (alice, bob) = (token("alice"), token("bob"));
    let frames = match ready_room(addresses, &alice, room_limit).await {
        Ok(room_id) => frames(&room_id),
        Err(error) => {
            tracing::warn!(error, "the ready room could not be made");
            String::new()
        }
    };
    let Addresses { websocket, http, kafka, dynamodb, .. } = addresses;
    print(&format!(
        r#"
Madang runs, on this machine only and for development only: it never is production.

  page       {http}/
  WebSocket  {websocket}
  HTTP       {http}
  Kafka      {kafka}
  DynamoDB   {dynamodb}

Open the page in two windows, as alice and as bob. Or in two terminals:

  npx wscat -c "{websocket}?token={alice}"
  npx wscat -c "{websocket}?token={bob}"
{frames}
More tokens: {http}/dev/token?sub=carol
Ctrl-C ends it; nothing that was acknowledged is lost.
"#
    ))
}

async fn ready_room(addresses: &Addresses, token: &str, limit: Duration) -> Result<String, String> {
    let deadline = Instant::now() + limit;
    loop {
        let made = tokio::time::timeout_at(deadline, courtyard(addresses, token)).await;
        match made.unwrap_or_else(|_| Err("the HTTP API did not answer".into())) {
            Err(_) if Instant::now() + ROOM_INTERVAL < deadline => tokio::time::sleep(ROOM_INTERVAL).await,
            made => return made,
        }
    }
}

/// The room that is ready at every start: one call with one key, so that it stays the same room with `--data`.
async fn courtyard(addresses: &Addresses, token: &str) -> Result<String, String> {
    let request = Request::post(format!("{}/rooms", addresses.http))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .header("idempotency-key", "courtyard")
        .body(Full::new(Bytes::from_static(br#"{"name":"Courtyard","userIds":["bob"]}"#)))
        .map_err(|error| error.to_string())?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    if !status.is_success() {
        return Err(format!("the HTTP API answered {status}"));
    }
    serde_json::from_slice(&body).map(|room: Room| room.room_id).map_err(|error| error.to_string())
}

fn frames(room_id: &str) -> String {
    let subscribe = serde_json::json!({ "action": "subscribe", "id": "1", "roomId": room_id });
    let send = serde_json::json!({
        // A new id at each start: with `--data` the old one would be the message of the last start again.
        "action": "send", "id": "2", "roomId": room_id, "clientMessageId": identifier::uuid(), "content": "Hello!",
    });
    format!(
        "\nBoth are in a room named Courtyard. Paste the first frame in both, the second in one:\n\n  {subscribe}\n  {send}\n"
    )
}

fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_to_paste_is_a_new_message_at_each_start() {
        assert_ne!(frames("g-1"), frames("g-1"));
    }

    #[test]
    fn the_line_of_json_has_the_promised_fields_in_their_order() {
        let addresses = Addresses {
            websocket: "ws://127.0.0.1:1/local".into(),
            http: "http://127.0.0.1:1".into(),
            management: "http://127.0.0.1:1/local".into(),
            kafka: "127.0.0.1:2".into(),
            dynamodb: "http://127.0.0.1:3".into(),
        };
        assert_eq!(
            serde_json::to_string(&addresses).unwrap(),
            concat!(
                r#"{"websocket":"ws://127.0.0.1:1/local","http":"http://127.0.0.1:1","#,
                r#""management":"http://127.0.0.1:1/local","kafka":"127.0.0.1:2","dynamodb":"http://127.0.0.1:3"}"#
            )
        );
    }
}
