//! Records that nobody can take go to the dead-letter topic as they are, with where they came from and why; awaited,
//! so that an offset is never committed over a record that is nowhere.

use common::kafka_event::KafkaRecord;
use common::metrics::Count;
use common::producer::DEAD_LETTER_TOPIC;
use common::record;
use common::record::origin::Origin;
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
            let mut headers = record.headers.clone();
            headers.extend(origin(&record, &reason, now).headers());
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let sent = async {
                // Each of many partitions may wait in vain for a topic that is away.
                if Instant::now() >= deadline {
                    return Err("no time is left".to_owned());
                }
                let send = self.producer.send(DEAD_LETTER_TOPIC, key, value, &headers);
                let sent = timeout_at(deadline, send).await.map_err(|elapsed| elapsed.to_string())?;
                sent.map_err(|error| error.to_string())
            };
            let KafkaRecord { topic, partition, offset, .. } = &record;
            let room_id = record::room(topic, key).map(display);
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
}

fn origin(record: &KafkaRecord, reason: &str, now: Time) -> Origin {
    let KafkaRecord { topic, partition, offset, .. } = record;
    Origin { topic: topic.clone(), partition: *partition, offset: *offset, reason: reason.to_owned(), time: now }
}
