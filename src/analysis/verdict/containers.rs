//! Containers whose capacity grows by a factor, so that the distance between rises grows, too.

use super::interim::Criteria;
use super::judgement::Judgement;
use super::levels::{MIN_FACTOR, floor, lasting_records};
use super::reasons::at_least;
use super::rises::Rises;
use super::series::Series;
use super::steps::{before, rate_of_several};
use super::thresholds::MIN_RISES;
use crate::base::statistics::Slope;
use crate::base::text::count;
use crate::model::verdict::{Rule, Verdict};

/// The number of latest growth steps that are examined.
const LATEST_STEPS: usize = 4;

/// The greatest factor by which a container's capacity is expected to grow.
const MAX_FACTOR: f64 = 8.0;

/// Room for irregular filling: a step counts as overdue after this many times its expected
/// distance.
const TOLERANCE: f64 = 1.25;

/// The fewest cycles for which a block lived that may have been filled in that time. Younger ones are
/// replaced for other reasons.
const MIN_FILLING: u32 = 4;

/// Judges a series whose floor rises rarely, by at least [`MIN_FACTOR`] each time and at growing
/// distances. `None` if it is not such a series, or if the next step is overdue: filling a
/// container that grew by a factor takes as many times longer than filling it before.
pub(super) fn judge_growing_container(series: &Series, criteria: Criteria) -> Option<Judgement> {
    let rises = Rises {
        // The lifetime of the previous buffer says nothing about that of the current one.
        at: lasting_records(&series.bytes),
        bytes: floor(&series.bytes),
        blocks: series.blocks.clone(),
        ..Rises::of_floor(series, criteria)
    };
    let at = &rises.at[rises.at.len().saturating_sub(LATEST_STEPS + 1)..];
    let size = |k: u32| rises.bytes[k as usize - 1] as f64;
    let is_by_factors = at.windows(2).all(|w| size(w[1]) >= MIN_FACTOR * size(w[0]));
    // A container is one block that is replaced by a larger one, so the number of blocks is
    // constant.
    let blocks = floor(&series.blocks);
    let blocks_at = |k: Option<&u32>| k.map_or(0, |&k| blocks[k as usize - 1]);
    let is_one_container = blocks_at(at.last()) <= blocks_at(at.first());
    let gaps: Vec<u32> = at.windows(2).map(|w| w[1] - w[0]).collect();
    if at.len() < 2 || !is_by_factors || !is_one_container || !gaps.is_sorted() {
        return None;
    }
    let factor = size(at[at.len() - 1]) / size(at[at.len() - 2]);
    let waited = rises.boundaries - rises.last();
    let expected = f64::from(*gaps.last()?) * TOLERANCE * factor.clamp(2.0, MAX_FACTOR);
    let needed = expected as u32 + 1;
    if waited > needed {
        return None;
    }
    let n = rises.count();
    let history = format!(
        "live bytes grew {} by a factor, to {}, most recently in cycle {} after the warm-up",
        count(n as u64, "time"),
        rises.retained(),
        rises.last()
    );
    let judged = if n >= MIN_RISES && rises.confirmed_span() >= criteria.horizon {
        let reason = format!(
            "{history}; this is beyond the horizon of {}. It is a container that grows and is \
             never emptied",
            count(criteria.horizon, "cycle")
        );
        rises.conclude(Verdict::Leak, Rule::Horizon, reason)
    } else {
        let more = needed - waited + 1;
        let reason = format!(
            "{history}; {} to tell whether it has stopped",
            at_least(more)
        );
        rises.open(reason, more)
    };
    Some(Judgement {
        bytes_per_cycle: match blocks_at(at.last()) {
            ..=1 => rate(&rises),
            _ => rate_of_several(&rises).or_else(|| rate(&rises)),
        }
        .or_else(|| rises.slope(&rises.bytes)),
        ..rises.with_slopes(judged)
    })
}

/// How many more cycles tell whether a container goes on to grow by a factor that did so last; `None` if
/// no step may still come. There may be others at the call site, and their steps too few to be judged.
///
/// A step raises the level for good, and there a block was freed and a larger one allocated. The smaller
/// one was filled in the time that it lived, so the rest of the larger one takes as many times longer.
pub(super) fn cycles_to_next_step(series: &Series) -> Option<u32> {
    let n = series.boundaries();
    let records = lasting_records(&series.bytes);
    let grown = series.live().filter(|g| records.contains(&g.born));
    let pairs = grown.flat_map(|new| {
        let freed = series.generations.iter();
        let replaced = freed.filter(|old| old.freed == Some(new.born) && old.blocks == new.blocks);
        replaced.map(move |old| (old, new))
    });
    let due = pairs.filter_map(|(old, new)| {
        let factor = new.bytes as f64 / old.bytes.max(1) as f64;
        let lifetime = new.born - old.born;
        let is_step = (MIN_FACTOR..=MAX_FACTOR).contains(&factor) && lifetime >= MIN_FILLING;
        let filled = f64::from(lifetime) * TOLERANCE * factor.max(2.0);
        is_step.then_some(new.born + filled as u32 + 1)
    });
    due.max()?.checked_sub(n).filter(|&more| more > 0)
}

/// The growth per cycle of what the container holds. At each step it was full: it held as much as it had
/// room for before. So the rate is known from one step to the next; the interval has all of these, and the growth of
/// what it has room for. `None` if there are too few steps.
fn rate(rises: &Rises) -> Option<Slope> {
    let held = |k: u32| before(&rises.bytes, k) as f64;
    let rate = |a: u32, b: u32| (held(b) - held(a)) / f64::from(b - a);
    // Before the first step it held something from the warm-up.
    let [_, ref at @ ..] = rises.at[rises.at.len().saturating_sub(LATEST_STEPS + 1)..] else {
        return None;
    };
    let rates: Vec<f64> = at.windows(2).map(|w| rate(w[0], w[1])).collect();
    let room = rises.retained_bytes() as f64 / f64::from(rises.boundaries);
    Some(Slope {
        value: rate(*at.first()?, *at.last()?),
        low: rates.iter().copied().reduce(f64::min)?,
        high: rates.iter().copied().fold(room, f64::max),
    })
}
