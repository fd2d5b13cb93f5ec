//! What one message costs in each codec, in time and allocations, on one core:
//! `cargo bench -p common --bench codec`.

use common::codec::frame::ClientFrame;
use common::codec::json;
use common::codec::stomp::frame::Frames;
use common::codec::stomp::message::Message;
use common::codec::stomp::request::Request;
use common::codec::stomp::{Ack, Subscription, Version};
use common::id::{CommandId, MessageId, Seq};
use common::room::event::{self, EventBody, RoomEvent};
use common::time::Time;
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// With its content, a frame of about 300 bytes.
const CONTENT_BYTES: usize = 130;
const ROOM: &str = "g-3kQxN0v5bSg4WzP1uY8aLk";
const CLIENT_MESSAGE_ID: &str = "5f0c41b2-7d0e-4c55-9b62-0f7d3f1f9a10";

fn main() {
    divan::main();
}

fn content() -> String {
    "안녕 courtyard ".chars().cycle().take(CONTENT_BYTES - 20).collect()
}

fn body() -> String {
    format!(r#""clientMessageId":"{CLIENT_MESSAGE_ID}","content":"{}""#, content())
}

fn room_event() -> RoomEvent {
    let at = Time::from_unix_ms(1_800_000_000_000);
    let seq = Seq::new(4_711).expect("a seq");
    RoomEvent {
        seq,
        room: ROOM.parse().expect("a room"),
        at,
        sender: "alice@example.com".parse().expect("a user"),
        command_id: CommandId::new(at, 1),
        body: EventBody::Message(event::Message {
            id: MessageId { epoch: "b7JdQ2mXw1Zk".parse().expect("an epoch"), seq },
            client_message_id: CLIENT_MESSAGE_ID.parse().expect("an id"),
            number: 4_700,
            content: Some(content()),
            edited_at: None,
        }),
    }
}

#[divan::bench]
fn json_decode(bencher: Bencher<'_, '_>) {
    let text = format!(r#"{{"action":"send","id":"17","roomId":"{ROOM}",{}}}"#, body());
    bencher.bench(|| -> ClientFrame { json::decode(black_box(&text)).expect("a frame") });
}

#[divan::bench]
fn stomp_parse(bencher: Bencher<'_, '_>) {
    let text = stomp_frame();
    bencher.bench(|| Frames::new(black_box(&text)).next(Some(Version::V12)).expect("a frame").is_some());
}

#[divan::bench]
fn stomp_decode(bencher: Bencher<'_, '_>) {
    let text = stomp_frame();
    bencher.bench(|| {
        let frame = Frames::new(black_box(&text)).next(Some(Version::V12)).expect("a frame").expect("one");
        Request::read(&frame, Some(Version::V12)).expect("a request")
    });
}

fn stomp_frame() -> String {
    let body = format!("{{{}}}", body());
    let length = body.len();
    format!("SEND\ndestination:/app/rooms/{ROOM}/send\nreceipt:17\ncontent-length:{length}\n\n{body}\0")
}

#[divan::bench]
fn json_encode(bencher: Bencher<'_, '_>) {
    let event = room_event();
    let epoch = "b7JdQ2mXw1Zk".parse().expect("an epoch");
    bencher.bench(|| {
        let text = json::encode_event(black_box(&event));
        json::events_frames(&event.room, &epoch, [text.as_str()]).next()
    });
}

#[divan::bench]
fn stomp_encode(bencher: Bencher<'_, '_>) {
    let event = room_event();
    let epoch = "b7JdQ2mXw1Zk".parse().expect("an epoch");
    let subscription = Subscription { id: "sub-0".parse().expect("an id"), ack: Ack::Auto };
    bencher.bench(|| {
        let mut text = String::new();
        Message::event(&event, &epoch, json::encode_event(black_box(&event)).into()).write(&subscription, &mut text);
        text
    });
}

/// One more subscription to the same event.
#[divan::bench]
fn stomp_copy(bencher: Bencher<'_, '_>) {
    let event = room_event();
    let epoch = "b7JdQ2mXw1Zk".parse().expect("an epoch");
    let message = Message::event(&event, &epoch, json::encode_event(&event).into());
    let subscription = Subscription { id: "sub-0".parse().expect("an id"), ack: Ack::Auto };
    bencher.bench(|| {
        let mut text = String::new();
        black_box(&message).write(&subscription, &mut text);
        text
    });
}
