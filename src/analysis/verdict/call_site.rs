//! The decision on one call site: which of its rises count.

use std::cell::OnceCell;

use super::containers::{cycles_to_next_step, judge_growing_container};
use super::interim::Criteria;
use super::judgement::Judgement;
use super::levels::grows_by_halves;
use super::model_sized::MODEL_SIZED_GENERATIONS;
use super::reasons::at_least;
use super::rise_verdict::{growing_floor, worst_growth};
use super::rises::{Rises, WINDOW_COUNT};
use super::series::Series;
use super::steps::{judge_steps, rate_with_steps};
use super::thresholds::MIN_RISES;
use super::unretained::judge_unretained;
use crate::base::statistics;
use crate::base::text::count;
use crate::model::verdict::{FEWEST_CYCLES, Rule, Verdict};

/// The p-value above which live bytes count as constant.
const CONSTANT: f64 = 0.1;

/// Judges one call site by its own series.
pub(crate) fn judge(series: &Series, criteria: Criteria) -> Judgement {
    let found = Findings::new(series, criteria);
    if let Some(judged) = found.too_little_data() {
        return judged;
    }
    if criteria.by_generations {
        return found.decide();
    }
    if !found.is_growth()
        && let Some(growth) = found.hidden_growth()
    {
        return growth;
    }
    let judged = found.decide();
    if judged.verdict == Verdict::Growing && judged.evidence.rule != Rule::Slower {
        // The youngest tables of several containers are retained generations, too.
        let steps = judge_steps(series, criteria);
        if let Some(leak) = steps.filter(|j| j.verdict == Verdict::Leak) {
            return leak;
        }
    }
    if judged.verdict < Verdict::Growing {
        // In a queue that falls behind, blocks are freed in the order of their birth, so no
        // generation is retained.
        let records = Rises::of_dense_records(series, criteria).judge();
        if let Some(leak) = records.filter(|j| j.verdict == Verdict::Leak) {
            return leak;
        }
    }
    found.review(judged)
}

/// What the different kinds of rises of a call site say.
struct Findings<'a> {
    series: &'a Series,
    criteria: Criteria,
    by_generations: Rises,
    /// The judgement by retained generations, if there are enough of them.
    generations: Option<Judgement>,
    /// The judgement by the floor, if it counts beside that by generations.
    floor: Option<Judgement>,
    /// See [`Findings::windows`].
    windows: OnceCell<[Rises; WINDOW_COUNT]>,
}

impl<'a> Findings<'a> {
    fn new(series: &'a Series, criteria: Criteria) -> Self {
        let by_generations = Rises::of_generations(series, criteria);
        let freed = series.generations.iter().filter(|g| g.freed.is_some());
        // If many generations were freed, one or two that are older than all of them are chance.
        let count = by_generations.count();
        let are_enough = count * 5 > freed.count() || count >= MIN_RISES;
        let generations = by_generations.judge().filter(|_| are_enough);
        let by_floor = match generations {
            Some(_) => Rises::of_floor(series, criteria),
            None => growing_floor(series, criteria),
        };
        // A few steps of the floor are what fluctuation leaves. They count only where no
        // generation is retained, and if there are several.
        let is_counted =
            |j: &Judgement| j.is_growth() || (by_floor.count() >= 3 && generations.is_none());
        let floor = by_floor.judge().filter(is_counted);
        let floor = floor.filter(|_| !criteria.by_generations);
        Self {
            series,
            criteria,
            by_generations,
            generations,
            floor,
            windows: OnceCell::new(),
        }
    }

    /// The rises of window minima, for windows of several lengths.
    fn windows(&self) -> &[Rises; WINDOW_COUNT] {
        self.windows
            .get_or_init(|| Rises::of_all_window_minima(self.series, self.criteria))
    }

    fn is_growth(&self) -> bool {
        let is_growth = |j: &Option<Judgement>| j.as_ref().is_some_and(Judgement::is_growth);
        is_growth(&self.generations) || is_growth(&self.floor)
    }

    /// The judgement if nothing was born after the baseline, or the run is too short.
    fn too_little_data(&self) -> Option<Judgement> {
        let n = self.series.boundaries();
        if self.series.generations.is_empty() {
            let reason = "all blocks were allocated before the baseline, and none since".to_owned();
            let (verdict, rule) = (Verdict::WarmUp, Rule::BeforeBaseline);
            return Some(self.by_generations.conclude(verdict, rule, reason));
        }
        if n < FEWEST_CYCLES {
            let reason = format!(
                "{} after the warm-up are too few; at least {FEWEST_CYCLES} are needed",
                count(n, "cycle")
            );
            let (verdict, rule) = (Verdict::Undecided, Rule::TooFewCycles);
            return Some(self.by_generations.conclude(verdict, rule, reason));
        }
        None
    }

    /// Growth that neither generations nor the floor show: of data that is copied periodically, or
    /// of a container whose capacity grows by a factor.
    fn hidden_growth(&self) -> Option<Judgement> {
        let is_open = |j: &Judgement| j.verdict == Verdict::Undecided;
        // As long as generations may turn out to be retained, they decide. If none was freed, all
        // are retained.
        let generations_decide =
            self.series.longest_lifetime() == 0 || self.generations.as_ref().is_some_and(is_open);
        let by_windows = || worst_growth(self.windows());
        (!generations_decide)
            .then(by_windows)
            .flatten()
            .or_else(|| judge_growing_container(self.series, self.criteria))
            .or_else(|| judge_steps(self.series, self.criteria))
    }

    /// The judgement by generations or by the floor, or else that on data that is replaced.
    fn decide(&self) -> Judgement {
        match (&self.generations, &self.floor) {
            (Some(g), Some(f)) if f.is_growth() && f.verdict > g.verdict => f.clone(),
            (Some(g), _) => Judgement {
                retained_every_cycle: self.retained_every_cycle(),
                ..g.clone()
            },
            (None, Some(f)) if f.verdict != Verdict::Cache => f.clone(),
            (None, _) => judge_unretained(self.series, &self.by_generations, self.windows()),
        }
    }

    /// The bytes of the smallest retained generation, if one that was born in the load is retained
    /// in every cycle.
    fn retained_every_cycle(&self) -> Option<u64> {
        let rises = &self.by_generations;
        let is_every_cycle = rises.longest_gap() == 1 && rises.count() >= MODEL_SIZED_GENERATIONS;
        if !is_every_cycle || !self.series.from_load {
            return None;
        }
        self.series.retained().iter().map(|g| g.bytes).min()
    }

    /// Settles an open judgement on a constant number of blocks, reopens one on several containers
    /// that may still grow, and adds the growth by steps to the rate.
    fn review(&self, mut judged: Judgement) -> Judgement {
        if judged.is_growth()
            && let Some(slope) = judged.bytes_per_cycle
            && let Some(rate) = rate_with_steps(self.series, self.criteria, slope)
        {
            judged.bytes_per_cycle = Some(rate);
        }
        let half = self.series.boundaries() / 2;
        if judged.verdict == Verdict::Undecided && is_constant(self.series, self.criteria) {
            let reason = format!(
                "each new block replaces an older one: the number of live blocks did not change in \
                 the last {}",
                count(half, "cycle")
            );
            let (verdict, rule) = (Verdict::Cache, Rule::Replaced);
            return self.by_generations.conclude(verdict, rule, reason);
        }
        if judged.verdict < Verdict::Undecided && grows_by_halves(&self.series.bytes) {
            let reason = format!(
                "live bytes grew by a factor in each half of the run, as several containers that \
                 double do: {} to tell whether that has stopped",
                at_least(half)
            );
            return self.by_generations.open(reason, half);
        }
        if judged.verdict < Verdict::Undecided
            && let Some(more) = cycles_to_next_step(self.series)
        {
            let reason = format!(
                "a block was replaced by one that is larger by a factor, as a container does that is full: \
                 {} to tell whether it grows again",
                at_least(more)
            );
            return self.by_generations.open(reason, more);
        }
        judged
    }
}

/// Whether the number of blocks is constant in the second half of the run, and their bytes do not
/// rise.
fn is_constant(series: &Series, criteria: Criteria) -> bool {
    let half = series.blocks.len() / 2;
    let (blocks, bytes) = (&series.blocks[half..], &series.bytes[half..]);
    2 * blocks.len() as u32 >= criteria.horizon
        && blocks.windows(2).all(|w| w[0] == w[1])
        && statistics::mann_kendall(bytes) > CONSTANT
}
