//! The decision on a quantity that has a level but no generations, such as the bytes that C code has
//! allocated or the number of threads.

use super::interim::Criteria;
use super::judgement::Judgement;
use super::levels::is_between_sweeps;
use super::rise_verdict::{growing_floor, worst_growth};
use super::rises::Rises;
use super::series::Series;
use crate::model::verdict::{FEWEST_CYCLES, Rule, Verdict};

/// The lengths, in cycles, of the windows whose minima are examined. A level has no generations
/// whose lifetime would give a length.
const WINDOWS: [u32; 2] = [4, 16];

/// Judges a level at the boundaries after the baseline; `before` is the level at the baseline.
pub(crate) fn judge_level(before: u64, level: &[u64], criteria: Criteria) -> Judgement {
    let lowest = level.iter().copied().fold(before, u64::min);
    let series = Series {
        bytes: level.iter().map(|&l| l - lowest).collect(),
        blocks: vec![0; level.len()],
        live_generations: vec![0; level.len()],
        ..Series::default()
    };
    let rises = growing_floor(&series, criteria);
    if series.boundaries() < FEWEST_CYCLES {
        let reason = format!("fewer than {FEWEST_CYCLES} cycles after the warm-up");
        return rises.conclude(Verdict::Undecided, Rule::TooFewCycles, reason);
    }
    let by_floor = rises.judge();
    let is_growth = by_floor.as_ref().is_some_and(Judgement::is_growth);
    // Where fluctuation hides a rise of the floor, the minimum over a window still rises.
    let by_windows =
        || worst_growth(&WINDOWS.map(|window| Rises::of_window_minima(&series, window, criteria)));
    let judged = (!is_growth).then(by_windows).flatten().or(by_floor);
    let may_be_swept = |j: &Judgement| {
        let first = j.evidence.rises.first();
        first.is_some_and(|&first| is_between_sweeps(before, level, first))
    };
    let churn = |reason: &str| rises.conclude(Verdict::Churn, Rule::Young, reason.into());
    match judged {
        Some(judged) if judged.verdict >= Verdict::Undecided && may_be_swept(&judged) => {
            churn("the level falls back from time to time")
        }
        Some(judged) if judged.is_growth() => judged,
        // One or two steps are what fluctuation leaves.
        Some(judged) if rises.count() >= 3 => judged,
        _ => Judgement {
            settled: rises.count() < 2 || rises.has_stopped(),
            ..churn("the level does not rise")
        },
    }
}
