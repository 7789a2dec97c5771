//! When a run that ends by itself is looked at, and what each look may believe.
//!
//! A test that is repeated until it says yes says yes too often. So the looks share one error
//! budget: look k may spend `SIGNIFICANCE / (k (k + 1))`, and all of them together spend no more
//! than `SIGNIFICANCE`, however many there are (Bonferroni's inequality over a series that sums
//! to one).
//!
//! References:
//! - K. K. G. Lan and D. L. DeMets (1983), "Discrete sequential boundaries for clinical trials",
//!   Biometrika 70(3); error spending.
//! - H. Robbins (1970), "Statistical methods related to the law of the iterated logarithm", Annals
//!   of Mathematical Statistics 41(5); a bound that holds at all times at once.

use super::{CONFIRMED, Judgement};
use crate::model::verdict::Verdict;

/// Chance below which a rise is believed, all looks of a run together.
pub(super) const SIGNIFICANCE: f64 = 0.01;

/// Cycles after the warm-up of the first look: as many as make growth by whole models a leak.
const FIRST: u32 = 8;

/// Cycles after the warm-up before which nothing is clean: one more, because a B-tree's leaves
/// take eleven entries, and the twelfth is the first that the heap sees.
const FIRST_CLEAN: u32 = FIRST + 1;

/// Cycles between looks up to this many beyond the horizon, and twice as many after that.
const STEP: u32 = 4;
const BEYOND: u32 = 16;

/// Horizons that a run which ends by itself goes on for, at most, unless told otherwise: a leak
/// every tenth cycle is known by then.
const MOST_HORIZONS: u32 = 3;

/// See [`Terms::slowing`].
const DOUBTED: f64 = 0.2;
const LAST_DOUBT: f64 = 0.001;

/// By what a series is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Cycles beyond which steady growth is called a leak.
    pub(crate) horizon: u32,
    /// The number of this look, from 1; 0 if the length of the run was fixed beforehand, so that
    /// it is looked at once.
    pub(crate) analysis: u32,
}

impl Terms {
    /// For a run of a fixed number of cycles.
    pub(crate) fn fixed(horizon: u32) -> Self {
        Self {
            horizon,
            analysis: 0,
        }
    }

    /// For the look at boundary `n` after the warm-up of a run that ends by itself.
    pub(crate) fn at(n: u32, horizon: u32) -> Self {
        let analysis = (1..=n).filter(|&k| is_interim(k, horizon)).count() as u32;
        Self {
            horizon,
            analysis: analysis.max(1),
        }
    }

    /// Chance below which rises that have gone on for so many cycles count as slowing down. Before
    /// the horizon a small doubt is enough to wait for; the longer it has gone on beyond, the less
    /// is a cache that still fills an explanation. From [`DOUBTED`] at the horizon it falls to
    /// [`LAST_DOUBT`] at twice the horizon.
    pub(super) fn slowing(self, span: u32) -> f64 {
        let beyond = f64::from(span) / f64::from(self.horizon.max(1)) - 1.0;
        DOUBTED * (LAST_DOUBT / DOUBTED).powf(beyond.clamp(0.0, 1.0))
    }

    /// What this look may spend of [`SIGNIFICANCE`].
    pub(crate) fn significance(self) -> f64 {
        match f64::from(self.analysis) {
            0.0 => SIGNIFICANCE,
            k => SIGNIFICANCE / (k * (k + 1.0)),
        }
    }
}

/// Whether a run that ends by itself is looked at after `n` cycles behind the warm-up.
pub(crate) fn is_interim(n: u32, horizon: u32) -> bool {
    let step = if n <= horizon.saturating_add(BEYOND) {
        STEP
    } else {
        2 * STEP
    };
    let extra = [FIRST_CLEAN, horizon.saturating_add(CONFIRMED + 1)];
    n >= FIRST && (n.is_multiple_of(step) || extra.contains(&n))
}

/// The first interim analysis after more than `n` cycles behind the warm-up.
pub(crate) fn next_interim(n: u32, horizon: u32) -> u32 {
    // The steps are small, so that there is always one; `u32::MAX` is beyond any run.
    (n.saturating_add(1)..=u32::MAX)
        .find(|&n| is_interim(n, horizon))
        .unwrap_or(u32::MAX)
}

/// Whether a run may end by itself after `n` cycles behind the warm-up, with these judgements on
/// all that it has.
pub(crate) fn may_end<'a>(
    n: u32,
    mut judgements: impl Iterator<Item = &'a Judgement> + Clone,
) -> bool {
    let leaks = judgements.clone().any(|j| j.verdict == Verdict::Leak);
    (leaks || n >= FIRST_CLEAN) && judgements.all(|j| j.settled)
}

/// Cycles after the warm-up that a run which ends by itself has at most, unless told otherwise.
pub(crate) fn most_cycles(horizon: u32) -> u32 {
    horizon.saturating_mul(MOST_HORIZONS).max(4 * FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_looks_together_spend_no_more_than_one() {
        let spent: f64 = (1..=100_000)
            .map(|analysis| {
                Terms {
                    horizon: 64,
                    analysis,
                }
                .significance()
            })
            .sum();
        assert!(spent <= SIGNIFICANCE, "{spent}");
        assert_eq!(Terms::fixed(64).significance(), SIGNIFICANCE);
    }

    #[test]
    fn doubt_falls_from_the_horizon_to_twice_the_horizon() {
        let slowing = |span| Terms::fixed(64).slowing(span);
        assert_eq!(slowing(10), slowing(64));
        assert!(slowing(65) < slowing(64) && slowing(127) > slowing(128));
        assert!((slowing(128) - LAST_DOUBT).abs() < 1e-9);
        assert_eq!(slowing(128), slowing(1000));
        assert!(Terms::fixed(0).slowing(5).is_finite());
    }

    #[test]
    fn looks_are_dense_up_to_the_horizon_and_a_little_beyond() {
        let looks: Vec<u32> = (0..110).filter(|&n| is_interim(n, 64)).collect();
        assert_eq!(looks[..4], [8, 9, 12, 16]);
        assert!(looks.contains(&68), "a steady leak is known here");
        assert_eq!(looks[looks.len() - 3..], [88, 96, 104]);
        assert_eq!(Terms::at(16, 64).analysis, 4);
        assert_eq!(Terms::at(8, 64).analysis, 1);
        assert!(is_interim(14, 10), "right behind any horizon");
    }
}
