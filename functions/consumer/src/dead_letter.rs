//! Records that nobody can take go to the dead-letter topic as they are, with where they came from and why; awaited,
//! so that an offset is never committed over a record that is nowhere.

use common::kafka_event::{Header, KafkaRecord};
use common::metrics::Count;
use common::producer::DEAD_LETTER_TOPIC;

use crate::handler::{Consumer, Failed, is_before_failure, note};

impl Consumer {
    /// Buries records in order, but none behind its partition's first failure: those come again. One that cannot be
    /// buried is a failure itself.
    pub(crate) async fn bury(&self, mut letters: Vec<(KafkaRecord, String)>, failed: &mut Failed) {
        letters.sort_by_key(|(record, _)| record.offset);
        for (record, reason) in letters {
            if !is_before_failure(failed, &record) {
                continue;
            }
            let mut headers = record.headers.clone();
            headers.extend([
                origin("topic", record.topic.clone()),
                origin("partition", record.partition.to_string()),
                origin("offset", record.offset.to_string()),
                origin("reason", reason.clone()),
            ]);
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            match self.producer.send(DEAD_LETTER_TOPIC, key, value, &headers).await {
                Ok(()) => {
                    self.metrics.add(Count::DeadLetters, 1);
                    tracing::warn!(
                        topic = record.topic,
                        partition = record.partition,
                        offset = record.offset,
                        reason,
                        "a record was put on the dead-letter topic"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, offset = record.offset, "a record cannot be put on the dead-letter topic");
                    note(failed, &record);
                }
            }
        }
    }
}

fn origin(name: &str, value: String) -> Header {
    (format!("madang-origin-{name}"), Some(value.into_bytes()))
}
