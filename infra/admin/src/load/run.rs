//! A crowd of connected users, and one run of it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::MissedTickBehavior;

use super::counters::Counters;
use super::frame::{self, MessageTag};
use super::log::ReceivedLog;
use super::member::{self, Member, Observation, Seat};
use super::report::Outcome;
use super::tally::{Schedule, Tally};
use super::{LoadError, LoadOptions};
use crate::runtime::Runtime;

/// Users that join at the same time: a run measures messages, not a rush of connections.
const JOIN_CONCURRENCY: usize = 8;
/// Tokens outlive any search.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7_200);
/// How long after the last message answers and copies are waited for.
const DRAIN_MAX: Duration = Duration::from_secs(60);
const DRAIN_CHECK: Duration = Duration::from_millis(100);
/// Between the order to start and the first message.
const LEAD: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreatedRoom {
    room_id: String,
}

/// Connected users, each subscribed to its room.
#[derive(Debug)]
pub(crate) struct Crowd {
    runtime: Runtime,
    session: String,
    room_ids: Vec<String>,
    members: Vec<Member>,
    logs: Vec<ReceivedLog>,
    observations: UnboundedReceiver<Observation>,
    runs: u32,
}

impl Crowd {
    /// Makes the rooms and connects the users.
    pub(crate) async fn gather(options: &LoadOptions) -> Result<Self, LoadError> {
        let runtime = Runtime::new(options.url.clone());
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let session = format!("load-{started:x}");
        let user_ids: Vec<String> = (0..options.users).map(|user| format!("{session}-u{user}")).collect();
        let tokens: Vec<String> = stream::iter(&user_ids)
            .map(|user_id| runtime.token(user_id, TOKEN_LIFETIME))
            .buffered(JOIN_CONCURRENCY)
            .try_collect()
            .await?;
        let rooms = options.rooms as usize;
        let room_ids: Vec<String> = stream::iter(tokens.iter().take(rooms).enumerate())
            .map(|(room, token)| create_room(&runtime, &session, &user_ids, rooms, room, token))
            .buffered(JOIN_CONCURRENCY)
            .try_collect()
            .await?;
        let (sender, observations) = unbounded_channel();
        let seat = |(user, token): (usize, String)| Seat {
            user,
            token,
            room_id: room_ids.get(user % rooms).cloned().unwrap_or_default(),
            session: session.clone(),
            observations: sender.clone(),
        };
        let members: Vec<Member> = stream::iter(tokens.into_iter().enumerate().map(seat))
            .map(|seat| member::join(&runtime.url, seat))
            .buffered(JOIN_CONCURRENCY)
            .try_collect()
            .await?;
        let logs = members.iter().map(|member| ReceivedLog::after(member.last_seq)).collect();
        Ok(Self { runtime, session, room_ids, members, logs, observations, runs: 0 })
    }

    /// Sends at a rate, whatever comes back, then waits until everything has come back.
    pub(crate) async fn run(&mut self, options: &LoadOptions, rate: u32) -> Outcome {
        let before = Counters::read(&self.runtime).await;
        self.runs += 1;
        let schedule = Schedule {
            run: self.runs,
            users: self.members.len(),
            rooms: self.room_ids.len(),
            start: Instant::now() + LEAD,
            rate,
            warmup: rate * options.warmup_s,
            total: rate * (options.warmup_s + options.duration_s),
        };
        let mut tally = Tally::new(schedule);
        let sending = self.send(schedule, options.content_bytes);
        let sending = tokio::spawn(sending);
        let deadline = schedule.due(schedule.total) + DRAIN_MAX;
        let mut check = tokio::time::interval(DRAIN_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(observation) = self.observations.recv() => {
                    if let Some(log) = self.logs.get_mut(observation.user) {
                        tally.observe(observation, log);
                    }
                }
                _ = check.tick() => {
                    let drained = sending.is_finished() && tally.unanswered() == 0 && tally.missing() == 0;
                    if drained || tally.closed() >= self.members.len() as u64 || Instant::now() > deadline {
                        break;
                    }
                }
            }
        }
        sending.abort();
        let after = Counters::read(&self.runtime).await;
        let counters = after.zip(before).map(|(after, before)| after.since(&before));
        Outcome { rate, tally, counters }
    }

    /// Hands every message to its sender's connection when it is due.
    fn send(&self, schedule: Schedule, content_bytes: u32) -> impl Future<Output = ()> + Send + 'static {
        let outboxes: Vec<_> = self.members.iter().map(|member| member.outbox.clone()).collect();
        let room_ids = self.room_ids.clone();
        let session = self.session.clone();
        let content = "a".repeat(content_bytes as usize);
        async move {
            for number in 0..schedule.total {
                tokio::time::sleep_until(schedule.due(number).into()).await;
                let sender = schedule.sender(number);
                let (Some(outbox), Some(room_id)) = (outboxes.get(sender), room_ids.get(sender % room_ids.len()))
                else {
                    continue;
                };
                let frame = frame::send(room_id, &session, MessageTag { run: schedule.run, number }, &content);
                // A closed connection was counted as a fault when it closed; its messages stay unanswered.
                drop(outbox.send(frame));
            }
        }
    }
}

async fn create_room(
    runtime: &Runtime,
    session: &str,
    user_ids: &[String],
    rooms: usize,
    room: usize,
    token: &str,
) -> Result<String, LoadError> {
    // The room's first user makes it.
    let others: Vec<&String> = user_ids.iter().skip(room + rooms).step_by(rooms).collect();
    let name = format!("{session} {room}");
    let key = format!("{session}-r{room}");
    let created: CreatedRoom = runtime.post("/rooms", token, &key, &json!({"name": name, "userIds": others})).await?;
    Ok(created.room_id)
}
