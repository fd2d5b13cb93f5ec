//! How connections and subscriptions speak, as attributes of their items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::StoreError;
use super::attributes::{Item, text};
use crate::codec::stomp::{Ack, Subscription, SubscriptionId};
use crate::codec::{Codec, Dialect, Form};

const CODEC: &str = "codec";
const QUEUES: &str = "queues";
const ACK: &str = "ack";

impl Item {
    /// This item with a dialect.
    pub(super) fn with_dialect(self, dialect: &Dialect) -> Self {
        let item = self.with(CODEC, text(dialect.codec()));
        if dialect.queues().is_empty() { item } else { item.with(QUEUES, queues(dialect.queues())) }
    }

    /// The dialect of a connection or session.
    pub(super) fn dialect(&self) -> Result<Dialect, StoreError> {
        let mut queues = Vec::new();
        for entry in self.list(QUEUES) {
            let entry = Self(entry.as_m().map_err(|_| StoreError::Item(QUEUES))?.clone());
            queues.push(Subscription { id: entry.parsed("id")?, ack: entry.ack() });
        }
        Ok(Dialect::new(self.parsed(CODEC)?, queues))
    }

    /// This subscription's item with its form.
    pub(super) fn with_form(self, form: &Form) -> Self {
        match form {
            // What most rows have is left out: a fan-out reads them all.
            Form::Json => self,
            Form::Stomp(subscription) => {
                let item = self.with(CODEC, text(Codec::Stomp(None)));
                item.with(ACK, AttributeValue::Bool(subscription.ack == Ack::Client))
            }
        }
    }

    /// The form of a subscription whose id is in its key.
    pub(super) fn form(&self, id: &SubscriptionId) -> Result<Form, StoreError> {
        match self.optional_text(CODEC).map(str::parse) {
            None | Some(Ok(Codec::Json)) => Ok(Form::Json),
            Some(Ok(Codec::Stomp(_))) => Ok(Form::Stomp(Subscription { id: id.clone(), ack: self.ack() })),
            Some(Err(())) => Err(StoreError::Item(CODEC)),
        }
    }

    fn ack(&self) -> Ack {
        if self.flag(ACK) { Ack::Client } else { Ack::Auto }
    }
}

/// Subscriptions to the user's queue.
pub(super) fn queues(queues: &[Subscription]) -> AttributeValue {
    let queue = |subscription: &Subscription| {
        AttributeValue::M(HashMap::from([
            ("id".to_owned(), text(&subscription.id)),
            (ACK.to_owned(), AttributeValue::Bool(subscription.ack == Ack::Client)),
        ]))
    };
    AttributeValue::L(queues.iter().map(queue).collect())
}
