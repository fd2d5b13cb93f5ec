//! Puts records back on the topics that they came from, with their key, value and headers, and one header more that
//! names the letter. The letter stays.
//!
//! **Order.** Letters go one after the other, each acknowledged before the next, in the order of their partition, which
//! is that of their keys. The first that fails ends it: nothing overtakes it. A replayed record takes a new place at the
//! end of the log, so it is judged by what holds then, such as who is a member. **Once.** A record's identity is its
//! own `id`, so replaying it again, or one that was accepted before, makes no second event.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

use clap::Args;
use common::config::KafkaConfig;
use common::metrics::Metrics;
use common::producer::Producer;
use common::record::origin::replay_headers;

use super::DltError;
use super::letter::{Letter, LetterId};
use super::reader::Reader;
use super::selection::Selection;

/// Which letters.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("letters").required(true).args(["ids", "all", "reason"]))]
pub(crate) struct ReplayOptions {
    /// Letters by partition and offset; unless all of them can go back, none does
    #[arg(value_name = "P:O")]
    ids: Vec<LetterId>,
    /// Every letter that can go back
    #[arg(long)]
    all: bool,
    /// Every letter with this reason, word for word as it is listed, that can go back
    #[arg(long)]
    reason: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What was replayed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    count: u64,
    last: Option<LetterId>,
}

impl fmt::Display for Done {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, self.last) {
            (_, None) => write!(formatter, "nothing was replayed"),
            (1, Some(last)) => write!(formatter, "1 letter was replayed: {last}"),
            (count, Some(last)) => write!(formatter, "{count} letters were replayed, the last of them {last}"),
        }
    }
}

/// Replays letters.
///
/// # Errors
/// The first letter that failed, with what was replayed before it.
pub(crate) async fn run(options: &ReplayOptions, config: KafkaConfig, output: &mut impl Write) -> Result<(), DltError> {
    let reader = Reader::open(&config)?;
    let producer = Producer::new(config.clone(), Arc::new(Metrics::default()))?;
    let producer = (!options.dry_run).then_some(producer);
    let mut replay =
        Replay { reader: &reader, config, producer, output, checked: HashSet::new(), done: Done::default() };
    let outcome = if options.all || options.reason.is_some() {
        replay.selected(&Selection { reason: options.reason.clone(), topic: None }).await
    } else {
        replay.named(&options.ids).await
    };
    let done = replay.done;
    outcome.map_err(|cause| DltError::Stopped { cause: Box::new(cause), done })?;
    eprintln!("admin: {done}");
    Ok(())
}

struct Replay<'a, W> {
    reader: &'a Reader,
    config: KafkaConfig,
    /// None in a dry run.
    producer: Option<Producer>,
    output: &'a mut W,
    /// Topics whose number of partitions is as configured.
    checked: HashSet<String>,
    done: Done,
}

impl<W: Write> Replay<'_, W> {
    /// Letters that were named: each must be there and have a topic to go back to before the first one goes.
    async fn named(&mut self, ids: &[LetterId]) -> Result<(), DltError> {
        let mut placed = Vec::new();
        for letter in self.reader.letters(ids)? {
            match letter.replay_topic() {
                Ok(topic) => placed.push((letter, topic)),
                Err(cause) => return Err(DltError::Unreplayable { id: letter.id, cause }),
            }
        }
        for (letter, topic) in placed {
            self.put_back(&letter, &topic).await?;
        }
        Ok(())
    }

    /// Letters that stood on the topic at the start. One without a topic to go back to is told and passed over: it
    /// can never go back, so nothing overtakes it.
    async fn selected(&mut self, selection: &Selection) -> Result<(), DltError> {
        let mut walk = self.reader.walk(self.reader.all()?);
        let mut passed_over = 0;
        while let Some(letter) = walk.next()? {
            if !selection.takes(&letter) {
                continue;
            }
            match letter.replay_topic() {
                Ok(topic) => self.put_back(&letter, &topic).await?,
                Err(cause) => {
                    passed_over += 1;
                    eprintln!("admin: {}", DltError::Unreplayable { id: letter.id, cause });
                }
            }
        }
        if passed_over > 0 { Err(DltError::PassedOver(passed_over)) } else { Ok(()) }
    }

    async fn put_back(&mut self, letter: &Letter, topic: &str) -> Result<(), DltError> {
        self.check_partitions(topic)?;
        let Some(producer) = &self.producer else {
            writeln!(self.output, "{} would go back to {topic}", letter.id)?;
            return Ok(());
        };
        let headers = replay_headers(&letter.headers, &letter.id.to_string());
        let sent = producer.send(topic, letter.key.as_deref(), letter.value.as_deref(), &headers).await;
        sent.map_err(|cause| DltError::Unacknowledged { id: letter.id, topic: topic.to_owned(), cause })?;
        self.done = Done { count: self.done.count + 1, last: Some(letter.id) };
        writeln!(self.output, "{} went back to {topic}", letter.id)?;
        Ok(())
    }

    /// With another number of partitions than the functions have, a room's records would go to two partitions.
    fn check_partitions(&mut self, topic: &str) -> Result<(), DltError> {
        if self.checked.contains(topic) {
            return Ok(());
        }
        let found = self.reader.partition_count(topic)?;
        let configured = self.config.partitions.get(topic).copied().unwrap_or_default();
        if usize::try_from(configured) != Ok(found) {
            return Err(DltError::Partitions { topic: topic.to_owned(), found, configured });
        }
        self.checked.insert(topic.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said() {
        let check = |count, expected: &str| {
            let last = (count > 0).then_some(LetterId { partition: 0, offset: 6 });
            assert_eq!(Done { count, last }.to_string(), expected);
        };
        check(0, "nothing was replayed");
        check(1, "1 letter was replayed: 0:6");
        check(2, "2 letters were replayed, the last of them 0:6");
    }
}
