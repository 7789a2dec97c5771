//! Minima, records and steps of a series of numbers, such as the live bytes at each boundary.
//!
//! Positions are boundaries, counted from 1.

use super::thresholds::MIN_RISES;
use crate::base::statistics::{self, Slope};

/// The least factor by which a container's capacity grows. `Vec` and the hash maps double; this
/// leaves some room below.
pub(super) const MIN_FACTOR: f64 = 1.3;

/// The p-value below which a number of live generations is taken to rise.
const RISING: f64 = 0.05;

/// The floor: for each boundary the minimum from it to the end (the suffix minimum).
pub(super) fn floor(level: &[u64]) -> Vec<u64> {
    let mut floor = level.to_vec();
    for k in (0..floor.len().saturating_sub(1)).rev() {
        floor[k] = floor[k].min(floor[k + 1]);
    }
    floor
}

/// For each boundary the minimum over the last `window` boundaries up to it.
pub(super) fn trailing_minima(level: &[u64], window: usize) -> Vec<u64> {
    (1..=level.len())
        .map(|end| &level[end.saturating_sub(window)..end])
        .map(|last| last.iter().copied().min().unwrap_or(0))
        .collect()
}

/// The minima of consecutive windows of `window` boundaries, the last of which ends with the run;
/// and the number of boundaries before the first window.
pub(super) fn window_minima(level: &[u64], window: usize) -> (Vec<u64>, u32) {
    let lead = level.len() % window;
    let windows = level[lead..].chunks(window);
    let lowest = windows.map(|w| w.iter().copied().min().unwrap_or(0));
    (lowest.collect(), lead as u32)
}

/// The boundaries from which on every value is greater than all values before: records that are
/// never undercut again.
pub(super) fn lasting_records(level: &[u64]) -> Vec<u32> {
    let mut at = Vec::new();
    let mut highest = 0;
    for (k, (floor, &value)) in (1..).zip(floor(level).into_iter().zip(level)) {
        if floor > highest {
            at.push(k);
        }
        highest = highest.max(value);
    }
    at
}

/// The boundaries at which the floor is higher than at the boundary before.
pub(super) fn floor_steps(level: &[u64]) -> Vec<u32> {
    let floor = floor(level);
    let steps = (1..floor.len()).filter(|&k| floor[k] > floor[k - 1]);
    steps.map(|k| k as u32 + 1).collect()
}

/// Whether the floor has more steps than random fluctuation leaves: of n values in random order
/// about ln n are lower than all that follow.
pub(super) fn floor_may_rise(level: &[u64]) -> bool {
    2 * floor_steps(level).len() > level.len()
}

/// Whether the level has grown by a factor both in the second half of the run and within the first
/// half, as the sum of several containers that double does: the last quarter is above the second,
/// and the second is above the first.
pub(super) fn grows_by_halves(level: &[u64]) -> bool {
    let quarter = level.len() / 4;
    if quarter < 2 * MIN_RISES {
        return false;
    }
    let max = |q: usize| level[q * quarter..(q + 1) * quarter].iter().max().copied();
    let last = level[level.len() - quarter..].iter().min().copied();
    let (Some(first), Some(second), Some(last)) = (max(0), max(1), last) else {
        return false;
    };
    let above = |a: u64, b: u64| a as f64 >= MIN_FACTOR * b as f64;
    first > 0 && above(second, first) && above(last, second)
}

/// Whether a rise that began at boundary `since` may be one period of a sawtooth: it began after
/// the last sweep, and no more time has passed since that sweep than in the longest period so far.
///
/// A sweep is a fall by at least half of the range so far. Its period reaches back to when the
/// level was last as low. `before` is the level at the baseline.
pub(super) fn is_between_sweeps(before: u64, level: &[u64], since: u32) -> bool {
    let at = |k: usize| if k == 0 { before } else { level[k - 1] };
    let (mut lowest, mut highest) = (before, before);
    let (mut last_sweep, mut longest_period) = (0, 0);
    for k in 1..=level.len() {
        let fall = at(k - 1).saturating_sub(at(k));
        if fall > 0 && 2 * fall >= highest - lowest {
            let as_low = (0..k).rev().find(|&j| at(j) <= at(k)).unwrap_or(0);
            (last_sweep, longest_period) = (k, longest_period.max(k - as_low));
        }
        (lowest, highest) = (lowest.min(at(k)), highest.max(at(k)));
    }
    let is_within_period = level.len() - last_sweep <= longest_period;
    last_sweep > 0 && since as usize >= last_sweep && is_within_period
}

/// The amounts by which a series rises from one boundary to the next; 0 where it does not.
pub(crate) fn rises(series: &[u64]) -> Vec<u64> {
    let steps = series.windows(2);
    steps.map(|w| w[1].saturating_sub(w[0])).collect()
}

/// The number of rises, how many of them are by the most common amount, and that amount.
pub(crate) fn alike(rises: &[u64]) -> (usize, usize, u64) {
    let mut rises: Vec<u64> = rises.iter().copied().filter(|&a| a > 0).collect();
    rises.sort_unstable();
    let alike = rises.chunk_by(|a, b| a == b);
    let most = alike.max_by_key(|alike| alike.len()).unwrap_or_default();
    (rises.len(), most.len(), most.first().copied().unwrap_or(0))
}

/// Whether a number of live generations rises significantly.
pub(super) fn is_rising(counts: &[u32]) -> bool {
    let counts: Vec<u64> = counts.iter().map(|&c| u64::from(c)).collect();
    statistics::mann_kendall(&counts) < RISING
}

/// The slope per cycle of a level that is not called growth and that was sampled every `step`
/// cycles: 0 if the interval includes it. `None` if the level varies and is too short for an
/// interval.
pub(super) fn slope_without_growth(level: &[u64], step: usize) -> Option<Slope> {
    if level.windows(2).all(|w| w[0] == w[1]) {
        return Some(Slope {
            value: 0.0,
            low: 0.0,
            high: 0.0,
        });
    }
    if level.len() < MIN_RISES {
        return None;
    }
    let slope = statistics::theil_sen(level)?;
    let is_flat = slope.low <= 0.0 && slope.high >= 0.0;
    let per_cycle = |of: f64| of / step as f64;
    Some(Slope {
        value: if is_flat { 0.0 } else { per_cycle(slope.value) },
        low: per_cycle(slope.low),
        high: per_cycle(slope.high),
    })
}
