//! The page of a run.

use maud::{Markup, html};

use super::call_sites;
use super::charts;
use super::peak;
use super::shell::{class, exact_bytes, function, page, sentence};
use crate::base::text::{count, duration};
use crate::base::units::{bytes, exact, sum};
use crate::model::holder::Root;
use crate::model::report::{Report, RunVerdict};
use crate::model::verdict::Verdict;

/// Holders listed, of those that retain at least a thousandth of the live bytes.
const ROOTS: usize = 30;
const WORTH: u64 = 1000;

/// Size classes shown: jemalloc has fewer.
const BINS: usize = 300;

/// The report as a page for a browser.
pub(crate) fn render(report: &Report) -> String {
    let verdict = match report.ended.is_complete() {
        true => report.verdict.name(),
        false => "failed",
    };
    let title = format!("{}: {verdict} | afterdrop", report.heading());
    let body = html! {
        (head(report, verdict))
        main id="main" {
            (figures(report))
            @for warning in &report.warnings { p.note { (warning) } }
            @if !report.boundaries.is_empty() {
                section {
                    h2 id="life" { "Memory over the run" }
                    (charts::life(report))
                }
            }
            (call_sites::all(report))
            (process(report))
            (peak::call_sites(report))
            (peak::crates(report))
            (roots(report))
            (balance(report))
            @if !report.bins.is_empty() {
                section {
                    h2 id="bins" { "jemalloc's size classes at the end" }
                    p.dim { "Slots in use, of those in the slabs. Slots that are not in use are slack." }
                    div.scroll tabindex="0" role="region" aria-label="jemalloc's size classes" {
                        (charts::bins(&report.bins[..report.bins.len().min(BINS)]))
                    }
                }
            }
            (totals(report))
        }
    };
    page(&title, &report.version, &body, true)
}

fn head(report: &Report, verdict: &str) -> Markup {
    let rate = report.bytes_per_cycle.filter(|&rate| rate != 0.0);
    let rate = rate.map(|rate| report.growth_rate(rate));
    html! {
        header {
            h1 {
                span class={ "word " (verdict) } { (verdict) } " " code { (report.heading()) }
                @if let Some((amount, time)) = rate {
                    @if report.verdict == RunVerdict::Leak { " leaks " } @else { " grows by " }
                    (amount) " per " (time)
                }
            }
            p {
                @if !report.ended.is_complete() {
                    "The run " (report.ended) " after " (report.cycles_of_all()) ". "
                }
                (sentence(&report.summary))
            }
            p.dim {
                @if !report.exec { "heap " (report.heap) " · " }
                @if report.has_strategy() { "strategy " (report.strategy) " · " }
                @if let Some(windows) = report.live { "a cycle is a window of " (duration(windows.seconds)) " · " }
                (count(u64::from(report.cycles_run()), "cycle")) ", " (report.warmup)
                " of them warm-up · horizon " (report.horizon)
                @for option in &report.options { " · " code { (option) } }
                @if let Some(s) = &report.sampling {
                    " · sampled, one block per " (bytes(s.every_bytes as f64)) ": all figures are estimates"
                }
            }
        }
    }
}

fn figures(report: &Report) -> Markup {
    let growing = report.growing_call_sites();
    let retained = sum(growing.map(|s| s.retained_bytes));
    let peak = report.boundaries.iter().map(|b| b.peak_bytes).max();
    let last = report.boundaries.last();
    html! {
        dl.figures {
            @if let Some(rate) = report.bytes_per_cycle {
                @let (amount, time) = report.growth_rate(rate);
                div { dt { "growth" } dd { (amount) "/" (time) } }
            }
            @for part in report.process.parts.iter().filter(|p| p.verdict.is_growth()) {
                div { dt { (part.verdict) } dd { (part.amount()) } }
            }
            @if retained > 0 {
                div { dt { "growing call sites" } dd { (bytes(retained as f64)) } }
            }
            @if let Some(last) = last {
                div { dt { "live at the end" } dd { (bytes(last.live_bytes as f64)) } }
                div { dt { "live blocks" } dd { (exact(last.live_blocks)) } }
            }
            @if let Some(peak) = peak {
                div { dt { "peak live" } dd { (bytes(peak as f64)) } }
            }
            @if let Some(resident) = last.and_then(|b| b.resident_bytes) {
                div { dt { "resident at the end" } dd { (bytes(resident as f64)) } }
            }
            div { dt { "time of all cycles" } dd { (format!("{:.2} s", report.cost.cycle_seconds)) } }
        }
    }
}

fn process(report: &Report) -> Markup {
    let parts = &report.process.parts;
    html! {
        section {
            h2 id="process" { "What else grows in the process" }
            p { (sentence(&report.process.sentence)) }
            @if !parts.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Parts of the process" {
                    table {
                        thead { tr { th scope="col" { "part" } th scope="col" { "verdict" } th scope="col" { "reason" } } }
                        tbody { @for part in parts { tr {
                            th scope="row" { (part.what.name().trim_start_matches("growth in ")) }
                            td {
                                @if part.verdict >= Verdict::Undecided {
                                    span class={ "verdict " (class(part.verdict)) } { (part.verdict) }
                                } @else { "steady" }
                            }
                            td { (part.reason) }
                        } } }
                    }
                }
            }
        }
    }
}

fn roots(report: &Report) -> Markup {
    let live = report.boundaries.last().map_or(0, |b| b.live_bytes);
    let is_worth_it =
        |r: &&Root| r.retained_bytes.saturating_mul(WORTH) >= live && !r.is_of_runtime();
    let roots = report.roots.iter().filter(is_worth_it);
    let shown: Vec<&Root> = roots.take(ROOTS).collect();
    if shown.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 id="roots" { "Retained by each holder" }
            p.dim {
                "Retained: reachable from this holder alone, and freed if it were cleared. Reachable: \
                 maybe from other holders too."
            }
            div.scroll tabindex="0" role="region" aria-label="Holders and what they retain" {
                table {
                    thead { tr {
                        th scope="col" { "retained" } th scope="col" { "blocks" }
                        th scope="col" { "reachable" } th scope="col" { "holder" }
                    } }
                    tbody { @for root in &shown { (row(root)) } }
                }
            }
            @if report.roots.len() > shown.len() {
                p.dim {
                    "and " (count((report.roots.len() - shown.len()) as u64, "more holder"))
                    ", each with little, in report.json"
                }
            }
        }
    }
}

fn row(root: &Root) -> Markup {
    html! {
        tr {
            td { (bytes(root.retained_bytes as f64)) }
            td { (exact(root.retained_blocks)) }
            td { (bytes(root.reached_bytes as f64)) }
            td {
                (root.kind.words())
                @if let Some(name) = &root.name { " " (function(name)) }
                @if let Some(thread) = &root.thread { " in thread " code { (thread) } }
                @if let Some(file) = &root.file {
                    " " span.where { (file) @if let Some(line) = root.line { ":" (line) } }
                }
            }
        }
    }
}

fn balance(report: &Report) -> Markup {
    let Some(balance) = report.boundaries.last().and_then(|b| b.balance) else {
        return html! {};
    };
    html! {
        section {
            h2 id="balance" { "Resident memory at the end by use" }
            p.dim {
                (exact_bytes(balance.resident_bytes)) " resident; "
                (bytes(balance.unexplained_bytes as f64)) " of it unexplained."
            }
            (charts::stacked("Resident memory by use", &balance.parts()))
        }
    }
}

fn totals(report: &Report) -> Markup {
    let a = &report.attribution;
    html! {
        section {
            h2 id="totals" { "Totals, and the cost of the measurement" }
            p {
                (exact(a.live_bytes)) " B live = " (exact(a.setup_bytes)) " B from set-up + "
                (exact(a.call_site_bytes)) " B at call sites"
                @if a.unattributed_bytes > 0 { " (" (exact(a.unattributed_bytes)) " B without a stack)" } "."
                @if let Some(d) = a.allocator_difference {
                    " jemalloc counts " (exact(d.unsigned_abs())) " B "
                    @if d < 0 { "less" } @else { "more" } " (size classes, thread caches)."
                }
            }
            @if let Some(w) = &report.witness {
                p { "dhat "
                    @if w.agrees { "agrees on " (count(u64::from(w.stacks), "stack")) "." }
                    @else {
                        "disagrees on " (w.differences.len()) " of "
                        (count(u64::from(w.stacks), "stack")) "."
                    }
                }
            }
            p.dim {
                @if let Some(seconds) = report.cost.hook_seconds {
                    (format!("{:.1} %", 100.0 * seconds / report.cost.cycle_seconds.max(1e-9)))
                    " of the time was spent in the hooks, allocator included; "
                }
                "the ledger takes " (bytes(report.cost.ledger_bytes as f64)) "."
            }
        }
    }
}
