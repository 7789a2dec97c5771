//! Interim analyses: when a run that ends by itself is analysed, and at which significance level.
//!
//! A test that is repeated until it rejects rejects too often. The interim analyses therefore share
//! one error budget (alpha spending): analysis k may spend `SIGNIFICANCE / (k (k + 1))`. The sum
//! over all analyses is at most `SIGNIFICANCE`, however many there are (Bonferroni's inequality
//! over a series that sums to one).
//!
//! References:
//! - K. K. G. Lan and D. L. DeMets (1983), "Discrete sequential boundaries for clinical trials",
//!   Biometrika 70(3); alpha spending.
//! - H. Robbins (1970), "Statistical methods related to the law of the iterated logarithm", Annals
//!   of Mathematical Statistics 41(5); bounds that hold at all times simultaneously.

use super::judgement::Judgement;
use super::thresholds::CONFIRMATION;
use crate::model::verdict::Verdict;

/// The significance level of a run, all interim analyses together.
const SIGNIFICANCE: f64 = 0.01;

/// The first interim analysis, in cycles after the warm-up. This many generations make growth by
/// whole models a leak.
const FIRST: u32 = 8;

/// The first interim analysis at which a run can end as clean. What grows may have room for some
/// cycles: a leaf of a B-tree for eleven entries, the first page of a slab for 32.
const FIRST_CLEAN: u32 = 2 * FIRST;

/// Cycles between interim analyses; the distance doubles `BEYOND` cycles after the horizon.
const STEP: u32 = 4;
const BEYOND: u32 = 16;

/// The default maximum length of a run that ends by itself, in horizons. A leak every tenth cycle
/// is called by then.
const MAX_HORIZONS: u32 = 3;

/// The bounds of [`Criteria::slowdown_level`].
const SLOWDOWN_AT_HORIZON: f64 = 0.2;
const SLOWDOWN_AT_TWICE_HORIZON: f64 = 0.001;

/// The criteria by which a series is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Criteria {
    /// Cycles beyond which steady growth is called a leak.
    pub(crate) horizon: u32,
    /// The number of this interim analysis, from 1; 0 if the length of the run was fixed
    /// beforehand, so that there is only one analysis.
    pub(crate) analysis: u32,
    /// Only retained generations count as growth, and no level: it has a rhythm that takes longer.
    pub(crate) by_generations: bool,
}

impl Criteria {
    /// For a run of a fixed number of cycles.
    pub(crate) fn fixed(horizon: u32) -> Self {
        Self {
            horizon,
            analysis: 0,
            by_generations: false,
        }
    }

    /// The same, where only retained generations count as growth.
    pub(crate) fn by_generations(self) -> Self {
        Self {
            by_generations: true,
            ..self
        }
    }

    /// For the interim analysis at boundary `n` after the warm-up.
    pub(crate) fn interim(n: u32, horizon: u32) -> Self {
        let analysis = (1..=n).filter(|&k| is_interim(k, horizon)).count() as u32;
        Self {
            horizon,
            analysis: analysis.max(1),
            by_generations: false,
        }
    }

    /// The significance level at which rises over `span` cycles count as slowing down.
    ///
    /// Up to the horizon weak evidence is enough to wait for more cycles. The longer the rises
    /// continue beyond it, the less likely is a cache that still fills. So the level falls
    /// exponentially from [`SLOWDOWN_AT_HORIZON`] to [`SLOWDOWN_AT_TWICE_HORIZON`].
    pub(super) fn slowdown_level(self, span: u32) -> f64 {
        let beyond = f64::from(span) / f64::from(self.horizon.max(1)) - 1.0;
        let ratio = SLOWDOWN_AT_TWICE_HORIZON / SLOWDOWN_AT_HORIZON;
        SLOWDOWN_AT_HORIZON * ratio.powf(beyond.clamp(0.0, 1.0))
    }

    /// The share of the run's significance level that this analysis may spend.
    pub(crate) fn significance(self) -> f64 {
        match f64::from(self.analysis) {
            0.0 => SIGNIFICANCE,
            k => SIGNIFICANCE / (k * (k + 1.0)),
        }
    }
}

/// Whether a run that ends by itself has an interim analysis `n` cycles after the warm-up.
pub(super) fn is_interim(n: u32, horizon: u32) -> bool {
    let step = if n <= horizon.saturating_add(BEYOND) {
        STEP
    } else {
        2 * STEP
    };
    let behind_horizon = horizon.saturating_add(CONFIRMATION + 1);
    n >= FIRST && (n.is_multiple_of(step) || n == behind_horizon)
}

/// The first interim analysis after more than `n` cycles behind the warm-up.
pub(crate) fn next_interim(n: u32, horizon: u32) -> u32 {
    (n.saturating_add(1)..=u32::MAX)
        .find(|&n| is_interim(n, horizon))
        .unwrap_or(u32::MAX)
}

/// Whether a run may end `n` cycles after the warm-up, given the judgements on everything that was
/// judged.
pub(crate) fn may_end<'a>(
    n: u32,
    mut judgements: impl Iterator<Item = &'a Judgement> + Clone,
) -> bool {
    let leaks = judgements.clone().any(|j| j.verdict == Verdict::Leak);
    (leaks || n >= FIRST_CLEAN) && judgements.all(|j| j.settled)
}

/// The default maximum number of cycles after the warm-up of a run that ends by itself.
pub(crate) fn max_cycles(horizon: u32) -> u32 {
    horizon.saturating_mul(MAX_HORIZONS).max(4 * FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_analyses_together_spend_at_most_the_significance_level() {
        let spent: f64 = (1..=100_000)
            .map(|analysis| {
                Criteria {
                    horizon: 64,
                    analysis,
                    by_generations: false,
                }
                .significance()
            })
            .sum();
        assert!(spent <= SIGNIFICANCE, "{spent}");
        assert_eq!(Criteria::fixed(64).significance(), SIGNIFICANCE);
    }

    #[test]
    fn the_slowdown_level_falls_from_the_horizon_to_twice_the_horizon() {
        let level = |span| Criteria::fixed(64).slowdown_level(span);
        assert_eq!(level(10), level(64));
        assert!(level(65) < level(64) && level(127) > level(128));
        assert!((level(128) - SLOWDOWN_AT_TWICE_HORIZON).abs() < 1e-9);
        assert_eq!(level(128), level(1000));
        assert!(Criteria::fixed(0).slowdown_level(5).is_finite());
    }

    #[test]
    fn analyses_are_dense_up_to_the_horizon_and_rarer_after_it() {
        let analyses: Vec<u32> = (0..110).filter(|&n| is_interim(n, 64)).collect();
        assert_eq!(analyses[..4], [8, 12, 16, 20]);
        assert!(analyses.contains(&68), "a leak every cycle is called here");
        assert_eq!(analyses[analyses.len() - 3..], [88, 96, 104]);
        assert_eq!(Criteria::interim(16, 64).analysis, 3);
        assert_eq!(Criteria::interim(8, 64).analysis, 1);
        assert!(
            is_interim(14, 10),
            "directly after a horizon that is not a multiple of the step"
        );
    }
}
