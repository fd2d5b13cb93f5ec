//! Telling what became of a room's records: events to subscribers, duplicates and refusals to whoever waits, notices
//! to new members.

use std::collections::HashMap;

use common::code::ErrorCode;
use common::codec::frame::{NoticeKind, ServerFrame};
use common::codec::json;
use common::failure::Failure;
use common::id::{CommandId, ConnectionId, MessageId, RoomId, Seq};
use common::metrics::Count;
use common::record::{Record, RecordBody};
use common::room::commit::{Outcome, RoomBatch};
use common::room::event::{EventBody, RoomEvent};
use common::time::Time;

use crate::fan_out::FanOut;
use crate::handler::Consumer;
use crate::post::{Parcel, PostOffice};

impl Consumer {
    /// Posts everything that a committed batch has to tell. Connections that do not take it are no failure.
    pub(crate) async fn deliver(
        &self,
        post_office: &PostOffice<'_>,
        room: &RoomId,
        batch: &RoomBatch,
        now: Time,
    ) -> Result<(), Failure> {
        let mut parcels: HashMap<ConnectionId, Parcel> = HashMap::new();
        let events = self.events_to_post(room, batch).await?;
        if let (Some(head), false) = (batch.head(), events.is_empty()) {
            // Read behind the commit: whoever subscribes later finds these events in the catch-up.
            let subscriptions = self.store.room_subscriptions(room, now).await?;
            let waiting = waiting_connections(batch, now);
            FanOut { head, events: &events, waiting: &waiting }.pack(subscriptions, &mut parcels);
        }
        for (record, outcome) in batch.records().iter().zip(batch.outcomes()) {
            match outcome {
                Outcome::Committed(_) => {}
                Outcome::Again(_) => {
                    if record.body == (RecordBody::RoomCreated {}) {
                        self.pack_created_notices(room, now, &mut parcels).await?;
                    }
                }
                Outcome::Duplicate(seq) => {
                    self.metrics.add(Count::Duplicates, 1);
                    pack_reply(record, duplicate(batch, record, *seq), now, &mut parcels);
                }
                Outcome::Refused(code) => {
                    self.metrics.add(Count::Nacks, 1);
                    pack_reply(record, Some(nack(record, *code)), now, &mut parcels);
                }
                Outcome::Impossible => {
                    self.metrics.add(Count::Nacks, 1);
                    pack_reply(record, Some(nack(record, ErrorCode::Internal)), now, &mut parcels);
                }
            }
        }
        post_office.post_all(room, parcels, now).await
    }

    /// This batch's own events that are not known to be posted, in order and in their current state.
    async fn events_to_post(&self, room: &RoomId, batch: &RoomBatch) -> Result<Vec<RoomEvent>, Failure> {
        let again = batch.undelivered_again();
        let mut events = if again.is_empty() { Vec::new() } else { self.store.events_at(room, &again).await? };
        events.extend(batch.outcomes().iter().filter_map(|outcome| match outcome {
            Outcome::Committed(event) => Some(event.clone()),
            _ => None,
        }));
        events.sort_unstable_by_key(|event| event.seq);
        Ok(events)
    }

    async fn pack_created_notices(
        &self,
        room: &RoomId,
        now: Time,
        parcels: &mut HashMap<ConnectionId, Parcel>,
    ) -> Result<(), Failure> {
        let Some(event) = self.store.events_at(room, &[Seq::ZERO.next()]).await?.pop() else { return Ok(()) };
        let EventBody::RoomCreated { users, .. } = &event.body else { return Ok(()) };
        let live = self.store.live_connections(users, now).await?;
        let notice = ServerFrame::Notice { kind: NoticeKind::Created, room_id: room.clone(), event };
        let notice: std::sync::Arc<str> = json::encode(&notice).into();
        for (_, connection) in live {
            parcels.entry(connection).or_default().frames.push(std::sync::Arc::clone(&notice));
        }
        Ok(())
    }
}

/// Connections that wait for an event of theirs, with the event's command.
fn waiting_connections(batch: &RoomBatch, now: Time) -> HashMap<CommandId, ConnectionId> {
    let waiting = batch.records().iter().filter_map(|record| Some((record.id, reply_connection(record, now)?.clone())));
    waiting.collect()
}

/// Who waits for a record's outcome, while their token is good.
fn reply_connection(record: &Record, now: Time) -> Option<&ConnectionId> {
    let reply_to = record.reply_to.as_ref()?;
    let good = !common::auth::expired(Time::from_unix_seconds(reply_to.expires_at), now);
    good.then_some(&reply_to.connection)
}

fn pack_reply(record: &Record, frame: Option<ServerFrame>, now: Time, parcels: &mut HashMap<ConnectionId, Parcel>) {
    if let (Some(connection), Some(frame)) = (reply_connection(record, now), frame) {
        parcels.entry(connection.clone()).or_default().frames.push(json::encode(&frame).into());
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
