//! What a dead letter says of the record that it was: five headers beside the record's own, which stay as they are, and a
//! sixth where the record was too large for a letter, which has no value then.
//!
//! They are appended, so where a record brought headers of these names along, the last of each name is the letter's.

use crate::kafka_event::Header;
use crate::time::Time;

/// The topic that the record stood on.
pub const TOPIC_HEADER: &str = "madang-origin-topic";
/// The partition that it stood on, as a decimal number.
pub const PARTITION_HEADER: &str = "madang-origin-partition";
/// The offset that it had there, as a decimal number.
pub const OFFSET_HEADER: &str = "madang-origin-offset";
/// Why nobody could take it: a sentence of ours that carries nothing of its content.
pub const REASON_HEADER: &str = "madang-origin-reason";
/// When it became a dead letter, as RFC 3339.
pub const TIME_HEADER: &str = "madang-origin-time";
/// How many bytes the value has that was left out, as a decimal number.
const VALUE_BYTES_HEADER: &str = "madang-origin-value-bytes";
/// The letter, as `partition:offset`, that a replayed record was.
pub const REPLAYED_FROM_HEADER: &str = "madang-replayed-from";

/// Where a dead letter came from, why and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The topic that the record stood on.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Why nobody could take it.
    pub reason: String,
    /// When it became a dead letter.
    pub time: Time,
}

/// A header of the origin is missing or unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header {0} is missing or unreadable")]
pub struct InvalidOrigin(pub &'static str);

impl Origin {
    /// The headers to append to the record's own.
    #[must_use]
    pub fn headers(&self) -> [Header; 5] {
        let header = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
        [
            header(TOPIC_HEADER, self.topic.clone()),
            header(PARTITION_HEADER, self.partition.to_string()),
            header(OFFSET_HEADER, self.offset.to_string()),
            header(REASON_HEADER, self.reason.clone()),
            header(TIME_HEADER, self.time.to_string()),
        ]
    }

    /// Reads the headers back.
    ///
    /// # Errors
    /// The first header that is missing or unreadable.
    pub fn of(headers: &[Header]) -> Result<Self, InvalidOrigin> {
        Ok(Self {
            topic: read(headers, TOPIC_HEADER)?,
            partition: read(headers, PARTITION_HEADER)?,
            offset: read(headers, OFFSET_HEADER)?,
            reason: read(headers, REASON_HEADER)?,
            time: read(headers, TIME_HEADER)?,
        })
    }
}

/// The header to append when the value of so many bytes is left out.
#[must_use]
pub fn left_out_header(value_bytes: usize) -> Header {
    (VALUE_BYTES_HEADER.to_owned(), Some(value_bytes.to_string().into_bytes()))
}

/// How many bytes the value has that a letter with these headers leaves out, if it does.
#[must_use]
pub fn left_out_bytes(headers: &[Header]) -> Option<u64> {
    read(headers, VALUE_BYTES_HEADER).ok()
}

/// A letter's headers as the record had them at first, with the letter that it was (`partition:offset`).
#[must_use]
pub fn replay_headers(headers: &[Header], letter: &str) -> Vec<Header> {
    let ours = [
        TOPIC_HEADER,
        PARTITION_HEADER,
        OFFSET_HEADER,
        REASON_HEADER,
        TIME_HEADER,
        VALUE_BYTES_HEADER,
        REPLAYED_FROM_HEADER,
    ];
    let mut kept: Vec<Header> = headers.iter().filter(|(name, _)| !ours.contains(&name.as_str())).cloned().collect();
    kept.push((REPLAYED_FROM_HEADER.to_owned(), Some(letter.as_bytes().to_vec())));
    kept
}

fn read<T: std::str::FromStr>(headers: &[Header], name: &'static str) -> Result<T, InvalidOrigin> {
    let (_, value) = headers.iter().rfind(|(other, _)| other == name).ok_or(InvalidOrigin(name))?;
    let text = value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).ok_or(InvalidOrigin(name))?;
    text.parse().map_err(|_| InvalidOrigin(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Origin {
        Origin {
            topic: "chat-messages".to_owned(),
            partition: 1,
            offset: 17,
            reason: "the record has no value".to_owned(),
            time: Time::from_unix_ms(1_708_326_702_080),
        }
    }

    #[test]
    fn of_is_the_inverse_of_headers() {
        let mut headers: Vec<Header> = vec![
            ("traceparent".to_owned(), Some(b"00".to_vec())),
            // A record that was a letter before, put back with all its headers by a strange tool.
            (TOPIC_HEADER.to_owned(), Some(b"elsewhere".to_vec())),
        ];
        headers.extend(sample().headers());
        assert_eq!(Origin::of(&headers), Ok(sample()));
    }

    #[test]
    fn every_header_is_needed_and_read() {
        for name in [TOPIC_HEADER, PARTITION_HEADER, OFFSET_HEADER, REASON_HEADER, TIME_HEADER] {
            let mut headers = sample().headers().to_vec();
            headers.retain(|(other, _)| other != name);
            assert_eq!(Origin::of(&headers), Err(InvalidOrigin(name)));
            headers.push((name.to_owned(), None));
            assert_eq!(Origin::of(&headers), Err(InvalidOrigin(name)));
            headers.push((name.to_owned(), Some(vec![0xff])));
            assert_eq!(Origin::of(&headers), Err(InvalidOrigin(name)));
        }
    }

    #[test]
    fn what_is_left_out_is_told_by_its_size() {
        let mut headers = sample().headers().to_vec();
        assert_eq!(left_out_bytes(&headers), None);
        headers.push(left_out_header(3_000_000));
        assert_eq!((left_out_bytes(&headers), Origin::of(&headers)), (Some(3_000_000), Ok(sample())));
    }

    #[test]
    fn a_replay_has_the_headers_of_the_record_and_one_of_the_letter() {
        let own: Vec<Header> = vec![("a".to_owned(), None), ("a".to_owned(), Some(vec![0, 255]))];
        let mut headers = vec![(REPLAYED_FROM_HEADER.to_owned(), Some(b"0:1".to_vec()))];
        headers.extend(own.clone());
        headers.extend(sample().headers());
        headers.push(left_out_header(17));
        let replayed = replay_headers(&headers, "2:7");
        assert_eq!(replayed[..2], own);
        assert_eq!(replayed[2..], [(REPLAYED_FROM_HEADER.to_owned(), Some(b"2:7".to_vec()))]);
    }
}
