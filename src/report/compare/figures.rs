//! Memory and time of both runs, and what limits the trust in the comparison.

use super::comparison::Figure;
use crate::base::text::one_line;
use crate::model::report::{Report, RunVerdict};

/// Memory and time of both runs.
pub(super) fn of(before: &Report, after: &Report) -> Vec<Figure> {
    type Value = fn(&Report) -> Option<f64>;
    let rows: [(&'static str, &'static str, Value); 8] = [
        ("growth of call sites", "B", |r| r.bytes_per_cycle),
        ("live at the end", "B", |r| {
            r.boundaries.last().map(|b| b.live_bytes as f64)
        }),
        ("peak live", "B", |r| {
            let peaks = r.boundaries.iter().map(|b| b.peak_bytes);
            peaks.max().map(|b| b as f64)
        }),
        ("resident at the end", "B", |r| {
            r.boundaries.last()?.resident_bytes.map(|b| b as f64)
        }),
        ("peak resident", "B", |r| {
            let peaks = r.boundaries.iter().filter_map(|b| b.peak_resident_bytes);
            peaks.max().map(|b| b as f64)
        }),
        ("allocated per cycle", "B", |r| {
            r.median(|b| b.allocated_bytes as f64)
        }),
        ("blocks per cycle", "", |r| {
            r.median(|b| b.allocations as f64)
        }),
        ("time per cycle", "ms", |r| r.median(|b| b.seconds * 1e3)),
    ];
    rows.map(|(name, unit, value)| Figure {
        name,
        before: value(before),
        after: value(after),
        unit,
    })
    .into()
}

/// What limits the trust in the comparison.
pub(super) fn warnings(before: &Report, after: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if before.workload != after.workload {
        warnings.push(format!(
            "the workloads differ: {} and {}",
            before.heading(),
            after.heading()
        ));
    }
    let settings = |r: &Report| r.settings().join(" ");
    let (old, new) = (settings(before), settings(after));
    if old != new {
        warnings.push(format!("the settings differ: {old} and {new}"));
    }
    for (report, which) in [(before, "earlier"), (after, "later")] {
        if !report.ended.is_complete() {
            let ended = one_line(&report.ended.to_string());
            warnings.push(format!("the {which} run {ended}"));
        } else if report.verdict == RunVerdict::Undecided {
            warnings.push(format!("the {which} run is undecided: {}", report.summary));
        }
        if report.sampling.is_some() {
            warnings.push(format!(
                "the {which} run was sampled: not every block was recorded"
            ));
        }
    }
    warnings
}
