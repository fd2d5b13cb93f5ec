//! The few frames of `chat.v1.json` that load is made of.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

/// One message of one run: its identity on the wire, and its place in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageTag {
    /// Which run.
    pub(crate) run: u32,
    /// Which message of the run, from 0.
    pub(crate) number: u32,
}

impl MessageTag {
    /// As `id` and as the tail of a `clientMessageId`.
    fn text(self) -> String {
        format!("{}.{}", self.run, self.number)
    }

    /// Reads it back from an `id`, or from a `clientMessageId` that a `-` separates from what stands before.
    fn read(text: &str) -> Option<Self> {
        let (run, number) = text.rsplit('-').next()?.split_once('.')?;
        Some(Self { run: run.parse().ok()?, number: number.parse().ok()? })
    }
}

/// A `send` frame. `session` tells this load from another one on the same rooms.
pub(crate) fn send(room_id: &str, session: &str, tag: MessageTag, content: &str) -> String {
    let tag = tag.text();
    let client_message_id = format!("{session}-{tag}");
    json!({"action": "send", "id": tag, "roomId": room_id, "clientMessageId": client_message_id, "content": content})
        .to_string()
}

/// A `subscribe` frame.
pub(crate) fn subscribe(room_id: &str) -> String {
    json!({"action": "subscribe", "id": "subscribe", "roomId": room_id}).to_string()
}

/// The fault of a connection that ended, which no frame tells.
pub(crate) const CONNECTION_CLOSED: &str = "connection_closed";

/// What a server frame says, as far as load cares.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The message is in Kafka.
    Ack(MessageTag),
    /// The room's log stands at this seq, and this connection hears what follows.
    Subscribed(u64),
    /// Events with their seq and, when they are ours, their message.
    Events(Vec<(u64, Option<MessageTag>)>),
    /// Something went wrong: a code, and the message that it was about.
    Fault(String, Option<MessageTag>),
    /// Nothing of interest.
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerFrame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_message_id: Option<Cow<'a, str>>,
    last_seq: Option<u64>,
    #[serde(borrow, default)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    seq: u64,
    #[serde(borrow)]
    client_message_id: Option<Cow<'a, str>>,
}

/// Reads one server frame. `session` tells our own messages from others.
pub(crate) fn read(text: &str, session: &str) -> Heard {
    if text.is_empty() {
        return Heard::Other;
    }
    let Ok(frame) = serde_json::from_str::<ServerFrame<'_>>(text) else {
        return Heard::Fault("undecodable".to_owned(), None);
    };
    let ours = |id: &Option<Cow<'_, str>>| MessageTag::read(id.as_deref()?.strip_prefix(session)?);
    let answered = frame.id.as_deref().and_then(MessageTag::read);
    match frame.kind.as_deref() {
        Some("ack") => answered.map_or(Heard::Other, Heard::Ack),
        Some("subscribed") => Heard::Subscribed(frame.last_seq.unwrap_or_default()),
        Some("events") => {
            Heard::Events(frame.events.iter().map(|event| (event.seq, ours(&event.client_message_id))).collect())
        }
        Some(kind @ ("error" | "nack" | "bye" | "resync")) => {
            let code = frame.code.as_deref().unwrap_or(kind).to_owned();
            Heard::Fault(code, answered.or_else(|| ours(&frame.client_message_id)))
        }
        Some(_) => Heard::Other,
        // The gateway's own frames have no type.
        None => Heard::Fault("service_error".to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back() {
        let tag = MessageTag { run: 3, number: 41 };
        let frame: serde_json::Value = serde_json::from_str(&send("room", "s-1", tag, "hi")).unwrap();
        assert_eq!(frame["clientMessageId"], "s-1-3.41");
        let check = |text: &str, expected| assert_eq!(read(text, "s-1"), expected, "{text}");
        check(r#"{"type":"ack","id":"3.41","commandId":"x","clientMessageId":"s-1-3.41"}"#, Heard::Ack(tag));
        check(
            r#"{"type":"events","roomId":"r","epoch":"e","events":[{"seq":7,"clientMessageId":"s-1-3.41"},{"seq":8}]}"#,
            Heard::Events(vec![(7, Some(tag)), (8, None)]),
        );
        check(r#"{"type":"events","events":[{"seq":7,"clientMessageId":"s-2-3.41"}]}"#, Heard::Events(vec![(7, None)]));
        check(r#"{"type":"subscribed","id":"subscribe","lastSeq":4}"#, Heard::Subscribed(4));
        check(r#"{"type":"error","id":"3.41","code":"unavailable"}"#, Heard::Fault("unavailable".into(), Some(tag)));
        check(r#"{"type":"resync","roomId":"r","lastSeq":4}"#, Heard::Fault("resync".into(), None));
        check(r#"{"message": "Forbidden", "connectionId":"a"}"#, Heard::Fault("service_error".into(), None));
        check(r#"{"type":"notice"}"#, Heard::Other);
        check("", Heard::Other);
        check("not json", Heard::Fault("undecodable".into(), None));
    }
}
