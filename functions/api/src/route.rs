//! Paths. Every part is percent-decoded on its own, so that an encoded slash stays inside its part.

use common::code::{ErrorCode, Refusal};
use common::id::{CommandId, MessageId, RoomId, UserId};
use lambda_http::http::Method;

use crate::encoded;

/// A known path and method, with its checked parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST /rooms`
    CreateRoom,
    /// `PUT /direct/{userId}`
    OpenDirect(UserId),
    /// `GET /rooms`
    ListRooms,
    /// `GET /rooms/{roomId}`
    Room(RoomId),
    /// `GET /rooms/{roomId}/members`
    Members(RoomId),
    /// `GET /rooms/{roomId}/messages`
    Messages(RoomId),
    /// `GET /rooms/{roomId}/events`
    Events(RoomId),
    /// `POST /rooms/{roomId}/messages`
    Send(RoomId),
    /// `GET /rooms/{roomId}/commands/{commandId}`
    Command(RoomId, CommandId),
    /// `PATCH /rooms/{roomId}`
    Rename(RoomId),
    /// `POST /rooms/{roomId}/members`
    Invite(RoomId),
    /// `PATCH /rooms/{roomId}/members/{userId}`
    ChangeRole(RoomId, UserId),
    /// `DELETE /rooms/{roomId}/members/{userId}`
    RemoveMember(RoomId, UserId),
    /// `PATCH /rooms/{roomId}/messages/{messageId}`
    EditMessage(RoomId, MessageId),
    /// `DELETE /rooms/{roomId}/messages/{messageId}`
    DeleteMessage(RoomId, MessageId),
    /// `PUT /rooms/{roomId}/read`
    Read(RoomId),
}

impl Route {
    /// Finds the route of a call.
    ///
    /// # Errors
    /// `not_found`, `method_not_allowed`, or a part that is no identity of its kind.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        match parts.as_slice() {
            parts if parts.contains(&"") => Err(ErrorCode::NotFound.into()),
            ["rooms"] => Self::of_rooms(method),
            ["direct", user] if method == Method::PUT => part(user, "userId").map(Self::OpenDirect),
            ["direct", _] => Err(ErrorCode::MethodNotAllowed.into()),
            ["rooms", room, rest @ ..] => Self::of_room(method, room, rest),
            _ => Err(ErrorCode::NotFound.into()),
        }
    }

    /// The room that it names.
    pub(crate) const fn room(&self) -> Option<&RoomId> {
        match self {
            Self::CreateRoom | Self::OpenDirect(_) | Self::ListRooms => None,
            Self::Room(room)
            | Self::Members(room)
            | Self::Messages(room)
            | Self::Events(room)
            | Self::Send(room)
            | Self::Command(room, _)
            | Self::Rename(room)
            | Self::Invite(room)
            | Self::ChangeRole(room, _)
            | Self::RemoveMember(room, _)
            | Self::EditMessage(room, _)
            | Self::DeleteMessage(room, _)
            | Self::Read(room) => Some(room),
        }
    }

    /// The methods that a path has, as the `Allow` header lists them. Source: RFC 9110, section 15.5.6.
    pub(crate) fn methods(path: &str) -> String {
        let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let has = |method: &&Method| {
            !matches!(Self::find(method, path), Err(Refusal { code: ErrorCode::MethodNotAllowed, .. }))
        };
        let methods: Vec<&str> = known.iter().filter(has).chain([&Method::OPTIONS]).map(Method::as_str).collect();
        methods.join(", ")
    }

    fn of_rooms(method: &Method) -> Result<Self, Refusal> {
        match *method {
            Method::GET => Ok(Self::ListRooms),
            Method::POST => Ok(Self::CreateRoom),
            _ => Err(ErrorCode::MethodNotAllowed.into()),
        }
    }

    fn of_room(method: &Method, room: &str, rest: &[&str]) -> Result<Self, Refusal> {
        let room = || part(room, "roomId");
        let user = |user| part(user, "userId");
        let message = |message| part(message, "messageId");
        match (method.as_str(), rest) {
            ("GET", []) => room().map(Self::Room),
            ("PATCH", []) => room().map(Self::Rename),
            ("GET", ["members"]) => room().map(Self::Members),
            ("POST", ["members"]) => room().map(Self::Invite),
            ("PATCH", ["members", id]) => Ok(Self::ChangeRole(room()?, user(id)?)),
            ("DELETE", ["members", id]) => Ok(Self::RemoveMember(room()?, user(id)?)),
            ("GET", ["messages"]) => room().map(Self::Messages),
            ("POST", ["messages"]) => room().map(Self::Send),
            ("PATCH", ["messages", id]) => Ok(Self::EditMessage(room()?, message(id)?)),
            ("DELETE", ["messages", id]) => Ok(Self::DeleteMessage(room()?, message(id)?)),
            ("GET", ["events"]) => room().map(Self::Events),
            ("PUT", ["read"]) => room().map(Self::Read),
            ("GET", ["commands", id]) => Ok(Self::Command(room()?, part(id, "commandId")?)),
            (_, [] | ["members" | "messages" | "events" | "read"] | ["members" | "messages" | "commands", _]) => {
                Err(ErrorCode::MethodNotAllowed.into())
            }
            _ => Err(ErrorCode::NotFound.into()),
        }
    }
}

fn part<T: std::str::FromStr>(encoded: &str, name: &'static str) -> Result<T, Refusal> {
    encoded::decode(encoded).and_then(|text| text.parse().ok()).ok_or(Refusal::field(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, expected: Result<Route, Refusal>) {
        assert_eq!(Route::find(&method, path), expected, "{path}");
    }

    /// Encoded parts were decoded twice or not at all elsewhere: awslabs/aws-lambda-rust-runtime#668.
    #[test]
    fn parts_are_decoded_once() {
        check(Method::GET, "/rooms/a%2Db", Ok(Route::Room("a-b".parse().unwrap())));
        check(Method::PUT, "/direct/auth0%7C5%2F7", Ok(Route::OpenDirect("auth0|5/7".parse().unwrap())));
        check(Method::PUT, "/direct/%EC%A7%80%EB%AF%BC", Ok(Route::OpenDirect("지민".parse().unwrap())));
        check(Method::PUT, "/direct/100%25", Ok(Route::OpenDirect("100%".parse().unwrap())));
        check(Method::GET, "/rooms/a%2Fb", Err(Refusal::field("roomId")));
        check(Method::GET, "/rooms/%ff", Err(Refusal::field("roomId")));
        check(Method::PUT, "/direct/%ZZ", Err(Refusal::field("userId")));
        check(Method::GET, "/rooms/a%20b/messages", Err(Refusal::field("roomId")));
    }

    #[test]
    fn unknown_paths_and_methods_are_told_apart() {
        check(Method::GET, "/", Err(ErrorCode::NotFound.into()));
        check(Method::GET, "/rooms/a/b/c/d", Err(ErrorCode::NotFound.into()));
        for path in ["/rooms/", "//rooms", "/rooms/a/", "/rooms/a/members/", "/rooms//members", "/direct/"] {
            check(Method::GET, path, Err(ErrorCode::NotFound.into()));
        }
        check(Method::DELETE, "/rooms", Err(ErrorCode::MethodNotAllowed.into()));
        check(Method::GET, "/direct/bob", Err(ErrorCode::MethodNotAllowed.into()));
        check(Method::PUT, "/rooms/a/messages/e.1", Err(ErrorCode::MethodNotAllowed.into()));
        check(Method::GET, "/rooms/a/read", Err(ErrorCode::MethodNotAllowed.into()));
        check(Method::GET, "/rooms/a/read/b", Err(ErrorCode::NotFound.into()));
        check(Method::DELETE, "/rooms/a/messages/7", Err(Refusal::field("messageId")));
    }

    #[test]
    fn a_path_knows_its_methods() {
        assert_eq!(Route::methods("/rooms"), "GET, POST, OPTIONS");
        assert_eq!(Route::methods("/rooms/a/members/b"), "PATCH, DELETE, OPTIONS");
        assert_eq!(Route::methods("/direct/bob"), "PUT, OPTIONS");
    }

    #[test]
    fn the_sample_event_is_a_call() {
        use lambda_http::RequestExt as _;
        let path = format!("{}/../../events/http-request.json", env!("CARGO_MANIFEST_DIR"));
        let request = lambda_http::request::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        check(request.method().clone(), request.raw_http_path(), Ok(Route::CreateRoom));
    }
}
