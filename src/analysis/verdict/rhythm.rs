//! Whether rises have stopped, slow down or continue, and how fast the series grows.

use super::decay::{Decay, are_peaks, cycles_until_no_peaks};
use super::levels::{alike, rises, slope_without_growth};
use super::rises::Rises;
use super::thresholds::{CONFIRMATION, MIN_PLATEAU, MIN_RISES};
use crate::base::statistics::{self, Slope};
use crate::model::verdict::RisesBy;

/// Cycles without a rise after which a run that ends by itself need not wait longer.
const SETTLED_PLATEAU: u32 = 24;

/// The fraction of its first half's rate below which the second half of a growth is slower.
const MAX_SLOWER: f64 = 0.75;

/// The same for a difference that needs no test.
const MUCH_SLOWER: f64 = 0.35;

/// The p-value of slower growth below which a run that ends by itself goes on.
const SIGN_OF_SLOWDOWN: f64 = 0.2;

/// Number of sums into which the amounts are put for the test.
const SUMS: usize = 24;

/// The fewest rises that are a sign of growth, if not yet evidence.
const MIN_SIGNS: usize = 3;

/// The fewest windows, each longer than the longest lifetime, after which a run can be clean.
const MIN_WINDOWS: usize = 3;

/// The growth in bytes per cycle in the first half of the time and in the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Halves {
    pub(super) first: f64,
    pub(super) second: f64,
    /// The cycles of a half.
    cycles: f64,
}

impl Halves {
    /// Of these amounts in each cycle.
    fn of(amounts: &[u64]) -> Self {
        let (early, late) = amounts.split_at(amounts.len() / 2);
        let rate = |of: &[u64]| of.iter().sum::<u64>() as f64 / of.len().max(1) as f64;
        Self {
            first: rate(early),
            second: rate(late),
            cycles: late.len() as f64,
        }
    }

    /// The level at which growth ends that falls by the same factor again in each such half; `None`
    /// if it does not fall. `level` is the present one.
    pub(super) fn levels_off_at(self, level: f64) -> Option<f64> {
        let factor = self.second / self.first;
        let rest = self.second * self.cycles * factor / (1.0 - factor);
        (factor < 1.0).then_some(level + rest)
    }
}

/// The rates of both halves, if these amounts have a falling trend at this level.
fn slower_half(amounts: &[u64], level: f64) -> Option<Halves> {
    // Sums over some cycles: in most cycles a cache that is nearly full adds nothing.
    let cycles = (amounts.len() / SUMS).max(1);
    let sums = amounts.chunks_exact(cycles);
    let sums: Vec<u64> = sums.map(|sum| sum.iter().sum()).collect();
    let largest = sums.iter().copied().max()?;
    let turned: Vec<u64> = sums.iter().map(|sum| largest - sum).collect();
    let p = statistics::mann_kendall(&turned);
    let halves = Halves::of(amounts);
    let is_slower = halves.second <= MAX_SLOWER * halves.first && p < level;
    // So large a difference is no chance, however few of the sums it shows in.
    let is_much_slower = halves.first > 0.0 && halves.second <= MUCH_SLOWER * halves.first;
    (is_slower || is_much_slower).then_some(halves)
}

impl Rises {
    /// Cycles from the first rise to the last confirmed one: what is compared with the horizon.
    pub(super) fn confirmed_span(&self) -> u32 {
        let is_old_enough = |&&k: &&u32| k + CONFIRMATION <= self.boundaries;
        let unconfirmed = match self.by {
            // Fluctuation may raise one window minimum, or two in a row, above all before.
            RisesBy::Troughs => CONFIRMATION as usize - 1,
            RisesBy::Generations | RisesBy::Floor => 0,
        };
        let mut confirmed = self.at.iter().rev().skip(unconfirmed);
        let last = confirmed.find(is_old_enough);
        last.map_or(0, |last| last - self.first())
    }

    /// Cycles without a rise after which the growth counts as stopped: as many as it lasted, twice
    /// the longest gap, and as many as the longest lifetime, because that shows how slowly the call
    /// site changes.
    pub(super) fn plateau_needed(&self) -> u32 {
        (self.span() + 1)
            .max(2 * self.longest_gap() + 1)
            .max(self.longest_lifetime)
            .max(MIN_PLATEAU)
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.plateau >= self.plateau_needed()
    }

    /// Whether the growth stopped so long ago that a run which ends by itself need not wait: a leak
    /// every tenth cycle would have shown again.
    pub(super) fn is_settled(&self) -> bool {
        self.has_stopped() && self.plateau >= SETTLED_PLATEAU
    }

    /// Whether the rises continue to the end, significantly and at a constant rate.
    ///
    /// The run must be three times as long as the longest lifetime. Otherwise blocks that seem
    /// retained may be in the middle of such a lifetime.
    pub(super) fn continues(&self) -> bool {
        let longest_lifetime = self.boundaries - self.certain;
        self.count() >= MIN_RISES
            && self.boundaries >= 3 * longest_lifetime
            && self.plateau <= 2 * self.longest_gap()
            && !self.slows_down()
            && self.is_significant()
    }

    /// Whether the rises become rarer, as those of a cache that is asked for keys at random, or of
    /// a buffer that doubles. Not if their rate was constant over the last two horizons: then
    /// something that has stopped shares the call site with something that has not.
    pub(super) fn slows_down(&self) -> bool {
        let middle = (self.first() + self.certain) / 2;
        let early = self.at.iter().filter(|&&k| k <= middle).count();
        let overall = self.fewer_since(0);
        let recent = self.fewer_since(self.two_horizons_ago());
        let is_falling = overall.max(recent) < self.criteria.slowdown_level(self.span());
        (self.count() - early) * 3 < early || is_falling
    }

    fn two_horizons_ago(&self) -> u32 {
        self.certain.saturating_sub(2 * self.criteria.horizon)
    }

    /// The rises after a boundary, counted from there.
    fn rises_since(&self, boundary: u32) -> impl Iterator<Item = u32> {
        let later = self.at.iter().filter(move |&&k| k > boundary);
        later.map(move |k| k - boundary)
    }

    /// The p-value of a falling rate of the rises after a boundary.
    fn fewer_since(&self, boundary: u32) -> f64 {
        let since = boundary.max(self.first());
        let later: Vec<u32> = self.rises_since(since).collect();
        statistics::falling_rate(&later, self.certain.saturating_sub(since))
    }

    /// The rates of both halves, if the second half grows significantly more slowly than the first: see
    /// [`Rises::slower_at`].
    pub(super) fn slower_amounts(&self) -> Option<Halves> {
        self.slower_at(self.criteria.slowdown_level(self.span()))
    }

    /// Whether there is a sign that the growth becomes slower, which more cycles may make significant.
    pub(super) fn may_become_slower(&self) -> bool {
        self.slower_at(SIGN_OF_SLOWDOWN).is_some()
    }

    /// The rates of both halves, if the second half grows more slowly than the first at this level,
    /// as a cache does that fills ever more slowly. Where the same amount was retained again and again
    /// over the last horizon, see [`Rises::slower_entries`].
    ///
    /// The test is that of Mann and Kendall for a falling trend of the amounts in each cycle: by which
    /// the floor rises, and which is retained of each generation. The former has fluctuation in it, and
    /// in the latter the young generations, the last quarter, may still lose blocks.
    fn slower_at(&self, level: f64) -> Option<Halves> {
        let retained = rises(&self.bytes);
        let recent = retained
            .len()
            .saturating_sub(self.criteria.horizon as usize);
        let (count, alike, amount) = alike(&retained[recent..]);
        if count > 0 && 4 * alike >= 3 * count {
            return self.slower_entries(&retained, amount, level);
        }
        // In the first cycles the blocks accumulate that are freed later, and the last boundaries are
        // not confirmed.
        let since = (self.first() + self.longest_lifetime).saturating_sub(1) as usize;
        let until = self.floor.len().saturating_sub(MIN_PLATEAU as usize);
        let by_floor = rises(self.floor.get(since..until)?);
        let old = retained.len() - retained.len() / 4;
        let by_generations = retained.get(self.first().saturating_sub(1) as usize..old)?;
        let slower = slower_half(&by_floor, level);
        slower.or_else(|| slower_half(by_generations, level))
    }

    /// The rates of both halves, if entries of one amount became rarer at this level, and do so as
    /// those of a cache that fills ever more slowly: not as where something that has stopped shares the
    /// call site with something that has not.
    fn slower_entries(&self, retained: &[u64], amount: u64, level: f64) -> Option<Halves> {
        let since = retained.get(self.first().saturating_sub(1) as usize..)?;
        // Before twice the horizon a sign is enough: later cycles confirm it or not.
        let level = match self.span() < 2 * self.criteria.horizon {
            true => level.max(SIGN_OF_SLOWDOWN),
            false => level,
        };
        let entries: Vec<f64> = since.iter().map(|&a| a as f64 / amount as f64).collect();
        let (decay, halves) = (Decay::of(&entries), Halves::of(since));
        let is_slower = || {
            decay.may_be_far() || self.fewer_since(0) < level || slower_half(since, level).is_some()
        };
        let may_decay = halves.second < halves.first && decay.is_possible();
        (may_decay && is_slower()).then_some(halves)
    }

    /// Whether the rises are as rare as the peaks of a need that varies at random, so that they may be
    /// those of a pool.
    pub(super) fn are_peaks(&self) -> bool {
        are_peaks(&self.at, self.certain)
    }

    /// How many more cycles tell a leak from such a pool.
    pub(super) fn cycles_until_no_peaks(&self) -> u32 {
        cycles_until_no_peaks(&self.at, self.certain)
    }

    fn is_significant(&self) -> bool {
        let level = match self.by {
            // Fluctuating bytes are in order more often than generations are.
            RisesBy::Troughs => self.criteria.significance() / 10.0,
            RisesBy::Generations | RisesBy::Floor => self.criteria.significance(),
        };
        self.p_value() < level
    }

    /// The p-value of the Mann-Kendall test on the second half of the level, or on all of a short
    /// one.
    pub(super) fn p_value(&self) -> f64 {
        let half = if self.level.len() >= 4 * MIN_RISES {
            &self.level[self.level.len() / 2..]
        } else {
            &self.level[..]
        };
        statistics::mann_kendall(half)
    }

    /// Whether there are more rises than the one or two that chance leaves, and they have not
    /// stopped.
    pub(super) fn is_sign(&self) -> bool {
        self.count() >= MIN_SIGNS && !self.has_stopped()
    }

    /// Whether the level may still rise at the end of the run, at this significance level.
    pub(super) fn may_continue(&self, significance: f64) -> bool {
        let m = self.level.len();
        if m >= 2 * MIN_RISES {
            let all_rise = statistics::mann_kendall(&self.level) < significance / 10.0;
            let half_rises = statistics::mann_kendall(&self.level[m / 2..]) < significance;
            let late = self.at.iter().filter(|&&k| 2 * k > self.boundaries);
            let is_ongoing = late.count() >= MIN_SIGNS && !self.has_stopped();
            return is_ongoing || (all_rise && half_rises);
        }
        // A few values: they are all in ascending order with a probability of 1 in m!.
        let in_order: f64 = (1..=m).map(|k| 1.0 / k as f64).product();
        (self.level.is_sorted_by(|a, b| a < b) && in_order < significance)
            || (!self.has_stopped() && statistics::mann_kendall(&self.level) < significance)
    }

    /// Whether there are enough window minima to say that they do not rise: the last two are equal,
    /// or the second half was as low as the first, or there are enough for a test.
    pub(super) fn is_conclusive(&self) -> bool {
        let m = self.level.len();
        let (first, second) = self.level.split_at(m / 2);
        let is_constant = m >= MIN_WINDOWS && self.level[m - 1] == self.level[m - 2];
        let returned = m >= 2 * MIN_WINDOWS && second.iter().min() <= first.iter().min();
        is_constant || returned || m >= 2 * MIN_RISES
    }

    /// Growth per cycle since the first rise.
    pub(super) fn slope(&self, of: &[u64]) -> Option<Slope> {
        statistics::theil_sen(of.get(self.first().saturating_sub(1) as usize..)?)
    }

    /// The slopes of the window minima, in bytes and blocks per cycle: of their second half, or of
    /// all if there are few. `None` if there are too few of these.
    pub(super) fn slopes_of_minima(&self) -> (Option<Slope>, Option<Slope>) {
        let window = self.longest_lifetime as usize + 1;
        // One minimum per window: those of overlapping windows are not independent.
        let slope = |of: &[u64]| {
            let complete = of.get(window - 1..).unwrap_or_default();
            let mut ends: Vec<u64> = complete.iter().rev().step_by(window).copied().collect();
            ends.reverse();
            let half = &ends[ends.len() / 2..];
            slope_without_growth(half, window).or_else(|| slope_without_growth(&ends, window))
        };
        (slope(&self.bytes), slope(&self.blocks))
    }
}
