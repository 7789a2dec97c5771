//! The classifier: what a site's series of censuses proves. Pure functions over numbers.
//!
//! A cache that gains one entry a cycle looks exactly like a leak until it is full, and deferred
//! frees look like one until the sweep. No finite run can tell them apart by their curve, so the
//! rule has a stated *horizon*: what still grows beyond it is called a leak; what stops or is swept
//! within it never is.
//!
//! The rule looks at generations, not at bytes. Let T be the longest life of a generation that
//! died. A generation that is older than T has outlived everything that ever died at this site: it
//! *stays*. Young blocks that come and go, however many, do not blur the picture, and a sweep or a
//! bounded cache makes T so long that nothing stays. Blocks that grow in place of multiplying (a
//! `realloc` is a new birth) leave no generation that stays, but raise the *floor*: the lowest
//! live bytes from a boundary on. The cycles in which something came to stay, or the floor rose,
//! are the *rises*; the verdict is about their rhythm.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::bytes as rounded;
use crate::statistics::Slope;

#[cfg(test)]
mod corpus;
mod looks;
mod rises;
pub(crate) mod synthetic;

pub(crate) use looks::{Terms, is_look, may_end, most_cycles};
use rises::Rises;

/// Default horizon, in cycles after the warm-up.
pub(crate) const DEFAULT_HORIZON: u32 = 64;

/// Default warm-up, in cycles.
pub(crate) const DEFAULT_WARMUP: u32 = 3;

/// Cycles beyond the horizon that the default run adds, so that a leak every third cycle, or one
/// under churn, is still called.
const DEFAULT_MARGIN: u32 = 16;

/// Fewest cycles after the warm-up about which anything can be said: five rising values are the
/// fewest that chance alone gives in less than 1 % of all cases (1 in 120 orders).
pub(crate) const FEWEST_CYCLES: u32 = 5;

/// Rises needed before anything is called growth.
const FEWEST_RISES: usize = 5;

/// Cycles without a rise before a site counts as having stopped, at least.
const FEWEST_QUIET: u32 = 8;

/// Cycles without a rise after which a run that ends by itself waits for no other.
const PATIENCE: u32 = 24;

/// Boundaries that a rise must have outlived to count against the horizon: what is seen for the
/// first time may be the first of something that comes and goes.
const CONFIRMED: u32 = 3;

/// Generations that make model-sized growth a leak without waiting for the horizon.
const MODEL_SIZED_GENERATIONS: usize = 8;

/// Living generations at every boundary from which on turnover is called a cache and not churn.
const CACHE_GENERATIONS: u32 = 4;

/// Cycles of a run that was given no number, for a warm-up and a horizon.
pub(crate) fn default_cycles(warmup: u32, horizon: u32) -> u32 {
    warmup
        .saturating_add(horizon)
        .saturating_add(DEFAULT_MARGIN)
}

/// What a site's series of censuses proves.
///
/// The order is that of severity: a run's verdict is the worst of its sites'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Born in the warm-up cycles only.
    WarmUp,
    /// Survivors are always young: each generation dies when a later one comes, or in sweeps.
    Churn,
    /// It grew, then stopped; or every new entry replaces an old one.
    Cache,
    /// The numbers allow two of these. The reason says what would settle it.
    Undecided,
    /// It grew to the end, but the run ended before the horizon.
    Growing,
    /// It grew beyond the horizon, or by whole models.
    Leak,
}

impl Verdict {
    /// All verdicts, the mildest first.
    pub const ALL: [Self; 6] = [
        Self::WarmUp,
        Self::Churn,
        Self::Cache,
        Self::Undecided,
        Self::Growing,
        Self::Leak,
    ];

    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WarmUp => "warm-up",
            Self::Churn => "churn",
            Self::Cache => "cache",
            Self::Undecided => "undecided",
            Self::Growing => "growing",
            Self::Leak => "leak",
        }
    }

    /// Whether memory grows for all that is known: a check fails on it.
    pub const fn is_growth(self) -> bool {
        matches!(self, Self::Growing | Self::Leak)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The survivors of one birth cycle at one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Boundary of its birth, counted from 1 after the baseline.
    pub(crate) born: u32,
    /// First boundary at which nothing of it was left; `None` if it is alive at the last one.
    pub(crate) died: Option<u32>,
    /// Live bytes at the last boundary, or when it was last seen.
    pub(crate) bytes: u64,
    /// The same in blocks.
    pub(crate) blocks: u64,
}

/// What the censuses say about one site, the warm-up set aside.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    /// Live bytes born after the baseline, at each boundary after it.
    pub(crate) bytes: Vec<u64>,
    /// The same in blocks.
    pub(crate) blocks: Vec<u64>,
    /// Living generations at each boundary. All three are of one length.
    pub(crate) living: Vec<u32>,
    /// All generations that were alive at some boundary, by birth.
    pub(crate) generations: Vec<Generation>,
    /// The longest life, in boundaries, of a warm-up generation that died after the baseline: it
    /// tells how long things live here, too.
    pub(crate) earlier_life: u32,
    /// The blocks are born while a model is loaded.
    pub(crate) from_load: bool,
}

impl Series {
    fn boundaries(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// T: the longest life, in boundaries, of a generation that died.
    fn longest_life(&self) -> u32 {
        let lives = self.generations.iter();
        lives
            .filter_map(|g| g.died.map(|d| d.saturating_sub(g.born)))
            .chain([self.earlier_life])
            .max()
            .unwrap_or(0)
    }

    fn alive(&self) -> impl Iterator<Item = &Generation> {
        self.generations.iter().filter(|g| g.died.is_none())
    }

    /// Generations that have outlived everything that died.
    fn staying(&self) -> Vec<Generation> {
        let (n, longest) = (self.boundaries(), self.longest_life());
        self.alive()
            .copied()
            .filter(|g| n + 1 - g.born > longest)
            .collect()
    }
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Rises went on for longer than the horizon: a leak.
    Horizon,
    /// A generation stayed in every cycle, and together they are all that a cycle loads: a leak
    /// without waiting for the horizon.
    ModelSized,
    /// Rises go on, and the run ended before the horizon: growing.
    NotYet,
    /// Rises stopped, for as long as they took: a cache.
    Stopped,
    /// Each new generation replaces an old one, and several are alive: a cache.
    Replaced,
    /// Generations die young: churn.
    Young,
    /// Nothing was born after the baseline: warm-up.
    BeforeBaseline,
    /// Fewer cycles than any rule needs.
    TooFewCycles,
    /// Rises went on for longer than the horizon, but by no more than what the system itself may
    /// keep: undecided.
    TooLittle,
    /// No rule holds.
    Open,
}

/// What rises, if anything does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RisesBy {
    /// A generation that outlives everything that died came to stay.
    Generations,
    /// All live bytes that follow are more than all that were before: a block that grows.
    Floor,
}

/// The figures behind a verdict. Cycles are counted from the baseline on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The rule that decided.
    pub rule: Rule,
    /// What the rises are.
    pub rises_by: RisesBy,
    /// Cycles in which something came to stay.
    pub rises: Vec<u32>,
    /// Cycles from the first rise to the last that has outlived three boundaries: what is held
    /// against the horizon.
    pub span: u32,
    /// Longest wait between two rises, in cycles.
    pub longest_gap: u32,
    /// Cycles since the last rise.
    pub quiet: u32,
    /// Cycles without a rise after which it counts as stopped.
    pub quiet_needed: u32,
    /// Longest life, in cycles, of a generation that died.
    pub longest_life: u32,
    /// Probability that a series without trend rises as much as this one (Mann-Kendall).
    pub chance: f64,
    /// The chance below which a rise is believed, at this look.
    pub significance: f64,
    /// How often the run was looked at; 0 if its length was fixed beforehand.
    pub look: u32,
    /// Further cycles that would tell, where it cannot be told yet.
    pub more_cycles: Option<u32>,
}

/// The verdict on one site, with its figures.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// Why, in words, and what it would mean otherwise.
    pub(crate) reason: String,
    /// More cycles would not change it, as far as can be known.
    pub(crate) settled: bool,
    /// Growth in bytes and in blocks per cycle; `None` where it cannot be told.
    pub(crate) bytes_per_cycle: Option<Slope>,
    pub(crate) blocks_per_cycle: Option<Slope>,
    pub(crate) evidence: Evidence,
    /// Bytes that each generation adds at least, if one born in the load stays in every cycle.
    every_cycle: Option<u64>,
}

/// Growth that was shown not to be there.
const FLAT: Slope = Slope {
    value: 0.0,
    low: 0.0,
    high: 0.0,
};

/// Judges one site by its own series.
pub(crate) fn judge(series: &Series, terms: Terms) -> Judgement {
    let by_generations = Rises::of_generations(series, terms);
    let n = series.boundaries();
    if series.generations.is_empty() {
        let reason = "born before the baseline, and nothing since".to_owned();
        return by_generations.so(Verdict::WarmUp, Rule::BeforeBaseline, reason);
    }
    if n < FEWEST_CYCLES {
        let reason = format!(
            "{n} cycles after the warm-up are too few; at least {FEWEST_CYCLES} are needed"
        );
        return Judgement {
            settled: false,
            ..by_generations.so(Verdict::Undecided, Rule::TooFewCycles, reason)
        };
    }
    let dead = series.generations.iter().filter(|g| g.died.is_some());
    // One or two that happen to be the oldest so far, among many that died, prove nothing.
    let some_stay =
        by_generations.count() * 5 > dead.count() || by_generations.count() >= FEWEST_RISES;
    let generations = by_generations.judge().filter(|_| some_stay);
    let floor = match generations {
        Some(_) => Rises::of_floor(series, terms),
        None => growing_floor(series, terms),
    };
    // Few steps of the floor are what noise leaves; they count only where generations are silent
    // and the steps go on.
    let by_floor = floor
        .judge()
        .filter(|j| j.verdict.is_growth() || (floor.count() >= 3 && generations.is_none()));
    let grows = |j: &Option<Judgement>| j.as_ref().is_some_and(|j| j.verdict.is_growth());
    if !grows(&generations)
        && !grows(&by_floor)
        && let Some(judged) = Rises::judge_growth_by_factors(series, terms)
    {
        return judged;
    }
    match (generations, by_floor) {
        (Some(g), Some(f)) if f.verdict.is_growth() && f.verdict > g.verdict => f,
        (Some(g), _) => {
            let every_cycle = by_generations.longest_gap() == 1
                && by_generations.count() >= MODEL_SIZED_GENERATIONS;
            let least = || series.staying().iter().map(|g| g.bytes).min();
            Judgement {
                every_cycle: (every_cycle && series.from_load).then(least).flatten(),
                ..g
            }
        }
        (None, Some(f)) if f.verdict != Verdict::Cache => f,
        (None, _) => turnover(series, &by_generations),
    }
}

/// The rises of the floor; where it does not rise above all that was, those of its steps.
fn growing_floor(series: &Series, terms: Terms) -> Rises {
    let grows = |r: &Rises| r.judge().is_some_and(|j| j.verdict.is_growth());
    let floor = Rises::of_floor(series, terms);
    if grows(&floor) {
        return floor;
    }
    let steps = Rises::of_dense_steps(series, terms);
    if grows(&steps) { steps } else { floor }
}

/// Judges a quantity of which only the level is known, such as what C code holds, at the boundaries
/// after the baseline; `before` is its level there.
pub(crate) fn judge_level(before: u64, level: &[u64], terms: Terms) -> Judgement {
    let lowest = level.iter().copied().fold(before, u64::min);
    let series = Series {
        bytes: level.iter().map(|&l| l - lowest).collect(),
        blocks: vec![0; level.len()],
        living: vec![0; level.len()],
        ..Series::default()
    };
    let rises = growing_floor(&series, terms);
    if series.boundaries() < FEWEST_CYCLES {
        let reason = format!("fewer than {FEWEST_CYCLES} cycles after the warm-up");
        return Judgement {
            settled: false,
            ..rises.so(Verdict::Undecided, Rule::TooFewCycles, reason)
        };
    }
    match rises.judge() {
        // One or two steps are what noise leaves.
        Some(judged) if rises.count() >= 3 => judged,
        _ => rises.so(Verdict::Churn, Rule::Young, "it does not rise".into()),
    }
}

/// Lives as long as a third of the run or more are seen too seldom to be told from a stay.
const LIVES_OF_A_RUN: u32 = 3;

/// Nothing stays: a cache that replaces, or churn.
fn turnover(series: &Series, rises: &Rises) -> Judgement {
    let longest = series.longest_life();
    let half = &series.living[series.living.len() / 2..];
    let fewest = half.iter().copied().min().unwrap_or(0);
    let most = half.iter().copied().max().unwrap_or(0);
    let needed = LIVES_OF_A_RUN * longest;
    let short = series.boundaries() < needed;
    if short && most as usize >= FEWEST_RISES && rises::is_rising(half) {
        let more = needed - series.boundaries();
        let reason = format!(
            "{most} generations are alive, ever more, but one lived for {longest} cycles before it \
             died: {more} more cycles would tell whether the rest stays"
        );
        return Judgement {
            settled: false,
            ..rises.so(Verdict::Undecided, Rule::Open, reason).after(more)
        };
    }
    let floor_rises = rises::floor_may_rise(series);
    if floor_rises && series.boundaries() >= 2 * FEWEST_QUIET {
        let reason = "blocks are replaced, and what they hold at least rises: more cycles would tell \
                      whether it goes on";
        return rises
            .so(Verdict::Undecided, Rule::Open, reason.into())
            .after(FEWEST_QUIET);
    }
    let judged = if fewest >= CACHE_GENERATIONS {
        let reason =
            format!("each new entry replaces an old one: never more than {most} generations alive");
        rises.so(Verdict::Cache, Rule::Replaced, reason)
    } else {
        let reason = format!("no generation lives longer than {} cycles", longest.max(1));
        rises.so(Verdict::Churn, Rule::Young, reason)
    };
    Judgement {
        settled: !short && !floor_rises && (rises.count() == 0 || rises.is_over()),
        ..judged
    }
}

/// Calls growth by whole models a leak without waiting for the horizon: growing sites of which a
/// generation born in the load stays in every cycle, and which together keep in each cycle what the
/// load leaves live before the drop (`loaded_bytes`), but for a tenth.
///
/// A cache that is filled while a model is loaded, too, has its entries among the loaded bytes: it
/// would have to take nine times what the model takes.
pub(crate) fn judge_together(judgements: &mut [Judgement], loaded_bytes: u64) {
    let together: u64 = judgements
        .iter()
        .filter(|j| j.verdict.is_growth())
        .filter_map(|j| j.every_cycle)
        .sum();
    if loaded_bytes == 0 || together < loaded_bytes - loaded_bytes / 10 {
        return;
    }
    for j in judgements {
        if j.verdict == Verdict::Growing && j.every_cycle.is_some() {
            let (kept, loaded) = (rounded(together as f64), rounded(loaded_bytes as f64));
            let models = j.evidence.rises.len();
            j.verdict = Verdict::Leak;
            j.settled = true;
            j.evidence.rule = Rule::ModelSized;
            j.evidence.more_cycles = None;
            j.reason = format!(
                "a generation came to stay in every cycle, and together these sites keep \
                 {kept} of the {loaded} that a cycle loads: whole models, {models} so far; if \
                 they are cached or swept, then more than {models} at a time"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::synthetic::Life;

    fn series(n: u32, lives: impl IntoIterator<Item = Life>) -> Series {
        synthetic::series(n, &lives.into_iter().collect::<Vec<_>>())
    }

    fn verdict(n: u32, lives: impl IntoIterator<Item = Life>) -> Verdict {
        judge(&series(n, lives), Terms::fixed(DEFAULT_HORIZON)).verdict
    }

    const DEFAULT_N: u32 = DEFAULT_HORIZON + DEFAULT_MARGIN;

    #[test]
    fn a_block_every_cycle_is_a_leak_past_the_horizon_and_growing_before() {
        let leak = |n| {
            judge(
                &series(n, (1..=n).map(|k| (k, None, 100))),
                Terms::fixed(64),
            )
        };
        assert_eq!(leak(64 + CONFIRMED).verdict, Verdict::Growing);
        assert_eq!(leak(65 + CONFIRMED).verdict, Verdict::Leak);
        let j = leak(DEFAULT_N);
        assert_eq!(j.bytes_per_cycle.unwrap().value, 100.0);
        assert_eq!(j.blocks_per_cycle.unwrap().value, 1.0);
        assert!(
            j.reason.contains("more than 80 entries, 8.00 kB"),
            "{}",
            j.reason
        );
    }

    #[test]
    fn a_slow_leak_is_a_leak_within_three_horizons() {
        for every in [2, 3, 5, 10] {
            let slow = |n: u32| {
                (1..=n)
                    .filter(move |k| k % every == 0)
                    .map(|k| (k, None, 9))
            };
            assert_eq!(
                verdict(3 * 64, slow(3 * 64)),
                Verdict::Leak,
                "every {every}"
            );
        }
        assert_eq!(
            verdict(
                DEFAULT_N,
                (1..=80).filter(|k| k % 3 == 0).map(|k| (k, None, 9))
            ),
            Verdict::Leak
        );
    }

    #[test]
    fn a_cache_that_fills_within_the_horizon_is_never_a_leak() {
        for capacity in 1..=64 {
            for n in FEWEST_CYCLES..=200 {
                let filled = (1..=capacity).map(|k| (k, None, 10));
                let found = verdict(n, filled);
                assert_ne!(found, Verdict::Leak, "capacity {capacity}, {n} cycles");
                if n >= 2 * capacity + FEWEST_QUIET {
                    assert_eq!(found, Verdict::Cache, "capacity {capacity}, {n} cycles");
                }
            }
        }
    }

    #[test]
    fn a_bounded_cache_is_a_cache_and_a_replaced_buffer_is_churn() {
        for capacity in 1..=30 {
            let lru = (1..=DEFAULT_N).map(|k| (k, Some(k + capacity), 10));
            let expected = if capacity < CACHE_GENERATIONS {
                Verdict::Churn
            } else {
                Verdict::Cache
            };
            assert_eq!(verdict(DEFAULT_N, lru), expected, "capacity {capacity}");
        }
    }

    #[test]
    fn sweeps_within_the_horizon_are_churn_at_any_length() {
        for period in 2..=40_u32 {
            for n in 2 * period + 1..=200 {
                let swept = (1..=n).map(|k| (k, Some(k.next_multiple_of(period)), 10));
                let found = verdict(n, swept);
                assert!(!found.is_growth(), "period {period}, {n} cycles: {found}");
            }
        }
    }

    #[test]
    fn a_leak_under_churn_at_the_same_site_is_a_leak_of_its_own_bytes() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut blocks = Vec::new();
        for k in 1..=DEFAULT_N {
            blocks.push((k, None, 16));
            for _ in 0..5 {
                blocks.push((k, Some(k + random(4) as u32), random(10_000_000)));
            }
        }
        let j = judge(&series(DEFAULT_N, blocks), Terms::fixed(64));
        assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
        assert_eq!(j.bytes_per_cycle.unwrap().value, 16.0);
    }

    #[test]
    fn a_block_that_grows_by_realloc_is_a_leak() {
        // Born anew in each cycle, 64 bytes longer.
        let grown = (1..=DEFAULT_N).map(|k| (k, Some(k + 1), 64 * u64::from(k)));
        let j = judge(&series(DEFAULT_N, grown), Terms::fixed(64));
        assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
        assert_eq!(j.bytes_per_cycle.unwrap().value, 64.0);
    }

    #[test]
    fn a_doubling_buffer_is_not_called_a_leak_nor_clean_while_it_may_go_on() {
        let doubling = (0..7).map(|i| (1 << i, Some(2 << i), 100 << i));
        let found = verdict(DEFAULT_N, doubling);
        assert!(found != Verdict::Leak, "{found}");
    }

    /// A container that takes `bytes` a cycle and doubles when it is full, up to cycle `stops`.
    fn doubling(n: u32, bytes: u64, stops: u32) -> Vec<Life> {
        let mut lives: Vec<Life> = Vec::new();
        let mut capacity = 0;
        // Three cycles of warm-up came before.
        for k in -2..=(n.min(stops) as i32) {
            let held = (k + 3) as u64 * bytes;
            if held > capacity {
                capacity = held.max(2 * capacity);
                if let Some(last) = lives.last_mut() {
                    last.1 = Some(k.max(1) as u32);
                }
                lives.push((k.max(0) as u32, None, capacity));
            }
        }
        lives
    }

    #[test]
    fn a_container_that_grows_for_ever_is_a_leak_past_the_horizon_and_never_clean() {
        for bytes in [100, 8000, 8192] {
            for n in (15..400).step_by(7) {
                let found = verdict(n, doubling(n, bytes, u32::MAX));
                assert!(
                    found >= Verdict::Undecided,
                    "{n} cycles of {bytes} B: {found}"
                );
            }
            let lives = doubling(192, bytes, u32::MAX);
            let (n, j) = synthetic::judged_until_settled(192, &lives, 64, 0);
            assert_eq!(j.verdict, Verdict::Leak, "{}", j.reason);
            assert!(n <= 144, "{n} cycles");
        }
    }

    #[test]
    fn a_container_that_stops_growing_within_the_horizon_is_no_leak() {
        for stops in 1..=64 {
            for n in (8..300).step_by(11) {
                assert_ne!(verdict(n, doubling(n, 1000, stops)), Verdict::Leak);
            }
            let settled = verdict(300, doubling(300, 1000, stops));
            assert!(
                settled < Verdict::Undecided,
                "stopped at {stops}: {settled}"
            );
        }
    }

    #[test]
    fn a_thread_that_frees_a_little_late_is_churn() {
        // 864 bytes for ever, and now and then a megabyte that is gone at the next boundary.
        let late = [5, 9, 30, 31, 77, DEFAULT_N].map(|k| (k, Some(k + 1), 1_049_068));
        assert_eq!(verdict(DEFAULT_N, late), Verdict::Churn);
    }

    #[test]
    fn random_lives_are_hardly_ever_growth() {
        let mut state = 3_u64;
        let mut alarms = Vec::new();
        for _ in 0..500 {
            let blocks: Vec<_> = (1..=DEFAULT_N)
                .map(|k| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let uniform = ((state >> 33) as f64 + 1.0) / (1_u64 << 31) as f64;
                    (k, Some(k + 1 + (-10.0 * uniform.ln()) as u32), 10)
                })
                .collect();
            let j = judge(&series(DEFAULT_N, blocks), Terms::fixed(64));
            if j.verdict.is_growth() {
                alarms.push(j.reason);
            }
        }
        assert!(alarms.is_empty(), "{alarms:?}");
    }

    #[test]
    fn a_block_that_is_replaced_now_and_then_is_churn_at_any_moment() {
        // Born in the warm-up, replaced in cycle 75: the life of the first one tells.
        let mut replaced = series(DEFAULT_N, [(75, None, 5)]);
        replaced.earlier_life = 75;
        assert_eq!(judge(&replaced, Terms::fixed(64)).verdict, Verdict::Churn);
    }

    #[test]
    fn the_first_of_something_that_comes_and_goes_is_no_leak() {
        // A cache that was filled by cycle 60, and something young in the last.
        let cache = [1, 2, 31, 60].map(|k| (k, None, 640));
        let young = [(69, Some(71), 1)];
        assert_ne!(verdict(69, cache.into_iter().chain(young)), Verdict::Leak);
    }

    #[test]
    fn one_late_initialisation_is_a_cache_once_it_is_quiet() {
        assert_eq!(verdict(DEFAULT_N, [(40, None, 5)]), Verdict::Cache);
        assert_eq!(verdict(DEFAULT_N, [(78, None, 5)]), Verdict::Undecided);
    }

    #[test]
    fn nothing_after_the_baseline_is_warm_up() {
        assert_eq!(verdict(DEFAULT_N, []), Verdict::WarmUp);
    }

    #[test]
    fn too_few_cycles_are_undecided_and_say_how_many() {
        let j = judge(&series(4, (1..=4).map(|k| (k, None, 1))), Terms::fixed(64));
        assert_eq!(j.verdict, Verdict::Undecided);
        assert!(j.reason.contains("at least 5"), "{}", j.reason);
    }

    #[test]
    fn whole_models_are_a_leak_before_the_horizon() {
        let kept = |n: u32, bytes, from_load| {
            let made = series(n, (1..=n).map(|k| (k, None, bytes)));
            judge(&Series { from_load, ..made }, Terms::fixed(64))
        };
        let model = |n, bytes| kept(n, bytes, true);
        let mut few = [model(7, 1000), model(7, 1000)];
        judge_together(&mut few, 2000);
        assert_eq!(few[0].verdict, Verdict::Growing);
        let mut enough = [model(8, 1300), model(8, 500)];
        judge_together(&mut enough, 2000);
        assert!(enough.iter().all(|j| j.verdict == Verdict::Leak));
        let mut half = [model(8, 1300), model(8, 499)];
        judge_together(&mut half, 2000);
        assert!(half.iter().all(|j| j.verdict == Verdict::Growing));
        // As large as a model, but made of requests.
        let mut cached = [kept(8, 2000, false)];
        judge_together(&mut cached, 2000);
        assert_eq!(cached[0].verdict, Verdict::Growing);
    }

    #[test]
    fn a_container_that_quadruples_is_waited_for() {
        // Full in the cycles 5 and 17: the next time would be cycle 65.
        let lives = [(5, Some(17), 400), (17, Some(65), 1600), (65, None, 6400)];
        assert_eq!(verdict(50, lives), Verdict::Undecided);
        assert_eq!(verdict(140, [lives[0], (17, None, 1600)]), Verdict::Cache);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300,
            // The same cases each time: a failure repeats.
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..Default::default()
        })]

        #[test]
        fn any_blocks_get_a_verdict_with_a_reason(
            n in 0_u32..120,
            blocks in proptest::collection::vec((1_u32..120, 1_u32..200, 0_u64..1 << 40), 0..60),
        ) {
            let blocks = blocks.into_iter().map(|(born, life, bytes)| {
                (born, (life < 120).then_some(born + life), bytes)
            });
            let j = judge(&series(n, blocks), Terms::fixed(DEFAULT_HORIZON));
            proptest::prop_assert!(!j.reason.is_empty());
        }

        #[test]
        fn what_is_filled_within_the_horizon_is_no_leak_in_whatever_order_it_filled(
            births in proptest::collection::btree_set(1_u32..=DEFAULT_HORIZON, 1..64),
            noise in proptest::collection::vec((1_u32..200, 1_u32..4, 1_u64..1 << 30), 0..100),
            n in 10_u32..200,
        ) {
            let cache = births.into_iter().map(|k| (k, None, 640));
            let churn = noise.into_iter().map(|(k, life, bytes)| (k, Some(k + life), bytes));
            let found = verdict(n, cache.chain(churn));
            proptest::prop_assert_ne!(found, Verdict::Leak);
        }
    }

    #[test]
    fn the_worst_verdict_is_the_greatest() {
        assert_eq!(Verdict::ALL.iter().max(), Some(&Verdict::Leak));
        assert!(Verdict::ALL.is_sorted());
    }
}
