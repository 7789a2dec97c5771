//! What a check allows: growth, live and peak bytes, allocations.

use crate::report::{Report, RunVerdict, bytes, exact};
use crate::verdict::Verdict;

/// The limits of a check; `None` is no limit, except for growth, of which none is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) leak_bytes_per_cycle: Option<u64>,
    pub(crate) live_bytes: Option<u64>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) allocations_per_cycle: Option<u64>,
}

impl Limits {
    /// What the report breaks, each in a sentence with both figures.
    pub(crate) fn broken_by(&self, report: &Report) -> Vec<String> {
        let mut broken = Vec::new();
        broken.extend(self.growth(report));
        let setup = report.attribution.setup_bytes;
        let measured = || {
            let warm = report.boundaries.iter().filter(|b| b.cycle > report.warmup);
            warm.clone()
        };
        let live = report.attribution.live_bytes.saturating_sub(setup);
        let peak = measured().map(|b| b.peak_bytes.saturating_sub(setup)).max();
        let allocations = measured().map(|b| b.allocations).max();
        for (what, found, limit) in [
            (
                "bytes live after the last cycle",
                Some(live),
                self.live_bytes,
            ),
            ("bytes live within a cycle", peak, self.peak_bytes),
            (
                "allocations in a cycle",
                allocations,
                self.allocations_per_cycle,
            ),
        ] {
            if let (Some(found), Some(limit)) = (found, limit)
                && found > limit
            {
                let (found, limit) = (exact(found), exact(limit));
                broken.push(format!("{found} {what}, where {limit} are allowed"));
            }
        }
        broken
    }

    /// Growth that is not allowed, or that cannot be told.
    fn growth(&self, report: &Report) -> Option<String> {
        let growing = || report.growing_sites().filter(|s| s.allowed.is_none());
        if let Some(site) = growing().next() {
            let rate: f64 = growing().filter_map(|s| s.bytes_per_cycle).sum();
            let allowed = self.leak_bytes_per_cycle.unwrap_or(0);
            if allowed > 0 && rate <= allowed as f64 {
                return None;
            }
            let leaks = growing().any(|s| s.verdict == Verdict::Leak);
            let verb = if leaks { "leaks" } else { "grows by" };
            return Some(format!(
                "{verb} {} per cycle, at {}",
                bytes(rate),
                site.location()
            ));
        }
        let in_doubt = report.sites.iter().any(|s| s.verdict == Verdict::Undecided);
        (in_doubt || report.verdict == RunVerdict::Undecided)
            .then(|| format!("cannot be told yet: {}", report.summary))
    }
}
