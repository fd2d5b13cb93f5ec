//! Records on their way. A sender may stop waiting for its record, as for a session's signal that takes too long: then
//! what becomes of it is kept until the next one sends, since a record that does not arrive has spent its client whether
//! anybody waits or not.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureRecord};
use tokio::time::Instant;

use super::{KafkaProducer, MESSAGE_TIMEOUT};

/// Delivers records.
#[derive(Default)]
pub(super) struct Deliveries {
    abandoned: Mutex<Vec<Delivery>>,
}

/// A record that its client has taken.
pub(super) struct Delivery {
    client: Arc<KafkaProducer>,
    pub(super) since: Instant,
    arrival: DeliveryFuture,
}

impl Deliveries {
    /// Sends a record and waits until it has arrived.
    ///
    /// # Errors
    /// librdkafka has not taken it, or given it up.
    pub(super) async fn deliver(
        &self,
        client: &Arc<KafkaProducer>,
        record: FutureRecord<'_, [u8], [u8]>,
    ) -> Result<(), KafkaError> {
        let arrival = client.send_result(record).map_err(|(error, _)| error)?;
        let delivery = Delivery { client: Arc::clone(client), since: Instant::now(), arrival };
        let mut wait = Wait { delivery: None, deliveries: self };
        let outcome = wait.delivery.insert(delivery).arrive().await;
        wait.delivery = None;
        outcome
    }

    /// Takes out what nobody waits for any more and what has not arrived: whose it was, and why.
    pub(super) fn take_failed(&self) -> Vec<(Arc<KafkaProducer>, KafkaError)> {
        let mut failed = Vec::new();
        let abandoned = mem::take(&mut *self.abandoned());
        for mut delivery in abandoned {
            match delivery.outcome() {
                Some(Ok(())) => {}
                Some(Err(error)) => failed.push((delivery.client, error)),
                None => self.abandoned().push(delivery),
            }
        }
        failed
    }

    pub(super) fn abandoned(&self) -> MutexGuard<'_, Vec<Delivery>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    async fn arrive(&mut self) -> Result<(), KafkaError> {
        match (&mut self.arrival).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(KafkaError::Canceled),
        }
    }

    /// What has become of it, once that is known. After a freeze librdkafka has not told yet of one whose time is over.
    fn outcome(&mut self) -> Option<Result<(), KafkaError>> {
        let timed_out = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        let is_over = self.since.elapsed() >= MESSAGE_TIMEOUT;
        self.arrive().now_or_never().or(is_over.then_some(Err(timed_out)))
    }
}

/// Somebody who waits for a delivery, and leaves it behind when they stop.
struct Wait<'a> {
    delivery: Option<Delivery>,
    deliveries: &'a Deliveries,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.deliveries.abandoned().extend(self.delivery.take());
    }
}
