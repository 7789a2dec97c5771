//! What a run knows in which one block in so many bytes was recorded: how sure its sums are, which
//! verdicts too few blocks stand behind, and what it may have missed.

use serde::{Deserialize, Serialize};

use crate::statistics;
use crate::verdict::{Judgement, Verdict};

/// jemalloc's own default, `lg_prof_sample:19`.
#[cfg(feature = "cli")]
pub(crate) const DEFAULT_EVERY: &str = "512KiB";

/// Chance below which a silence is believed.
const DOUBT: f64 = 0.05;

/// What it means that not every block was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Of so many allocated bytes one was drawn, and the block that it lay in recorded. All bytes and
    /// blocks of the report are estimates, which are right in the mean.
    pub every_bytes: u64,
    /// 95 % interval of the live bytes at the last boundary.
    pub live_bytes_interval: (u64, u64),
    /// Bytes per cycle below which a leak has a chance of 5 % or more that no block of it was drawn.
    pub missed_below: f64,
}

/// Bytes and blocks, estimated from those that were drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    every: f64,
    bytes: f64,
    /// Variance of `bytes`, in bytes squared.
    variance: f64,
}

impl Estimate {
    /// The estimate of blocks of about one size.
    ///
    /// A block of `s` bytes is drawn with `p = 1 - exp(-s / every)` and counts `s / p`, so that the
    /// variance of a sum is `sum of (s / p)^2 (1 - p)` over what was drawn (Horvitz and Thompson),
    /// which is `every * bytes * x / (exp(x) - 1)` for `x = s / every`: at most `every * bytes`.
    pub(crate) fn of(every: u64, bytes: u64, blocks: u64) -> Self {
        let (every, bytes) = (every.max(1) as f64, bytes as f64);
        let x = bytes / blocks.max(1) as f64 / every;
        let large = if x > 0.0 { x / x.exp_m1() } else { 1.0 };
        Self {
            every,
            bytes,
            variance: every * bytes * large,
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            every: self.every,
            bytes: self.bytes + other.bytes,
            variance: self.variance + other.variance,
        }
    }

    /// Its 95 % interval, in bytes: that of a Poisson count of as much variance for its size.
    pub(crate) fn interval(self) -> (u64, u64) {
        // What was drawn as if all of it were of one weight; of nothing, of the most there is.
        let weight = match self.bytes {
            0.0 => self.every,
            bytes => self.variance / bytes,
        };
        if weight < 1.0 {
            return (self.bytes as u64, self.bytes as u64);
        }
        let (low, high) = statistics::poisson_interval(self.bytes / weight);
        ((low * weight) as u64, (high * weight) as u64)
    }
}

impl Sampling {
    pub(crate) fn of(every: u64, live: Estimate, after_warmup: u32) -> Self {
        Self {
            every_bytes: every,
            live_bytes_interval: live.interval(),
            missed_below: -DOUBT.ln() * every as f64 / f64::from(after_warmup.max(1)),
        }
    }
}

/// Takes a verdict back that rests on a silence which may be chance: where few blocks of a site are
/// drawn, one that grows all the time is silent for long, too.
pub(crate) fn doubt(judgement: Judgement, boundaries: u32) -> Judgement {
    let e = &judgement.evidence;
    let drawn = e.rises.len() as i32;
    let loud = f64::from(boundaries.saturating_sub(e.quiet)) / f64::from(boundaries.max(1));
    if judgement.verdict != Verdict::Cache || drawn == 0 || loud.powi(drawn) < DOUBT {
        return judgement;
    }
    // As long again as it was silent, so often that it would not be chance.
    let more = (f64::from(boundaries - e.quiet) / DOUBT.powf(1.0 / f64::from(drawn))).ceil();
    let more = (more as u32).saturating_sub(boundaries).max(1);
    let times = if drawn == 1 { "once" } else { "a few times" };
    let mut judgement = judgement.doubtful(more);
    judgement.reason = format!(
        "its blocks were drawn only {times}, so that it may have stopped or not: about {more} more \
         cycles would tell, or more blocks recorded (a smaller --sample, or none)"
    );
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::verdict::{DEFAULT_HORIZON, Series, Terms, judge};

    /// The estimate of `blocks` of `size` bytes, each drawn as the heap draws it.
    fn drawn(random: &mut Random, every: u64, size: u64, blocks: u64) -> Estimate {
        let p = -(-(size as f64) / every as f64).exp_m1();
        let drawn = (0..blocks).filter(|_| random.unit() < p).count() as f64;
        let (bytes, blocks) = (drawn * size as f64 / p, drawn / p);
        Estimate::of(every, bytes as u64, blocks.round() as u64)
    }

    #[test]
    fn the_truth_lies_inside_nineteen_times_of_twenty() {
        const EVERY: u64 = 64 << 10;
        let mut random = Random::new(1);
        for (size, blocks) in [(64, 10_000), (1000, 2000), (60_000, 30), (200_000, 20)] {
            let inside = (0..1000)
                .filter(|_| {
                    let (low, high) = drawn(&mut random, EVERY, size, blocks).interval();
                    // To a block: what counts as 1.05 blocks is not exact to a byte.
                    (low..=high + size).contains(&(size * blocks))
                })
                .count();
            assert!(inside >= 930, "{size}: {inside} of 1000");
        }
    }

    #[test]
    fn blocks_that_are_surely_drawn_are_exact() {
        let (low, high) = Estimate::of(1000, 80_000_000, 8).interval();
        assert_eq!((low, high), (80_000_000, 80_000_000));
        // Of nothing drawn, three times the interval at most (the rule of three, and a little more).
        let (low, high) = Estimate::of(1000, 0, 0).interval();
        assert!(low == 0 && (3000..4000).contains(&high), "{high}");
        let both = Estimate::of(1 << 19, 5 << 19, 40_960).and(Estimate::of(1, 1 << 30, 1));
        let (low, high) = both.interval();
        assert!(low < (5 << 19) + (1 << 30) && high > (5 << 19) + (1 << 30));
    }

    #[test]
    fn a_silence_is_believed_only_if_enough_was_drawn_before() {
        // `born` of 80 cycles leave something; the rest are silent.
        let judged = |born: &[u32]| {
            let n = 80_u32;
            let living = |at: u32| born.iter().filter(|&&b| b <= at).count() as u32;
            let series = Series {
                bytes: (1..=n).map(|at| u64::from(living(at)) * 8192).collect(),
                blocks: (1..=n).map(|at| u64::from(living(at))).collect(),
                living: (1..=n).map(living).collect(),
                generations: born
                    .iter()
                    .map(|&born| crate::verdict::Generation {
                        born,
                        died: None,
                        bytes: 8192,
                        blocks: 1,
                    })
                    .collect(),
                ..Series::default()
            };
            doubt(judge(&series, Terms::fixed(DEFAULT_HORIZON)), n).verdict
        };
        assert_eq!(judged(&[1, 2, 3, 4, 5, 6]), Verdict::Cache);
        assert_eq!(judged(&[30]), Verdict::Undecided);
    }
}
