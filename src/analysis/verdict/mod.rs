//! The classifier: what a call site's series of censuses proves. Pure functions over numbers.
//!
//! A cache that gains one entry a cycle looks exactly like a leak until it is full, and deferred
//! frees look like one until the sweep. No finite run can tell them apart by their curve, so the
//! rule has a stated *horizon*: what still grows beyond it is called a leak; what stops or is swept
//! within it never is.
//!
//! The rule looks at generations, not at bytes. Let T be the longest life of a generation that
//! died. A generation that is older than T has outlived everything that ever died at this call site: it
//! *stays*. Young blocks that come and go, however many, do not blur the picture, and a sweep or a
//! bounded cache makes T so long that nothing stays. Blocks that grow in place of multiplying (a
//! `realloc` is a new birth) leave no generation that stays, but raise the *floor*: the lowest
//! live bytes from a boundary on. The cycles in which something came to stay, or the floor rose,
//! are the *rises*; the verdict is about their rhythm.

use crate::model::verdict::Evidence;
use crate::model::verdict::FEWEST_CYCLES;
use crate::model::verdict::Rule;
use crate::model::verdict::Verdict;
use std::cell::LazyCell;

use crate::base::statistics::{self, Slope};
use crate::base::units::bytes as rounded;

#[cfg(test)]
mod corpus;
mod handed;
mod interim;
mod rises;
pub(crate) mod synthetic;

pub(crate) use handed::judge_handed_over;
pub(crate) use interim::{Terms, is_interim, may_end, most_cycles};
use rises::Rises;

/// Rises needed before anything is called growth.
const FEWEST_RISES: usize = 5;

/// Generations whose survivors are lost that make growth a leak without waiting for the horizon.
const LOST_GENERATIONS: u32 = 5;

/// Cycles without a rise before a call site counts as having stopped, at least.
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

/// The survivors of one birth cycle at one call site.
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

/// What the censuses say about one call site, the warm-up set aside.
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

/// The verdict on one call site, with its figures.
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

/// Judges one call site by its own series.
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
    let stretch = series.longest_life() + 1;
    let troughs =
        LazyCell::new(|| TROUGHS.map(|times| Rises::of_troughs(series, times * stretch, terms)));
    if !grows(&generations) && !grows(&by_floor) {
        // While something may be coming to stay, that decides; and where nothing died, all does.
        let waits = |j: &Judgement| j.verdict == Verdict::Undecided;
        let is_told = series.longest_life() == 0 || generations.as_ref().is_some_and(waits);
        let by_troughs = (!is_told).then(|| growth_of(&*troughs));
        let by_factors = || Rises::judge_growth_by_factors(series, terms);
        if let Some(judged) = by_troughs.flatten().or_else(by_factors) {
            return judged;
        }
    }
    let judged = match (generations, by_floor) {
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
        (None, _) => turnover(series, &by_generations, &troughs),
    };
    if judged.verdict < Verdict::Growing {
        // What is first in and first out may fall ever further behind: no generation stays.
        let records = Rises::of_records(series, terms).judge();
        if let Some(leak) = records.filter(|j| j.verdict == Verdict::Leak) {
            return leak;
        }
    }
    if judged.verdict == Verdict::Undecided && is_level(series, terms) {
        let lately = n / 2;
        let reason = format!(
            "each new entry replaces an old one, whichever that is: as many blocks as ever in the \
             last {lately} cycles"
        );
        return by_generations.so(Verdict::Cache, Rule::Replaced, reason);
    }
    // A rest that seems to have stopped, or to come and go, may be several containers that double.
    if judged.verdict < Verdict::Undecided && rises::grows_by_halves(&series.bytes) {
        let more = n / 2;
        let reason = format!(
            "it held ever more, by a factor in each half of the run, as containers do that double: \
             it takes at least {more} more cycles to tell whether that has stopped"
        );
        return by_generations
            .so(Verdict::Undecided, Rule::Open, reason)
            .after(more);
    }
    judged
}

/// Whether the number of blocks has not changed at all in the second half of the run, and their bytes
/// do not rise.
fn is_level(series: &Series, terms: Terms) -> bool {
    let half = series.blocks.len() / 2;
    let (blocks, bytes) = (&series.blocks[half..], &series.bytes[half..]);
    2 * blocks.len() as u32 >= terms.horizon
        && blocks.windows(2).all(|w| w[0] == w[1])
        && statistics::mann_kendall(bytes) > CALM
}

/// The worst growth that any of these rises alone allow to be called.
fn growth_of(rises: &[Rises]) -> Option<Judgement> {
    let judged = rises.iter().filter_map(Rises::judge);
    judged
        .filter(|j| j.verdict.is_growth())
        .max_by_key(|j| j.verdict)
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

/// Stretches, in cycles, of which the troughs of a level are looked at.
const LEVEL_STRETCHES: [u32; 2] = [4, 16];

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
    let judged = rises.judge();
    // Beside what comes and goes at random the least of a stretch rises still.
    let by_troughs =
        || growth_of(&LEVEL_STRETCHES.map(|stretch| Rises::of_troughs(&series, stretch, terms)));
    let grows = judged.as_ref().is_some_and(|j| j.verdict.is_growth());
    let judged = (!grows).then(by_troughs).flatten().or(judged);
    let is_swept = |j: &Judgement| {
        let first = j.evidence.rises.first();
        first.is_some_and(|&first| rises::is_swept(before, level, first))
    };
    match judged {
        Some(judged) if judged.verdict >= Verdict::Undecided && is_swept(&judged) => Judgement {
            settled: true,
            ..rises.so(
                Verdict::Churn,
                Rule::Young,
                "it is swept now and then".into(),
            )
        },
        Some(judged) if judged.verdict.is_growth() => judged,
        // One or two steps are what noise leaves.
        Some(judged) if rises.count() >= 3 => judged,
        _ => Judgement {
            settled: rises.count() < 2 || rises.has_stopped(),
            ..rises.so(Verdict::Churn, Rule::Young, "it does not rise".into())
        },
    }
}

/// Lives as long as a third of the run or more are seen too seldom to be told from a stay.
const LIVES_OF_A_RUN: u32 = 3;

/// Stretches of which the troughs are looked at, in times of one that sees all of a life: of the
/// longer ones there are fewer, but what comes and goes at random hides fewer of their troughs.
const TROUGHS: [u32; 2] = [1, 2];

/// Chance below which troughs that rise keep a run from being called clean, and from ending.
const RISING: f64 = 0.005;
const MAY_RISE: f64 = 0.05;

/// Chance above which bytes are held for level.
const CALM: f64 = 0.1;

/// Nothing stays: a cache that replaces, or churn.
fn turnover(series: &Series, rises: &Rises, troughs: &[Rises; TROUGHS.len()]) -> Judgement {
    let longest = series.longest_life();
    let half = &series.living[series.living.len() / 2..];
    let fewest = half.iter().copied().min().unwrap_or(0);
    let most = half.iter().copied().max().unwrap_or(0);
    let needed = LIVES_OF_A_RUN * (longest + 1);
    let short = series.boundaries() < needed;
    if short && most as usize >= FEWEST_RISES && rises::is_rising(half) {
        let more = needed - series.boundaries();
        let reason = format!(
            "{most} generations are alive, ever more, but one lived for {longest} cycles before it \
             died: it takes at least {more} more cycles to tell whether the rest stays"
        );
        return Judgement {
            settled: false,
            ..rises.so(Verdict::Undecided, Rule::Open, reason).after(more)
        };
    }
    let floor_rises = rises::floor_may_rise(series);
    if floor_rises && series.boundaries() >= 2 * FEWEST_QUIET {
        let reason = "blocks are replaced, and what they hold at least rises: only more cycles tell \
                      whether it goes on";
        return rises
            .so(Verdict::Undecided, Rule::Open, reason.into())
            .after(FEWEST_QUIET);
    }
    if rises.is_sign() {
        let more = rises.quiet_needed() + longest;
        let reason = format!(
            "{} generations have outlived all that died, of which one lived for {longest} cycles: \
             it takes at least {more} more cycles to tell whether they stay",
            rises.count()
        );
        return rises.so(Verdict::Undecided, Rule::Open, reason).after(more);
    }
    if let Some(rising) = troughs.iter().find(|t| t.may_go_on(RISING)) {
        let more = (longest + 1) * FEWEST_RISES as u32;
        let reason = format!(
            "no generation lives longer than {longest} cycles, but what is held at least rises: \
             it takes at least {more} more cycles to tell whether it goes on"
        );
        return rising
            .so(Verdict::Undecided, Rule::Open, reason)
            .after(more);
    }
    let judged = if fewest >= CACHE_GENERATIONS {
        let reason =
            format!("each new entry replaces an old one: never more than {most} generations alive");
        rises.so(Verdict::Cache, Rule::Replaced, reason)
    } else {
        let reason = format!("no generation lives longer than {} cycles", longest.max(1));
        rises.so(Verdict::Churn, Rule::Young, reason)
    };
    let (bytes_per_cycle, blocks_per_cycle) = troughs[0].slopes();
    let rise = !troughs[0].can_be_told() || troughs.iter().any(|t| t.may_go_on(MAY_RISE));
    let is_over = rises.count() == 0 || rises.is_over();
    Judgement {
        settled: !short && !floor_rises && !rise && is_over,
        bytes_per_cycle,
        blocks_per_cycle,
        ..judged
    }
}

impl Judgement {
    /// Whether it would be a leak if its survivors were lost.
    pub(crate) fn may_be_lost(&self) -> bool {
        let may_grow = matches!(self.verdict, Verdict::Growing | Verdict::Undecided);
        may_grow && self.evidence.rises.len() as u32 >= LOST_GENERATIONS
    }

    /// Calls what may grow a leak if survivors of so many generations are lost: no cache is that.
    pub(crate) fn call_lost(&mut self, generations: u32) {
        if generations < LOST_GENERATIONS {
            return;
        }
        if self.evidence.rule == Rule::ModelSized {
            // No cache has them, and no sweep.
            self.reason = format!(
                "a generation came to stay in every cycle, whole models, and survivors of {generations} \
                 generations are lost: nothing that the program can reach points at them"
            );
        }
        if !self.may_be_lost() {
            return;
        }
        self.verdict = Verdict::Leak;
        self.settled = true;
        self.evidence.rule = Rule::Lost;
        self.evidence.more_cycles = None;
        self.reason = format!(
            "survivors of {generations} generations are lost: nothing that the program can reach points \
             at them, so that no cache holds them"
        );
    }
}

/// Calls growth by whole models a leak without waiting for the horizon: growing call sites of which a
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
mod tests;
