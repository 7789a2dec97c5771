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
    let mut bytes = |name: &str, help: &str, value: Option<u64>| {
        let gauges = metrics.gauges(name, help, Some(Unit::Bytes));
        if let Some(value) = value {
            gauges.set(&[], value as f64);
        }
    };
    let totals = heap::totals();
    let own = heap::own_cost().mapped_bytes;
    bytes(
        "live",
        "Live bytes, estimated from samples",
        Some(totals.live_bytes),
    );
    bytes(
        "allocated",
        "Bytes allocated since the start, estimated from samples",
        Some(totals.allocated_bytes),
    );
    bytes(
        "resident",
        "Resident memory of the process",
        proc::resident_bytes(),
    );
    bytes("own", "Memory of the recorder", Some(own));
    let limit = control_group::usage();
    bytes(
        "memory_limit",
        "Memory limit of the control group",
        limit.map(|l| l.limit),
    );
    bytes(
        "memory_used",
        "Memory that counts towards the limit, without what can be dropped",
        limit.map(|l| l.used),
    );
    let jemalloc = jemalloc_bytes();
    bytes(
        "jemalloc_allocated",
        "jemalloc: live blocks, rounded up to size classes",
        jemalloc.map(|j| j.allocated),
    );
    bytes(
        "jemalloc_active",
        "jemalloc: pages with a live block",
        jemalloc.map(|j| j.active),
    );
    bytes(
        "jemalloc_resident",
        "jemalloc: pages in memory",
        jemalloc.map(|j| j.resident),
    );
    let blocks = metrics.gauges("live_blocks", "Live blocks, estimated from samples", None);
    blocks.set(&[], totals.live_blocks as f64);
}

fn of_live(metrics: &mut Metrics, growth: &Growth, counted: Counted) {
    let mut number = |name: &str, help: &str, value: f64| {
        metrics.gauges(name, help, None).set(&[], value);
    };
    number("windows", "Windows that have ended", counted.windows as f64);
    number("cycles", "Calls of `Live::cycle`", counted.cycles as f64);
    number(
        "analyses",
        "Analyses that have ended",
        counted.analyses as f64,
    );
    number(
        "analysis_failures",
        "Analyses that have failed",
        counted.failures as f64,
    );
    let interval = heap::sampled_every().unwrap_or(0) as f64;
    number(
        "recording",
        "Whether samples are recorded",
        f64::from(u8::from(interval > 0.0)),
    );
    let every = metrics.gauges(
        "sample_interval",
        "Mean bytes between two samples",
        Some(Unit::Bytes),
    );
    every.set(&[], interval);
    let age = metrics.gauges(
        "analysis_age",
        "Time since the last analysis",
        Some(Unit::Seconds),
    );
    if let Some(seconds) = counted.age {
        age.set(&[], seconds);
    }
    let verdict = metrics.gauges(
        "verdict",
        "1 for the verdict on the service, 0 for the others",
        None,
    );
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
    let mut per_hour = |name: &str, help: &str| metrics.gauges(name, help, None);
    let rate = per_hour("call_site_growth_bytes_per_hour", "Growth of a call site");
    let low = per_hour(
        "call_site_growth_lower_bytes_per_hour",
        "Lower end of the 95 % interval of the growth",
    );
    let high = per_hour(
        "call_site_growth_upper_bytes_per_hour",
        "Upper end of the 95 % interval of the growth",
    );
    let span = per_hour(
        "call_site_growth_seconds",
        "Time for which a call site has been seen to grow",
    );
    let leak = per_hour("call_site_leak", "Whether a call site leaks");
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
