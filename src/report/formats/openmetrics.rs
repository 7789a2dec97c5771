//! OpenMetrics text (prometheus.io, "OpenMetrics 1.0"): gauges of one finished run.

use super::gauges::{Metrics, Unit};
use crate::model::report::{Report, RunVerdict};

/// Call sites with series of their own. Prometheus keeps each series for a long time.
const SITES: usize = 100;

pub(super) fn render(report: &Report) -> Result<Vec<u8>, String> {
    let mut metrics = Metrics::new(&[
        ("workload", &report.workload),
        ("heap", report.heap.name()),
        ("strategy", report.strategy.name()),
    ]);
    of_run(&mut metrics, report);
    of_memory(&mut metrics, report);
    of_call_sites(&mut metrics, report);
    metrics.text().map(String::into_bytes)
}

fn of_run(metrics: &mut Metrics, report: &Report) {
    let help = "1 for the verdict on the run, 0 for the others";
    let verdict = metrics.gauges("verdict", help, None);
    for of in RunVerdict::ALL {
        let is = f64::from(u8::from(of == report.verdict));
        verdict.set(&[("verdict", of.name())], is);
    }
    let complete = f64::from(u8::from(report.ended.is_complete()));
    metrics.set("complete", "Whether all cycles ran", None, complete);
    let help = "Cycles that reached their boundary";
    metrics.set("cycles", help, None, f64::from(report.cycles_run()));
    let help = "Time of load, infer and drop in all cycles";
    let seconds = report.cost.cycle_seconds;
    metrics.set("cycle_time", help, Some(Unit::Seconds), seconds);
    let help = "Growth of a part of the process per cycle, in its own unit";
    let growth = metrics.gauges("part_growth_per_cycle", help, None);
    for part in &report.process.parts {
        if let Some(rate) = part.per_cycle {
            let labels = [("part", part.what.key()), ("verdict", part.verdict.name())];
            growth.set(&labels, rate);
        }
    }
    let help = "Growth of all call sites together per cycle";
    let rate = report.bytes_per_cycle;
    metrics.set("growth_per_cycle", help, Some(Unit::Bytes), rate);
}

fn of_memory(metrics: &mut Metrics, report: &Report) {
    let last = report.boundaries.last();
    let live = last.map(|last| last.live_bytes as f64);
    let help = "Live bytes at the last boundary";
    metrics.set("live", help, Some(Unit::Bytes), live);
    let blocks = last.map(|last| last.live_blocks as f64);
    let help = "Live blocks at the last boundary";
    metrics.set("live_blocks", help, None, blocks);
    let highest = report.boundaries.iter().map(|b| b.peak_bytes).max();
    let help = "Highest live bytes within a cycle";
    let peak = highest.map(|bytes| bytes as f64);
    metrics.set("peak", help, Some(Unit::Bytes), peak);
    let help = "Resident memory at the last boundary by use";
    let resident = metrics.gauges("resident", help, Some(Unit::Bytes));
    let balance = last.and_then(|b| b.balance);
    for (part, bytes) in balance.iter().flat_map(|b| b.parts()) {
        resident.set(&[("part", part)], bytes as f64);
    }
}

fn of_call_sites(metrics: &mut Metrics, report: &Report) {
    let help = "Live bytes of a call site at the last boundary";
    let retained = metrics.gauges("call_site_retained", help, Some(Unit::Bytes));
    let help = "Growth of a call site per cycle";
    let growth = metrics.gauges("call_site_growth_per_cycle", help, Some(Unit::Bytes));
    for site in report.call_sites.iter().take(SITES) {
        let location = site.location();
        let labels = [
            ("function", site.function.as_str()),
            ("location", location.as_str()),
            ("phase", site.phase.name()),
            ("verdict", site.verdict.name()),
            ("fingerprint", site.fingerprint.as_str()),
        ];
        retained.set(&labels, site.retained_bytes as f64);
        if let Some(bytes) = site.bytes_per_cycle {
            growth.set(&labels, bytes);
        }
    }
}
