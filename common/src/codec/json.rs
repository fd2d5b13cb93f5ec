//! `chat.v1.json`: one JSON object per frame, `action` from the client, `type` from the server; raw UTF-8.

use super::frame::{ClientFrame, FrameFault, ServerFrame};
use crate::code::{ErrorCode, Refusal};
use crate::command::{
    Command, HistoryPage, HistoryStart, Position, RoomAction, RoomChange, SendMessage, Signals, Subscribe,
    SubscribeRooms, Token,
};
use crate::fields::Fields;
use crate::id::{ClientMessageId, Epoch, MessageId, RoomId, Seq, UserId};
use crate::limits::{
    FRAME_MAX_BYTES, HISTORY_DEFAULT_MESSAGES, HISTORY_MAX_MESSAGES, ID_MAX_CHARACTERS, INVITE_MAX_USERS,
    SUBSCRIBE_MAX_ROOMS,
};
use crate::room::event::RoomEvent;
use crate::text::{Content, RoomName};

/// Reads one client frame.
///
/// # Errors
/// A fault to be answered with an `error` frame.
pub fn decode(text: &str) -> Result<ClientFrame, FrameFault> {
    let fault = |refusal: Refusal| FrameFault { id: None, client_message_id: None, refusal };
    let fields = Fields::parse(text.as_bytes()).map_err(|code| fault(code.into()))?;
    let id = frame_id(&fields).map_err(fault)?;
    match command(&fields) {
        Ok(command) => Ok(ClientFrame { id, command }),
        Err(refusal) => Err(FrameFault { id, client_message_id: client_message_id(&fields), refusal }),
    }
}

/// What the client calls the message of a command of which something else is wrong.
pub(super) fn client_message_id(fields: &Fields) -> Option<ClientMessageId> {
    fields.optional_parsed("clientMessageId").ok().flatten()
}

fn frame_id(fields: &Fields) -> Result<Option<String>, Refusal> {
    let id = fields.optional_text("id")?;
    match id {
        Some(id) if id.is_empty() || id.chars().count() > ID_MAX_CHARACTERS => Err(Refusal::field("id")),
        _ => Ok(id.map(str::to_owned)),
    }
}

fn command(fields: &Fields) -> Result<Command, Refusal> {
    let action = fields.text("action")?;
    match action {
        "auth" => Ok(Command::Auth { token: Token(fields.text("token")?.to_owned()) }),
        "subscribe" => subscribe(fields).map(Command::Subscribe),
        "unsubscribe" => Ok(Command::Unsubscribe { rooms: rooms(fields)? }),
        "history" => Ok(Command::History { room: fields.parsed("roomId")?, page: history_page(fields)? }),
        "send" | "edit" | "delete" | "rename" | "invite" | "leave" | "kick" | "role" | "read" | "typing" => {
            Ok(Command::Act { room: fields.parsed("roomId")?, action: room_action(action, fields)? })
        }
        "ping" => Ok(Command::Ping),
        _ => Err(ErrorCode::UnknownAction.into()),
    }
}

fn subscribe(fields: &Fields) -> Result<Subscribe, Refusal> {
    let signals = signals(fields)?;
    if fields.get("roomIds").is_some() {
        // Each room has its own place; who has one asks for its room alone.
        if fields.get("after").is_some() {
            return Err(Refusal::field("after"));
        }
        return Ok(Subscribe { rooms: SubscribeRooms::Many(rooms(fields)?), signals });
    }
    let after = match fields.optional_object("after")? {
        None => None,
        Some(after) => {
            let epoch: Epoch = after.parsed("epoch").map_err(|_| Refusal::field("after"))?;
            let seq = seq(&after, "seq").ok().flatten().ok_or(Refusal::field("after"))?;
            Some(Position { epoch, seq })
        }
    };
    Ok(Subscribe { rooms: SubscribeRooms::One { room: fields.parsed("roomId")?, after }, signals })
}

fn signals(fields: &Fields) -> Result<Signals, Refusal> {
    let mut signals = Signals::default();
    let names: Vec<String> = fields.list("signals")?;
    if names.iter().all(|name| signals.add(name)) { Ok(signals) } else { Err(Refusal::field("signals")) }
}

/// `roomId` or `roomIds`, not both.
fn rooms(fields: &Fields) -> Result<Vec<RoomId>, Refusal> {
    match (fields.optional_parsed("roomId")?, fields.get("roomIds")) {
        (Some(room), None) => Ok(vec![room]),
        (None, Some(_)) => fields.list_without_repeats("roomIds", 1..=SUBSCRIBE_MAX_ROOMS),
        (None, None) => Err(Refusal::field("roomId")),
        (Some(_), Some(_)) => Err(Refusal::field("roomIds")),
    }
}

fn seq(fields: &Fields, name: &'static str) -> Result<Option<Seq>, Refusal> {
    let seq = fields.optional_integer(name)?;
    seq.map(|seq| Seq::new(seq).map_err(|_| Refusal::field(name))).transpose()
}

fn history_page(fields: &Fields) -> Result<HistoryPage, Refusal> {
    let limit = match fields.optional_integer("limit")? {
        None => HISTORY_DEFAULT_MESSAGES,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=HISTORY_MAX_MESSAGES).contains(limit))
            .ok_or(Refusal::field("limit"))?,
    };
    let cursor = fields.optional_text("cursor")?;
    let start = HistoryStart::new(seq(fields, "before")?, seq(fields, "after")?, cursor)?;
    Ok(HistoryPage { start, limit })
}

/// The body of an action in a room, the same on every socket; the room stands beside it.
///
/// # Errors
/// What about it is wrong; `unknown_action` when it is none of these actions.
pub fn room_action(action: &str, fields: &Fields) -> Result<RoomAction, Refusal> {
    Ok(match action {
        "send" => RoomAction::Send(send_message(fields)?),
        "read" => RoomAction::Read { seq: read_seq(fields)? },
        "typing" => RoomAction::Typing,
        _ => RoomAction::Change(room_change(action, fields)?),
    })
}

/// The seq of a `read`, the same on every socket and over HTTP.
///
/// # Errors
/// It is missing, or no place in a log.
pub fn read_seq(fields: &Fields) -> Result<Seq, Refusal> {
    seq(fields, "seq")?.filter(|seq| *seq > Seq::ZERO).ok_or(Refusal::field("seq"))
}

fn room_change(action: &str, fields: &Fields) -> Result<RoomChange, Refusal> {
    match action {
        "edit" => edit(fields.parsed("messageId")?, fields),
        "delete" => Ok(RoomChange::Delete { message: fields.parsed("messageId")? }),
        "rename" => rename(fields),
        "invite" => invite(fields),
        "leave" => Ok(RoomChange::Leave { successor: fields.optional_parsed("successor")? }),
        "kick" => Ok(RoomChange::Kick { user: fields.parsed("userId")? }),
        "role" => role(fields.parsed("userId")?, fields),
        _ => Err(ErrorCode::UnknownAction.into()),
    }
}

/// The body of an `edit`, the same on every socket and over HTTP, where the message stands beside it.
///
/// # Errors
/// What about it is wrong.
pub fn edit(message: MessageId, fields: &Fields) -> Result<RoomChange, Refusal> {
    Ok(RoomChange::Edit { message, content: content(fields)? })
}

/// The body of a `rename`, the same on every socket and over HTTP.
///
/// # Errors
/// What about it is wrong.
pub fn rename(fields: &Fields) -> Result<RoomChange, Refusal> {
    Ok(RoomChange::Rename { name: room_name(fields)? })
}

/// The body of an `invite`, the same on every socket and over HTTP.
///
/// # Errors
/// What about it is wrong.
pub fn invite(fields: &Fields) -> Result<RoomChange, Refusal> {
    Ok(RoomChange::Invite { users: fields.list_without_repeats("userIds", 1..=INVITE_MAX_USERS)? })
}

/// The body of a `role`, the same on every socket and over HTTP, where the person stands beside it.
///
/// # Errors
/// What about it is wrong.
pub fn role(user: UserId, fields: &Fields) -> Result<RoomChange, Refusal> {
    Ok(RoomChange::Role { user, role: fields.parsed("role")? })
}

/// The body of a `send`, the same on every socket and over HTTP; the room stands beside it.
///
/// # Errors
/// What about it is wrong.
pub fn send_message(fields: &Fields) -> Result<SendMessage, Refusal> {
    Ok(SendMessage { client_message_id: fields.parsed("clientMessageId")?, content: content(fields)? })
}

/// The name that a body gives a room.
///
/// # Errors
/// `invalid_field`.
pub fn room_name(fields: &Fields) -> Result<RoomName, Refusal> {
    fields.text("name")?.to_owned().try_into()
}

fn content(fields: &Fields) -> Result<Content, Refusal> {
    fields.text("content")?.to_owned().try_into()
}

/// One server frame as text.
#[must_use]
pub fn encode(frame: &ServerFrame) -> String {
    serde_json::to_string(frame).expect("a server frame has string keys and no failing serializer")
}

/// One room event as text, to be put into frames with [`events_frames`].
#[must_use]
pub fn encode_event(event: &RoomEvent) -> String {
    serde_json::to_string(event).expect("an event has string keys and no failing serializer")
}

/// `events` frames of one room with events in order, as few as the frame size allows, each made when it is asked for.
pub fn events_frames<'a>(
    room: &RoomId,
    epoch: &Epoch,
    events: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = String> {
    // Both ids need no escaping.
    let head = format!(r#"{{"type":"events","roomId":"{room}","epoch":"{epoch}","events":["#);
    let mut events = events.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut frame = format!("{head}{}", events.next()?);
        while let Some(event) = events.next_if(|event| frame.len() + event.len() + 3 <= FRAME_MAX_BYTES) {
            frame.push(',');
            frame.push_str(event);
        }
        frame.push_str("]}");
        Some(frame)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (ErrorCode, Option<&'static str>) {
        let fault = decode(text).unwrap_err();
        (fault.refusal.code, fault.refusal.field)
    }

    #[test]
    fn reads_every_action() {
        let command = |text: &str| decode(text).unwrap().command;
        assert_eq!(command(r#"{"action":"ping"}"#), Command::Ping);
        let send = r#"{"action":"send","roomId":"r","clientMessageId":"c","content":"hi"}"#;
        let Command::Act { room, action: RoomAction::Send(send) } = command(send) else { panic!("a send") };
        assert_eq!((room.as_str(), send.content.as_str()), ("r", "hi"));
        let after = Some(Position { epoch: "e".parse().unwrap(), seq: Seq::new(3).unwrap() });
        assert_eq!(
            command(r#"{"action":"subscribe","roomId":"r","after":{"epoch":"e","seq":3}}"#),
            Command::Subscribe(Subscribe {
                rooms: SubscribeRooms::One { room: "r".parse().unwrap(), after },
                signals: Signals::default()
            })
        );
        assert_eq!(
            command(r#"{"action":"subscribe","roomIds":["a","b","a"],"signals":["read","typing","read"]}"#),
            Command::Subscribe(Subscribe {
                rooms: SubscribeRooms::Many(vec!["a".parse().unwrap(), "b".parse().unwrap()]),
                signals: Signals { typing: true, read: true, presence: false }
            })
        );
        let page = HistoryPage { start: HistoryStart::Before(Seq::new(9).unwrap()), limit: 2 };
        assert_eq!(
            command(r#"{"action":"history","roomId":"r","before":9,"limit":2}"#),
            Command::History { room: "r".parse().unwrap(), page }
        );
    }

    #[test]
    fn reads_every_change_of_a_room() {
        let change = |rest: &str| match decode(&format!(r#"{{"roomId":"r",{rest}}}"#)).map(|frame| frame.command) {
            Ok(Command::Act { room, action: RoomAction::Change(change) }) if room.as_str() == "r" => Ok(change),
            Ok(other) => panic!("{other:?}"),
            Err(fault) => Err((fault.refusal.code, fault.refusal.field)),
        };
        let field = |name| Err((ErrorCode::InvalidField, Some(name)));
        let message = "e.7".parse().unwrap();
        assert_eq!(change(r#""action":"delete","messageId":"e.7""#), Ok(RoomChange::Delete { message }));
        assert_eq!(change(r#""action":"delete","messageId":"7""#), field("messageId"));
        assert_eq!(change(r#""action":"edit","messageId":"e.7""#), field("content"));
        assert_eq!(change(r#""action":"rename","name":" ""#), field("name"));
        let users = vec!["a".parse().unwrap(), "b".parse().unwrap()];
        assert_eq!(change(r#""action":"invite","userIds":["a","b","a"]"#), Ok(RoomChange::Invite { users }));
        assert_eq!(change(r#""action":"invite","userIds":[]"#), field("userIds"));
        assert_eq!(change(r#""action":"invite""#), field("userIds"));
        assert_eq!(change(r#""action":"leave""#), Ok(RoomChange::Leave { successor: None }));
        assert_eq!(change(r#""action":"leave","successor":"""#), field("successor"));
        let user: UserId = "a".parse().unwrap();
        assert_eq!(change(r#""action":"kick","userId":"a""#), Ok(RoomChange::Kick { user: user.clone() }));
        let role = crate::room::Role::Admin;
        assert_eq!(change(r#""action":"role","userId":"a","role":"admin""#), Ok(RoomChange::Role { user, role }));
        assert_eq!(change(r#""action":"role","userId":"a","role":"king""#), field("role"));
        assert_eq!(refused(r#"{"action":"read","roomId":"r","seq":0}"#), (ErrorCode::InvalidField, Some("seq")));
        assert_eq!(refused(r#"{"action":"read","roomId":"r"}"#), (ErrorCode::InvalidField, Some("seq")));
        let odd = r#"{"action":"subscribe","roomId":"r","signals":["smell"]}"#;
        assert_eq!(refused(odd), (ErrorCode::InvalidField, Some("signals")));
    }

    /// One odd frame took servers down elsewhere: architect/architect#1093.
    #[test]
    fn refuses_odd_frames_with_a_stable_code() {
        for text in ["null", "[]", "\"x\"", "42", "not json", " "] {
            assert_eq!(refused(text), (ErrorCode::BadJson, None), "{text}");
        }
        assert_eq!(refused("{}"), (ErrorCode::InvalidField, Some("action")));
        assert_eq!(refused(r#"{"action":null}"#), (ErrorCode::InvalidField, Some("action")));
        assert_eq!(refused(r#"{"action":5}"#), (ErrorCode::InvalidField, Some("action")));
        assert_eq!(refused(r#"{"action":"sing"}"#), (ErrorCode::UnknownAction, None));
        assert_eq!(refused(r#"{"action":"ping","id":""}"#), (ErrorCode::InvalidField, Some("id")));
        assert_eq!(refused(r#"{"action":"ping","action":"send"}"#), (ErrorCode::DuplicateKey, None));
        let both = r#"{"action":"history","roomId":"r","before":1,"after":2}"#;
        assert_eq!(refused(both), (ErrorCode::InvalidField, Some("after")));
        let many = format!(r#"{{"action":"subscribe","roomIds":[{}"x"]}}"#, r#""r","#.repeat(33));
        assert_eq!(refused(&many), (ErrorCode::InvalidField, Some("roomIds")));
    }

    #[test]
    fn a_fault_carries_what_could_be_read() {
        let fault =
            decode(r#"{"action":"send","id":"7","clientMessageId":"c","roomId":"r","content":" "}"#).unwrap_err();
        assert_eq!(fault.id.as_deref(), Some("7"));
        assert_eq!(fault.client_message_id, Some("c".parse().unwrap()));
        assert_eq!(fault.refusal.code, ErrorCode::ContentEmpty);
    }

    #[test]
    fn events_are_coalesced_up_to_the_frame_size() {
        let (room, epoch) = ("r".parse().unwrap(), "e".parse().unwrap());
        let event = format!(r#"{{"x":"{}"}}"#, "a".repeat(10_000));
        let frames: Vec<String> = events_frames(&room, &epoch, std::iter::repeat_n(event.as_str(), 7)).collect();
        assert_eq!(frames.iter().map(|frame| frame.matches("\"x\"").count()).collect::<Vec<_>>(), [3, 3, 1]);
        assert!(frames.iter().all(|frame| frame.len() <= FRAME_MAX_BYTES));
        for frame in frames {
            serde_json::from_str::<serde_json::Value>(&frame).unwrap();
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,300}") {
            drop(decode(&text));
        }
    }
}
