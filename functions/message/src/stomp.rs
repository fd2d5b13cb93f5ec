//! STOMP: the frames of a message one after the other, each answered when it asks for a receipt. What is against the
//! protocol, or is refused where nobody listens for that, is told with ERROR, and the connection ends.

use std::time::Duration;

use common::auth::Principal;
use common::code::{ByeCode, ErrorCode, Refusal};
use common::codec::frame::{Commands, ServerFrame, Subscribed};
use common::codec::stomp::destination::Source;
use common::codec::stomp::frame::{Frame, Frames};
use common::codec::stomp::message::{self, Message};
use common::codec::stomp::request::Request;
use common::codec::stomp::{ProtocolError, Subscription, SubscriptionId, Version};
use common::codec::{Dialect, Form, Push, StompState, Told, json};
use common::command::{Command, Position, RoomAction, RoomChange, Signals, Token};
use common::departure;
use common::failure::Failure;
use common::gateway::WebSocketResponse;
use common::id::{ClientMessageId, FrameId, RoomId};
use common::limits::{
    STOMP_COMMANDS_PER_MESSAGE_MAX, STOMP_FRAMES_PER_MESSAGE_MAX, STOMP_RECEIPT_MAX_BYTES,
    STOMP_SUBSCRIPTIONS_PER_ROOM_MAX, STOMP_USER_QUEUES_MAX, SUBSCRIPTIONS_PER_CONNECTION_MAX,
};
use common::outbound::PostError;
use common::store::{Connection, ConnectionState, OpenError, Terms};
use common::telemetry::trace;
use common::time::{Time, limit_ms};

use crate::handler::MessageFunction;
use crate::obey::{Stop, live};
use crate::subscribe::Speaker;

/// How often subscriptions to the user's queue that change meanwhile are read again.
const ATTEMPTS_MAX: usize = 4;

/// Messages of a connection are obeyed side by side, while clients say several at once: a SUBSCRIBE may be overtaken by
/// what its client said behind it. So where a frame would come to nothing, or to the connection's end, for want of another
/// one, the table is looked at again after these pauses, in all of one message.
const GRACE: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), limit_ms(1_000)];

impl MessageFunction {
    pub(crate) async fn handle_stomp(
        &self,
        connection: Connection,
        text: &str,
        said: Time,
        now: Time,
    ) -> WebSocketResponse {
        let (answers, pauses) = (Vec::new(), GRACE.into_iter());
        let mut dialogue = Dialogue { function: self, connection, answers, command_count: 0, pauses, said, now };
        let end = dialogue.obey_all(text).await;
        let Dialogue { connection, mut answers, .. } = dialogue;
        let is_end = end.is_err();
        answers.extend(end.err());
        let mut messages: Vec<String> = message::join(&answers, self.stomp_message_bytes).collect();
        let last = messages.pop().unwrap_or_default();
        for message in messages {
            match self.outbound.post(&connection.id, message.as_bytes()).await {
                Ok(()) => {}
                Err(PostError::Gone) => return WebSocketResponse::accepted(),
                // What is missing cannot be put in later: the client begins again.
                Err(PostError::Slow | PostError::Refused) => {
                    return self.end(&connection.id, &unavailable()).await;
                }
            }
        }
        match (is_end, last.is_empty()) {
            (true, _) => self.end(&connection.id, &last).await,
            (false, true) => WebSocketResponse::accepted(),
            (false, false) => WebSocketResponse::frame(last),
        }
    }
}

/// The last frame of a connection that cannot be served now.
pub(crate) fn unavailable() -> String {
    let code = ErrorCode::Unavailable;
    let reason = Refusal::from(code).into();
    let frame = ServerFrame::Error { id: None, client_message_id: None, reason };
    message::refusal(code, &json::encode(&frame), None)
}

/// One connection while the frames of a message are obeyed.
struct Dialogue<'a> {
    function: &'a MessageFunction,
    /// With what the frames have settled so far.
    connection: Connection,
    answers: Vec<String>,
    /// How many commands the frames have become so far.
    command_count: usize,
    /// What is left of the grace.
    pauses: std::array::IntoIter<Duration, { GRACE.len() }>,
    /// When the message was said, by the gateway's clock.
    said: Time,
    now: Time,
}

impl Dialogue<'_> {
    /// Obeys every frame.
    ///
    /// # Errors
    /// The connection's last frame.
    async fn obey_all(&mut self, text: &str) -> Result<(), String> {
        let mut frames = Frames::new(text);
        let mut count = 0;
        loop {
            match frames.next(self.settled()) {
                Ok(None) => return Ok(()),
                Ok(Some(_)) if count == STOMP_FRAMES_PER_MESSAGE_MAX => {
                    return Err(message::protocol_error(ProtocolError::TooMany, None));
                }
                Ok(Some(frame)) => self.answer(&frame).await?,
                Err(error) => return Err(message::protocol_error(error, None)),
            }
            count += 1;
        }
    }

    async fn answer(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let request = Request::read(frame, self.settled());
        // CONNECT is answered with CONNECTED alone.
        let receipt = frame.raw_header("receipt");
        let receipt = receipt.filter(|text| self.settled().is_some() && text.len() <= STOMP_RECEIPT_MAX_BYTES);
        let mut client_message_id = None;
        let outcome = match request {
            Ok(request) => {
                client_message_id = request.client_message_id().cloned();
                self.obey(request, receipt).await
            }
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(commands) => {
                self.answers.extend(receipt.map(|receipt| message::receipt(receipt, commands.as_ref())));
                Ok(())
            }
            Err(Stop::Protocol(error)) => Err(message::protocol_error(error, receipt)),
            Err(Stop::Farewell(code)) => Err(self.connection.dialect.farewell(code)),
            Err(Stop::Refused(failure)) => self.refuse(failure, client_message_id, receipt).await,
        }
    }

    /// The commands that it became.
    async fn obey(&mut self, request: Request, receipt: Option<&str>) -> Result<Option<Commands>, Stop> {
        if let ConnectionState::Closing(code) = self.connection.state {
            return Err(Stop::Farewell(code));
        }
        match request {
            Request::Connect { version, token } => self.connect(version, token?).await?,
            Request::Send(command) => return self.send(command.map_err(|fault| fault.refusal)?, receipt).await,
            Request::Subscribe { subscription, to } => self.subscribe(subscription, to).await?,
            Request::Unsubscribe(id) => self.unsubscribe(&id).await?,
            Request::Disconnect => self.disconnect().await?,
            Request::Acknowledge => {}
        }
        Ok(None)
    }

    async fn connect(&mut self, version: Version, token: Option<Token>) -> Result<(), Stop> {
        let dialect = Dialect::Stomp(StompState { version: Some(version), queues: Vec::new() });
        let principal = match token {
            Some(token) => self.function.authenticate(&self.connection, &dialect, &token, self.now).await?,
            None => {
                // The handshake had it.
                let principal = live(&self.connection, self.now)?.clone();
                self.function.settle(&self.connection, &dialect, &principal, self.now).await?;
                principal
            }
        };
        self.answers.push(message::connected(version, &principal.user, principal.expires_at));
        self.connection.dialect = dialect;
        self.connection.state = ConnectionState::Live(principal);
        Ok(())
    }

    async fn send(&mut self, command: Command, receipt: Option<&str>) -> Result<Option<Commands>, Stop> {
        if let Some(room) = command.room() {
            trace::about_room(room);
        }
        let count = match &command {
            Command::Act { action: RoomAction::Change(RoomChange::Invite { users }), .. } => users.len(),
            _ => 1,
        };
        if self.command_count + count > STOMP_COMMANDS_PER_MESSAGE_MAX {
            return Err(ErrorCode::LimitReached.into());
        }
        self.command_count += count;
        let answer =
            self.function.obey(&self.connection, receipt.map(str::to_owned), command, self.said, self.now).await?;
        match answer {
            ServerFrame::Ack { commands, .. } => return Ok(commands),
            // What follows in this message is said with the next token.
            ServerFrame::Authenticated { user_id, expires_at, .. } => {
                self.connection.state = ConnectionState::Live(Principal { user: user_id, expires_at });
            }
            _ => {}
        }
        Ok(None)
    }

    async fn subscribe(
        &mut self,
        subscription: Subscription,
        to: Result<(Source, Option<Position>), Refusal>,
    ) -> Result<(), Stop> {
        let rooms = loop {
            let (rooms, is_taken) = self.subscriptions(&subscription.id).await?;
            if !is_taken {
                break rooms;
            }
            // Its UNSUBSCRIBE may be on its way.
            if !self.pause().await? {
                return Err(ProtocolError::Repeated.into());
            }
        };
        let (source, after) = to?;
        let of_room = rooms.iter().filter(|(room, _)| Some(room) == source.room()).count();
        if rooms.len() + self.connection.dialect.queues().len() >= SUBSCRIPTIONS_PER_CONNECTION_MAX
            || of_room >= STOMP_SUBSCRIPTIONS_PER_ROOM_MAX
        {
            return Err(ErrorCode::LimitReached.into());
        }
        match source {
            Source::UserQueue => {
                self.change_queues(|queues| {
                    if queues.len() >= STOMP_USER_QUEUES_MAX {
                        return Err(ErrorCode::LimitReached.into());
                    }
                    queues.push(subscription.clone());
                    Ok(())
                })
                .await
            }
            Source::Room(room) => self.subscribe_to_events(subscription, room, after).await,
            Source::Signals(room) => {
                let signals = Signals { typing: true, read: true, presence: true };
                self.subscribe_to_room(&subscription, room, None, signals).await.map(|_| ())
            }
        }
    }

    /// Subscribes to a room's events, and answers with what was missed.
    async fn subscribe_to_events(
        &mut self,
        subscription: Subscription,
        room: RoomId,
        after: Option<Position>,
    ) -> Result<(), Stop> {
        let subscribed = self.subscribe_to_room(&subscription, room, after, Signals::default()).await?;
        let Subscribed::One { room_id, epoch, last_seq, recovered, events, more } = subscribed else { return Ok(()) };
        match (recovered, more) {
            (None, _) => {}
            (Some(true), false) => self.answers.extend(events.iter().map(|event| {
                let mut text = String::new();
                Message::event(event, &epoch, json::encode_event(event).into()).write(&subscription, &mut text);
                text
            })),
            // Too much, or nothing that continues what the client has.
            (Some(_), _) => {
                let resync = ServerFrame::Resync { room_id: room_id.clone(), epoch, last_seq };
                let resync = Push::new(&resync, self.frame_id());
                self.answers.push(resync.to_room(&room_id, &Form::Stomp(subscription)).to_string());
            }
        }
        Ok(())
    }

    /// Subscribes to a room: with signals to those alone.
    async fn subscribe_to_room(
        &self,
        subscription: &Subscription,
        room: RoomId,
        after: Option<Position>,
        signals: Signals,
    ) -> Result<Subscribed, Stop> {
        trace::about_room(&room);
        let principal = live(&self.connection, self.now)?;
        let form = Form::Stomp(subscription.clone());
        let terms = Terms { form, events: signals == Signals::default(), signals };
        let speaker = Speaker { connection: &self.connection, principal, terms };
        Ok(self.function.subscribe_one(&speaker, room, after, self.said).await?)
    }

    /// Ends the subscription of this id. One that a kick has ended may still be unsubscribed from.
    async fn unsubscribe(&mut self, id: &SubscriptionId) -> Result<(), Stop> {
        loop {
            let (rooms, is_taken) = self.subscriptions(id).await?;
            if is_taken {
                return self.end_subscription(id, rooms).await;
            }
            // Its SUBSCRIBE may be on its way.
            if !self.pause().await? {
                return Ok(());
            }
        }
    }

    async fn end_subscription(&mut self, id: &SubscriptionId, rooms: Vec<(RoomId, String)>) -> Result<(), Stop> {
        for (room, _) in rooms.iter().filter(|(_, other)| other == id.as_str()) {
            self.function.store.unsubscribe_id(&self.connection.id, room, id, self.said).await?;
        }
        if self.connection.dialect.queues().iter().all(|queue| queue.id != *id) {
            return Ok(());
        }
        let without = |queues: &mut Vec<Subscription>| {
            queues.retain(|queue| queue.id != *id);
            Ok(())
        };
        self.change_queues(without).await
    }

    /// The connection's subscriptions to rooms, and whether one to anything has this id.
    async fn subscriptions(&self, id: &SubscriptionId) -> Result<(Vec<(RoomId, String)>, bool), Stop> {
        let rooms = self.function.store.connection_subscriptions(&self.connection.id).await?;
        let queues = self.connection.dialect.queues();
        let is_taken =
            rooms.iter().any(|(_, other)| other == id.as_str()) || queues.iter().any(|queue| queue.id == *id);
        Ok((rooms, is_taken))
    }

    /// Waits a moment, and looks at the connection again; false when the grace is over.
    async fn pause(&mut self) -> Result<bool, Stop> {
        let Some(pause) = self.pauses.next() else { return Ok(false) };
        tokio::time::sleep(pause).await;
        self.reload().await.map(|()| true)
    }

    async fn reload(&mut self) -> Result<(), Stop> {
        let connection = self.function.store.connection(&self.connection.id, self.now).await?;
        self.connection = connection.ok_or(Stop::Farewell(ByeCode::ProtocolError))?;
        match self.connection.state {
            ConnectionState::Closing(code) => Err(Stop::Farewell(code)),
            ConnectionState::Pending | ConnectionState::Live(_) => Ok(()),
        }
    }

    /// Changes the subscriptions to the user's queue; again from the table, when another message of the connection was
    /// faster.
    async fn change_queues(&mut self, change: impl Fn(&mut Vec<Subscription>) -> Result<(), Stop>) -> Result<(), Stop> {
        for _ in 0..ATTEMPTS_MAX {
            let mut queues = self.connection.dialect.queues().to_vec();
            change(&mut queues)?;
            let principal = live(&self.connection, self.now)?;
            match self.function.store.change_queues(&self.connection, principal, &queues, self.now).await {
                Ok(()) => {
                    if let Dialect::Stomp(state) = &mut self.connection.dialect {
                        state.queues = queues;
                    }
                    return Ok(());
                }
                Err(OpenError::Store(error)) => return Err(error.into()),
                Err(OpenError::Changed | OpenError::SessionLimit) => self.reload().await?,
            }
        }
        Err(ErrorCode::Unavailable.into())
    }

    /// Does what `$disconnect` does: whoever says DISCONNECT gets nothing more, whenever the socket closes.
    async fn disconnect(&mut self) -> Result<(), Stop> {
        let MessageFunction { store, producer, .. } = self.function;
        departure::remove(store, producer, &self.connection.id, self.now).await?;
        // As for a later message: nothing may follow.
        self.connection.state = ConnectionState::Closing(ByeCode::ProtocolError);
        Ok(())
    }

    /// Tells that a request was refused, where the client listens for that; else with the connection's end.
    async fn refuse(
        &mut self,
        failure: Failure,
        client_message_id: Option<ClientMessageId>,
        receipt: Option<&str>,
    ) -> Result<(), String> {
        let refusal = failure.answer();
        let code = refusal.code;
        let id = receipt.map(str::to_owned);
        let frame = ServerFrame::Error { id, client_message_id, reason: refusal.into() };
        loop {
            let text = match self.connection.dialect.refuse(code, &frame, self.frame_id(), receipt) {
                Told::Frames(texts) => {
                    self.answers.extend(texts.iter().map(ToString::to_string));
                    return Ok(());
                }
                Told::Last(text) => text.to_string(),
            };
            // Before CONNECT nothing can have been subscribed to; later the SUBSCRIBE to the user's queue may be on its way.
            if self.settled().is_none() {
                return Err(text);
            }
            match self.pause().await {
                Ok(true) => {}
                Err(Stop::Farewell(code)) => return Err(self.connection.dialect.farewell(code)),
                Ok(false) | Err(Stop::Refused(_) | Stop::Protocol(_)) => return Err(text),
            }
        }
    }

    /// The version that CONNECT settled, once it has.
    fn settled(&self) -> Option<Version> {
        match &self.connection.dialect {
            Dialect::Stomp(state) => state.version,
            Dialect::Json => None,
        }
    }

    fn frame_id(&self) -> FrameId {
        FrameId::new(self.now, rand::random())
    }
}
