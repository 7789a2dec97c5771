//! The growth of a service's call sites, as metrics have it: the worst of all scales.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::reports::worst;
use crate::base::json::fields;
use crate::base::order::sort_by;
use crate::model::report::{CallSite, LiveWindows, Report, RunVerdict};
use crate::model::verdict::{Rule, Verdict};

/// Call sites with metrics of their own. Prometheus keeps each series for a long time.
pub(super) const SITES: usize = 20;

/// The growth of a service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Growth {
    pub(super) verdict: RunVerdict,
    /// The worst call sites, at most [`SITES`].
    pub(super) sites: Vec<SiteGrowth>,
}

fields! { Growth { verdict, sites } }

impl Default for Growth {
    fn default() -> Self {
        Self {
            verdict: RunVerdict::Undecided,
            sites: Vec::new(),
        }
    }
}

/// The growth of a call site.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SiteGrowth {
    pub(super) fingerprint: String,
    pub(super) function: String,
    pub(super) location: String,
    pub(super) verdict: Verdict,
    pub(super) is_allowed: bool,
    pub(super) live_bytes: u64,
    /// Bytes an hour; `None` if it is not known.
    pub(super) per_hour: Option<f64>,
    /// 95 % confidence interval of `per_hour`.
    pub(super) interval: Option<(f64, f64)>,
    /// Seconds from the first rise to the last.
    pub(super) span_seconds: f64,
}

fields! {
    SiteGrowth {
        fingerprint, function, location, verdict, is_allowed, live_bytes, per_hour: default,
        interval: default, span_seconds,
    }
}

impl Growth {
    /// The worst that any scale says about each call site.
    pub(super) fn of(reports: &[Report]) -> Self {
        let mut by_site: HashMap<&str, SiteGrowth> = HashMap::new();
        for report in reports {
            let Some(windows) = report.live else { continue };
            for site in &report.call_sites {
                let new = SiteGrowth::of(site, windows);
                by_site
                    .entry(&site.fingerprint)
                    .and_modify(|old| {
                        if rank(&new) > rank(old) {
                            *old = new.clone();
                        }
                    })
                    .or_insert(new);
            }
        }
        let mut sites: Vec<SiteGrowth> = by_site.into_values().collect();
        sort_by(&mut sites, |a, b| {
            rank(b)
                .partial_cmp(&rank(a))
                .unwrap_or(Ordering::Equal)
                .then(b.live_bytes.cmp(&a.live_bytes))
                .then(a.fingerprint.cmp(&b.fingerprint))
        });
        sites.truncate(SITES);
        Self {
            verdict: worst(reports).map_or(RunVerdict::Undecided, |report| report.verdict),
            sites,
        }
    }
}

/// What makes a call site worse than another.
fn rank(site: &SiteGrowth) -> (Verdict, f64) {
    let growth = site.per_hour.filter(|_| site.verdict.is_growth());
    (site.verdict, growth.unwrap_or(0.0))
}

impl SiteGrowth {
    fn of(site: &CallSite, windows: LiveWindows) -> Self {
        let per_hour = |per_window| windows.per_hour(per_window);
        // Growth that becomes slower may end, as that of a cache does.
        let may_end = site.evidence.rule == Rule::Slower;
        let low_end = |low: f64| if may_end { 0.0_f64.min(low) } else { low };
        Self {
            fingerprint: site.fingerprint.clone(),
            function: site.function.clone(),
            location: site.location(),
            verdict: site.verdict,
            is_allowed: site.allowed.is_some(),
            live_bytes: site.retained_bytes,
            per_hour: site.bytes_per_cycle.map(per_hour),
            interval: site
                .bytes_per_cycle_interval
                .map(|(low, high)| (per_hour(low_end(low)), per_hour(high))),
            span_seconds: f64::from(site.evidence.span) * windows.seconds,
        }
    }
}
