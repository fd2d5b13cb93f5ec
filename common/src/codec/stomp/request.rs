//! What a client frame asks for: a command that JSON has too, or what only STOMP has.

use super::destination::{Source, Target};
use super::frame::{self, Frame};
use super::{Ack, ProtocolError, Subscription, SubscriptionId, Version};
use crate::code::{ErrorCode, Refusal};
use crate::codec::frame::FrameFault;
use crate::codec::json;
use crate::command::{Command, Position, Token};
use crate::fields::Fields;
use crate::id::ClientMessageId;
use crate::limits::STOMP_RECEIPT_MAX_BYTES;

/// The versions that a client without `accept-version` speaks.
const VERSION_UNSAID: &str = "1.0";
const JSON_CONTENT: &str = "application/json";
const TEXT_CONTENT: &str = "text/plain";

/// A request in a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Begin.
    Connect {
        /// The best version that both speak.
        version: Version,
        /// The token, unless the handshake had it; `Err` when there is something else.
        token: Result<Option<Token>, ErrorCode>,
    },
    /// A command, or what about it is wrong.
    Send(Result<Command, FrameFault>),
    /// Subscribe.
    Subscribe {
        /// As what.
        subscription: Subscription,
        /// To what, or what about that is wrong.
        to: Result<(Source, Option<Position>), Refusal>,
    },
    /// End a subscription.
    Unsubscribe(SubscriptionId),
    /// End the session.
    Disconnect,
    /// Have taken what was delivered; that changes nothing.
    Acknowledge,
}

impl Request {
    /// What the client calls the message that it sends.
    #[must_use]
    pub const fn client_message_id(&self) -> Option<&ClientMessageId> {
        match self {
            Self::Send(Ok(command)) => command.client_message_id(),
            Self::Send(Err(fault)) => fault.client_message_id.as_ref(),
            _ => None,
        }
    }

    /// Reads a frame's request. The version is what CONNECT settled, once it has.
    ///
    /// # Errors
    /// What about it is against the protocol.
    pub fn read(frame: &Frame<'_>, settled: Option<Version>) -> Result<Self, ProtocolError> {
        let version = match (frame.command, settled) {
            (frame::Command::Connect, None) => return connect(frame),
            (frame::Command::Connect, Some(_)) => return Err(ProtocolError::Connected),
            (_, None) => return Err(ProtocolError::NotConnected),
            (_, Some(version)) => version,
        };
        if frame.header("transaction").is_some() {
            return Err(ProtocolError::Transaction);
        }
        if frame.raw_header("receipt").is_some_and(|receipt| receipt.len() > STOMP_RECEIPT_MAX_BYTES) {
            return Err(ProtocolError::Required("receipt"));
        }
        match frame.command {
            frame::Command::Send => Ok(Self::Send(send(required(frame, "destination")?, frame))),
            frame::Command::Subscribe => subscribe(frame, version),
            frame::Command::Unsubscribe => Ok(Self::Unsubscribe(subscription_id(frame, version)?)),
            frame::Command::Disconnect => Ok(Self::Disconnect),
            frame::Command::Acknowledge => {
                required(frame, if version == Version::V12 { "id" } else { "message-id" })?;
                Ok(Self::Acknowledge)
            }
            frame::Command::Connect | frame::Command::Transaction => Err(ProtocolError::Transaction),
        }
    }
}

fn required<'a>(frame: &'a Frame<'_>, name: &'static str) -> Result<&'a str, ProtocolError> {
    frame.header(name).ok_or(ProtocolError::Required(name))
}

fn connect(frame: &Frame<'_>) -> Result<Request, ProtocolError> {
    let accepted = frame.header("accept-version").unwrap_or(VERSION_UNSAID);
    let accepted: Vec<&str> = accepted.split(',').map(str::trim).collect();
    let version = Version::ALL.into_iter().find(|version| accepted.contains(&version.as_str()));
    if frame.header("heart-beat").is_some_and(|beats| !is_heart_beat(beats)) {
        return Err(ProtocolError::Required("heart-beat"));
    }
    let token = match (frame.header("Authorization").or(frame.header("authorization")), frame.header("passcode")) {
        (Some(header), _) => crate::auth::bearer(header).map(|token| Some(Token(token.to_owned()))),
        (None, Some(passcode)) if !passcode.is_empty() => Ok(Some(Token(passcode.to_owned()))),
        (None, Some(_) | None) => Ok(None),
    };
    Ok(Request::Connect { version: version.ok_or(ProtocolError::Version)?, token })
}

/// How often a client can beat and wants to hear beats, in milliseconds. It beats, or not; nothing depends on it.
fn is_heart_beat(beats: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    beats.split_once(',').is_some_and(|(sends, wants)| is_number(sends.trim()) && is_number(wants.trim()))
}

/// A subscription's `id`; 1.0 lets the destination stand for it.
fn subscription_id(frame: &Frame<'_>, version: Version) -> Result<SubscriptionId, ProtocolError> {
    let name = match (frame.header("id"), version) {
        (None, Version::V10) => "destination",
        (Some(_), _) | (None, Version::V11 | Version::V12) => "id",
    };
    frame.raw_header(name).and_then(|id| id.parse().ok()).ok_or(ProtocolError::Required(name))
}

fn subscribe(frame: &Frame<'_>, version: Version) -> Result<Request, ProtocolError> {
    let ack = match frame.header("ack") {
        None | Some("auto") => Ack::Auto,
        Some("client" | "client-individual") => Ack::Client,
        Some(_) => return Err(ProtocolError::Required("ack")),
    };
    let subscription = Subscription { id: subscription_id(frame, version)?, ack };
    let source = Source::parse(required(frame, "destination")?);
    let to = source.and_then(|source| {
        let after = after(frame)?;
        match (&source, &after) {
            (Source::Room(_), _) | (_, None) => Ok((source, after)),
            (Source::Signals(_) | Source::UserQueue, Some(_)) => Err(Refusal::field("after-seq")),
        }
    });
    Ok(Request::Subscribe { subscription, to })
}

/// The last event that the client has.
fn after(frame: &Frame<'_>) -> Result<Option<Position>, Refusal> {
    match (frame.header("after-seq"), frame.header("epoch")) {
        (None, None) => Ok(None),
        (Some(seq), Some(epoch)) => {
            let seq = seq.parse().map_err(|_| Refusal::field("after-seq"))?;
            Ok(Some(Position { epoch: epoch.parse().map_err(|_| Refusal::field("epoch"))?, seq }))
        }
        (Some(_), None) => Err(Refusal::field("epoch")),
        (None, Some(_)) => Err(Refusal::field("after-seq")),
    }
}

fn send(destination: &str, frame: &Frame<'_>) -> Result<Command, FrameFault> {
    let fields = if frame.body.is_empty() { Ok(Fields::default()) } else { Fields::parse(frame.body.as_bytes()) };
    command(destination, frame, &fields).map_err(|refusal| {
        let client_message_id = fields.ok().as_ref().and_then(json::client_message_id);
        FrameFault { id: None, client_message_id, refusal }
    })
}

fn command(destination: &str, frame: &Frame<'_>, fields: &Result<Fields, ErrorCode>) -> Result<Command, Refusal> {
    let target = Target::parse(destination)?;
    let content_type = frame.header("content-type").unwrap_or(JSON_CONTENT);
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    // Spring's clients call every string plain text.
    if ![JSON_CONTENT, TEXT_CONTENT].contains(&media_type) {
        return Err(Refusal::field("content-type"));
    }
    let fields = fields.as_ref().map_err(|code| *code)?;
    match target {
        Target::Auth => Ok(Command::Auth { token: Token(fields.text("token")?.to_owned()) }),
        Target::Room { room, action } => Ok(Command::Act { room, action: json::room_action(action, fields)? }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frames;
    use super::*;
    use crate::command::{RoomAction, RoomChange};
    use crate::id::Seq;

    fn read(settled: Option<Version>, text: &str) -> Result<Request, ProtocolError> {
        let frame = Frames::new(text).next(settled).unwrap().unwrap();
        Request::read(&frame, settled)
    }

    fn connected(text: &str) -> Result<Request, ProtocolError> {
        read(Some(Version::V12), text)
    }

    fn sent(head: &str, body: &str) -> Result<Command, Refusal> {
        let Ok(Request::Send(command)) = connected(&format!("SEND\n{head}\n\n{body}\0")) else { panic!("a SEND") };
        command.map_err(|fault| fault.refusal)
    }

    #[test]
    fn connect_settles_the_best_version_and_finds_the_token() {
        let check = |headers: &str, expected: Result<(Version, Option<&str>), ProtocolError>| {
            let read = read(None, &format!("CONNECT\n{headers}\n\0"));
            let expected = expected.map(|(version, token)| Request::Connect {
                version,
                token: Ok(token.map(|token| Token(token.to_owned()))),
            });
            assert_eq!(read, expected, "{headers}");
        };
        check("accept-version:1.0,1.1,1.2\nhost:x\nAuthorization:Bearer a.b.c\n", Ok((Version::V12, Some("a.b.c"))));
        check("accept-version:1.1,1.0\npasscode:a.b.c\nlogin:x\n", Ok((Version::V11, Some("a.b.c"))));
        check("accept-version: 1.1 , 2.0\n", Ok((Version::V11, None)));
        check("passcode:\n", Ok((Version::V10, None)));
        check("accept-version:2.0,1.3\n", Err(ProtocolError::Version));
        check("heart-beat:0,10000\n", Ok((Version::V10, None)));
        for odd in ["abc", "-1,5", "1", "1,2,3", ""] {
            check(&format!("heart-beat:{odd}\n"), Err(ProtocolError::Required("heart-beat")));
        }
        let Ok(Request::Connect { token, .. }) = read(None, "STOMP\nAuthorization:Basic x\npasscode:a\n\n\0") else {
            panic!("a CONNECT")
        };
        assert_eq!(token, Err(ErrorCode::TokenInvalid));
    }

    #[test]
    fn the_order_of_frames_is_the_protocols() {
        assert_eq!(read(None, "SEND\ndestination:/app/auth\n\n{}\0"), Err(ProtocolError::NotConnected));
        assert_eq!(connected("CONNECT\naccept-version:1.2\n\n\0"), Err(ProtocolError::Connected));
        for text in ["BEGIN\ntransaction:1\n\n\0", "COMMIT\n\n\0", "ABORT\n\n\0", "SEND\ntransaction:1\n\n\0"] {
            assert_eq!(connected(text), Err(ProtocolError::Transaction), "{text:?}");
        }
        let with_receipt = |length| connected(&format!("DISCONNECT\nreceipt:{}\n\n\0", "r".repeat(length)));
        assert_eq!(with_receipt(128), Ok(Request::Disconnect));
        assert_eq!(with_receipt(129), Err(ProtocolError::Required("receipt")));
    }

    #[test]
    fn a_subscription_has_an_id_but_in_the_first_version() {
        let id = |text: &str| text.parse::<SubscriptionId>().unwrap();
        let Ok(Request::Subscribe { subscription, to }) =
            connected("SUBSCRIBE\nid:a:b\ndestination:/topic/rooms/r\nack:client\nafter-seq:3\nepoch:e\n\n\0")
        else {
            panic!("a SUBSCRIBE")
        };
        assert_eq!(subscription, Subscription { id: id("a:b"), ack: Ack::Client });
        let after = Position { epoch: "e".parse().unwrap(), seq: Seq::new(3).unwrap() };
        assert_eq!(to, Ok((Source::Room("r".parse().unwrap()), Some(after))));
        let missing = Err(ProtocolError::Required("id"));
        assert_eq!(connected("SUBSCRIBE\ndestination:/topic/rooms/r\n\n\0"), missing);
        assert_eq!(connected(&format!("SUBSCRIBE\nid:{}\n\n\0", "x".repeat(129))), missing);
        assert_eq!(connected("UNSUBSCRIBE\nid:\n\n\0"), missing);
        assert_eq!(connected("SUBSCRIBE\nid:1\n\n\0"), Err(ProtocolError::Required("destination")));
        let text = "SUBSCRIBE\nid:1\nack:maybe\ndestination:/user/queue/events\n\n\0";
        assert_eq!(connected(text), Err(ProtocolError::Required("ack")));
        let first = read(Some(Version::V10), "UNSUBSCRIBE\ndestination:/topic/rooms/r\n\n\0");
        assert_eq!(first, Ok(Request::Unsubscribe(id("/topic/rooms/r"))));
    }

    #[test]
    fn what_was_missed_is_asked_with_both_headers_and_of_rooms_alone() {
        let check = |headers: &str, field| {
            let text = format!("SUBSCRIBE\nid:1\n{headers}\n\n\0");
            let Ok(Request::Subscribe { to, .. }) = connected(&text) else { panic!("a SUBSCRIBE") };
            assert_eq!(to, Err(Refusal::field(field)), "{headers}");
        };
        check("destination:/topic/rooms/r\nafter-seq:1", "epoch");
        check("destination:/topic/rooms/r\nepoch:e", "after-seq");
        check("destination:/topic/rooms/r\nepoch:e\nafter-seq:x", "after-seq");
        check("destination:/topic/rooms/r\nepoch:e\nafter-seq:+3", "after-seq");
        check("destination:/topic/rooms/r\nepoch:e\nafter-seq:9007199254740992", "after-seq");
        check("destination:/topic/rooms/r/signals\nepoch:e\nafter-seq:1", "after-seq");
        check("destination:/topic/rooms/*", "destination");
    }

    #[test]
    fn a_send_is_the_command_of_its_destination() {
        let command = sent("destination:/app/rooms/r/send", r#"{"clientMessageId":"c","content":"hi","roomId":"x"}"#);
        let Ok(Command::Act { room, action: RoomAction::Send(send) }) = command else { panic!("a send") };
        assert_eq!((room.as_str(), send.content.as_str()), ("r", "hi"));
        let head = "destination:/app/rooms/r/typing\ncontent-type:application/json;charset=UTF-8";
        assert_eq!(sent(head, ""), Ok(Command::Act { room: "r".parse().unwrap(), action: RoomAction::Typing }));
        let token = Token("a.b.c".to_owned());
        assert_eq!(sent("destination:/app/auth", r#"{"token":"a.b.c"}"#), Ok(Command::Auth { token }));
        let leave = Command::Act { room, action: RoomAction::Change(RoomChange::Leave { successor: None }) };
        assert_eq!(sent("destination:/app/rooms/r/leave", ""), Ok(leave));
        let check = |head: &str, body: &str, expected: Refusal| assert_eq!(sent(head, body), Err(expected), "{head}");
        check("destination:/app/rooms/r/sing", "{}", ErrorCode::UnknownAction.into());
        check("destination:/app/rooms/r/subscribe", "{}", ErrorCode::UnknownAction.into());
        check("destination:/app/rooms/r/send", "hi", ErrorCode::BadJson.into());
        check("destination:/app/rooms/r/send", "", Refusal::field("clientMessageId"));
        check("destination:/app/rooms/r/send\ncontent-type:application/xml", "{}", Refusal::field("content-type"));
        check("destination:/topic/rooms/r", "{}", ErrorCode::Forbidden.into());
    }

    #[test]
    fn an_acknowledgement_names_what_it_is_about() {
        assert_eq!(connected("ACK\nid:1\n\n\0"), Ok(Request::Acknowledge));
        assert_eq!(connected("NACK\nmessage-id:1\n\n\0"), Err(ProtocolError::Required("id")));
        assert_eq!(read(Some(Version::V11), "ACK\nmessage-id:1\nsubscription:2\n\n\0"), Ok(Request::Acknowledge));
    }
}
