//! One letter: a record on the dead-letter topic, by its place there.

use std::fmt;
use std::str::FromStr;

use common::kafka_event::Header;
use common::record::origin::{InvalidOrigin, Origin, left_out_bytes};
use common::record::{self, Undecodable};
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use topics::readable_headers;

use super::{Unreplayable, is_origin_topic};

/// A letter's place on the dead-letter topic, `partition:offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LetterId {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// The text names no letter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a letter is named by partition and offset, such as 0:17")]
pub(crate) struct InvalidLetterId;

impl FromStr for LetterId {
    type Err = InvalidLetterId;
    fn from_str(text: &str) -> Result<Self, InvalidLetterId> {
        let (partition, offset) = text.split_once(':').ok_or(InvalidLetterId)?;
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') {
            return Err(InvalidLetterId);
        }
        let partition = partition.parse().map_err(|_| InvalidLetterId)?;
        let offset = offset.parse().map_err(|_| InvalidLetterId)?;
        Ok(Self { partition, offset })
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.partition, self.offset)
    }
}

/// A letter as it stands on the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) id: LetterId,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
}

impl Letter {
    /// A record as the client read it.
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = readable_headers(message);
        let headers = headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
        Self {
            id: LetterId { partition: message.partition(), offset: message.offset() },
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }

    /// Where it came from, why and when.
    pub(crate) fn origin(&self) -> Result<Origin, InvalidOrigin> {
        Origin::of(&self.headers)
    }

    /// How many bytes the value has that was too large for the letter, if it was left out.
    pub(crate) fn left_out_bytes(&self) -> Option<u64> {
        left_out_bytes(&self.headers).filter(|_| self.value.is_none())
    }

    /// Whether the schema of today takes the record: a later version may take what an earlier one could not. Without an
    /// origin no topic says which kinds of records it could be.
    pub(crate) fn decoded(&self) -> Result<(), Undecodable> {
        let topic = self.origin().map_err(|_| Undecodable::Topic)?.topic;
        record::decode(&topic, self.key.as_deref(), self.value.as_deref()).map(drop)
    }

    /// The topic that a replay puts it back on.
    pub(crate) fn replay_topic(&self) -> Result<String, Unreplayable> {
        let topic = self.origin()?.topic;
        match self.left_out_bytes() {
            Some(bytes) => Err(Unreplayable::LeftOut(bytes)),
            None if is_origin_topic(&topic) => Ok(topic),
            None => Err(Unreplayable::ForeignTopic),
        }
    }

    /// A letter for tests, with a valid origin.
    #[cfg(test)]
    pub(crate) fn sample(topic: &str, reason: &str) -> Self {
        let time = common::time::Time::from_unix_ms(1_708_326_702_080);
        let origin = Origin { topic: topic.to_owned(), partition: 1, offset: 17, reason: reason.to_owned(), time };
        Self {
            id: LetterId { partition: 2, offset: 5 },
            key: Some(b"room-1".to_vec()),
            value: Some(b"\xff\xfe\0".to_vec()),
            headers: origin.headers().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::record::origin::left_out_header;

    use super::*;

    #[test]
    fn an_id_is_partition_and_offset() {
        let check = |text: &str, expected| assert_eq!(text.parse::<LetterId>(), expected, "{text:?}");
        check("0:17", Ok(LetterId { partition: 0, offset: 17 }));
        check("11:9223372036854775807", Ok(LetterId { partition: 11, offset: i64::MAX }));
        for odd in ["", ":", "0", "0:", ":1", "-1:0", "0:-1", "+1:0", "0:1:2", "a:b", "0:9223372036854775808", "0: 1"] {
            check(odd, Err(InvalidLetterId));
        }
        assert_eq!(LetterId { partition: 3, offset: 4 }.to_string(), "3:4");
    }

    #[test]
    fn only_a_letter_with_an_origin_of_ours_goes_back() {
        assert_eq!(Letter::sample("chat-presence", "x").replay_topic(), Ok("chat-presence".to_owned()));
        assert_eq!(Letter::sample("chat-messages-dlt", "x").replay_topic(), Err(Unreplayable::ForeignTopic));
        assert_eq!(Letter::sample("orders", "x").replay_topic(), Err(Unreplayable::ForeignTopic));
        let mut letter = Letter::sample("chat-messages", "x");
        letter.headers.push(left_out_header(3_000_000));
        assert_eq!(
            letter.replay_topic(),
            Ok("chat-messages".to_owned()),
            "the record's own header: the value is there"
        );
        letter.value = None;
        assert_eq!(letter.replay_topic(), Err(Unreplayable::LeftOut(3_000_000)));
        letter.headers.pop();
        assert_eq!(letter.replay_topic(), Ok("chat-messages".to_owned()), "a record that had no value");
        letter.headers.pop();
        let missing = InvalidOrigin(common::record::origin::TIME_HEADER);
        assert_eq!(letter.replay_topic(), Err(Unreplayable::Origin(missing)));
    }
}
