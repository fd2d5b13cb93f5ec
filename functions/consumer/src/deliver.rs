//! Telling what became of a room's records: events to subscribers, duplicates and refusals to whoever waits, notices
//! to those whom an event concerns; then the subscriptions of those who were removed end.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use common::auth::expired;
use common::code::ErrorCode;
use common::codec::frame::{NoticeKind, ServerFrame};
use common::codec::{Dialect, Told};
use common::failure::Failure;
use common::id::{CommandId, MessageId, RoomId, Seq, UserId};
use common::metrics::Count;
use common::record::{Record, RecordBody, ReplyTo};
use common::room::commit::{Outcome, RoomBatch};
use common::room::event::{EventBody, RoomEvent};
use common::store::{LiveConnection, RoomSubscription, RoomSubscriptions, StoreError};
use common::time::Time;

use crate::fan_out::FanOut;
use crate::frames::Frames;
use crate::handler::Consumer;
use crate::post::{Parcels, PostOffice, frame_id, pack_for_session, push};
use crate::trace::Traces;

impl Consumer {
    /// Posts everything that a committed batch has to tell. Connections that do not take it are no failure.
    pub(crate) async fn deliver(
        &self,
        post_office: &PostOffice<'_>,
        room: &RoomId,
        batch: &RoomBatch,
        traces: &Traces,
        now: Time,
    ) -> Result<(), Failure> {
        let mut parcels = Parcels::new();
        let events = self.events_to_post(room, batch).await?;
        let removals = batch.removals();
        let waiting = self.waiting(batch, now).await?;
        let mut ended: BTreeMap<Seq, Vec<RoomSubscription>> = BTreeMap::new();
        if let (Some(head), false) = (batch.head(), events.is_empty() && removals.is_empty()) {
            // Read behind the commit: whoever subscribes later finds these events in the catch-up.
            let RoomSubscriptions { good, lapsed } = self.store.all_room_subscriptions(room, now).await?;
            let stomp_message_bytes = self.stomp_message_bytes;
            let (events, removals, waiting) = (&events, &removals, &waiting);
            let fan_out = FanOut { head, events, removals, waiting, traces, stomp_message_bytes, now };
            fan_out.pack(&good, &mut parcels);
            // A fresh token that is on its way must not bring back what a removal has ended.
            for subscription in good.into_iter().chain(lapsed) {
                if let Some(end) = fan_out.end_of(&subscription) {
                    ended.entry(end).or_default().push(subscription);
                }
            }
        }
        self.pack_notices(&events, traces, now, &mut parcels).await?;
        for (record, outcome) in batch.records().iter().zip(batch.outcomes()) {
            match outcome {
                Outcome::Committed(_) => {}
                Outcome::Again(_) => {
                    if record.body == (RecordBody::RoomCreated {}) {
                        self.pack_created_notices(room, traces, now, &mut parcels).await?;
                    }
                }
                Outcome::Duplicate(seq) => {
                    self.metrics.add(Count::Duplicates, 1);
                    let reply = waiting.get(&record.id).zip(duplicate(batch, record, *seq));
                    if let Some((reply_to, frame)) = reply {
                        pack_reply(reply_to, record, frame, traces, now, &mut parcels);
                    }
                }
                Outcome::Refused(_) | Outcome::Impossible => {
                    self.metrics.add(Count::Nacks, 1);
                    let code = if let Outcome::Refused(code) = outcome { *code } else { ErrorCode::Internal };
                    if let Some(reply_to) = waiting.get(&record.id) {
                        self.pack_nack(reply_to, record, code, traces, now, &mut parcels).await?;
                    }
                }
            }
        }
        post_office.post_all(room, parcels, now).await?;
        post_office.measure_latency(&events);
        for (removed_with, subscriptions) in ended {
            self.store.end_subscriptions(room, &subscriptions, removed_with).await?;
        }
        Ok(())
    }

    /// This batch's own events that are not known to be posted, in order and in their current state.
    async fn events_to_post(&self, room: &RoomId, batch: &RoomBatch) -> Result<Vec<RoomEvent>, Failure> {
        let again = batch.undelivered_again();
        let mut events = if again.is_empty() { Vec::new() } else { self.store.events_at(room, &again).await? };
        events.extend(batch.committed_events());
        events.sort_unstable_by_key(|event| event.seq);
        Ok(events)
    }

    /// Who waits for the outcome of which command, while their token is good, or since they have shown another one.
    async fn waiting<'a>(
        &self,
        batch: &'a RoomBatch,
        now: Time,
    ) -> Result<HashMap<CommandId, Cow<'a, ReplyTo>>, StoreError> {
        let (mut waiting, mut late) = (HashMap::new(), Vec::new());
        for record in told(batch) {
            let Some(reply_to) = &record.reply_to else { continue };
            if expired(Time::from_unix_seconds(reply_to.expires_at), now) {
                late.push((record, reply_to));
            } else {
                waiting.insert(record.id, Cow::Borrowed(reply_to));
            }
        }
        let users: HashSet<&UserId> = late.iter().map(|(record, _)| &record.sender).collect();
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        let live = if users.is_empty() { Vec::new() } else { self.store.live_connections(&users, now).await? };
        for (record, reply_to) in late {
            let is_theirs =
                |session: &&LiveConnection| session.connection == reply_to.connection && session.user == record.sender;
            if let Some(LiveConnection { dialect, .. }) = live.iter().find(is_theirs) {
                let reply_to = ReplyTo { dialect: dialect.clone(), ..reply_to.clone() };
                waiting.insert(record.id, Cow::Owned(reply_to));
            }
        }
        Ok(waiting)
    }

    /// Tells that a command was refused; where a connection has no place for that, with its end.
    async fn pack_nack(
        &self,
        reply_to: &ReplyTo,
        record: &Record,
        code: ErrorCode,
        traces: &Traces,
        now: Time,
        parcels: &mut Parcels,
    ) -> Result<(), Failure> {
        let ReplyTo { connection, dialect, receipt, .. } = reply_to;
        let refuse = |dialect: &Dialect| dialect.refuse(code, &nack(record, code), frame_id(now), receipt.as_deref());
        let mut told = refuse(dialect);
        if matches!(told, Told::Last(_)) {
            // It may have found a place for that since the command was said.
            let live = self.store.live_connections(std::slice::from_ref(&record.sender), now).await?;
            if let Some(session) = live.iter().find(|session| session.connection == *connection) {
                told = refuse(&session.dialect);
            }
        }
        let parcel = parcels.entry(connection.clone()).or_default();
        parcel.is_established = true;
        parcel.traces.extend(traces.of([record.id]));
        match told {
            Told::Frames(texts) => parcel.frames.extend(texts.into_iter().map(Frames::One)),
            Told::Last(text) => parcel.last_frame = Some(text),
        }
        Ok(())
    }

    async fn pack_created_notices(
        &self,
        room: &RoomId,
        traces: &Traces,
        now: Time,
        parcels: &mut Parcels,
    ) -> Result<(), Failure> {
        let Some(event) = self.store.events_at(room, &[Seq::ZERO.next()]).await?.pop() else { return Ok(()) };
        let EventBody::RoomCreated { users, .. } = &event.body else { return Ok(()) };
        let notices: Vec<Notice> = users.iter().map(|user| (user, NoticeKind::Created, &event)).collect();
        self.pack_each(&notices, traces, now, parcels).await
    }

    /// Notices to those whom events concern, whatever they have subscribed to.
    async fn pack_notices(
        &self,
        events: &[RoomEvent],
        traces: &Traces,
        now: Time,
        parcels: &mut Parcels,
    ) -> Result<(), Failure> {
        let notices = |event| concerned(event).map(move |(user, kind)| (user, kind, event));
        let notices: Vec<Notice> = events.iter().flat_map(notices).collect();
        if notices.is_empty() { Ok(()) } else { self.pack_each(&notices, traces, now, parcels).await }
    }

    async fn pack_each(
        &self,
        notices: &[Notice<'_>],
        traces: &Traces,
        now: Time,
        parcels: &mut Parcels,
    ) -> Result<(), Failure> {
        let users: HashSet<&UserId> = notices.iter().map(|(user, _, _)| *user).collect();
        let users: Vec<UserId> = users.into_iter().cloned().collect();
        let live = self.store.live_connections(&users, now).await?;
        for (user, kind, event) in notices {
            let notice = ServerFrame::Notice { kind: *kind, room_id: event.room.clone(), event: (*event).clone() };
            let notice = push(notice, now);
            for session in live.iter().filter(|session| session.user == **user) {
                pack_for_session(session, &notice, now, parcels);
                if let Some(parcel) = parcels.get_mut(&session.connection) {
                    parcel.traces.extend(traces.of([event.command_id]));
                }
            }
        }
        Ok(())
    }
}

/// Who is told what about which event.
type Notice<'a> = (&'a UserId, NoticeKind, &'a RoomEvent);

/// Whom an event concerns beside its room's subscribers: one, and perhaps another.
fn concerned(event: &RoomEvent) -> impl Iterator<Item = (&UserId, NoticeKind)> {
    let (one, other) = match &event.body {
        EventBody::MemberInvited { user } => (Some((user, NoticeKind::Invited)), None),
        EventBody::MemberKicked { user } => (Some((user, NoticeKind::Kicked)), None),
        EventBody::MemberRole { user, .. } => (Some((user, NoticeKind::Role)), None),
        EventBody::MemberLeft { user, successor } => {
            (Some((user, NoticeKind::Left)), successor.as_ref().map(|user| (user, NoticeKind::Role)))
        }
        _ => (None, None),
    };
    one.into_iter().chain(other)
}

/// Records of whose outcome there is something to tell: not those whose events were posted before.
fn told(batch: &RoomBatch) -> impl Iterator<Item = &Record> {
    let again: HashSet<Seq> = batch.undelivered_again().into_iter().collect();
    let is_told = move |outcome: &Outcome| !matches!(outcome, Outcome::Again(seq) if !again.contains(seq));
    let outcomes = batch.records().iter().zip(batch.outcomes());
    outcomes.filter(move |(_, outcome)| is_told(outcome)).map(|(record, _)| record)
}

fn pack_reply(
    reply_to: &ReplyTo,
    record: &Record,
    frame: ServerFrame,
    traces: &Traces,
    now: Time,
    parcels: &mut Parcels,
) {
    let texts = push(frame, now).to_connection(&reply_to.dialect, reply_to.receipt.as_deref());
    if !texts.is_empty() {
        let parcel = parcels.entry(reply_to.connection.clone()).or_default();
        parcel.is_established = true;
        parcel.traces.extend(traces.of([record.id]));
        parcel.frames.extend(texts.into_iter().map(Frames::One));
    }
}

fn duplicate(batch: &RoomBatch, record: &Record, seq: Seq) -> Option<ServerFrame> {
    let epoch = batch.head()?.epoch.clone();
    Some(ServerFrame::Duplicate {
        room_id: record.room_id.clone(),
        command_id: record.id,
        client_message_id: record.body.client_message_id()?.clone(),
        message_id: MessageId { epoch, seq },
        seq,
    })
}

fn nack(record: &Record, code: ErrorCode) -> ServerFrame {
    ServerFrame::Nack {
        room_id: record.room_id.clone(),
        command_id: record.id,
        client_message_id: record.body.client_message_id().cloned(),
        code,
        retryable: code.retryable(),
    }
}
