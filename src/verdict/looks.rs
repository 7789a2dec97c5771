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

use super::CONFIRMED;

/// Chance below which a rise is believed, all looks of a run together.
pub(super) const SIGNIFICANCE: f64 = 0.01;

/// Cycles after the warm-up of the first look: as many as make growth by whole models a leak.
pub(crate) const FIRST: u32 = 8;

/// Cycles between looks up to this many beyond the horizon, and twice as many after that.
const STEP: u32 = 4;
const BEYOND: u32 = 16;

/// Horizons that a run which ends by itself goes on for, at most, unless told otherwise: a leak
/// every tenth cycle is known by then.
const MOST_HORIZONS: u32 = 3;

/// By what a series is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Cycles beyond which steady growth is called a leak.
    pub(crate) horizon: u32,
    /// The number of this look, from 1; 0 if the length of the run was fixed beforehand, so that
    /// it is looked at once.
    pub(crate) look: u32,
}

impl Terms {
    /// For a run of a fixed number of cycles.
    pub(crate) fn fixed(horizon: u32) -> Self {
        Self { horizon, look: 0 }
    }

    /// For the look at boundary `n` after the warm-up of a run that ends by itself.
    pub(crate) fn at(n: u32, horizon: u32) -> Self {
        let look = (1..=n).filter(|&k| is_look(k, horizon)).count() as u32;
        Self {
            horizon,
            look: look.max(1),
        }
    }

    /// What this look may spend of [`SIGNIFICANCE`].
    pub(crate) fn significance(self) -> f64 {
        match f64::from(self.look) {
            0.0 => SIGNIFICANCE,
            k => SIGNIFICANCE / (k * (k + 1.0)),
        }
    }
}

/// Whether a run that ends by itself is looked at after `n` cycles behind the warm-up.
pub(crate) fn is_look(n: u32, horizon: u32) -> bool {
    let step = if n <= horizon.saturating_add(BEYOND) {
        STEP
    } else {
        2 * STEP
    };
    n >= FIRST && (n.is_multiple_of(step) || n == horizon.saturating_add(CONFIRMED + 1))
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
            .map(|look| Terms { horizon: 64, look }.significance())
            .sum();
        assert!(spent <= SIGNIFICANCE, "{spent}");
        assert_eq!(Terms::fixed(64).significance(), SIGNIFICANCE);
    }

    #[test]
    fn looks_are_dense_up_to_the_horizon_and_a_little_beyond() {
        let looks: Vec<u32> = (0..110).filter(|&n| is_look(n, 64)).collect();
        assert_eq!(looks[..3], [8, 12, 16]);
        assert!(looks.contains(&68), "a steady leak is known here");
        assert_eq!(looks[looks.len() - 3..], [88, 96, 104]);
        assert_eq!(Terms::at(16, 64).look, 3);
        assert_eq!(Terms::at(9, 64).look, 1);
        assert!(is_look(14, 10), "right behind any horizon");
    }
}
