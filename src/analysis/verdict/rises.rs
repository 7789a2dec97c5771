//! When something came to stay at a call site, and what the rhythm of it proves.

use super::{CONFIRMED, FEWEST_QUIET, FEWEST_RISES, Generation, Judgement, PATIENCE};
use super::{Series, Terms};
use crate::base::statistics::{self, Slope};
use crate::base::units::bytes as rounded;
use crate::model::verdict::Evidence;
use crate::model::verdict::{RisesBy, Rule, Verdict};

/// Chance below which a rise is reason for doubt, where nothing depends on it but an answer that
/// comes later.
const DOUBT: f64 = 0.05;

/// Cycles of which one, at least, has a step of the floor, where only steps are looked at.
const SPARSEST: u32 = 4;

/// Fewest rises that are a sign of growth, if not yet a proof.
const FEWEST_SIGNS: usize = 3;

/// Fewest stretches, each one longer than the longest life, after which anything is clean.
const FEWEST_STRETCHES: usize = 3;

/// Fewest stretches of which some may be all noise.
const FEWEST_STEPPED: usize = 12;

/// Least factor by which a container grows, with some allowance (`Vec` and the hash maps double),
/// and how many such steps in a row are looked at.
const FACTOR: f64 = 1.3;
const LAST_FACTORS: usize = 4;

/// Greatest factor by which a container is expected to grow.
const MOST_FACTOR: f64 = 8.0;

/// When something came to stay, and how.
pub(super) struct Rises {
    /// Boundaries of the rises, ascending.
    at: Vec<u32>,
    /// What is believed to rise, up to the last boundary that is certain.
    level: Vec<u64>,
    /// Cumulative bytes and blocks that came to stay.
    bytes: Vec<u64>,
    blocks: Vec<u64>,
    /// Boundaries in all.
    boundaries: u32,
    /// Last boundary about which it is certain what stays.
    certain: u32,
    /// Cycles since the last rise, up to the end or to the first that is not certain.
    quiet: u32,
    by: RisesBy,
    longest_life: u32,
    terms: Terms,
}

impl Rises {
    /// By generations that stay.
    pub(super) fn of_generations(series: &Series, terms: Terms) -> Self {
        let certain = series.boundaries() - series.longest_life().min(series.boundaries());
        let staying = series.staying();
        let until = |k: u32, of: fn(&Generation) -> u64| {
            staying.iter().filter(|g| g.born <= k).map(of).sum()
        };
        let last = staying.last().map_or(0, |g| g.born);
        let newest = series.alive().map(|g| g.born).max().unwrap_or(0);
        let sure = if newest > last {
            certain
        } else {
            series.boundaries()
        };
        Self {
            at: staying.iter().map(|g| g.born).collect(),
            boundaries: series.boundaries(),
            quiet: sure.saturating_sub(last),
            level: series.living[..certain as usize]
                .iter()
                .map(|&g| u64::from(g))
                .collect(),
            bytes: (1..=certain).map(|k| until(k, |g| g.bytes)).collect(),
            blocks: (1..=certain).map(|k| until(k, |g| g.blocks)).collect(),
            certain,
            by: RisesBy::Generations,
            longest_life: series.longest_life(),
            terms,
        }
    }

    /// By the floor of live bytes: a rise is where all that follows is above all that was.
    pub(super) fn of_floor(series: &Series, terms: Terms) -> Self {
        Self::at_floor(
            series,
            terms,
            above_all_before(&series.bytes),
            &series.bytes,
        )
    }

    /// By records alone, whatever dies: all that follows is more than anything before, all the time.
    pub(super) fn of_records(series: &Series, terms: Terms) -> Self {
        let mut rises = Self {
            at: above_all_before(&series.bytes),
            level: series.bytes.clone(),
            bytes: floor_of(&series.bytes),
            blocks: floor_of(&series.blocks),
            boundaries: series.boundaries(),
            certain: series.boundaries(),
            quiet: 0,
            by: RisesBy::Floor,
            longest_life: 0,
            terms,
        };
        rises.quiet = rises.boundaries - rises.last();
        rises.keep_if_dense();
        rises
    }

    /// By troughs: what a stretch of so many cycles held at least, where that is more than any
    /// stretch before. What is kept may be copied now and then, so that none of it ever
    /// grows old, with room to spare that hides the floor; a stretch that is longer than the longest
    /// life sees all of such a turn.
    ///
    /// Where some stretches are all noise, steps of the troughs' floor count, if half of the
    /// stretches have one all the time.
    pub(super) fn of_troughs(series: &Series, stretch: u32, terms: Terms) -> Self {
        let (troughs, lead) = troughs(&series.bytes, stretch as usize);
        let m = troughs.len();
        let steps = floor_steps(&troughs);
        let in_quarter = |q: usize| {
            let places = m * q / 4 + 1..=m * (q + 1) / 4;
            let steps = steps.iter().filter(|&&k| places.contains(&(k as usize)));
            2 * steps.count() >= places.count()
        };
        let nth = match m >= FEWEST_STEPPED && (0..4).all(in_quarter) {
            true => steps,
            false => above_all_before(&troughs),
        };
        let n = series.boundaries();
        Self {
            quiet: n - nth.last().map_or(0, |&nth| lead + nth * stretch),
            // It grew between the lowest boundary of the stretch before and that of this one.
            at: nth
                .iter()
                .map(|&nth| lead + 1 + nth.saturating_sub(2) * stretch)
                .collect(),
            level: troughs,
            bytes: lowest_of_last(&series.bytes, stretch as usize),
            blocks: lowest_of_last(&series.blocks, stretch as usize),
            boundaries: n,
            certain: n,
            by: RisesBy::Troughs,
            longest_life: series.longest_life(),
            terms,
        }
    }

    /// Whether there are more rises than the one or two that chance leaves, and they have not
    /// stopped.
    pub(super) fn is_sign(&self) -> bool {
        self.count() >= FEWEST_SIGNS && !self.has_stopped()
    }

    /// Whether the level rises by more than chance alone would have it, to the end.
    pub(super) fn may_go_on(&self, significance: f64) -> bool {
        let m = self.level.len();
        let chance = |of: &[u64]| statistics::mann_kendall(of);
        if m >= 2 * FEWEST_RISES {
            let all_rise = chance(&self.level) < significance / 10.0;
            let half_rises = chance(&self.level[m / 2..]) < significance;
            let late = self.at.iter().filter(|&&k| 2 * k > self.boundaries);
            let keeps_on = late.count() >= FEWEST_SIGNS && !self.has_stopped();
            return keeps_on || (all_rise && half_rises);
        }
        // Of so few it is a sign if all are in order, as one in m! orders is.
        let in_order: f64 = (1..=m).map(|k| 1.0 / k as f64).product();
        (self.level.is_sorted_by(|a, b| a < b) && in_order < significance)
            || (!self.has_stopped() && chance(&self.level) < significance)
    }

    /// Whether there is enough of the level to say that it does not rise: it stayed as it was to the
    /// byte, or was as low again later, or there are enough stretches for a test.
    pub(super) fn can_be_told(&self) -> bool {
        let m = self.level.len();
        let (first, second) = self.level.split_at(m / 2);
        let stayed = m >= FEWEST_STRETCHES && self.level[m - 1] == self.level[m - 2];
        let returned = m >= 2 * FEWEST_STRETCHES && second.iter().min() <= first.iter().min();
        stayed || returned || m >= 2 * FEWEST_RISES
    }

    /// Growth of the troughs per cycle in their second half, or in all of few; `None` if there are
    /// too few of those.
    pub(super) fn slopes(&self) -> (Option<Slope>, Option<Slope>) {
        let stretch = self.longest_life as usize + 1;
        // One of each stretch: neighbours see the same cells.
        let half = |of: &[u64]| {
            let whole = of.get(stretch - 1..).unwrap_or_default();
            let mut ends: Vec<u64> = whole.iter().rev().step_by(stretch).copied().collect();
            ends.reverse();
            let half = &ends[ends.len() / 2..];
            calm(half, stretch).or_else(|| calm(&ends, stretch))
        };
        (half(&self.bytes), half(&self.blocks))
    }

    /// What a container does that is grown by a factor: few rises, each of the floor by at least
    /// [`FACTOR`], with ever longer waits. `None` if it is nothing of the kind, or has waited longer
    /// than its next growth would take: as many times the last wait as it grew the last time, and a
    /// quarter more.
    pub(super) fn judge_growth_by_factors(series: &Series, terms: Terms) -> Option<Judgement> {
        let rises = Self {
            // The life of the block before tells nothing of how long this one stays.
            at: above_all_before(&series.bytes),
            bytes: floor_of(&series.bytes),
            blocks: series.blocks.clone(),
            ..Self::of_floor(series, terms)
        };
        let at = &rises.at[rises.at.len().saturating_sub(LAST_FACTORS + 1)..];
        let floor = |k: u32| rises.bytes[k as usize - 1] as f64;
        let by_factors = at.windows(2).all(|w| floor(w[1]) >= FACTOR * floor(w[0]));
        // A container is one block that is replaced: many blocks that happen to pile up are not.
        let blocks = floor_of(&series.blocks);
        let at_rise = |k: Option<&u32>| k.map_or(0, |&k| blocks[k as usize - 1]);
        let by_factors = by_factors && at_rise(at.last()) <= at_rise(at.first());
        let gaps: Vec<u32> = at.windows(2).map(|w| w[1] - w[0]).collect();
        if at.len() < 2 || !by_factors || !gaps.is_sorted() {
            return None;
        }
        let factor = floor(at[at.len() - 1]) / floor(at[at.len() - 2]);
        let waited = rises.boundaries - rises.last();
        let needed = (f64::from(*gaps.last()?) * 1.25 * factor.clamp(2.0, MOST_FACTOR)) as u32 + 1;
        if waited > needed {
            return None;
        }
        let (n, held) = (rises.count(), rises.held());
        let factors = format!("what is held here grew by a factor {n} times, to {held}");
        let judged = if n >= FEWEST_RISES && rises.confirmed_span() >= terms.horizon {
            let why = format!(
                "{factors}, the last time in cycle {} after the warm-up: past the horizon of {} \
                 cycles; it is a container that nobody empties",
                rises.last(),
                terms.horizon
            );
            rises.so(Verdict::Leak, Rule::Horizon, why)
        } else {
            let more = needed - waited + 1;
            let why = format!(
                "{factors}, the last time {waited} cycles ago: whether it has stopped shows in \
                 {more} more cycles"
            );
            rises.so(Verdict::Undecided, Rule::Open, why).after(more)
        };
        Some(Judgement {
            bytes_per_cycle: rises.slope(&rises.bytes),
            blocks_per_cycle: rises.slope(&rises.blocks),
            ..judged
        })
    }

    /// By steps of the floor alone, whatever comes and goes above it. Noise leaves a few such
    /// steps, ever denser to the end; they count only where there is one in [`SPARSEST`] cycles
    /// all the time.
    pub(super) fn of_dense_steps(series: &Series, terms: Terms) -> Self {
        let at = floor_steps(&series.bytes);
        let lowest = lowest_of_last(&series.bytes, SPARSEST as usize);
        let mut rises = Self::at_floor(series, terms, at, &lowest);
        rises.keep_if_dense();
        rises
    }

    /// Forgets the rises unless there is one in [`SPARSEST`] cycles all the time.
    fn keep_if_dense(&mut self) {
        let (first, span) = (self.first(), self.span());
        let is_dense = |n: u32| {
            let quarter = first + span * n / 4..first + span * (n + 1) / 4;
            let here = self.at.iter().filter(|&k| quarter.contains(k)).count();
            here as u32 * SPARSEST * 4 >= span
        };
        if !(0..4).all(is_dense) {
            self.at.clear();
        }
    }

    /// With these rises, as far as they are certain.
    fn at_floor(series: &Series, terms: Terms, mut at: Vec<u32>, level: &[u64]) -> Self {
        let certain = series.boundaries() - series.longest_life().min(series.boundaries());
        let floor = floor_of(&series.bytes);
        let doubtful = at.iter().any(|&k| k > certain);
        at.retain(|&k| k <= certain);
        let sure = if doubtful {
            certain
        } else {
            series.boundaries()
        };
        Self {
            boundaries: series.boundaries(),
            quiet: sure.saturating_sub(at.last().copied().unwrap_or(0)),
            at,
            level: level[..certain as usize].to_vec(),
            blocks: series.blocks[..certain as usize].to_vec(),
            bytes: floor[..certain as usize].to_vec(),
            certain,
            by: RisesBy::Floor,
            longest_life: series.longest_life(),
            terms,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.at.len()
    }

    fn first(&self) -> u32 {
        self.at.first().copied().unwrap_or(0)
    }

    fn last(&self) -> u32 {
        self.at.last().copied().unwrap_or(0)
    }

    /// Cycles from the first rise to the last.
    fn span(&self) -> u32 {
        self.last() - self.first()
    }

    /// The same up to the last rise that was confirmed.
    fn confirmed_span(&self) -> u32 {
        let old_enough = |&&k: &&u32| k + CONFIRMED <= self.boundaries;
        let unconfirmed = match self.by {
            // Noise may lift one trough, or two in a row, above all before.
            RisesBy::Troughs => CONFIRMED as usize - 1,
            RisesBy::Generations | RisesBy::Floor => 0,
        };
        let last = self.at.iter().rev().skip(unconfirmed).find(old_enough);
        last.map_or(0, |last| last - self.first())
    }

    /// Longest wait between two rises; 1 if there is only one.
    pub(super) fn longest_gap(&self) -> u32 {
        let gaps = self.at.windows(2).map(|w| w[1] - w[0]);
        gaps.max().unwrap_or(1)
    }

    /// Quiet cycles after which filling counts as over: as many as the filling took, twice the
    /// longest wait for an entry, and as many as the longest life, which tells how slow the rhythm
    /// of the call site is.
    pub(super) fn quiet_needed(&self) -> u32 {
        (self.span() + 1)
            .max(2 * self.longest_gap() + 1)
            .max(self.longest_life)
            .max(FEWEST_QUIET)
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.quiet >= self.quiet_needed()
    }

    /// Whether it has stopped for so long that a run which ends by itself need not wait for more: a
    /// leak every tenth cycle would have been seen again.
    pub(super) fn is_over(&self) -> bool {
        self.has_stopped() && self.quiet >= PATIENCE
    }

    /// Growth is only believed in a run three times as long as the longest life that ended in it:
    /// otherwise what looks as if it stayed may be in the middle of such a life.
    fn goes_on(&self) -> bool {
        let longest = self.boundaries - self.certain;
        self.at.len() >= FEWEST_RISES
            && self.boundaries >= 3 * longest
            && self.quiet <= 2 * self.longest_gap()
            && !self.slows_down()
            && self.is_believed()
    }

    /// Whether the rises come ever more seldom: a cache that is asked for keys at random and meets
    /// ever fewer new ones, or a buffer that doubles. Not if they have kept their pace for two
    /// horizons: then something else that has stopped is at the same call site.
    fn slows_down(&self) -> bool {
        let middle = (self.first() + self.certain) / 2;
        let early = self.at.iter().filter(|&&k| k <= middle).count();
        let since = |from: u32| {
            let from = from.max(self.first());
            let later = self.at.iter().filter(|&&k| k > from).map(|&k| k - from);
            let later: Vec<u32> = later.collect();
            statistics::falling_rate(&later, self.certain.saturating_sub(from))
        };
        let all = since(0);
        let lately = since(self.certain.saturating_sub(2 * self.terms.horizon));
        (self.at.len() - early) * 3 < early || all.max(lately) < self.terms.slowing(self.span())
    }

    fn is_believed(&self) -> bool {
        let asked = match self.by {
            // Bytes that come and go at random are in order now and then, as no generations are.
            RisesBy::Troughs => self.terms.significance() / 10.0,
            RisesBy::Generations | RisesBy::Floor => self.terms.significance(),
        };
        self.chance() < asked
    }

    /// Probability that chance alone makes the level rise as it does in its second half.
    fn chance(&self) -> f64 {
        let half = if self.level.len() >= 4 * FEWEST_RISES {
            &self.level[self.level.len() / 2..]
        } else {
            &self.level[..]
        };
        statistics::mann_kendall(half)
    }

    /// Growth per cycle since the first rise.
    fn slope(&self, of: &[u64]) -> Option<Slope> {
        statistics::theil_sen(of.get(self.first().saturating_sub(1) as usize..)?)
    }

    /// The judgement that these rises alone allow; `None` if there are none.
    pub(super) fn judge(&self) -> Option<Judgement> {
        if self.at.is_empty() {
            return None;
        }
        if self.has_stopped() {
            return Some(Judgement {
                settled: self.is_over(),
                ..self.so(Verdict::Cache, Rule::Stopped, self.why_stopped())
            });
        }
        let judged = match self.goes_on() {
            true if self.confirmed_span() >= self.terms.horizon => {
                self.so(Verdict::Leak, Rule::Horizon, self.why_leak())
            }
            true => {
                let more = self.terms.horizon - self.confirmed_span() + self.longest_gap();
                self.so(Verdict::Growing, Rule::NotYet, self.why_growing(more))
                    .after(more)
            }
            false => {
                let more = self.quiet_needed().saturating_sub(self.quiet);
                let more = more.max(FEWEST_RISES as u32);
                self.so(Verdict::Undecided, Rule::Open, self.why_undecided(more))
                    .after(more)
            }
        };
        Some(Judgement {
            bytes_per_cycle: self.slope(&self.bytes),
            blocks_per_cycle: self.slope(&self.blocks),
            ..judged
        })
    }

    /// A verdict with the figures of these rises. It is settled unless it says that it may change.
    pub(super) fn so(&self, verdict: Verdict, rule: Rule, reason: String) -> Judgement {
        // Where it has stopped, the growth since then.
        let since = self.last().saturating_sub(1) as usize;
        let rest = |of: &[u64]| calm(of.get(since..)?, 1).filter(|_| verdict < Verdict::Undecided);
        Judgement {
            verdict,
            reason,
            settled: !matches!(verdict, Verdict::Growing | Verdict::Undecided),
            bytes_per_cycle: rest(&self.bytes),
            blocks_per_cycle: rest(&self.blocks),
            evidence: Evidence {
                rule,
                rises_by: self.by,
                rises: self.at.clone(),
                span: self.confirmed_span(),
                longest_gap: self.longest_gap(),
                quiet: self.quiet,
                quiet_needed: self.quiet_needed(),
                longest_life: self.longest_life,
                chance: self.chance(),
                significance: self.terms.significance(),
                analyses: self.terms.analysis,
                more_cycles: None,
            },
            every_cycle: None,
        }
    }

    /// What happened, in words: how often something came to stay.
    fn history(&self) -> String {
        let n = self.at.len();
        match self.by {
            RisesBy::Generations => format!("{n} generations came to stay"),
            RisesBy::Floor => format!("it grew for good {n} times"),
            RisesBy::Troughs => format!(
                "what is held is copied or replaced within {} cycles, and was {n} times more than \
                 ever before",
                self.longest_life
            ),
        }
    }

    fn held(&self) -> String {
        rounded(self.bytes.last().copied().unwrap_or(0) as f64)
    }

    fn why_leak(&self) -> String {
        let entries = match self.by {
            RisesBy::Generations => format!("{} entries, ", self.at.len()),
            RisesBy::Floor | RisesBy::Troughs => String::new(),
        };
        format!(
            "{}, the last time in cycle {} after the warm-up, and nothing went: past the horizon \
             of {} cycles; if this is a cache, it holds more than {entries}{}",
            self.history(),
            self.last(),
            self.terms.horizon,
            self.held()
        )
    }

    fn why_growing(&self, more: u32) -> String {
        format!(
            "{} and it goes on, but the run ended before the horizon of {} cycles; {more} more \
             would tell a leak from a cache",
            self.history(),
            self.terms.horizon
        )
    }

    fn why_stopped(&self) -> String {
        format!(
            "{}, not once in the last {} cycles, which is longer than the filling took; it holds {}",
            self.history(),
            self.quiet,
            self.held()
        )
    }

    fn why_undecided(&self, more: u32) -> String {
        let slower = if self.slows_down() {
            ", ever more slowly"
        } else {
            ""
        };
        format!(
            "{}{slower}, the last time {} cycles ago: not enough to tell growth from a cache; \
             that takes at least {more} more cycles",
            self.history(),
            self.quiet
        )
    }
}

/// The floor: for each boundary the lowest level from it to the end.
fn floor_of(level: &[u64]) -> Vec<u64> {
    let mut floor = level.to_vec();
    for k in (0..floor.len().saturating_sub(1)).rev() {
        floor[k] = floor[k].min(floor[k + 1]);
    }
    floor
}

/// Of each boundary the lowest level of so many up to it.
fn lowest_of_last(level: &[u64], many: usize) -> Vec<u64> {
    (1..=level.len())
        .map(|end| &level[end.saturating_sub(many)..end])
        .map(|last| last.iter().copied().min().unwrap_or(0))
        .collect()
}

/// The lowest levels of stretches of so many boundaries, the last of which ends with the run; and
/// how many boundaries are left over in front.
fn troughs(level: &[u64], stretch: usize) -> (Vec<u64>, u32) {
    let lead = level.len() % stretch;
    let stretches = level[lead..].chunks(stretch);
    let lowest = stretches.map(|s| s.iter().copied().min().unwrap_or(0));
    (lowest.collect(), lead as u32)
}

/// The slope per cycle of what does not grow, of which every so manyth cycle is given: 0, if that
/// is within its interval. `None` if it differs and is too short for an interval.
fn calm(level: &[u64], every: usize) -> Option<Slope> {
    if level.windows(2).all(|w| w[0] == w[1]) {
        return Some(Slope {
            value: 0.0,
            low: 0.0,
            high: 0.0,
        });
    }
    if level.len() < FEWEST_RISES {
        return None;
    }
    let slope = statistics::theil_sen(level)?;
    let is_flat = slope.low <= 0.0 && slope.high >= 0.0;
    let per_cycle = |of: f64| of / every as f64;
    Some(Slope {
        value: if is_flat { 0.0 } else { per_cycle(slope.value) },
        low: per_cycle(slope.low),
        high: per_cycle(slope.high),
    })
}

/// Where all that follows is more than anything before, counted from 1.
fn above_all_before(level: &[u64]) -> Vec<u32> {
    let mut at = Vec::new();
    let mut highest = 0;
    for (k, (floor, &value)) in (1..).zip(floor_of(level).into_iter().zip(level)) {
        if floor > highest {
            at.push(k);
        }
        highest = highest.max(value);
    }
    at
}

/// Boundaries at which the floor is higher than before.
fn floor_steps(level: &[u64]) -> Vec<u32> {
    let floor = floor_of(level);
    let steps = (1..floor.len()).filter(|&k| floor[k] > floor[k - 1]);
    steps.map(|k| k as u32 + 1).collect()
}

/// Whether the floor has more steps than a level that comes and goes leaves: of n values in random
/// order about ln n are lower than all that follow.
pub(super) fn floor_may_rise(series: &Series) -> bool {
    2 * floor_steps(&series.bytes).len() > series.bytes.len()
}

/// Whether what is held at least has grown by a factor in each half of the run and of its first
/// half, as containers do that double: the last quarter is above all of the second, and that is
/// above all of the first.
pub(super) fn grows_by_halves(level: &[u64]) -> bool {
    let quarter = level.len() / 4;
    if quarter < 2 * FEWEST_RISES {
        return false;
    }
    let most = |q: usize| level[q * quarter..(q + 1) * quarter].iter().max().copied();
    let last = level[level.len() - quarter..].iter().min().copied();
    let (Some(first), Some(second), Some(last)) = (most(0), most(1), last) else {
        return false;
    };
    let above = |a: u64, b: u64| a as f64 >= FACTOR * b as f64;
    first > 0 && above(second, first) && above(last, second)
}

/// Whether a level that has risen since a boundary, counted from 1, is in the middle of what it did
/// before: it fell by half of its range at once, to what it was so many cycles ago, and has not risen
/// for longer than that since.
pub(super) fn is_swept(before: u64, level: &[u64], since: u32) -> bool {
    let at = |k: usize| if k == 0 { before } else { level[k - 1] };
    let (mut lowest, mut highest) = (before, before);
    let (mut last, mut longest) = (0, 0);
    for k in 1..=level.len() {
        let fell = at(k - 1).saturating_sub(at(k));
        if fell > 0 && 2 * fell >= highest - lowest {
            let as_low = (0..k).rev().find(|&j| at(j) <= at(k)).unwrap_or(0);
            (last, longest) = (k, longest.max(k - as_low));
        }
        (lowest, highest) = (lowest.min(at(k)), highest.max(at(k)));
    }
    last > 0 && since as usize >= last && level.len() - last <= longest
}

/// Whether there is reason to doubt that a count stays as it is.
pub(super) fn is_rising(counts: &[u32]) -> bool {
    let counts: Vec<u64> = counts.iter().map(|&c| u64::from(c)).collect();
    statistics::mann_kendall(&counts) < DOUBT
}

impl Judgement {
    /// The same figures, but growth so small that it may be nothing for so many cycles more. Past
    /// the horizon that is reason enough to doubt the run, if it rose all the time.
    pub(crate) fn too_little(mut self, more: u32) -> Self {
        let dense = self.evidence.rises.len() as u32 * SPARSEST >= self.evidence.span;
        let rule = match self.verdict {
            Verdict::Leak if dense => Rule::TooLittle,
            _ => Rule::Open,
        };
        self = self.doubtful(more);
        self.evidence.rule = rule;
        self
    }

    /// The same figures, and no verdict for so many cycles more.
    pub(crate) fn doubtful(mut self, more: u32) -> Self {
        self.verdict = Verdict::Undecided;
        self.settled = false;
        self.evidence.rule = Rule::Open;
        self.after(more)
    }

    /// The same figures, which are those of noise.
    pub(crate) fn noise(mut self) -> Self {
        self.verdict = Verdict::Churn;
        self.settled = true;
        self.evidence.rule = Rule::Young;
        self.evidence.more_cycles = None;
        self
    }

    /// It would be told after so many cycles more.
    pub(super) fn after(mut self, more: u32) -> Self {
        self.evidence.more_cycles = Some(more);
        self
    }
}
