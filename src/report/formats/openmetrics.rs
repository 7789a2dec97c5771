//! OpenMetrics' text (prometheus.io, "OpenMetrics 1.0"), as gauges of one finished run.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::report::{Report, RunVerdict};

type Labels = Vec<(String, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// Call sites that have series of their own: each is one in Prometheus for ever.
const SITES: usize = 100;

pub(super) fn render(report: &Report) -> Result<Vec<u8>, String> {
    let mut registry = Registry::with_prefix("afterdrop");
    let run = [
        ("workload".to_owned(), report.workload.clone()),
        ("heap".to_owned(), report.heap.to_string()),
        ("strategy".to_owned(), report.strategy.to_string()),
    ];
    let with = |more: &[(&str, &str)]| -> Labels {
        let more = more.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
        run.iter().cloned().chain(more).collect()
    };
    let mut gauges = |name: &str, help: &str, unit: Option<Unit>| {
        let family = Gauges::default();
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, family.clone()),
            None => registry.register(name, help, family.clone()),
        }
        family
    };
    let verdict = gauges(
        "verdict",
        "1 for the verdict on the run, 0 for the others",
        None,
    );
    for of in RunVerdict::ALL {
        let is = f64::from(u8::from(of == report.verdict));
        verdict
            .get_or_create(&with(&[("verdict", of.name())]))
            .set(is);
    }
    let complete = gauges("complete", "Whether all cycles ran", None);
    let is = f64::from(u8::from(report.ended.is_complete()));
    complete.get_or_create(&with(&[])).set(is);
    let cycles = gauges("cycles", "Cycles that reached their boundary", None);
    cycles
        .get_or_create(&with(&[]))
        .set(f64::from(report.cycles_run()));
    let time = gauges(
        "cycle_time",
        "Load, infer and drop, all cycles",
        Some(Unit::Seconds),
    );
    time.get_or_create(&with(&[]))
        .set(report.cost.cycle_seconds);
    let part = gauges(
        "part_growth_per_cycle",
        "Growth of a part of the process, in its own unit",
        None,
    );
    for of in &report.process.parts {
        if let Some(rate) = of.per_cycle {
            let labels = with(&[("part", of.what.key()), ("verdict", of.verdict.name())]);
            part.get_or_create(&labels).set(rate);
        }
    }
    let growth = gauges(
        "growth_per_cycle",
        "Growth of all places together",
        Some(Unit::Bytes),
    );
    if let Some(rate) = report.bytes_per_cycle {
        growth.get_or_create(&with(&[])).set(rate);
    }
    let live = gauges("live", "Live at the last boundary", Some(Unit::Bytes));
    let blocks = gauges("live_blocks", "Live blocks at the last boundary", None);
    let peak = gauges(
        "peak",
        "Highest live bytes within a cycle",
        Some(Unit::Bytes),
    );
    if let Some(last) = report.boundaries.last() {
        live.get_or_create(&with(&[])).set(last.live_bytes as f64);
        blocks
            .get_or_create(&with(&[]))
            .set(last.live_blocks as f64);
        let highest = report.boundaries.iter().map(|b| b.peak_bytes).max();
        peak.get_or_create(&with(&[]))
            .set(highest.unwrap_or(0) as f64);
    }
    let resident = gauges(
        "resident",
        "Resident memory by what it is for",
        Some(Unit::Bytes),
    );
    let balance = report.boundaries.last().and_then(|b| b.balance);
    for (part, bytes) in balance.iter().flat_map(|b| b.parts()) {
        resident
            .get_or_create(&with(&[("part", part)]))
            .set(bytes as f64);
    }
    let retained = gauges(
        "call_site_retained",
        "Live bytes of a call site",
        Some(Unit::Bytes),
    );
    let rate = gauges(
        "call_site_growth_per_cycle",
        "Growth of a call site",
        Some(Unit::Bytes),
    );
    for site in report.call_sites.iter().take(SITES) {
        let place = site.location();
        let labels = with(&[
            ("function", &site.function),
            ("location", &place),
            ("phase", site.phase.name()),
            ("verdict", site.verdict.name()),
            ("fingerprint", &site.fingerprint),
        ]);
        retained
            .get_or_create(&labels)
            .set(site.retained_bytes as f64);
        if let Some(bytes) = site.bytes_per_cycle {
            rate.get_or_create(&labels).set(bytes);
        }
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|e| e.to_string())?;
    Ok(in_order(&text).into_bytes())
}

/// The same with the samples of each family sorted: they come as a hash table has them.
fn in_order(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    for samples in lines.chunk_by_mut(|a, b| !a.starts_with('#') && !b.starts_with('#')) {
        samples.sort_unstable();
    }
    lines.join("\n") + "\n"
}
