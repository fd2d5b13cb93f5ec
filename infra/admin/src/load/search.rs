//! The search for the highest rate that holds: doubling until one fails, then halving the distance.

/// No search takes more runs.
const RUNS_MAX: u32 = 16;
/// A search ends when the rates that held and failed are this close, in per cent of the one that held.
const CLOSE_PERCENT: u32 = 10;
const RATE_MAX: u32 = 20_000;

/// A search under way.
#[derive(Debug, Default)]
pub(crate) struct Search {
    held: Option<u32>,
    failed: Option<u32>,
    runs: u32,
}

impl Search {
    /// Notes what became of a rate and names the next to try, if there is one.
    pub(crate) fn next(&mut self, rate: u32, held: bool) -> Option<u32> {
        let side = if held { &mut self.held } else { &mut self.failed };
        *side = Some(rate);
        self.runs += 1;
        if self.runs >= RUNS_MAX {
            return None;
        }
        match (self.held, self.failed) {
            (Some(held), Some(failed)) if failed.saturating_sub(held) * 100 <= held * CLOSE_PERCENT => None,
            (Some(held), Some(failed)) => Some(held.midpoint(failed)),
            (Some(held), None) => Some((held * 2).min(RATE_MAX)).filter(|next| *next > held),
            (None, Some(failed)) => Some(failed / 2).filter(|next| *next > 0),
            (None, None) => None,
        }
    }

    /// The highest rate that held.
    pub(crate) const fn highest(&self) -> Option<u32> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_found_from_both_sides() {
        let check = |start: u32, limit: u32| {
            let mut search = Search::default();
            let mut rate = Some(start);
            while let Some(tried) = rate {
                rate = search.next(tried, tried <= limit);
            }
            let highest = search.highest().unwrap_or_default();
            assert!(highest <= limit && limit <= highest + highest / CLOSE_PERCENT + 1, "{start} {limit}: {highest}");
            assert!(search.runs <= RUNS_MAX);
        };
        for limit in [1, 37, 199, 200, 950, 19_999] {
            check(200, limit);
            check(1, limit.min(900));
        }
        check(200, 0);
    }
}
