//! The decision where no generation is retained: each is replaced (a cache) or freed young (churn).

use super::judgement::Judgement;
use super::levels::{floor_may_rise, is_rising};
use super::reasons::at_least;
use super::rises::{Rises, WINDOW_COUNT};
use super::series::Series;
use super::thresholds::{MIN_PLATEAU, MIN_RISES};
use crate::base::text::count;
use crate::model::verdict::{Rule, Verdict};

/// The number of live generations at every boundary from which replacement is called a cache and
/// not churn.
pub(super) const CACHE_GENERATIONS: u32 = 4;

/// A lifetime of a third of the run or more occurs too rarely to tell it from retention.
const MIN_LIFETIMES_IN_RUN: u32 = 3;

/// The p-value below which rising window minima prevent a verdict.
const RISING: f64 = 0.005;

/// The p-value below which rising window minima prevent a run from ending.
const MAY_RISE: f64 = 0.05;

/// Judges a call site where no generation is retained. `by_generations` are those few that may
/// still turn out to be; `windows` are the rises of window minima.
pub(super) fn judge_unretained(
    series: &Series,
    by_generations: &Rises,
    windows: &[Rises; WINDOW_COUNT],
) -> Judgement {
    let longest = series.longest_lifetime();
    let half = &series.live_generations[series.live_generations.len() / 2..];
    let fewest = half.iter().copied().min().unwrap_or(0);
    let most = half.iter().copied().max().unwrap_or(0);
    if let Some(open) = open_question(series, by_generations, windows, most) {
        return open;
    }
    let judged = if fewest >= CACHE_GENERATIONS {
        let reason = format!(
            "each new generation replaces an older one: never more than {} are live",
            count(most, "generation")
        );
        by_generations.conclude(Verdict::Cache, Rule::Replaced, reason)
    } else {
        let longest = count(longest.max(1), "cycle");
        let reason = format!("no generation lives longer than {longest}");
        by_generations.conclude(Verdict::Churn, Rule::Young, reason)
    };
    let (bytes_per_cycle, blocks_per_cycle) = windows[0].slopes_of_minima();
    let may_rise = !windows[0].is_conclusive() || windows.iter().any(|w| w.may_continue(MAY_RISE));
    let is_settled = by_generations.count() == 0 || by_generations.is_settled();
    let is_short = series.boundaries() < lifetimes_needed(longest);
    Judgement {
        settled: !is_short && !floor_may_rise(&series.bytes) && !may_rise && is_settled,
        bytes_per_cycle,
        blocks_per_cycle,
        ..judged
    }
}

/// The cycles after which a lifetime can be told from retention.
fn lifetimes_needed(longest: u32) -> u32 {
    MIN_LIFETIMES_IN_RUN * (longest + 1)
}

/// The judgement that more cycles are needed, if something may still grow. `most` is the largest
/// number of live generations in the second half of the run.
fn open_question(
    series: &Series,
    by_generations: &Rises,
    windows: &[Rises],
    most: u32,
) -> Option<Judgement> {
    let longest = series.longest_lifetime();
    let lifetime = count(longest, "cycle");
    let half = &series.live_generations[series.live_generations.len() / 2..];
    let needed = lifetimes_needed(longest);
    if series.boundaries() < needed && most as usize >= MIN_RISES && is_rising(half) {
        let more = needed - series.boundaries();
        let reason = format!(
            "{most} generations are live and their number rises, but one lived for {lifetime} \
             before it was freed: {} to tell whether the others are retained",
            at_least(more)
        );
        return Some(by_generations.open(reason, more));
    }
    if floor_may_rise(&series.bytes) && series.boundaries() >= 2 * MIN_PLATEAU {
        let reason = format!(
            "blocks are replaced, but the minimum of live bytes rises: {} to tell whether that \
             continues",
            at_least(MIN_PLATEAU)
        );
        return Some(by_generations.open(reason, MIN_PLATEAU));
    }
    if by_generations.is_sign() {
        let more = by_generations.plateau_needed() + longest;
        let reason = format!(
            "{} have outlived every freed generation (the longest lifetime is {lifetime}): {} to tell \
             whether they are retained",
            count(by_generations.count() as u64, "generation"),
            at_least(more)
        );
        return Some(by_generations.open(reason, more));
    }
    let rising = windows.iter().find(|w| w.may_continue(RISING))?;
    let more = (longest + 1) * MIN_RISES as u32;
    let reason = format!(
        "no generation lives longer than {lifetime}, but the minimum of live bytes over longer \
         windows rises: {} to tell whether that continues",
        at_least(more)
    );
    Some(rising.open(reason, more))
}
