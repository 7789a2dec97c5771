//! A call site of a synthetic service, for the bench and the tests of its verdicts.

use std::convert::Infallible;

use super::growth::Growth;
use super::history::{Amount, Change, History};
use super::journals::start;
use super::reports::report;
use crate::analysis::config::Config;
use crate::analysis::journal::Journal;
use crate::model::journal::{Boundary, Counts, Start};
use crate::model::verdict::{DEFAULT_HORIZON, Verdict};

/// What a call site gained or lost in a window: the window of birth, bytes and blocks, estimated from samples.
pub type Difference = (u32, i64, i64);

/// The history of one call site.
#[derive(Debug)]
pub struct Site {
    history: History,
    every: u64,
    window: u32,
}

impl Site {
    /// A call site of which one block in `every` bytes is sampled.
    pub fn new(every: u64) -> Self {
        Self {
            history: History::new(),
            every,
            window: 0,
        }
    }

    /// Ends a window of so many seconds.
    pub fn end_window(&mut self, seconds: f64, differences: &[Difference]) {
        self.window += 1;
        let change = |&(born, bytes, blocks): &Difference| Change {
            stack: 1,
            born,
            by: Amount { bytes, blocks },
        };
        let changes: Vec<Change> = differences.iter().map(change).collect();
        let counts = Counts {
            cycle: self.window,
            quiet: true,
            cycle_nanos: (seconds * 1e9) as u64,
            ..Counts::default()
        };
        self.history.add(counts, &changes);
    }

    /// The worst that any scale says.
    pub fn judge(&self) -> Found {
        let scales = self.history.scales.iter().filter(|scale| scale.len() > 0);
        let reports: Vec<_> = scales
            .map(|scale| {
                let cycles = scale.len() as u32 + 1;
                let mut journal = Journal::new(Start {
                    sampled_every: Some(self.every),
                    ..start("synthetic".into(), cycles, DEFAULT_HORIZON)
                });
                let read: Result<(), Infallible> = scale.for_each_boundary(|counts, entries| {
                    journal.boundaries.push(Boundary {
                        counts,
                        census: entries.to_vec(),
                    });
                    Ok(())
                });
                let Ok(()) = read;
                report(&journal, Config::default())
            })
            .collect();
        let growth = Growth::of(&reports);
        let Some(site) = growth.sites.first() else {
            return Found::default();
        };
        let low = site.interval.filter(|_| site.verdict.is_growth());
        Found {
            is_leak: site.verdict == Verdict::Leak,
            lower: low.map_or(0.0, |(low, _)| low),
            span_seconds: site.span_seconds,
        }
    }
}

/// What is said of a call site.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Whether it is called a leak.
    pub is_leak: bool,
    /// The lower end of the growth in bytes an hour; 0 if it does not grow.
    pub lower: f64,
    /// Seconds from the first rise to the last.
    pub span_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: u64 = 512 << 10;
    const BYTES: i64 = 600_000;
    const HOUR: u32 = 60;

    /// What is said of a call site after so many hours, whose differences in each minute are given.
    fn after(hours: u32, each: impl Fn(u32) -> Vec<Difference>) -> Found {
        let mut site = Site::new(EVERY);
        for minute in 1..=hours * HOUR {
            site.end_window(60.0, &each(minute));
        }
        site.judge()
    }

    #[test]
    fn a_leak_grows_within_a_day_and_is_called_after_it() {
        let leak = |minute| vec![(minute, BYTES, 1)];
        for (hours, is_leak) in [(1, false), (20, false), (36, true)] {
            let found = after(hours, leak);
            assert!(found.lower > 0.0, "{hours} h: {found:?}");
            assert_eq!(found.is_leak, is_leak, "{hours} h: {found:?}");
        }
    }

    #[test]
    fn blocks_that_replace_those_of_before_the_windows_are_no_growth() {
        // A cache of 500 entries that fills at once. After ten hours each entry is replaced, the oldest first.
        let cache = |minute: u32| match minute {
            1 => vec![(1, 500 * BYTES, 500)],
            2..=600 => Vec::new(),
            601..=1100 => vec![(1, -BYTES, -1), (minute, BYTES, 1)],
            _ => vec![(minute - 500, -BYTES, -1), (minute, BYTES, 1)],
        };
        for hours in [12, 15, 30, 48] {
            let found = after(hours, cache);
            assert!(found.lower == 0.0 && !found.is_leak, "{hours} h: {found:?}");
        }
    }

    #[test]
    fn a_level_that_rises_for_half_a_day_is_no_growth_and_one_that_goes_on_is() {
        // One block for each minute, which is allocated again in the next, larger.
        let grown = |minute: u32| {
            let bytes = i64::from(minute) * BYTES;
            let before = (minute - 1, BYTES - bytes, -1);
            match minute {
                1 => vec![(1, bytes, 1)],
                _ => vec![before, (minute, bytes, 1)],
            }
        };
        assert_eq!(after(12, grown).lower, 0.0);
        let found = after(40, grown);
        assert!(found.is_leak && found.lower > 0.0, "{found:?}");
    }
}
