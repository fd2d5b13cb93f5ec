//! Paths. Every part is percent-decoded on its own, so that an encoded slash stays inside its part.

use common::code::{ErrorCode, Refusal};
use common::id::{CommandId, RoomId, UserId};
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
}

impl Route {
    /// Finds the route of a call.
    ///
    /// # Errors
    /// `not_found`, `method_not_allowed`, or a part that is no identity of its kind.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (get, post, put) = (method == Method::GET, method == Method::POST, method == Method::PUT);
        let known = match parts.as_slice() {
            ["rooms"] if get => return Ok(Self::ListRooms),
            ["rooms"] if post => return Ok(Self::CreateRoom),
            ["direct", user] if put => return part(user, "userId").map(Self::OpenDirect),
            ["rooms", room] if get => return part(room, "roomId").map(Self::Room),
            ["rooms", room, "members"] if get => return part(room, "roomId").map(Self::Members),
            ["rooms", room, "messages"] if get => return part(room, "roomId").map(Self::Messages),
            ["rooms", room, "messages"] if post => return part(room, "roomId").map(Self::Send),
            ["rooms", room, "events"] if get => return part(room, "roomId").map(Self::Events),
            ["rooms", room, "commands", command] if get => {
                return Ok(Self::Command(part(room, "roomId")?, part(command, "commandId")?));
            }
            ["rooms"]
            | ["direct", _]
            | ["rooms", _]
            | ["rooms", _, "members" | "messages" | "events"]
            | ["rooms", _, "commands", _] => true,
            _ => false,
        };
        Err(if known { ErrorCode::MethodNotAllowed } else { ErrorCode::NotFound }.into())
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
        check(Method::DELETE, "/rooms", Err(ErrorCode::MethodNotAllowed.into()));
        check(Method::GET, "/direct/bob", Err(ErrorCode::MethodNotAllowed.into()));
    }

    #[test]
    fn the_sample_event_is_a_call() {
        use lambda_http::RequestExt as _;
        let path = format!("{}/../../events/http-request.json", env!("CARGO_MANIFEST_DIR"));
        let request = lambda_http::request::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        check(request.method().clone(), request.raw_http_path(), Ok(Route::CreateRoom));
    }
}
