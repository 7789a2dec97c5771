//! Nonparametric trend statistics for short series, without any I/O or state.
//!
//! The tests compare each of them with SciPy.
//!
//! References:
//! - H. B. Mann (1945), "Nonparametric tests against trend", Econometrica 13(3).
//! - M. G. Kendall (1975), "Rank correlation methods", 4th edition; the variance with ties.
//! - P. K. Sen (1968), "Estimates of the regression coefficient based on Kendall's tau", JASA
//!   63(324); the slope and its interval.
//! - F. Wilcoxon (1945), "Individual comparisons by ranking methods", Biometrics Bulletin 1(6).
//! - D. R. Cox and P. A. W. Lewis (1966), "The statistical analysis of series of events", 3.3;
//!   the trend test for event times.
//! - N. E. Breslow and N. E. Day (1987), "Statistical methods in cancer research", volume II,
//!   equations 2.12 and 2.13; Byar's approximation.
//! - M. Abramowitz and I. Stegun (1964), "Handbook of mathematical functions", 7.1.26.

/// Maximum number of values that enter the pairwise statistics. Longer series are thinned evenly:
/// 1,000 values already have half a million pairs.
const MAX_VALUES: usize = 1000;

/// The 97.5 % quantile of the standard normal distribution, for two-sided 95 % intervals.
const Z_95: f64 = 1.959_963_984_540_054;

/// A slope with its 95 % interval, in units of the series per step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slope {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The p-value of the one-sided Mann-Kendall test for an upward trend: the probability that a
/// series without trend rises at least as much as this one. Normal approximation, corrected for
/// ties and continuity.
///
/// 1.0 for fewer than two values, for a constant series and for a series that falls.
pub(crate) fn mann_kendall(series: &[u64]) -> f64 {
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
    normal_sf((score - 1) as f64 / variance.sqrt())
}

/// The 95 % confidence interval of the mean of a Poisson distribution, given one observed count.
///
/// Byar's approximation. From a count of 5 both bounds are within 1 % of the exact interval. Below
/// that the upper bound still is, and the lower bound errs downwards.
pub(crate) fn poisson_interval(count: f64) -> (f64, f64) {
    let bound = |k: f64, z: f64| k * (1.0 - 1.0 / (9.0 * k) + z / (3.0 * k.sqrt())).powi(3);
    let low = if count < 0.1 {
        0.0
    } else {
        bound(count, -Z_95)
    };
    (low.max(0.0), bound(count + 1.0, Z_95))
}

/// The tie correction of the variance: the sum of t(t-1)(2t+5) over all runs of t equal values.
fn ties(series: &[(usize, u64)]) -> f64 {
    let mut values: Vec<u64> = series.iter().map(|&(_, v)| v).collect();
    values.sort_unstable();
    values
        .chunk_by(|a, b| a == b)
        .map(|equal| {
            let t = equal.len() as f64;
            t * (t - 1.0) * (2.0 * t + 5.0)
        })
        .sum()
}

/// Growth per step: the Theil-Sen slope, which is the median of all pairwise slopes, with Sen's
/// interval. The ranks of the interval's bounds are rounded outwards.
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

/// The values with their positions, thinned evenly to at most [`MAX_VALUES`].
fn thinned(series: &[u64]) -> Vec<(usize, u64)> {
    let step = series.len().div_ceil(MAX_VALUES).max(1);
    series.iter().copied().enumerate().step_by(step).collect()
}

/// The p-value of a one-sided test for a falling rate of events: the probability that events at
/// random steps lie at least as early, on average, as those `at` the given steps. Steps are counted
/// from 1 to `steps`, with at most one event each.
///
/// It is the rank-sum test of the steps with an event against the steps without, which equals
/// Laplace's test for a trend in event times with the variance of draws without replacement. It is
/// the most powerful test against a rate that decays exponentially, as the rate of new keys does
/// when keys are requested at random.
///
/// 1.0 if every step or no step has an event.
pub(crate) fn falling_rate(at: &[u32], steps: u32) -> f64 {
    let (n, all) = (at.len() as f64, f64::from(steps));
    if n == 0.0 || n >= all {
        return 1.0;
    }
    let mean = at.iter().map(|&k| f64::from(k)).sum::<f64>() / n;
    let variance = (all + 1.0) * (all - n) / (12.0 * n);
    let z = ((all + 1.0) / 2.0 - mean) / variance.sqrt();
    if z <= 0.0 { 1.0 } else { normal_sf(z) }
}

/// The survival function of the standard normal distribution, P(Z > z), for z >= 0. The absolute
/// error is below 7.5e-8.
fn normal_sf(z: f64) -> f64 {
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

    /// The error of [`normal_sf`], which the p-values inherit.
    const SF_ERROR: f64 = 7.5e-8;

    fn is_near(found: f64, expected: f64, error: f64) {
        assert!((found - expected).abs() <= error, "{found}, not {expected}");
    }

    /// Series with the values that SciPy 1.17.1 computes for them.
    struct Reference {
        y: &'static [u64],
        /// `n = len(y); s = sum(sign(y[j] - y[i]) for i in range(n) for j in range(i + 1, n))`
        /// `t = unique(y, return_counts=True)[1]`
        /// `sd = sqrt((n*(n-1)*(2*n+5) - sum(t*(t-1)*(2*t+5))) / 18)`
        /// `scipy.stats.norm.sf((s - 1) / sd)`
        ///
        /// `sd` is also the one in
        /// `scipy.stats.kendalltau(range(n), y, alternative='greater', method='asymptotic')`,
        /// whose p-value is `norm.sf(s / sd)`, without the correction for continuity.
        p: f64,
        /// `scipy.stats.theilslopes(y, alpha=0.95)`: `slope`, `low_slope`, `high_slope`.
        slope: [f64; 3],
    }

    const REFERENCES: [Reference; 4] = [
        Reference {
            y: &[1, 2, 4, 3, 5, 6],
            p: 0.012_085_273_587_272_623,
            slope: [1.0, 0.5, 2.0],
        },
        Reference {
            y: &[12, 15, 11, 18, 14, 20, 19, 25, 22, 30],
            p: 0.002_103_775_642_745_874,
            slope: [1.833_333_333_333_333_3, 1.0, 2.5],
        },
        // With ties.
        Reference {
            y: &[3, 3, 5, 4, 5, 5, 7, 6, 7, 9, 8, 9],
            p: 0.000_110_949_415_286_534_73,
            slope: [
                0.550_505_050_505_050_5,
                0.444_444_444_444_444_4,
                0.666_666_666_666_666_6,
            ],
        },
        // Not significant: the interval includes 0.
        Reference {
            y: &[10, 9, 12, 8, 13, 9, 11, 14, 10, 12, 11, 13],
            p: 0.082_589_382_283_889_9,
            slope: [0.333_333_333_333_333_3, -0.2, 0.571_428_571_428_571_4],
        },
    ];

    #[test]
    fn mann_kendall_agrees_with_scipy() {
        for reference in &REFERENCES {
            is_near(mann_kendall(reference.y), reference.p, SF_ERROR);
        }
    }

    #[test]
    fn theil_sen_agrees_with_scipy() {
        for reference in &REFERENCES {
            let slope = theil_sen(reference.y).unwrap();
            let [value, low, high] = reference.slope;
            is_near(slope.value, value, 1e-12);
            is_near(slope.low, low, 1e-12);
            // SciPy rounds the upper rank to the nearest integer, this module rounds it up: of these
            // series two have the next larger pairwise slope as their bound.
            assert!(slope.high >= high, "{slope:?}, not {high}");
            assert!(slope.high - high < 0.22, "{slope:?}, not {high}");
        }
    }

    #[test]
    fn the_poisson_interval_agrees_with_scipy() {
        // scipy.stats.chi2.ppf(0.025, 2 * k) / 2, scipy.stats.chi2.ppf(0.975, 2 * k + 2) / 2
        for (k, low, high) in [
            (5.0, 1.623_486_390_118_420_7, 11.668_332_079_322_67),
            (10.0, 4.795_388_696_132_434, 18.390_356_042_017_78),
            (100.0, 81.363_991_250_923_14, 121.626_793_792_426_38),
            (1000.0, 938.973_018_407_695_2, 1_063.952_136_016_302),
            (10_000.0, 9_804.952_467_260_184, 10_197.951_624_661_473),
        ] {
            let found = poisson_interval(k);
            is_near(found.0, low, low * 0.01);
            is_near(found.1, high, high * 0.01);
        }
        // Few events: the lower bound is below the exact one.
        for (k, low, high) in [
            (0.0, 0.0, 3.688_879_454_113_935_4),
            (1.0, 0.025_317_807_984_289_876, 5.571_643_390_938_898),
            (2.0, 0.242_209_278_543_964_96, 7.224_687_667_723_96),
        ] {
            let found = poisson_interval(k);
            assert!(found.0 <= low && low - found.0 < 0.02, "{found:?}");
            is_near(found.1, high, high * 0.01);
        }
    }

    #[test]
    fn the_normal_tail_agrees_with_scipy() {
        // scipy.stats.norm.sf(z)
        for (z, tail) in [
            (0.0, 0.5),
            (0.5, 0.308_537_538_725_986_9),
            (1.0, 0.158_655_253_931_457_07),
            (Z_95, 0.025),
            (2.5, 0.006_209_665_325_776_132),
            (3.0, 0.001_349_898_031_630_093_3),
            (4.0, 3.167_124_183_311_986e-5),
            (5.0, 2.866_515_718_791_933e-7),
        ] {
            is_near(normal_sf(z), tail, SF_ERROR);
        }
    }

    #[test]
    fn the_test_for_a_falling_rate_agrees_with_scipy() {
        // scipy.stats.ranksums(at, [k for k in range(1, steps + 1) if k not in at],
        //     alternative='less').pvalue
        let even: Vec<u32> = (1..=60).step_by(3).collect();
        let early: Vec<u32> = (1..=20).chain([25, 33, 47]).collect();
        for (at, steps, p) in [
            (&[1, 2, 3][..], 6, 0.024_767_306_717_813_353),
            (&[1, 2, 3, 5, 8, 13, 21], 30, 0.003_250_460_187_503_154),
            (&[2, 3, 9, 14], 20, 0.092_938_366_182_937_94),
            (&even, 60, 0.376_902_925_661_293_8),
            (&early, 60, 2.096_581_125_864_847e-9),
        ] {
            is_near(falling_rate(at, steps), p, SF_ERROR);
        }
    }

    #[test]
    fn a_rate_that_does_not_fall_has_a_p_value_of_one() {
        let late: Vec<u32> = (40..=60).collect();
        assert_eq!(falling_rate(&late, 60), 1.0);
        let every: Vec<u32> = (1..=60).collect();
        assert_eq!(falling_rate(&every, 60), 1.0);
        assert_eq!(falling_rate(&[], 60), 1.0);
    }

    #[test]
    fn a_line_has_its_own_slope() {
        let line: Vec<u64> = (0..50).map(|k| 7 + 4096 * k).collect();
        let slope = theil_sen(&line).unwrap();
        assert_eq!(
            (slope.value, slope.low, slope.high),
            (4096.0, 4096.0, 4096.0)
        );
        assert!(mann_kendall(&line) < 1e-6);
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
    fn empty_short_and_constant_series_are_defined() {
        assert_eq!(theil_sen(&[]), None);
        assert_eq!(theil_sen(&[5]), None);
        assert_eq!(theil_sen(&[5, 5, 5]).unwrap().value, 0.0);
        assert_eq!(mann_kendall(&[]), 1.0);
        assert_eq!(mann_kendall(&[5]), 1.0);
        assert_eq!(mann_kendall(&[5; 40]), 1.0);
        assert_eq!(mann_kendall(&[5, 4, 3, 2, 1]), 1.0);
    }

    #[test]
    fn one_outlier_does_not_move_the_slope() {
        let mut series: Vec<u64> = (0..40).map(|k| 100 * k).collect();
        series[20] = 1_000_000;
        let slope = theil_sen(&series).unwrap();
        assert!((slope.value - 100.0).abs() < 5.0, "{slope:?}");
    }

    #[test]
    fn noise_is_significant_at_the_rate_of_the_level() {
        let mut random = crate::base::random::Random::new(1);
        let mut significant = 0;
        for _ in 0..2000 {
            let series: Vec<u64> = (0..32).map(|_| random.below(1000)).collect();
            significant += u32::from(mann_kendall(&series) < 0.01);
        }
        assert!(significant <= 40, "{significant} of 2000 at 1 %");
    }

    #[test]
    fn a_long_series_is_thinned_and_keeps_its_slope() {
        let line: Vec<u64> = (0..20_000).map(|k| 3 * k).collect();
        assert_eq!(theil_sen(&line).unwrap().value, 3.0);
    }
}
