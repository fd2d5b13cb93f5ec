//! Server frames: CONNECTED, MESSAGE, RECEIPT and ERROR as text.
//!
//! Nothing needs an escape in any version, since some clients undo escapes wrongly or not at all: ids are of unreserved
//! characters, users are percent-encoded, and what a client says itself (its receipts and subscription ids) is given
//! back as it wrote it.

use std::fmt::Write as _;
use std::iter;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::destination::Source;
use super::{Ack, ProtocolError, Subscription, Version};
use crate::code::{ByeCode, ErrorCode};
use crate::codec::frame::{Commands, ServerFrame};
use crate::codec::json;
use crate::id::{Epoch, FrameId, UserId};
use crate::limits::STOMP_HEARTBEAT_MS;
use crate::room::event::RoomEvent;
use crate::time::Time;

/// RFC 3986's unreserved characters stay as they are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A MESSAGE, but for what differs from subscription to subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Command and headers.
    head: String,
    /// Names the message; with the subscription it names the copy.
    name: String,
    /// The frame of the client that it is about.
    receipt: Option<String>,
    body: Arc<str>,
}

impl Message {
    /// Of a room event, whose JSON is the body.
    #[must_use]
    pub fn event(event: &RoomEvent, epoch: &Epoch, json: Arc<str>) -> Self {
        let destination = Source::Room(event.room.clone()).destination();
        let sender = utf8_percent_encode(event.sender.as_str(), ENCODED);
        let mut head = head(&destination, "event");
        let (room, seq) = (&event.room, event.seq);
        line(&mut head, format_args!("room-id:{room}\nepoch:{epoch}\nseq:{seq}\nsender:{sender}"));
        if let Some(message) = event.message() {
            line(&mut head, format_args!("client-message-id:{}", message.client_message_id));
        }
        Self { head, name: format!("{epoch}.{seq}"), receipt: None, body: json }
    }

    /// Of a server frame of this kind, whose JSON is the body; with the receipt of the client's frame that it is about.
    #[must_use]
    pub fn push(kind: &str, json: Arc<str>, source: &Source, name: FrameId, receipt: Option<&str>) -> Self {
        let head = head(&source.destination(), kind);
        Self { head, name: name.to_string(), receipt: receipt.map(str::to_owned), body: json }
    }

    /// The copy of one subscription.
    #[must_use]
    pub fn to_text(&self, subscription: &Subscription) -> String {
        let mut text = String::new();
        self.write(subscription, &mut text);
        text
    }

    /// Adds the copy of one subscription.
    pub fn write(&self, subscription: &Subscription, out: &mut String) {
        out.push_str(&self.head);
        let copy = utf8_percent_encode(subscription.id.as_str(), ENCODED);
        line(out, format_args!("subscription:{}\nmessage-id:{}.{copy}", subscription.id, self.name));
        if subscription.ack == Ack::Client {
            line(out, format_args!("ack:{}.{copy}", self.name));
        }
        if let Some(receipt) = &self.receipt {
            line(out, format_args!("receipt-id:{receipt}"));
        }
        end(out, &self.body);
    }
}

/// The copies of one subscription, in order, in as few WebSocket messages as the limit allows, each made when it is asked
/// for.
pub fn coalesce<'a>(
    subscription: &Subscription,
    messages: impl IntoIterator<Item = &'a Message>,
    max_bytes: usize,
) -> impl Iterator<Item = String> {
    let copies = messages.into_iter().map(|message| {
        let mut copy = String::new();
        message.write(subscription, &mut copy);
        copy
    });
    join(copies, max_bytes)
}

/// Frames, in order, in as few WebSocket messages as the limit allows; one that is longer by itself stands alone.
pub fn join(
    frames: impl IntoIterator<Item = impl AsRef<str> + Into<String>>,
    max_bytes: usize,
) -> impl Iterator<Item = String> {
    let mut frames = frames.into_iter().peekable();
    iter::from_fn(move || {
        let mut message: String = frames.next()?.into();
        while let Some(frame) = frames.next_if(|frame| message.len() + frame.as_ref().len() <= max_bytes) {
            message.push_str(frame.as_ref());
        }
        Some(message)
    })
}

/// The answer to CONNECT. A beat of ours would be a paid post, so there is none; the client's, twice within the ten
/// minutes after which API Gateway closes, keep the connection.
#[must_use]
pub fn connected(version: Version, user: &UserId, token_expires_at: Time) -> String {
    let user = utf8_percent_encode(user.as_str(), ENCODED);
    let mut text = format!("CONNECTED\nversion:{version}\nheart-beat:0,{STOMP_HEARTBEAT_MS}\nuser-name:{user}\n");
    // The colons of a time would need escapes, which CONNECTED has not.
    line(&mut text, format_args!("token-expires-at:{}", token_expires_at.unix_ms()));
    line(&mut text, format_args!("server:madang/{}", env!("CARGO_PKG_VERSION")));
    text.push_str("\n\0");
    text
}

/// What a client asked for stands, and which commands it became.
#[must_use]
pub fn receipt(receipt: &str, commands: Option<&Commands>) -> String {
    let mut text = format!("RECEIPT\nreceipt-id:{receipt}\n");
    match commands {
        None => {}
        Some(Commands::One { command_id }) => line(&mut text, format_args!("command-id:{command_id}")),
        Some(Commands::Many { command_ids }) => {
            let ids: Vec<String> = command_ids.iter().map(ToString::to_string).collect();
            line(&mut text, format_args!("command-ids:{}", ids.join(",")));
        }
    }
    text.push_str("\n\0");
    text
}

/// The end, because the client does not follow the protocol.
#[must_use]
pub fn protocol_error(error: ProtocolError, receipt: Option<&str>) -> String {
    let mut text = error_head(ByeCode::ProtocolError.as_str(), format_args!("{error}"));
    if error == ProtocolError::Version {
        let supported = Version::ALL.map(Version::as_str).join(",");
        line(&mut text, format_args!("version:{supported}"));
    }
    error_end(text, receipt, &bye(ByeCode::ProtocolError))
}

/// The end, because what the client asked for was refused and it has subscribed to nothing where that could be told.
#[must_use]
pub fn refusal(code: ErrorCode, json: &str, receipt: Option<&str>) -> String {
    let text = error_head(code.as_str(), format_args!("{}", code.sentence()));
    error_end(text, receipt, json)
}

/// The end, for a reason of ours.
#[must_use]
pub fn farewell(code: ByeCode) -> String {
    error_end(error_head(code.as_str(), format_args!("{code}")), None, &bye(code))
}

fn head(destination: &str, kind: &str) -> String {
    let mut head = String::with_capacity(256);
    line(&mut head, format_args!("MESSAGE\ndestination:{destination}\ntype:{kind}"));
    head
}

fn error_head(code: &str, message: std::fmt::Arguments<'_>) -> String {
    let mut head = String::with_capacity(384);
    line(&mut head, format_args!("ERROR\ncode:{code}\nmessage:{message}"));
    head
}

fn bye(code: ByeCode) -> String {
    json::encode(&ServerFrame::bye(code))
}

fn error_end(mut text: String, receipt: Option<&str>, json: &str) -> String {
    if let Some(receipt) = receipt {
        line(&mut text, format_args!("receipt-id:{receipt}"));
    }
    end(&mut text, json);
    text
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.write_fmt(line).expect("a string takes all text");
    out.push('\n');
}

fn end(out: &mut String, body: &str) {
    line(out, format_args!("content-type:application/json\ncontent-length:{}\n", body.len()));
    out.push_str(body);
    out.push('\0');
}

#[cfg(test)]
mod tests {
    use super::super::destination::USER_QUEUE;
    use super::*;
    use crate::code::Refusal;
    use crate::id::{CommandId, MessageId, Seq};
    use crate::room::event::{self, EventBody};

    fn event() -> RoomEvent {
        let epoch: Epoch = "e1".parse().unwrap();
        let seq = Seq::new(7).unwrap();
        let body = EventBody::Message(event::Message {
            id: MessageId { epoch, seq },
            client_message_id: "c-1".parse().unwrap(),
            number: 6,
            content: Some("안녕: \\n\n".to_owned()),
            edited_at: None,
        });
        let at = Time::from_unix_ms(1_800_000_000_000);
        let (room, sender) = ("r".parse().unwrap(), "아리|스:\\".parse().unwrap());
        RoomEvent { seq, room, at, sender, command_id: CommandId::new(at, 1), body }
    }

    fn message_of(event: &RoomEvent) -> Message {
        Message::event(event, &"e1".parse().unwrap(), json::encode_event(event).into())
    }

    fn subscription(id: &str, ack: Ack) -> Subscription {
        Subscription { id: id.parse().unwrap(), ack }
    }

    /// The headers and body of one frame, undone as clients do.
    fn read(version: Version, text: &str) -> (String, Vec<(String, String)>, String) {
        let (head, body) = text.split_once("\n\n").unwrap();
        let mut lines = head.split('\n');
        let command = lines.next().unwrap().to_owned();
        let undo = |text| super::super::escape::unescape(version, text).unwrap().into_owned();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_owned(), undo(value)))
            .collect();
        let body = body.strip_suffix('\0').unwrap().to_owned();
        if let Some((_, length)) = headers.iter().find(|(name, _)| name == "content-length") {
            assert_eq!(*length, body.len().to_string());
        }
        (command, headers, body)
    }

    fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
        headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn an_event_carries_what_clients_look_for_and_its_body_is_the_event() {
        let event = event();
        let message = message_of(&event);
        let mut text = String::new();
        message.write(&subscription("a\\cb\\\\", Ack::Client), &mut text);
        let (command, headers, body) = read(Version::V12, &text);
        assert_eq!(command, "MESSAGE");
        for (name, expected) in [
            ("destination", "/topic/rooms/r"),
            ("subscription", "a:b\\"),
            ("message-id", "e1.7.a%5Ccb%5C%5C"),
            ("ack", "e1.7.a%5Ccb%5C%5C"),
            ("type", "event"),
            ("room-id", "r"),
            ("epoch", "e1"),
            ("seq", "7"),
            ("sender", "%EC%95%84%EB%A6%AC%7C%EC%8A%A4%3A%5C"),
            ("client-message-id", "c-1"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(value(&headers, name), Some(expected), "{name}");
        }
        assert_eq!(body, json::encode_event(&event));
    }

    #[test]
    fn copies_differ_by_their_subscription_alone() {
        let message = message_of(&event());
        let copy = |id| {
            let mut text = String::new();
            message.write(&subscription(id, Ack::Auto), &mut text);
            read(Version::V11, &text).1
        };
        let (one, two) = (copy("1"), copy("2"));
        let differ: Vec<&str> =
            one.iter().zip(&two).filter(|(one, two)| one != two).map(|(one, _)| one.0.as_str()).collect();
        assert_eq!(differ, ["subscription", "message-id"]);
        assert_eq!(value(&one, "ack"), None);
    }

    #[test]
    fn copies_share_a_message_up_to_the_limit_and_long_ones_stand_alone() {
        let message = message_of(&event());
        let mut one = String::new();
        let auto = subscription("1", Ack::Auto);
        message.write(&auto, &mut one);
        let texts = |count: usize, max_bytes| {
            let texts = coalesce(&auto, iter::repeat_n(&message, count), max_bytes);
            texts.map(|text| text.matches('\0').count()).collect::<Vec<_>>()
        };
        assert_eq!(texts(5, one.len() * 2), [2, 2, 1]);
        assert_eq!(texts(2, one.len() * 2 - 1), [1, 1]);
        assert_eq!(texts(2, 10), [1, 1]);
        assert_eq!(texts(0, 10), [0_usize; 0]);
    }

    #[test]
    fn what_concerns_a_frame_names_its_receipt_as_the_version_has_it() {
        let reason = Refusal::from(ErrorCode::NotMember).into();
        let frame = ServerFrame::Error { id: Some("x:1".to_owned()), client_message_id: None, reason };
        let name = FrameId::new(Time::from_unix_ms(1), 1);
        let message = Message::push(frame.kind(), json::encode(&frame).into(), &Source::UserQueue, name, Some("x\\c1"));
        let mut text = String::new();
        message.write(&subscription("q", Ack::Auto), &mut text);
        let (_, headers, body) = read(Version::V12, &text);
        assert_eq!(value(&headers, "destination"), Some(USER_QUEUE));
        assert_eq!((value(&headers, "type"), value(&headers, "receipt-id")), (Some("error"), Some("x:1")));
        assert_eq!(body, json::encode(&frame));
        let (command, headers, body) =
            read(Version::V10, &refusal(ErrorCode::NotMember, &json::encode(&frame), Some("x:1")));
        assert_eq!((command.as_str(), value(&headers, "code")), ("ERROR", Some("not_member")));
        assert_eq!(value(&headers, "message"), Some(ErrorCode::NotMember.sentence()));
        assert_eq!((value(&headers, "receipt-id"), body), (Some("x:1"), json::encode(&frame)));
        assert_eq!(receipt("a\\c:", None), "RECEIPT\nreceipt-id:a\\c:\n\n\0");
        let [one, other] = [1, 2].map(|random| CommandId::new(Time::from_unix_ms(0), random));
        let (single, both) = (Commands::One { command_id: one }, Commands::Many { command_ids: vec![one, other] });
        assert_eq!(receipt("r", Some(&single)), format!("RECEIPT\nreceipt-id:r\ncommand-id:{one}\n\n\0"));
        assert_eq!(receipt("r", Some(&both)), format!("RECEIPT\nreceipt-id:r\ncommand-ids:{one},{other}\n\n\0"));
    }

    #[test]
    fn the_end_says_why() {
        let (command, headers, body) = read(Version::V12, &farewell(ByeCode::SessionReplaced));
        assert_eq!((command.as_str(), value(&headers, "code")), ("ERROR", Some("session_replaced")));
        assert_eq!(body, json::encode(&ServerFrame::bye(ByeCode::SessionReplaced)));
        let text = protocol_error(ProtocolError::Version, None);
        let (_, headers, _) = read(Version::V10, &text);
        assert_eq!(value(&headers, "version"), Some("1.2,1.1,1.0"));
        let text = protocol_error(ProtocolError::Split, Some("7"));
        let (_, headers, _) = read(Version::V12, &text);
        let said = value(&headers, "message").unwrap();
        assert!(said.contains("splitLargeFrames") && said.contains("maxWebSocketFrameSize"), "{said}");
        assert_eq!((value(&headers, "code"), value(&headers, "receipt-id")), (Some("protocol_error"), Some("7")));
    }

    /// Clients undo escapes wrongly (stompjs) or not at all (webstomp-client): what is ours has none.
    #[test]
    fn our_own_values_need_no_escapes() {
        let needs = |text: &str| text.contains([':', '\\', '\n', '\r']);
        assert!(ErrorCode::ALL.iter().all(|code| !needs(code.sentence()) && !needs(code.as_str())));
        let text = connected(Version::V12, &"a:b\\안".parse().unwrap(), Time::from_unix_ms(1_800_000_000_000));
        let (command, headers, body) = read(Version::V10, &text);
        assert_eq!((command.as_str(), body.as_str()), ("CONNECTED", ""));
        assert_eq!(value(&headers, "version"), Some("1.2"));
        assert_eq!(value(&headers, "heart-beat"), Some("0,300000"));
        assert!(headers.iter().all(|(_, value)| !needs(value)), "{headers:?}");
        for error in [
            ProtocolError::Split,
            ProtocolError::Command,
            ProtocolError::Header,
            ProtocolError::TooLarge,
            ProtocolError::Escape,
            ProtocolError::ContentLength,
            ProtocolError::Body,
            ProtocolError::TooMany,
            ProtocolError::NotConnected,
            ProtocolError::Connected,
            ProtocolError::Version,
            ProtocolError::Required("id"),
            ProtocolError::Repeated,
            ProtocolError::Transaction,
        ] {
            assert!(!needs(&error.to_string()), "{error}");
        }
    }
}
