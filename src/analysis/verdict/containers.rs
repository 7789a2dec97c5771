//! Containers whose capacity grows by a factor, so that the distance between rises grows, too.

use super::interim::Criteria;
use super::judgement::Judgement;
use super::levels::{MIN_FACTOR, floor, lasting_records};
use super::reasons::at_least;
use super::rises::Rises;
use super::series::Series;
use super::thresholds::MIN_RISES;
use crate::base::text::count;
use crate::model::verdict::{Rule, Verdict};

/// The number of latest growth steps that are examined.
const LATEST_STEPS: usize = 4;

/// The greatest factor by which a container's capacity is expected to grow.
const MAX_FACTOR: f64 = 8.0;

/// Room for irregular filling: a step counts as overdue after this many times its expected
/// distance.
const TOLERANCE: f64 = 1.25;

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
    Some(rises.with_slopes(judged))
}
