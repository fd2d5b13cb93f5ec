//! `GET /metrics`: what the functions count and measure, in Prometheus's text format (version 0.0.4: a `# TYPE` line
//! before the samples of each metric, one sample a line).
//!
//! The names are CloudWatch's in Prometheus's spelling: `DeadLetters` is `madang_dead_letters_total`, and
//! `DeliveryLatency`, in milliseconds, is the histogram `madang_delivery_latency_milliseconds`.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::lambda::{BUCKET_BOUNDS, Distribution, Figures};

/// What the text is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text, of the figures by function.
pub(crate) fn text(functions: &BTreeMap<&str, Figures>) -> String {
    let mut metrics: BTreeMap<String, (&str, Vec<String>)> = BTreeMap::new();
    for (function, figures) in functions {
        for (name, sum) in &figures.sums {
            let name = format!("madang_{}_total", snake_case(name));
            let sample = format!("{name}{{function=\"{function}\"}} {sum}");
            metrics.entry(name).or_insert(("counter", Vec::new())).1.push(sample);
        }
        for (name, distribution) in &figures.distributions {
            let name = distribution_name(name, &distribution.unit);
            let samples = samples(&name, function, distribution);
            metrics.entry(name).or_insert(("histogram", Vec::new())).1.extend(samples);
        }
    }
    let mut text = String::new();
    for (name, (kind, samples)) in metrics {
        let written = writeln!(text, "# TYPE {name} {kind}\n{}", samples.join("\n"));
        written.expect("a text takes whatever is written");
    }
    text
}

fn distribution_name(name: &str, unit: &str) -> String {
    let name = format!("madang_{}", snake_case(name));
    if unit == "Count" { name } else { format!("{name}_{}", snake_case(unit)) }
}

fn samples(name: &str, function: &str, distribution: &Distribution) -> Vec<String> {
    let Distribution { at_most, count, sum, .. } = distribution;
    let bucket =
        |(bound, count): (&f64, &u64)| format!("{name}_bucket{{function=\"{function}\",le=\"{bound}\"}} {count}");
    let last = [
        format!("{name}_bucket{{function=\"{function}\",le=\"+Inf\"}} {count}"),
        format!("{name}_sum{{function=\"{function}\"}} {sum}"),
        format!("{name}_count{{function=\"{function}\"}} {count}"),
    ];
    BUCKET_BOUNDS.iter().zip(at_most).map(bucket).chain(last).collect()
}

fn snake_case(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(sums: &[(&str, f64)]) -> Figures {
        let sums = sums.iter().map(|(name, sum)| ((*name).to_owned(), *sum)).collect();
        Figures { sums, ..Figures::default() }
    }

    #[test]
    fn the_samples_of_a_metric_stand_together_under_its_type() {
        let functions = BTreeMap::from([
            ("api", counted(&[("Produces", 1.0)])),
            ("message", counted(&[("Produces", 2.0), ("ReadHalfUnits", 4.0)])),
        ]);
        let expected = "\
# TYPE madang_produces_total counter
madang_produces_total{function=\"api\"} 1
madang_produces_total{function=\"message\"} 2
# TYPE madang_read_half_units_total counter
madang_read_half_units_total{function=\"message\"} 4
";
        assert_eq!(text(&functions), expected);
    }

    #[test]
    fn a_distribution_is_a_histogram() {
        let at_most = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1];
        let distribution = Distribution { unit: "Milliseconds".to_owned(), at_most, count: 2, sum: 20_060.5 };
        let distributions = BTreeMap::from([("DeliveryLatency".to_owned(), distribution)]);
        let text = text(&BTreeMap::from([("consumer", Figures { distributions, ..Figures::default() })]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + BUCKET_BOUNDS.len() + 3);
        for line in [
            "# TYPE madang_delivery_latency_milliseconds histogram",
            "madang_delivery_latency_milliseconds_bucket{function=\"consumer\",le=\"50\"} 0",
            "madang_delivery_latency_milliseconds_bucket{function=\"consumer\",le=\"100\"} 1",
            "madang_delivery_latency_milliseconds_bucket{function=\"consumer\",le=\"+Inf\"} 2",
            "madang_delivery_latency_milliseconds_sum{function=\"consumer\"} 20060.5",
            "madang_delivery_latency_milliseconds_count{function=\"consumer\"} 2",
        ] {
            assert!(lines.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn what_is_counted_by_number_has_no_unit_in_its_name() {
        assert_eq!(distribution_name("CommitBatchSize", "Count"), "madang_commit_batch_size");
        assert_eq!(text(&BTreeMap::from([("api", Figures::default())])), "");
    }
}
