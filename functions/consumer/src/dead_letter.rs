//! Records that nobody can take go to the dead-letter topic as they are, with where they came from and why; awaited,
//! so that an offset is never committed over a record that is nowhere. One that is too large for that topic, as a
//! compressed one may be, goes without its value: no further try would end otherwise.

use common::kafka_event::KafkaRecord;
use common::metrics::Count;
use common::producer::ProduceError;
use common::record::origin::{Origin, left_out_header};
use common::record::{self, DEAD_LETTER_TOPIC};
use common::time::Time;
use tokio::time::{Instant, timeout_at};
use tracing::field::display;

use crate::handler::{Consumer, Failed, is_before_failure, note};

impl Consumer {
    /// Buries records in order, but none behind its partition's first failure: those come again. One that cannot be
    /// buried, or not before the deadline, is a failure itself.
    pub(crate) async fn bury(
        &self,
        mut letters: Vec<(KafkaRecord, String)>,
        failed: &mut Failed,
        deadline: Instant,
        now: Time,
    ) {
        letters.sort_by_key(|(record, _)| record.offset);
        for (record, reason) in letters {
            if !is_before_failure(failed, &record) {
                continue;
            }
            let origin = origin(&record, &reason, now);
            let sent = async {
                // Each of many partitions may wait in vain for a topic that is away.
                if Instant::now() >= deadline {
                    return Err("no time is left".to_owned());
                }
                let put = self.put_letter(&record, &origin);
                let put = timeout_at(deadline, put).await.map_err(|elapsed| elapsed.to_string())?;
                put.map_err(|error| error.to_string())
            };
            let KafkaRecord { topic, partition, offset, .. } = &record;
            let room_id = record::room(topic, record.key.as_deref()).map(display);
            let trace_id = record::trace(&record.headers).map(|trace| trace.trace_id());
            match sent.await {
                Ok(()) => {
                    self.metrics.add(Count::DeadLetters, 1);
                    tracing::warn!(
                        topic,
                        partition,
                        offset,
                        room_id,
                        trace_id,
                        reason,
                        "a record was put on the dead-letter topic"
                    );
                }
                Err(error) => {
                    tracing::error!(
                        topic,
                        partition,
                        offset,
                        room_id,
                        trace_id,
                        error,
                        "a record cannot be put on the dead-letter topic"
                    );
                    note(failed, &record);
                }
            }
        }
    }

    /// Puts a record on the dead-letter topic, with as much of it as that takes: all, or all but the value, or the origin
    /// alone.
    async fn put_letter(&self, record: &KafkaRecord, origin: &Origin) -> Result<(), ProduceError> {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let mut ours = origin.headers().to_vec();
        let headers = [record.headers.as_slice(), &ours].concat();
        match self.producer.send(DEAD_LETTER_TOPIC, key, value, &headers).await {
            Err(ProduceError::TooLarge) => {}
            sent => return sent,
        }
        ours.push(left_out_header(value.map_or(0, <[u8]>::len)));
        let headers = [record.headers.as_slice(), &ours].concat();
        match self.producer.send(DEAD_LETTER_TOPIC, key, None, &headers).await {
            Err(ProduceError::TooLarge) => self.producer.send(DEAD_LETTER_TOPIC, None, None, &ours).await,
            sent => sent,
        }
    }
}

fn origin(record: &KafkaRecord, reason: &str, now: Time) -> Origin {
    let KafkaRecord { topic, partition, offset, .. } = record;
    Origin { topic: topic.clone(), partition: *partition, offset: *offset, reason: reason.to_owned(), time: now }
}
