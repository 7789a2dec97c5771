//! Runs in which blocks were sampled: the error of the estimates, the verdicts that rest on too few
//! sampled blocks, and the leaks that may have been missed.

use crate::model::sampling::Sampling;

use crate::analysis::verdict::Judgement;
use crate::base::statistics;
use crate::base::text::count;
use crate::model::verdict::Verdict;

/// The probability that a leak of [`Sampling::missed_below`] is missed.
const MISSED: f64 = 0.05;

/// The significance level at which a plateau counts as a stop, and the minimum number of generations
/// that must have been sampled before it.
const SIGNIFICANCE: f64 = 0.01;
const MIN_SAMPLED: i32 = 2;

/// Bytes that are estimated from the sampled blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    every: f64,
    bytes: f64,
}

impl Estimate {
    pub(crate) fn of(every: u64, bytes: u64) -> Self {
        Self {
            every: every.max(1) as f64,
            bytes: bytes as f64,
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            every: self.every,
            bytes: self.bytes + other.bytes,
        }
    }

    /// An interval, in bytes, that contains the true value in at least 95 % of all runs.
    ///
    /// A block of `s` bytes is sampled with probability `p = 1 - exp(-s / every)`. It then counts as
    /// a whole number of blocks with the mean `1 / p`, so the variance of the sum is
    /// `s^2 ((1 - p) / p + p f (1 - f))`, where `f` is the fractional part of `1 / p`. That is at
    /// most `every * s` for any size. The variance of all bytes together is therefore at most that
    /// of a Poisson count in units of `every` bytes.
    pub(crate) fn interval(self) -> (u64, u64) {
        let (low, high) = statistics::poisson_interval(self.bytes / self.every);
        ((low * self.every) as u64, (high * self.every) as u64)
    }

    /// Such an interval for a growth over `cycles` cycles, in bytes per cycle.
    pub(crate) fn growth_interval(every: u64, per_cycle: f64, cycles: u32) -> (f64, f64) {
        let cycles = f64::from(cycles.max(1));
        let (low, high) = Self::of(every, (per_cycle.max(0.0) * cycles) as u64).interval();
        (low as f64 / cycles, high as f64 / cycles)
    }
}

impl Sampling {
    pub(crate) fn of(every: u64, live: Estimate, after_warmup: u32) -> Self {
        Self {
            every_bytes: every,
            live_bytes_interval: live.interval(),
            missed_below: -MISSED.ln() * every as f64 / f64::from(after_warmup.max(1)),
        }
    }
}

/// Withdraws the verdict that growth has stopped if the plateau may be chance: if few blocks of a
/// call site are sampled, there are long gaps between them although it grows steadily.
///
/// Of `n` sampled generations of steady growth, the probability that all are born before the
/// plateau is `(1 - plateau / boundaries)^n`.
pub(crate) fn undecided_if_too_few(judgement: Judgement, boundaries: u32) -> Judgement {
    let e = &judgement.evidence;
    let sampled = e.rises.len() as i32;
    let growing = f64::from(boundaries.saturating_sub(e.quiet)) / f64::from(boundaries.max(1));
    let has_stopped = sampled >= MIN_SAMPLED && growing.powi(sampled) < SIGNIFICANCE;
    if judgement.verdict != Verdict::Cache || sampled == 0 || has_stopped {
        return judgement;
    }
    // Enough cycles to make the plateau significant, and for more blocks to be sampled if the growth
    // continues.
    let needed = f64::from(boundaries - e.quiet) / SIGNIFICANCE.powf(1.0 / f64::from(sampled));
    let more = (needed.ceil() as u32).saturating_sub(boundaries);
    let more = more.max(3 * boundaries / sampled as u32).max(1);
    let generations = count(sampled as u64, "generation");
    let mut judgement = judgement.undecided(more);
    judgement.reason = format!(
        "only {generations} of this call site were sampled, too few to tell whether its growth has \
         stopped: about {} would tell, or a smaller --sample, or none",
        count(more, "more cycle")
    );
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::verdict::{Criteria, Series, judge};
    use crate::base::random::Random;
    use crate::model::verdict::DEFAULT_HORIZON;

    /// The estimate for blocks of these sizes, sampled and rounded as the heap does it.
    fn sampled(random: &mut Random, every: u64, sizes: impl Iterator<Item = u64>) -> Estimate {
        let mut bytes = 0;
        for size in sizes {
            let p = -(-(size as f64) / every as f64).exp_m1();
            if random.unit() < p {
                let blocks = (1.0 / p).floor() as u64;
                let one_more = random.unit() < (1.0 / p).fract();
                bytes += size * (blocks + u64::from(one_more));
            }
        }
        Estimate::of(every, bytes)
    }

    #[test]
    fn the_interval_contains_the_truth_in_95_percent_of_runs_for_any_sizes() {
        const EVERY: u64 = 64 << 10;
        let mut random = Random::new(1);
        let cases: [(&[u64], usize); 7] = [
            (&[64], 10_000),
            (&[1000], 2000),
            (&[60_000], 30),
            (&[131_072], 9),
            (&[200_000], 36),
            // Sizes of one call site may differ widely.
            (&[150_000, 150_000, 20_000_000], 3),
            (&[16, 300_000, 5000], 60),
        ];
        for (sizes, times) in cases {
            let all = || sizes.iter().copied().cycle().take(sizes.len() * times);
            let truth: u64 = all().sum();
            let inside = (0..1000)
                .filter(|_| {
                    let (low, high) = sampled(&mut random, EVERY, all()).interval();
                    (low..=high).contains(&truth)
                })
                .count();
            assert!(inside >= 940, "{sizes:?}: {inside} of 1000");
        }
    }

    #[test]
    fn the_interval_of_growth_contains_the_truth_in_95_percent_of_runs() {
        const EVERY: u64 = 64 << 10;
        let mut random = Random::new(2);
        let inside = (0..1000)
            .filter(|_| {
                let sum = sampled(&mut random, EVERY, std::iter::repeat_n(1000, 4000));
                let (low, high) = Estimate::growth_interval(EVERY, sum.bytes / 40.0, 40);
                (low..=high).contains(&100_000.0)
            })
            .count();
        assert!(inside >= 940, "{inside} of 1000");
    }

    #[test]
    fn an_estimate_of_zero_has_an_upper_bound() {
        // About three times the sampling interval (the rule of three, two-sided).
        let (low, high) = Estimate::of(1000, 0).interval();
        assert!(low == 0 && (3000..4000).contains(&high), "{high}");
        let both = Estimate::of(1000, 500_000).and(Estimate::of(1000, 500_000));
        assert_eq!(both, Estimate::of(1000, 1_000_000));
    }

    #[test]
    fn a_plateau_counts_only_if_enough_was_sampled_before() {
        // Of 80 cycles those in `born` retain a block.
        let judged = |born: &[u32]| {
            let n = 80_u32;
            let living = |at: u32| born.iter().filter(|&&b| b <= at).count() as u32;
            let series = Series {
                bytes: (1..=n).map(|at| u64::from(living(at)) * 8192).collect(),
                blocks: (1..=n).map(|at| u64::from(living(at))).collect(),
                live_generations: (1..=n).map(living).collect(),
                generations: born
                    .iter()
                    .map(|&born| crate::analysis::verdict::Generation {
                        born,
                        freed: None,
                        bytes: 8192,
                        blocks: 1,
                    })
                    .collect(),
                ..Series::default()
            };
            undecided_if_too_few(judge(&series, Criteria::fixed(DEFAULT_HORIZON)), n).verdict
        };
        assert_eq!(judged(&[1, 2, 3, 4, 5, 6]), Verdict::Cache);
        // A single early block may belong to slow growth.
        assert_eq!(judged(&[2]), Verdict::Undecided);
        assert_eq!(judged(&[30]), Verdict::Undecided);
    }
}
