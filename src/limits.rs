//! What a check allows: growth, live and peak bytes, allocations.

use crate::report::{Report, RunVerdict, bytes, exact};

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

    fn growth(&self, report: &Report) -> Option<String> {
        let allowed = self.leak_bytes_per_cycle.unwrap_or(0);
        match (report.verdict, report.bytes_per_cycle) {
            (RunVerdict::Clean, _) => None,
            (RunVerdict::Undecided, _) => Some(format!("cannot be told yet: {}", report.summary)),
            (_, Some(rate)) if allowed > 0 && rate <= allowed as f64 => None,
            (verdict, rate) => {
                let verb = if verdict == RunVerdict::Leak {
                    "leaks"
                } else {
                    "grows by"
                };
                let rate = bytes(rate.unwrap_or(0.0));
                Some(match report.growing_sites().next() {
                    Some(site) => {
                        format!("{verb} {rate} per cycle, at {}", site.location())
                    }
                    None => format!("{verb} {rate} per cycle"),
                })
            }
        }
    }
}
