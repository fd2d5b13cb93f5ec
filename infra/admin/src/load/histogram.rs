//! A latency histogram: counts in buckets that grow with the value, so that a quantile is at most 1.6 % too high.

use std::time::Duration;

/// Values below this have a bucket each; above, every doubling has half as many.
const LINEAR_BUCKETS: usize = 128;
const PER_DOUBLING: usize = LINEAR_BUCKETS / 2;
/// The upper ends of the bars, in milliseconds; one more bar takes the rest.
const BARS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];
const BAR_WIDTH: u64 = 48;

/// Counts of latencies, in microseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    bars: [u64; BARS_MS.len() + 1],
    total: u64,
    max_us: u64,
}

impl Histogram {
    /// Counts one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let value = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        let bar = BARS_MS.partition_point(|end_ms| end_ms * 1_000 < value);
        for count in [self.counts.get_mut(bucket), self.bars.get_mut(bar)].into_iter().flatten() {
            *count += 1;
        }
        self.total += 1;
        self.max_us = self.max_us.max(value);
    }

    /// How many were counted.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// The longest, exactly.
    pub(crate) const fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }

    /// The latency that this part of all stays within, `per_mille` in thousandths; zero when nothing was counted.
    pub(crate) fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.total * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper_end(bucket).min(self.max_us));
            }
        }
        self.max()
    }

    /// The histogram as text, one bar a line.
    pub(crate) fn bars(&self) -> String {
        let highest = self.bars.iter().copied().max().unwrap_or_default().max(1);
        let labels = BARS_MS.iter().map(|end| format!("≤ {end} ms")).chain(std::iter::once("more".to_owned()));
        let shown = self.bars.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        let line = |(label, count): (String, &u64)| {
            let width = usize::try_from((count * BAR_WIDTH).div_ceil(highest)).unwrap_or_default();
            format!("{label:>9} {count:>9} {}", "█".repeat(width)).trim_end().to_owned() + "\n"
        };
        labels.zip(&self.bars).take(shown).map(line).collect()
    }
}

fn bucket_of(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()) as usize;
    let doublings = bits.saturating_sub(LINEAR_BUCKETS.ilog2() as usize);
    let scaled = usize::try_from(value >> doublings).unwrap_or_default();
    if doublings == 0 { scaled } else { doublings * PER_DOUBLING + scaled }
}

/// The highest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let doublings = (bucket / PER_DOUBLING).saturating_sub(1);
    let scaled = bucket - doublings * PER_DOUBLING;
    ((scaled as u64 + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_values_closely() {
        for value in (0..5_000).chain([u64::from(u32::MAX), 1 << 40, (1 << 40) + 12_345_678]) {
            let end = upper_end(bucket_of(value));
            assert!(end >= value && end - value <= value / 64, "{value} is in the bucket that ends at {end}");
            assert_eq!(bucket_of(end), bucket_of(value));
            assert_eq!(bucket_of(end + 1), bucket_of(value) + 1);
        }
    }

    #[test]
    fn quantiles_and_bars_count_everything() {
        let mut histogram = Histogram::default();
        for ms in 1..=1_000 {
            histogram.record(Duration::from_millis(ms));
        }
        let check = |per_mille, ms: u64| {
            let quantile = histogram.quantile(per_mille);
            let exact = Duration::from_millis(ms);
            assert!(quantile >= exact && quantile <= exact + exact / 64, "{per_mille}: {quantile:?}");
        };
        check(500, 500);
        check(990, 990);
        assert_eq!(histogram.quantile(1_000), Duration::from_secs(1));
        assert_eq!((histogram.total(), histogram.max()), (1_000, Duration::from_secs(1)));
        let counts: Vec<u64> =
            histogram.bars().lines().filter_map(|line| line.split_whitespace().nth(3)?.parse().ok()).collect();
        assert_eq!(counts, [1, 1, 3, 5, 10, 30, 50, 100, 300, 500]);
        assert_eq!(Histogram::default().quantile(500), Duration::ZERO);
        assert_eq!(Histogram::default().bars(), "");
    }
}
