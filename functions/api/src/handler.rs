//! The story of one call: CORS, route, token, then the call itself; every failure is a problem with a code.

use common::auth::{Verifier, bearer};
use common::cache::Cache;
use common::code::{ErrorCode, Refusal};
use common::config::AllowedOrigins;
use common::cursor::Cursors;
use common::failure::Failure;
use common::producer::Producer;
use common::store::Store;
use common::telemetry::trace;
use common::time::Time;
use lambda_http::http::{HeaderValue, Method, header};
use lambda_http::{Body, Request, RequestExt as _, Response};

use crate::answer::{Answer, problem};
use crate::call::Call;
use crate::cors;
use crate::route::Route;

/// What the API works with.
pub(crate) struct Api {
    pub(crate) verifier: Verifier,
    pub(crate) origins: AllowedOrigins,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
    pub(crate) producer: Producer,
    pub(crate) cursors: Cursors,
}

impl Api {
    /// Answers one call.
    pub(crate) async fn handle(&self, request: Request, now: Time) -> Response<Body> {
        let origin = cors::origin(&request);
        let request_id = request.lambda_context_ref().map(|context| context.request_id.clone()).unwrap_or_default();
        let path = request.raw_http_path().to_owned();
        let response = if request.method() == Method::OPTIONS {
            cors::preflight()
        } else {
            match self.answer(request, now).await {
                Ok(answer) => answer.into_response(),
                Err(failure) => refused(failure.answer(), &request_id, &path),
            }
        };
        cors::allow(response, origin.as_deref(), &self.origins)
    }

    async fn answer(&self, request: Request, now: Time) -> Result<Answer, Failure> {
        let route = Route::find(request.method(), request.raw_http_path())?;
        let header = request.headers().get(header::AUTHORIZATION).ok_or(ErrorCode::TokenMissing)?;
        let token = bearer(header.to_str().map_err(|_| ErrorCode::TokenInvalid)?)?;
        let user = self.verifier.verify(token, now).await?.user;
        self.call(route, Call::read(&request, user, now)?).await
    }

    async fn call(&self, route: Route, call: Call) -> Result<Answer, Failure> {
        if let Some(room) = route.room() {
            trace::about_room(room);
        }
        match route {
            Route::CreateRoom => self.create_room(&call).await,
            Route::OpenDirect(peer) => self.open_direct(&call, peer).await,
            Route::ListRooms => self.list_rooms(&call).await,
            Route::Room(room) => self.room(&call, &room).await,
            Route::Members(room) => self.members(&call, &room).await,
            Route::Messages(room) => self.messages(&call, &room).await,
            Route::Events(room) => self.events(&call, &room).await,
            Route::Send(room) => self.send(call, room).await,
            Route::Command(room, command) => self.command(&call, &room, command).await,
            Route::Rename(room) => self.rename(&call, room).await,
            Route::Invite(room) => self.invite(&call, room).await,
            Route::ChangeRole(room, user) => self.change_role(&call, room, user).await,
            Route::RemoveMember(room, user) => self.remove_member(&call, room, user).await,
            Route::EditMessage(room, message) => self.edit_message(&call, room, message).await,
            Route::DeleteMessage(room, message) => self.delete_message(&call, room, message).await,
            Route::Read(room) => self.read(&call, &room).await,
        }
    }
}

/// A refusal of a call on a path; one of its method comes with those that the path has.
fn refused(refusal: Refusal, request_id: &str, path: &str) -> Response<Body> {
    let allowed = (refusal.code == ErrorCode::MethodNotAllowed).then(|| Route::methods(path));
    let mut response = problem(refusal, request_id);
    if let Some(allowed) = allowed.and_then(|methods| HeaderValue::from_str(&methods).ok()) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}
