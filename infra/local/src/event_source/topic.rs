//! One topic: its consumer, its partitions, and everything that talks to the broker.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult},
};
use tokio::sync::{Notify, RwLock, mpsc, oneshot, watch};

use super::{
    Counters, EventSourceConfig, EventSourceError, Mode,
    backlog::{Backlog, Intake},
    record::Record,
    stopping,
};
use crate::embedded::Gate;

/// How long the cluster may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const COMMIT_RETRY_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Topic {
    pub(super) name: String,
    pub(super) backlogs: Vec<Backlog>,
    pub(super) counters: Arc<Counters>,
    /// Every batch in flight holds this for reading; a rewind takes it for writing.
    pub(super) batches: Arc<RwLock<()>>,
    /// Told of every record that was read.
    pub(super) arrivals: Notify,
    pub(super) gate: Option<Gate>,
    consumer: Arc<StreamConsumer>,
    rewinds: mpsc::Sender<Rewind>,
}

/// Asks the reading task to start again; answered when it has.
pub(super) type Rewind = oneshot::Sender<Result<(), KafkaError>>;

impl Topic {
    /// Makes the consumer and assigns it every partition, at the group's committed offset or else the first record.
    /// The second value is for [`Topic::read`].
    ///
    /// # Errors
    /// The cluster does not answer, or has no such topic.
    pub(super) async fn open(
        config: &EventSourceConfig,
        name: &str,
        counters: Arc<Counters>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Rewind>), EventSourceError> {
        // The embedded broker holds an empty fetch for the whole wait, whatever arrives meanwhile (4 ms: seen 3.7 ms
        // from produce to invoke at the median, 5 % of a core when idle); others answer at the first record.
        let fetch_wait_ms = if config.gate.is_some() { "4" } else { "10" };
        let mut client = config.kafka.client();
        client
            .set("group.id", format!("madang-{name}"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("allow.auto.create.topics", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", fetch_wait_ms)
            .set("fetch.error.backoff.ms", "10")
            .set("fetch.queue.backoff.ms", "10")
            // A tenth of it while the coordinator is away; otherwise commits stand still for a minute after an outage.
            .set("coordinator.query.interval.ms", "5000")
            .set("reconnect.backoff.max.ms", "1000");
        let (topic, gate) = (name.to_owned(), config.gate.clone());
        let open = move || {
            let failed = |error| EventSourceError::Kafka { topic: topic.clone(), error };
            let consumer: StreamConsumer = client.create().map_err(failed)?;
            let starts = starts(&consumer, &topic).map_err(failed)?;
            if starts.is_empty() {
                return Err(EventSourceError::NoTopic(topic));
            }
            assign(&consumer, &topic, &starts).map_err(failed)?;
            let (rewinds, requested) = mpsc::channel(1);
            let topic = Self {
                backlogs: starts.into_iter().map(|(partition, start)| Backlog::new(partition, start)).collect(),
                name: topic,
                counters,
                batches: Arc::default(),
                arrivals: Notify::new(),
                gate,
                consumer: Arc::new(consumer),
                rewinds,
            };
            Ok((Arc::new(topic), requested))
        };
        blocking(open).await?
    }

    /// Reads records into the backlogs until the event source stops.
    pub(super) async fn read(self: Arc<Self>, mut requested: mpsc::Receiver<Rewind>, mode: watch::Receiver<Mode>) {
        let mut stopping = std::pin::pin!(stopping(mode));
        loop {
            tokio::select! {
                biased;
                () = &mut stopping => return,
                Some(answer) = requested.recv() => drop(answer.send(self.restart().await)),
                message = self.consumer.recv() => match message {
                    Ok(message) => match Record::read(&message) {
                        Ok(record) => self.receive(message.partition(), record),
                        Err(error) => tracing::error!(topic = self.name, %error, "a record could not be read"),
                    },
                    Err(error) => tracing::warn!(topic = self.name, %error, "reading from Kafka failed, trying again"),
                },
            }
        }
    }

    /// Waits for the batches in flight, then starts the reading again at the first record.
    ///
    /// # Errors
    /// The cluster did not take the offsets, or the event source is stopping.
    pub(super) async fn rewind(&self) -> Result<(), EventSourceError> {
        let _no_batches = self.batches.write().await;
        let (answer, answered) = oneshot::channel();
        self.rewinds.send(answer).await.map_err(|_| EventSourceError::Stopped)?;
        let restarted = answered.await.map_err(|_| EventSourceError::Stopped)?;
        restarted.map_err(|error| EventSourceError::Kafka { topic: self.name.clone(), error })
    }

    /// Whether every partition's committed offset is the end of its log. A cluster that does not answer is not drained.
    pub(super) async fn is_drained(&self) -> bool {
        let (consumer, topic) = (self.consumer.clone(), self.name.clone());
        let committed: Vec<(i32, i64)> =
            self.backlogs.iter().map(|backlog| (backlog.partition, backlog.committed())).collect();
        let compare = move || {
            committed.into_iter().all(|(partition, committed)| {
                consumer.fetch_watermarks(&topic, partition, ANSWER_TIMEOUT).is_ok_and(|(_, high)| committed >= high)
            })
        };
        blocking(compare).await.unwrap_or(false)
    }

    /// Commits the offset after these records, and tries again until the cluster takes it or the event source stops.
    pub(super) async fn commit(&self, backlog: &Backlog, delivered: &[Record], mode: &watch::Receiver<Mode>) {
        let Some(last) = delivered.last() else { return };
        let offset = Offset::Offset(last.offset + 1);
        while let Err(error) = self.commit_offsets(vec![(backlog.partition, offset)]).await {
            let (topic, partition) = (&self.name, backlog.partition);
            tracing::warn!(topic, partition, %error, "an offset could not be committed, trying again");
            if tokio::time::timeout(COMMIT_RETRY_INTERVAL, stopping(mode.clone())).await.is_ok() {
                return;
            }
        }
        backlog.commit(delivered);
        self.adjust_intake(backlog);
    }

    fn receive(&self, partition: i32, record: Record) {
        let Some(backlog) = self.backlogs.iter().find(|backlog| backlog.partition == partition) else { return };
        let offset = record.offset;
        let skipped = backlog.push(record);
        // A real log may have holes (compaction, markers of transactions); the embedded one never has.
        if skipped > 0 && self.gate.is_some() {
            self.counters.lost.fetch_add(skipped, Ordering::Relaxed);
            tracing::error!(topic = self.name, partition, offset, skipped, "the embedded broker dropped records");
        }
        self.adjust_intake(backlog);
        self.arrivals.notify_waiters();
    }

    fn adjust_intake(&self, backlog: &Backlog) {
        let Some(intake) = backlog.intake_change() else { return };
        let (topic, partition) = (&self.name, backlog.partition);
        tracing::warn!(topic, partition, ?intake, "the backlog of a partition passed a limit");
        match (&self.gate, intake) {
            (Some(gate), Intake::Closed) => gate.refuse(&format!("{topic}-{partition}")),
            (Some(gate), Intake::Open) => gate.accept(&format!("{topic}-{partition}")),
            (None, intake) => {
                let mut list = TopicPartitionList::new();
                list.add_partition(topic, partition);
                let changed = match intake {
                    Intake::Closed => self.consumer.pause(&list),
                    Intake::Open => self.consumer.resume(&list),
                };
                if let Err(error) = changed {
                    tracing::warn!(topic, partition, ?intake, %error, "the partition's intake could not be changed");
                }
            }
        }
    }

    /// Only the reading task calls this, so that nothing read before comes in after it.
    async fn restart(&self) -> Result<(), KafkaError> {
        let (consumer, topic) = (self.consumer.clone(), self.name.clone());
        let partitions: Vec<i32> = self.backlogs.iter().map(|backlog| backlog.partition).collect();
        let reset = move || -> KafkaResult<Vec<(i32, i64)>> {
            let starts = first_offsets(&consumer, &topic, partitions)?;
            let offsets = starts.iter().map(|(partition, start)| (*partition, Offset::Offset(*start))).collect();
            consumer.commit(&list(&topic, offsets)?, CommitMode::Sync)?;
            assign(&consumer, &topic, &starts)?;
            Ok(starts)
        };
        let starts = blocking(reset).await.map_err(|_| KafkaError::Canceled)??;
        for (backlog, (_, start)) in self.backlogs.iter().zip(starts) {
            backlog.restart(start);
            self.adjust_intake(backlog);
        }
        self.arrivals.notify_waiters();
        Ok(())
    }

    async fn commit_offsets(&self, offsets: Vec<(i32, Offset)>) -> KafkaResult<()> {
        let (consumer, topic) = (self.consumer.clone(), self.name.clone());
        let commit = move || consumer.commit(&list(&topic, offsets)?, CommitMode::Sync);
        blocking(commit).await.map_err(|_| KafkaError::Canceled)?
    }
}

/// librdkafka's questions block.
async fn blocking<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Result<T, EventSourceError> {
    tokio::task::spawn_blocking(question).await.map_err(|_| EventSourceError::Stopped)
}

/// Where each partition's reading starts: the group's committed offset, or the first record.
fn starts(consumer: &StreamConsumer, topic: &str) -> KafkaResult<Vec<(i32, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .filter(|found| found.error().is_none())
        .flat_map(|found| found.partitions().iter().map(|partition| partition.id()))
        .collect();
    let question = list(topic, partitions.iter().map(|partition| (*partition, Offset::Invalid)).collect())?;
    let committed = consumer.committed_offsets(question, ANSWER_TIMEOUT)?;
    let mut starts = first_offsets(consumer, topic, partitions)?;
    for (partition, start) in &mut starts {
        if let Some(Offset::Offset(offset)) = committed.find_partition(topic, *partition).map(|found| found.offset()) {
            *start = offset.max(*start);
        }
    }
    Ok(starts)
}

fn first_offsets(consumer: &StreamConsumer, topic: &str, partitions: Vec<i32>) -> KafkaResult<Vec<(i32, i64)>> {
    partitions
        .into_iter()
        .map(|partition| {
            consumer.fetch_watermarks(topic, partition, ANSWER_TIMEOUT).map(|(first, _)| (partition, first))
        })
        .collect()
}

fn assign(consumer: &StreamConsumer, topic: &str, starts: &[(i32, i64)]) -> KafkaResult<()> {
    let offsets = starts.iter().map(|(partition, start)| (*partition, Offset::Offset(*start))).collect();
    consumer.assign(&list(topic, offsets)?)
}

fn list(topic: &str, offsets: Vec<(i32, Offset)>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, offset)?;
    }
    Ok(list)
}
