//! Frames on their way to connections. A room's events are encoded once; what each connection gets of them is put
//! together frame by frame while it is posted, since everybody's copies at once would not fit into memory.

use std::borrow::Cow;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use common::codec::stomp::message::{Message, coalesce};
use common::codec::{Form, json};
use common::id::{Epoch, RoomId};
use common::room::Head;
use common::room::event::RoomEvent;

/// Frames that one connection gets, in order.
#[derive(Debug)]
pub(crate) enum Frames {
    /// One.
    One(Arc<str>),
    /// A run of a room's events, in as few frames as their sizes allow.
    Run {
        /// The room's.
        events: Arc<EncodedEvents>,
        /// How the subscription's frames look.
        form: Form,
        /// Which of the events.
        range: Range<usize>,
    },
}

/// A room's events, encoded once for everybody.
#[derive(Debug)]
pub(crate) struct EncodedEvents {
    room: RoomId,
    epoch: Epoch,
    json: Vec<Arc<str>>,
    /// Only where somebody speaks STOMP.
    stomp: Vec<Message>,
    /// The longest WebSocket message that several STOMP frames are put into.
    stomp_message_bytes: usize,
}

impl Frames {
    /// Each made when it is asked for.
    pub(crate) fn texts(&self) -> Box<dyn Iterator<Item = Cow<'_, str>> + Send + '_> {
        match self {
            Self::One(text) => Box::new(iter::once(Cow::Borrowed(&**text))),
            Self::Run { events, form: Form::Json, range } => Box::new(events.json(range.clone()).map(Cow::Owned)),
            Self::Run { events, form: Form::Stomp(subscription), range } => {
                let messages = events.stomp.get(range.clone()).unwrap_or_default();
                Box::new(coalesce(subscription, messages, events.stomp_message_bytes).map(Cow::Owned))
            }
        }
    }
}

impl EncodedEvents {
    /// Encodes a room's events for subscriptions of these forms.
    pub(crate) fn new<'a>(
        head: &Head,
        events: &[RoomEvent],
        mut forms: impl Iterator<Item = &'a Form>,
        stomp_message_bytes: usize,
    ) -> Self {
        let Head { room, epoch, .. } = head;
        let json: Vec<Arc<str>> = events.iter().map(|event| json::encode_event(event).into()).collect();
        let stomp = if forms.any(|form| matches!(form, Form::Stomp(_))) {
            events.iter().zip(&json).map(|(event, json)| Message::event(event, epoch, Arc::clone(json))).collect()
        } else {
            Vec::new()
        };
        Self { room: room.clone(), epoch: epoch.clone(), json, stomp, stomp_message_bytes }
    }

    /// Some of the events as JSON frames.
    pub(crate) fn json(&self, indices: impl IntoIterator<Item = usize>) -> impl Iterator<Item = String> {
        let texts = indices.into_iter().filter_map(|index| self.json.get(index)).map(AsRef::as_ref);
        json::events_frames(&self.room, &self.epoch, texts)
    }
}
