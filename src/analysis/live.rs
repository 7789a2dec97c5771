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
use super::verdict::{Criteria, Judgement, Series};
use crate::base::statistics::Slope;
use crate::base::text::{count, duration};
use crate::base::units::sum;
use crate::model::report::LiveWindows;
use crate::model::verdict::{FEWEST_CYCLES, RisesBy, Rule, Verdict};

/// Seconds of the longest rhythm that a load is expected to have within a horizon.
const RHYTHM: f64 = 24.0 * 3600.0;

/// The windows of a service, as far as it has got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    windows: u32,
    /// Seconds of a window, on average; 0 if there is none.
    window_seconds: f64,
    /// The windows up to the horizon take a day or more.
    covers_rhythm: bool,
    /// Mean number of allocated bytes between two samples.
    every: u64,
}

impl Service {
    pub(super) fn of(journal: &Journal, horizon: u32) -> Self {
        let windows = journal.boundaries.iter().map(|b| b.counts);
        let windows = windows.filter(|c| c.cycle > journal.start.warmup);
        let nanos = sum(windows.map(|c| c.cycle_nanos));
        let windows = journal.after_warmup();
        let window_seconds = nanos as f64 / 1e9 / f64::from(windows.max(1));
        Self {
            windows,
            window_seconds,
            covers_rhythm: window_seconds * f64::from(horizon) >= RHYTHM,
            every: journal.start.sampled_every.unwrap_or(1),
        }
    }

    /// The criteria for its call sites.
    pub(super) fn criteria(self, horizon: u32) -> Criteria {
        match self.covers_rhythm {
            true => Criteria::fixed(horizon),
            false => Criteria::fixed(horizon).by_generations(),
        }
    }
}

/// What a cycle is in the report; `None` unless it is of a service.
pub(super) fn windows_of(journal: &Journal, horizon: u32) -> Option<LiveWindows> {
    journal.start.live.then(|| LiveWindows {
        seconds: Service::of(journal, horizon).window_seconds,
    })
}

/// A judgement on a call site, as samples of a service allow it.
pub(super) fn reviewed(judgement: Judgement, series: &Series, service: Service) -> Judgement {
    let Service {
        window_seconds: seconds,
        covers_rhythm,
        ..
    } = service;
    let windows = service.windows.max(1);
    let mut judgement = match judgement.evidence.rises_by {
        RisesBy::Generations => with_retained_rate(judgement, series, service),
        _ => judgement,
    };
    if !covers_rhythm && may_grow(&judgement, windows) {
        judgement.verdict = Verdict::Growing;
        judgement.evidence.rule = Rule::NotYet;
        let rises = judgement.evidence.rises.len() as u64;
        judgement.reason = format!(
            "samples of {} are still live, and have outlived all that was freed; the last one came so lately that \
             it goes on",
            count(rises, "window")
        );
    }
    if !judgement.verdict.is_growth() {
        return judgement;
    }
    let span = seconds * f64::from(judgement.evidence.span);
    if judgement.evidence.rises_by != RisesBy::Generations && span < RHYTHM {
        let day = (RHYTHM / seconds.max(1.0)).ceil() as u32;
        let more = day.saturating_sub(judgement.evidence.span).max(1);
        let mut judgement = judgement.undecided(more);
        judgement.reason = format!(
            "its level rose for {}, as a load does within a day: growth is told from that after a day",
            duration(span)
        );
        return judgement;
    }
    if judgement
        .bytes_per_cycle
        .is_none_or(|growth| growth.low <= 0.0)
    {
        let mut judgement = judgement.undecided(windows);
        judgement.reason = format!(
            "it rose, but the lower end of the interval is not above zero: about {} would tell, or samples that \
             are closer to each other (AFTERDROP_LIVE)",
            count(windows, "more window")
        );
        return judgement;
    }
    if judgement.verdict == Verdict::Leak && !covers_rhythm {
        judgement.verdict = Verdict::Growing;
        judgement.evidence.rule = Rule::NotYet;
        judgement.reason = format!(
            "what was allocated in {} is still live, and has outlived all that was freed. It is called a leak if \
             it goes on beyond a day, because a load may rise for hours",
            duration(span)
        );
    }
    if covers_rhythm && judgement.verdict == Verdict::Growing && slows_down(series, service) {
        judgement.evidence.rule = Rule::Slower;
        judgement.reason =
            "it grows, and ever more slowly: in the second half of the windows significantly less \
                            was added than in the first, as of a cache that fills"
                .into();
    }
    judgement
}

/// Sets the growth to that of what is retained, with the interval of its estimate: a median of slopes is 0 where most
/// windows have no sample.
fn with_retained_rate(mut judgement: Judgement, series: &Series, service: Service) -> Judgement {
    let retained = series.retained().iter().map(|g| g.bytes).sum();
    if retained > 0
        && judgement
            .bytes_per_cycle
            .is_none_or(|growth| growth.value > 0.0)
    {
        let (low, high) = Estimate::of(service.every, retained).interval();
        let each = |bytes: u64| bytes as f64 / f64::from(service.windows.max(1));
        judgement.bytes_per_cycle = Some(Slope {
            value: each(retained),
            low: each(low),
            high: each(high),
        });
    }
    judgement
}

/// Whether significantly less of what is retained was born in the second half of the windows than in the first. Both are
/// about Poisson counts of samples, whose difference is compared with its standard deviation.
fn slows_down(series: &Series, service: Service) -> bool {
    /// The normal distribution is below it with a probability of 80 %: before the horizon, weak evidence is enough to wait.
    const SIGNIFICANT: f64 = 0.8416;
    let every = service.every as f64;
    let (mut first, mut second) = (0.0, 0.0);
    for generation in series.retained() {
        let half = match 2 * generation.born <= service.windows {
            true => &mut first,
            false => &mut second,
        };
        *half += generation.bytes as f64 / every;
    }
    first - second > SIGNIFICANT * f64::sqrt(first + second)
}

/// Whether growth of which samples tell little yet is likely to go on: samples of several windows are retained, and the
/// time since the last of them is no longer than chance makes it.
///
/// Of `n` samples at times of chance, the probability that all come before the last part `quiet / windows` of the time is
/// `(1 - quiet / windows)^n`.
fn may_grow(judgement: &Judgement, windows: u32) -> bool {
    /// As many windows as make a growth.
    const RISES: usize = 3;
    const CHANCE: f64 = 0.05;
    let e = &judgement.evidence;
    let quiet = f64::from(e.quiet) / f64::from(windows);
    judgement.verdict == Verdict::Undecided
        && windows >= FEWEST_CYCLES
        && e.rises_by == RisesBy::Generations
        && e.rises.len() >= RISES
        && (1.0 - quiet).powi(e.rises.len() as i32) >= CHANCE
}
