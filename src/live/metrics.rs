//! The metrics of a service, in the text format of Prometheus.

use super::control_group;
use super::growth::{Growth, SITES};
use super::journals::heap_kind;
use crate::model::report::RunVerdict;
use crate::model::verdict::Verdict;
use crate::recorder::heap;
use crate::recorder::live::jemalloc_bytes;
use crate::recorder::proc;
use crate::report::formats::gauges::{Metrics, Unit};

/// What a service knows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) windows: u64,
    pub(super) cycles: u64,
    pub(super) analyses: u64,
    pub(super) failures: u64,
    /// Seconds since the last analysis; `None` if there was none.
    pub(super) age: Option<f64>,
}

/// The metrics of now; those of call sites are of the last analysis.
pub(super) fn text(service: &str, growth: &Growth, counted: Counted) -> String {
    let mut metrics = Metrics::new(&[("service", service), ("heap", heap_kind().name())]);
    of_process(&mut metrics);
    of_live(&mut metrics, growth, counted);
    of_call_sites(&mut metrics, growth);
    // Numbers can always be written.
    metrics.text().unwrap_or_default()
}

fn of_process(metrics: &mut Metrics) {
    let totals = heap::totals();
    let limit = control_group::usage();
    let jemalloc = jemalloc_bytes();
    for (name, help, bytes) in [
        (
            "live",
            "Live bytes, estimated from samples",
            Some(totals.live_bytes),
        ),
        (
            "allocated",
            "Bytes allocated since the start, estimated from samples",
            Some(totals.allocated_bytes),
        ),
        (
            "resident",
            "Resident memory of the process",
            proc::resident_bytes(),
        ),
        (
            "own",
            "Memory of the recorder",
            Some(heap::own_cost().mapped_bytes),
        ),
        (
            "memory_limit",
            "Memory limit of the control group",
            limit.map(|l| l.limit),
        ),
        (
            "memory_used",
            "Memory that counts towards the limit, without what can be dropped",
            limit.map(|l| l.used),
        ),
        (
            "jemalloc_allocated",
            "jemalloc: live blocks, rounded up to size classes",
            jemalloc.map(|j| j.allocated),
        ),
        (
            "jemalloc_active",
            "jemalloc: pages with a live block",
            jemalloc.map(|j| j.active),
        ),
        (
            "jemalloc_resident",
            "jemalloc: pages in memory",
            jemalloc.map(|j| j.resident),
        ),
    ] {
        metrics.set(
            name,
            help,
            Some(Unit::Bytes),
            bytes.map(|bytes| bytes as f64),
        );
    }
    let blocks = totals.live_blocks as f64;
    metrics.set(
        "live_blocks",
        "Live blocks, estimated from samples",
        None,
        blocks,
    );
}

fn of_live(metrics: &mut Metrics, growth: &Growth, counted: Counted) {
    let every = heap::sampled_every();
    let recording = u64::from(every.is_some());
    for (name, help, value) in [
        ("windows", "Windows that have ended", counted.windows),
        ("cycles", "Calls of `Live::cycle`", counted.cycles),
        ("analyses", "Analyses that have ended", counted.analyses),
        (
            "analysis_failures",
            "Analyses that have failed",
            counted.failures,
        ),
        ("recording", "Whether samples are recorded", recording),
    ] {
        metrics.set(name, help, None, value as f64);
    }
    let help = "Mean bytes between two samples";
    let interval = every.unwrap_or(0) as f64;
    metrics.set("sample_interval", help, Some(Unit::Bytes), interval);
    let help = "Time since the last analysis";
    metrics.set("analysis_age", help, Some(Unit::Seconds), counted.age);
    let help = "1 for the verdict on the service, 0 for the others";
    let verdict = metrics.gauges("verdict", help, None);
    for of in RunVerdict::ALL {
        let is = f64::from(u8::from(of == growth.verdict));
        verdict.set(&[("verdict", of.name())], is);
    }
}

/// The call sites that grow, and others with much live memory. Growth that is allowed has no metrics, so that nothing
/// alarms.
fn of_call_sites(metrics: &mut Metrics, growth: &Growth) {
    let live = metrics.gauges(
        "call_site_live",
        "Live bytes of a call site",
        Some(Unit::Bytes),
    );
    let mut gauges = |name: &str, help: &str| metrics.gauges(name, help, None);
    let rate = gauges("call_site_growth_bytes_per_hour", "Growth of a call site");
    let low = gauges(
        "call_site_growth_lower_bytes_per_hour",
        "Lower end of the 95 % interval of the growth",
    );
    let high = gauges(
        "call_site_growth_upper_bytes_per_hour",
        "Upper end of the 95 % interval of the growth",
    );
    let span = gauges(
        "call_site_growth_seconds",
        "Time for which a call site has been seen to grow",
    );
    let leak = gauges("call_site_leak", "Whether a call site leaks");
    for site in growth.sites.iter().take(SITES) {
        let labels = [
            ("fingerprint", site.fingerprint.as_str()),
            ("function", site.function.as_str()),
            ("location", site.location.as_str()),
        ];
        live.set(&labels, site.live_bytes as f64);
        if site.is_allowed {
            continue;
        }
        leak.set(&labels, f64::from(u8::from(site.verdict == Verdict::Leak)));
        // What does not grow has a rate, too: that of chance.
        if !site.verdict.is_growth() {
            continue;
        }
        if let Some(value) = site.per_hour {
            rate.set(&labels, value);
        }
        span.set(&labels, site.span_seconds);
        if let Some((lower, upper)) = site.interval {
            low.set(&labels, lower);
            high.set(&labels, upper);
        }
    }
}
