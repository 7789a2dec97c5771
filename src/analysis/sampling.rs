//! What a run knows in which one block in so many bytes was recorded: how sure its sums are, which
//! verdicts too few blocks stand behind, and what it may have missed.

use crate::model::sampling::Sampling;

use crate::analysis::verdict::Judgement;
use crate::base::statistics;
use crate::model::verdict::Verdict;

/// Chance of a leak of [`Sampling::missed_below`] to be missed.
const MISSED: f64 = 0.05;

/// Chance below which a silence is believed, and blocks that must have been drawn before it.
const DOUBT: f64 = 0.01;
const FEWEST_DRAWN: i32 = 2;

/// Bytes, estimated from the blocks that were drawn.
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

    /// An interval that holds the truth in 95 % of all runs or more, in bytes.
    ///
    /// A block of `s` bytes is drawn with `p = 1 - exp(-s / every)` and counts as a whole number of
    /// blocks, `1 / p` in the mean, so that the variance of the sum is
    /// `s^2 ((1 - p) / p + p f (1 - f))` for `f` the fraction of `1 / p`: at most `every * s`, whatever
    /// the size. So all bytes together have no more than a Poisson count of them in steps of `every`.
    pub(crate) fn interval(self) -> (u64, u64) {
        let (low, high) = statistics::poisson_interval(self.bytes / self.every);
        ((low * self.every) as u64, (high * self.every) as u64)
    }

    /// The same of a growth in so many cycles, in bytes per cycle.
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

/// Takes a verdict back that rests on a silence which may be chance: where few blocks of a call site are
/// drawn, one that grows all the time is silent for long, too.
pub(crate) fn doubt(judgement: Judgement, boundaries: u32) -> Judgement {
    let e = &judgement.evidence;
    let drawn = e.rises.len() as i32;
    let loud = f64::from(boundaries.saturating_sub(e.quiet)) / f64::from(boundaries.max(1));
    let is_silent = drawn >= FEWEST_DRAWN && loud.powi(drawn) < DOUBT;
    if judgement.verdict != Verdict::Cache || drawn == 0 || is_silent {
        return judgement;
    }
    // Long enough for the silence to be believed, and for some more to be drawn if it goes on.
    let needed = f64::from(boundaries - e.quiet) / DOUBT.powf(1.0 / f64::from(drawn));
    let more = (needed.ceil() as u32).saturating_sub(boundaries);
    let more = more.max(3 * boundaries / drawn as u32).max(1);
    let times = if drawn == 1 { "once" } else { "a few times" };
    let mut judgement = judgement.undecided(more);
    judgement.reason = format!(
        "its blocks were drawn only {times}, so that it may have stopped or not: about {more} more \
         cycles would tell, or more blocks recorded (a smaller --sample, or none)"
    );
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::verdict::{Criteria, Series, judge};
    use crate::base::random::Random;
    use crate::model::verdict::DEFAULT_HORIZON;

    /// The estimate of blocks of these sizes, each drawn and rounded as the heap does.
    fn drawn(random: &mut Random, every: u64, sizes: impl Iterator<Item = u64>) -> Estimate {
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
    fn the_truth_lies_inside_nineteen_times_of_twenty_whatever_the_sizes() {
        const EVERY: u64 = 64 << 10;
        let mut random = Random::new(1);
        let cases: [(&[u64], usize); 7] = [
            (&[64], 10_000),
            (&[1000], 2000),
            (&[60_000], 30),
            (&[131_072], 9),
            (&[200_000], 36),
            // One line may have all of them.
            (&[150_000, 150_000, 20_000_000], 3),
            (&[16, 300_000, 5000], 60),
        ];
        for (sizes, times) in cases {
            let all = || sizes.iter().copied().cycle().take(sizes.len() * times);
            let truth: u64 = all().sum();
            let inside = (0..1000)
                .filter(|_| {
                    let (low, high) = drawn(&mut random, EVERY, all()).interval();
                    (low..=high).contains(&truth)
                })
                .count();
            assert!(inside >= 940, "{sizes:?}: {inside} of 1000");
        }
    }

    #[test]
    fn growth_is_as_sure_as_what_it_adds_up_to() {
        const EVERY: u64 = 64 << 10;
        let mut random = Random::new(2);
        let inside = (0..1000)
            .filter(|_| {
                let sum = drawn(&mut random, EVERY, std::iter::repeat_n(1000, 4000));
                let (low, high) = Estimate::growth_interval(EVERY, sum.bytes / 40.0, 40);
                (low..=high).contains(&100_000.0)
            })
            .count();
        assert!(inside >= 940, "{inside} of 1000");
    }

    #[test]
    fn of_nothing_drawn_there_may_be_some() {
        // Three times the interval at most (the rule of three, and a little more).
        let (low, high) = Estimate::of(1000, 0).interval();
        assert!(low == 0 && (3000..4000).contains(&high), "{high}");
        let both = Estimate::of(1000, 500_000).and(Estimate::of(1000, 500_000));
        assert_eq!(both, Estimate::of(1000, 1_000_000));
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
            doubt(judge(&series, Criteria::fixed(DEFAULT_HORIZON)), n).verdict
        };
        assert_eq!(judged(&[1, 2, 3, 4, 5, 6]), Verdict::Cache);
        // One that was drawn early may be anything.
        assert_eq!(judged(&[2]), Verdict::Undecided);
        assert_eq!(judged(&[30]), Verdict::Undecided);
    }
}
