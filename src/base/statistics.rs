//! Trend statistics over short series: pure functions, no distribution assumed.
//!
//! References:
//! - H. B. Mann (1945), "Nonparametric tests against trend", Econometrica 13(3).
//! - M. G. Kendall (1975), "Rank correlation methods", 4th edition; the variance with ties.
//! - P. K. Sen (1968), "Estimates of the regression coefficient based on Kendall's tau", JASA
//!   63(324); the slope and its interval.

/// Values beyond which a series is thinned out evenly before pairs are formed: all pairs of this
/// many are half a million.
const MOST_VALUES: usize = 1000;

/// Two-sided 95 % of the normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// A slope with its 95 % interval, in units of the series per step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slope {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Probability that a series without trend rises as much as this one: the one-sided Mann-Kendall
/// test, normal approximation with the correction for ties and continuity.
///
/// 1.0 for fewer than two values and for a constant series.
pub(crate) fn rise_by_chance(series: &[u64]) -> f64 {
    let series = thinned(series);
    let n = series.len() as f64;
    let mut score = 0_i64;
    for (i, (_, a)) in series.iter().enumerate() {
        for (_, b) in &series[i + 1..] {
            score += i64::from(b > a) - i64::from(b < a);
        }
    }
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties(&series)) / 18.0;
    if variance <= 0.0 || score <= 0 {
        return 1.0;
    }
    upper_tail((score - 1) as f64 / variance.sqrt())
}

/// The 95 % interval of a Poisson variable's mean, of which one count is known: Byar's approximation
/// (N. E. Breslow, N. E. Day (1987), "Statistical Methods in Cancer Research", volume II, equations
/// 2.12 and 2.13), to 2 % of the exact interval from a count of 1 on.
pub(crate) fn poisson_interval(count: f64) -> (f64, f64) {
    let bound = |k: f64, z: f64| k * (1.0 - 1.0 / (9.0 * k) + z / (3.0 * k.sqrt())).powi(3);
    let low = if count < 0.1 {
        0.0
    } else {
        bound(count, -Z_95)
    };
    (low.max(0.0), bound(count + 1.0, Z_95))
}

/// Sum of t(t-1)(2t+5) over the groups of t equal values.
fn ties(series: &[(usize, u64)]) -> f64 {
    let mut values: Vec<u64> = series.iter().map(|&(_, v)| v).collect();
    values.sort_unstable();
    values
        .chunk_by(|a, b| a == b)
        .map(|group| {
            let t = group.len() as f64;
            t * (t - 1.0) * (2.0 * t + 5.0)
        })
        .sum()
}

/// Growth per step: the Theil-Sen slope, the median of all pairwise slopes, with Sen's interval.
///
/// `None` for fewer than two values.
pub(crate) fn theil_sen(series: &[u64]) -> Option<Slope> {
    let series = thinned(series);
    let mut slopes = Vec::with_capacity(series.len() * series.len().saturating_sub(1) / 2);
    for (i, &(x1, y1)) in series.iter().enumerate() {
        for &(x2, y2) in &series[i + 1..] {
            slopes.push((y2 as f64 - y1 as f64) / (x2 - x1) as f64);
        }
    }
    if slopes.is_empty() {
        return None;
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let pairs = slopes.len();
    let n = series.len() as f64;
    let variance = (n * (n - 1.0) * (2.0 * n + 5.0) - ties(&series)) / 18.0;
    let half = Z_95 * variance.max(0.0).sqrt();
    let low = ((pairs as f64 - half) / 2.0).floor().max(0.0) as usize;
    let high = ((pairs as f64 + half) / 2.0).ceil() as usize;
    let value = if pairs % 2 == 1 {
        slopes[pairs / 2]
    } else {
        (slopes[pairs / 2 - 1] + slopes[pairs / 2]) / 2.0
    };
    Some(Slope {
        value,
        low: slopes[low],
        high: slopes[high.min(pairs - 1)],
    })
}

/// The series with its positions, thinned to [`MOST_VALUES`] at even distances.
fn thinned(series: &[u64]) -> Vec<(usize, u64)> {
    let step = series.len().div_ceil(MOST_VALUES).max(1);
    series.iter().copied().enumerate().step_by(step).collect()
}

/// Probability that events at random moments come as early, on the whole, as those `at` the given
/// steps of 1 to `steps`, at most one a step: a rate that falls leaves the late steps empty.
///
/// The one-sided rank-sum test of steps with an event against those without, which is Laplace's
/// test for a trend in the rate of events, with the variance of draws without replacement. 1.0
/// where there is an event in every step or in none.
///
/// References:
/// - F. Wilcoxon (1945), "Individual comparisons by ranking methods", Biometrics Bulletin 1(6).
/// - D. R. Cox and P. A. W. Lewis (1966), "The statistical analysis of series of events", 3.3; the
///   test is the most powerful one against a rate that decays exponentially, as it does where keys
///   are asked for at random.
pub(crate) fn slows_by_chance(at: &[u32], steps: u32) -> f64 {
    let (n, all) = (at.len() as f64, f64::from(steps));
    if n == 0.0 || n >= all {
        return 1.0;
    }
    let mean = at.iter().map(|&k| f64::from(k)).sum::<f64>() / n;
    let variance = (all + 1.0) * (all - n) / (12.0 * n);
    let z = ((all + 1.0) / 2.0 - mean) / variance.sqrt();
    if z <= 0.0 { 1.0 } else { upper_tail(z) }
}

/// P(Z > z) of the normal distribution, for z >= 0; absolute error below 1.5e-7 (M. Abramowitz and
/// I. Stegun, "Handbook of mathematical functions", 7.1.26).
fn upper_tail(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (polynomial * (-x * x).exp() / 2.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_own_slope() {
        let line: Vec<u64> = (0..50).map(|k| 7 + 4096 * k).collect();
        let slope = theil_sen(&line).unwrap();
        assert_eq!(
            (slope.value, slope.low, slope.high),
            (4096.0, 4096.0, 4096.0)
        );
        assert!(rise_by_chance(&line) < 1e-6);
    }

    #[test]
    fn a_staircase_has_the_slope_of_its_line() {
        for every in [3, 10] {
            let stairs: Vec<u64> = (1..=80).map(|k| 3000 * (k / every)).collect();
            let slope = theil_sen(&stairs).unwrap();
            let truth = 3000.0 / every as f64;
            assert!((slope.value - truth).abs() < truth * 0.02, "{slope:?}");
            assert!(slope.low <= truth && truth <= slope.high);
        }
    }

    #[test]
    fn the_odd_series_are_defined() {
        assert_eq!(theil_sen(&[]), None);
        assert_eq!(theil_sen(&[5]), None);
        assert_eq!(theil_sen(&[5, 5, 5]).unwrap().value, 0.0);
        assert_eq!(rise_by_chance(&[]), 1.0);
        assert_eq!(rise_by_chance(&[5]), 1.0);
        assert_eq!(rise_by_chance(&[5; 40]), 1.0);
        assert_eq!(rise_by_chance(&[5, 4, 3, 2, 1]), 1.0);
    }

    #[test]
    fn one_outlier_does_not_move_the_slope() {
        let mut series: Vec<u64> = (0..40).map(|k| 100 * k).collect();
        series[20] = 1_000_000;
        let slope = theil_sen(&series).unwrap();
        assert!((slope.value - 100.0).abs() < 5.0, "{slope:?}");
    }

    #[test]
    fn a_known_test_value_comes_out() {
        // S = 13 of 15 pairs for n = 6 without ties: Z = 12 / sqrt(28.333) = 2.2545, p = 0.01208.
        let p = rise_by_chance(&[1, 2, 4, 3, 5, 6]);
        assert!((p - 0.012_08).abs() < 1e-4, "{p}");
    }

    #[test]
    fn noise_is_seldom_called_a_rise() {
        let mut state = 1_u64;
        let mut alarms = 0;
        for _ in 0..2000 {
            let series: Vec<u64> = (0..32)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 40) % 1000
                })
                .collect();
            alarms += u32::from(rise_by_chance(&series) < 0.01);
        }
        assert!(alarms <= 40, "{alarms} of 2000 at 1 %");
    }

    #[test]
    fn a_rate_that_falls_is_told_from_one_that_does_not() {
        let early: Vec<u32> = (1..=20).chain([25, 33, 47]).collect();
        assert!(slows_by_chance(&early, 60) < 1e-4);
        let even: Vec<u32> = (1..=60).step_by(3).collect();
        assert!(slows_by_chance(&even, 60) > 0.3);
        let late: Vec<u32> = (40..=60).collect();
        assert_eq!(slows_by_chance(&late, 60), 1.0);
        let every: Vec<u32> = (1..=60).collect();
        assert_eq!(slows_by_chance(&every, 60), 1.0);
        assert_eq!(slows_by_chance(&[], 60), 1.0);
        // Rank sum 6 of 1 to 6, three drawn: z = (3.5 - 2) / sqrt(7 * 3 / 36) = 1.964, p = 0.0248.
        let p = slows_by_chance(&[1, 2, 3], 6);
        assert!((p - 0.0248).abs() < 1e-3, "{p}");
    }

    #[test]
    fn a_long_series_is_thinned_and_keeps_its_slope() {
        let line: Vec<u64> = (0..20_000).map(|k| 3 * k).collect();
        assert_eq!(theil_sen(&line).unwrap().value, 3.0);
    }
}
