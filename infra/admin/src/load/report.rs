//! What a run is told as: one row of a table, a histogram, one JSON object.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::counters::Counters;
use super::tally::Tally;
use crate::table;

/// One run and what it came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Messages a second that were due.
    pub(crate) rate: u32,
    /// The counts.
    pub(crate) tally: Tally,
    /// What the functions counted meanwhile.
    pub(crate) counters: Option<Counters>,
}

/// What a rate must hold.
const RECEIVE_P99_MAX: Duration = Duration::from_secs(1);
/// How much longer than the sending the last copy may take; in a short run a queue may grow within the second above.
const BEHIND_MAX_PERCENT: u32 = 5;

const COLUMNS: [&str; 22] = [
    "rate/s",
    "in/s",
    "delivered/s",
    "ack p50",
    "p90",
    "p99",
    "max",
    "receive p50",
    "p90",
    "p99",
    "max",
    "events/frame",
    "records/batch+room",
    "WU/msg",
    "RU/msg",
    "produces/msg",
    "posts/msg",
    "missing",
    "doubled",
    "late",
    "repeated",
    "errors",
];

impl Outcome {
    /// Whether the rate was held: everything arrived, once, in time, without a fault, and no queue was growing.
    pub(crate) fn held(&self) -> bool {
        let elapsed = self.tally.last_copy.saturating_duration_since(self.tally.measured_from());
        let kept_up = elapsed * 100 <= self.tally.measured_for() * (100 + BEHIND_MAX_PERCENT);
        self.is_complete() && kept_up && self.tally.receive.quantile(990) <= RECEIVE_P99_MAX
    }

    /// Whether everything was answered and arrived, once.
    pub(crate) fn is_complete(&self) -> bool {
        let tally = &self.tally;
        tally.missing() == 0 && tally.unanswered() == 0 && tally.doubled == 0 && tally.faults.is_empty()
    }

    fn per_second(&self, count: u64, until: std::time::Instant) -> f64 {
        let elapsed = until.saturating_duration_since(self.tally.measured_from()).as_secs_f64();
        if elapsed > 0.0 { as_f64(count) / elapsed } else { 0.0 }
    }

    fn in_per_second(&self) -> f64 {
        self.per_second(self.tally.ack.total(), self.tally.last_ack)
    }

    fn delivered_per_second(&self) -> f64 {
        self.per_second(self.tally.receive.total(), self.tally.last_copy)
    }

    fn events_per_frame(&self) -> f64 {
        as_f64(self.tally.events) / as_f64(self.tally.frames.max(1))
    }

    /// Counts of the functions per accepted message; records per batch and room.
    fn ratios(&self) -> [Option<f64>; 5] {
        let count = |name: &str| self.counters.as_ref()?.get(name);
        let per_message = |name: &str| Some(count(name)? / as_f64(self.tally.accepted().max(1)));
        [
            count("Records")
                .zip(count("RoomBatches"))
                .filter(|(_, rooms)| *rooms > 0.0)
                .map(|(all, rooms)| all / rooms),
            per_message("WriteUnits"),
            per_message("ReadHalfUnits").map(|halves| halves / 2.0),
            per_message("Produces"),
            per_message("Posts"),
        ]
    }

    fn row(&self) -> Vec<String> {
        let tally = &self.tally;
        let latencies = [&tally.ack, &tally.receive].map(|histogram| {
            [histogram.quantile(500), histogram.quantile(900), histogram.quantile(990), histogram.max()].map(ms)
        });
        let rates = [self.in_per_second(), self.delivered_per_second()].map(|rate| format!("{rate:.0}"));
        let ratios = self.ratios().map(|ratio| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
        let errors = tally.faults.values().sum::<u64>() + tally.unanswered();
        let counts =
            [tally.missing(), tally.doubled, tally.late, tally.repeated, errors].map(|count| count.to_string());
        let mut row = vec![self.rate.to_string()];
        row.extend(rates);
        row.extend(latencies.into_iter().flatten());
        row.push(format!("{:.2}", self.events_per_frame()));
        row.extend(ratios);
        row.extend(counts);
        row
    }

    /// Everything, for scripts. Latencies are in milliseconds.
    pub(crate) fn json(&self) -> Value {
        let tally = &self.tally;
        let latency = |histogram: &super::histogram::Histogram| {
            let milliseconds = |latency: Duration| json!(latency.as_secs_f64() * 1_000.0);
            json!({
                "count": histogram.total(),
                "p50Ms": milliseconds(histogram.quantile(500)),
                "p90Ms": milliseconds(histogram.quantile(900)),
                "p99Ms": milliseconds(histogram.quantile(990)),
                "maxMs": milliseconds(histogram.max()),
            })
        };
        let names = ["recordsPerBatchAndRoom", "writeUnits", "readUnits", "produces", "posts"];
        let ratios: Map<String, Value> =
            names.into_iter().zip(self.ratios()).map(|(name, ratio)| (name.to_owned(), json!(ratio))).collect();
        json!({
            "rate": self.rate,
            "held": self.held(),
            "inPerSecond": self.in_per_second(),
            "deliveredPerSecond": self.delivered_per_second(),
            "ack": latency(&tally.ack),
            "receive": latency(&tally.receive),
            "eventsPerFrame": self.events_per_frame(),
            "perMessage": ratios,
            "accepted": tally.accepted(),
            "missing": tally.missing(),
            "doubled": tally.doubled,
            "late": tally.late,
            "repeated": tally.repeated,
            "unanswered": tally.unanswered(),
            "faults": tally.faults,
        })
    }

    /// The send→receive histogram as text, and the faults by code.
    pub(crate) fn details(&self) -> String {
        let faults = self.tally.faults.iter().map(|(code, count)| format!("{code}: {count}\n")).collect::<String>();
        format!("send → receive at {}/s\n{}{faults}", self.rate, self.tally.receive.bars())
    }
}

/// All runs as one table; latencies in milliseconds.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    table::render(&COLUMNS, &outcomes.iter().map(Outcome::row).collect::<Vec<_>>())
}

fn ms(latency: Duration) -> String {
    let milliseconds = latency.as_secs_f64() * 1_000.0;
    if milliseconds < 10.0 { format!("{milliseconds:.1}") } else { format!("{milliseconds:.0}") }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}
