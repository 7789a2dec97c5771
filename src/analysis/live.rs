//! The verdicts on a service that goes on, of which samples are recorded. A cycle is a window of time.
//!
//! Two things are different from a run. The load has a rhythm: in the morning each call site grows. And what is live is
//! an estimate, whose error can look like growth. So
//! - within less than a day, only generations that have outlived everything that was freed count as growth. The level
//!   of a call site does not;
//! - a leak needs a horizon of a day or more;
//! - growth counts only if the lower end of its interval is above zero.

use super::journal::Journal;
use super::sampling::Estimate;
use super::verdict::{Criteria, Judgement};
use crate::base::text::{count, duration};
use crate::model::report::LiveWindows;
use crate::model::verdict::{Rule, Verdict};

/// Seconds of the longest rhythm that a load is expected to have within a horizon.
const RHYTHM: f64 = 24.0 * 3600.0;

/// Windows that have ended.
fn windows(journal: &Journal) -> u32 {
    let windows = journal.boundaries.iter();
    windows
        .filter(|b| b.counts.cycle > journal.start.warmup)
        .count() as u32
}

/// Seconds of a window, on average; 0 if there is none.
pub(super) fn window_seconds(journal: &Journal) -> f64 {
    let windows = journal.boundaries.iter().map(|b| b.counts);
    let windows = windows.filter(|c| c.cycle > journal.start.warmup);
    let (count, nanos) = windows.fold((0_u64, 0_u64), |(n, sum), c| {
        (n + 1, sum.saturating_add(c.cycle_nanos))
    });
    nanos as f64 / 1e9 / count.max(1) as f64
}

/// What a cycle is in the report; `None` unless it is of a service.
pub(super) fn windows_of(journal: &Journal) -> Option<LiveWindows> {
    journal.start.live.then(|| LiveWindows {
        seconds: window_seconds(journal),
    })
}

/// Whether the windows up to the horizon take a day or more.
fn covers_rhythm(journal: &Journal, horizon: u32) -> bool {
    window_seconds(journal) * f64::from(horizon) >= RHYTHM
}

/// The criteria for the call sites of a service.
pub(super) fn criteria(journal: &Journal, horizon: u32) -> Criteria {
    match covers_rhythm(journal, horizon) {
        true => Criteria::fixed(horizon),
        false => Criteria::fixed(horizon).by_generations(),
    }
}

/// What is left of a judgement if it rests on samples of a service.
pub(super) fn reviewed(mut judgement: Judgement, journal: &Journal, horizon: u32) -> Judgement {
    if !judgement.verdict.is_growth() {
        return judgement;
    }
    let windows = windows(journal);
    let every = journal.start.sampled_every.unwrap_or(1);
    let low = judgement.bytes_per_cycle.map_or(0.0, |growth| {
        let (low, _) = Estimate::growth_interval(every, growth.value, windows);
        growth.low.min(low)
    });
    if low <= 0.0 {
        let mut judgement = judgement.undecided(windows.max(1));
        judgement.reason = format!(
            "it rose, but the lower end of the interval is not above zero: about {} would tell, or samples that \
             are closer to each other (AFTERDROP_LIVE)",
            count(windows.max(1), "more window")
        );
        return judgement;
    }
    if judgement.verdict == Verdict::Leak && !covers_rhythm(journal, horizon) {
        judgement.verdict = Verdict::Growing;
        judgement.evidence.rule = Rule::NotYet;
        judgement.reason = format!(
            "what was allocated in {} is still live, and has outlived all that was freed. It is called a leak if \
             it goes on beyond a day, because a load may rise for hours",
            duration(window_seconds(journal) * f64::from(judgement.evidence.span))
        );
    }
    judgement
}
