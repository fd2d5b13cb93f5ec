//! Points in time: milliseconds since the Unix epoch inside, RFC 3339 in UTC outside.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A limit on what takes far less where it is deployed. A debug build is slower, and its machine has compilers and other
/// tests to run beside it: it has four times as long.
#[must_use]
pub const fn limit_ms(ms: u64) -> Duration {
    Duration::from_millis(if cfg!(debug_assertions) { 4 * ms } else { ms })
}

/// A point in time with millisecond precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(i64);

impl Time {
    /// The clock of this machine. Only a function's entry reads it, and whoever has to know what time has become
    /// meanwhile; everything else takes a [`Time`].
    #[must_use]
    pub fn now() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// From whole seconds since the Unix epoch (the unit of JWT and of DynamoDB's TTL).
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This point in time moved by some milliseconds.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        write!(formatter, "{}", timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

/// The text is not a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time")]
pub struct InvalidTime;

impl FromStr for Time {
    type Err = InvalidTime;
    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let timestamp: jiff::Timestamp = text.parse().map_err(|_| InvalidTime)?;
        Ok(Self(timestamp.as_millisecond()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The time of an invocation whose deadline nobody names.
const TIME_UNLESS_TOLD: Duration = Duration::from_secs(60);

/// The time until an invocation's deadline. None begins after its deadline, so one in the past is none: `cargo lambda
/// watch` names ten minutes after the start of 1970, and all work would be left undone for lack of time.
#[must_use]
pub fn time_left(deadline: SystemTime, now: SystemTime) -> Duration {
    deadline.duration_since(now).unwrap_or(TIME_UNLESS_TOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_before_the_beginning_is_none() {
        let now = SystemTime::now();
        assert_eq!(time_left(now + Duration::from_secs(9), now), Duration::from_secs(9));
        assert_eq!(time_left(UNIX_EPOCH + Duration::from_secs(600), now), TIME_UNLESS_TOLD);
    }

    #[test]
    fn prints_utc_with_milliseconds_and_reads_it_back() {
        let time = Time::from_unix_ms(1_708_326_702_080);
        assert_eq!(time.to_string(), "2024-02-19T07:11:42.080Z");
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), time);
        assert_eq!(Time::from_unix_ms(0).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
