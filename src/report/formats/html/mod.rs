//! The report as one page that needs nothing else: no network, no script to be read.
//!
//! Charts are SVG that is drawn here, call sites are `details`; the script only filters, sorts, and draws the
//! call sites beyond the first some hundreds, which are in the page as data.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::json;

use super::Names;
use crate::base::units::{bytes, exact};
use crate::model::frame::Frame;
use crate::model::holder::{Holder, Root};
use crate::model::profile::Excerpt;
use crate::model::report::{CallSite, Report};
use crate::model::verdict::Verdict;
use crate::report::strategies::Comparison;
use crate::report::terminal::count;

mod charts;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Call sites that are drawn with their stacks and generations; the rest is a line each, drawn by script.
const IN_FULL: usize = 250;
/// Of these, with the map of their generations.
const WITH_GENERATIONS: usize = 50;
/// Holders that are listed, if they keep one in so many of the live bytes.
const ROOTS: usize = 30;
const WORTH: u64 = 1000;

/// The page of a run.
pub(super) fn render(report: &Report) -> String {
    let verdict = match report.ended.is_complete() {
        true => report.verdict.name(),
        false => "failed",
    };
    let title = format!("{}: {verdict} | afterdrop", report.workload);
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
            (call_sites(report))
            (process(report))
            (roots(report))
            (balance(report))
            @if !report.bins.is_empty() {
                section {
                    h2 id="bins" { "jemalloc's size classes at the end" }
                    p.dim { "Slots in use against those of the slabs: what is not used is slack." }
                    div.scroll tabindex="0" role="region" aria-label="jemalloc's size classes" {
                        (charts::bins(&report.bins))
                    }
                }
            }
            (sums(report))
        }
    };
    page(&title, &report.version, &body, true)
}

/// The page of a comparison of strategies: the table, and each of its columns as a chart.
pub fn strategies(comparison: &Comparison) -> String {
    let title = format!("{}: strategies | afterdrop", comparison.workload);
    type Column = (
        &'static str,
        fn(&crate::report::strategies::Row) -> Option<f64>,
    );
    let columns: [Column; 4] = [
        ("Left behind by each cycle", |r| r.bytes_per_cycle),
        ("Highest live bytes", |r| Some(r.peak_live_bytes as f64)),
        ("Highest resident memory", |r| {
            r.peak_resident_bytes.map(|b| b as f64)
        }),
        ("Resident at the end", |r| {
            r.end_resident_bytes.map(|b| b as f64)
        }),
    ];
    let name =
        |r: &crate::report::strategies::Row| format!("{} ×{} {}", r.strategy, r.size, r.precision);
    let body = html! {
        header {
            h1 { "Does loading " code { (comparison.workload) } " again and again leak memory?" }
            p.dim {
                (comparison.cycles) " cycles each"
                @if let Some(limit) = &comparison.limited { ", " (limit) }
                @for option in &comparison.options { " · " code { (option) } }
            }
        }
        main id="main" {
            div.scroll tabindex="0" role="region" aria-label="The runs" {
                table {
                    thead { tr {
                        th scope="col" { "strategy" } th scope="col" { "verdict" }
                        th scope="col" { "left behind per cycle" } th scope="col" { "peak live" }
                        th scope="col" { "peak resident" } th scope="col" { "at the end" }
                        th scope="col" { "ms per cycle" } th scope="col" { "blocks per cycle" }
                    } }
                    tbody { @for row in &comparison.rows { tr {
                        th scope="row" { (name(row)) }
                        td { span class={ "verdict " (row.verdict) } { (row.verdict) }
                            @if let Some((cycle, why)) = &row.died {
                                " " span.dim { "died in cycle " (cycle) ": " (why) }
                            } }
                        td { (row.bytes_per_cycle.map_or("?".into(), bytes)) }
                        td { (bytes(row.peak_live_bytes as f64)) }
                        td { (opt(row.peak_resident_bytes)) }
                        td { (opt(row.end_resident_bytes)) }
                        td { (format!("{:.2}", row.seconds_per_cycle * 1e3)) }
                        td { (exact(row.allocations_per_cycle)) }
                    } } }
                }
            }
            @for (title, value) in columns {
                section {
                    h2 { (title) }
                    table { tbody {
                        (charts::bars(&comparison.rows.iter().map(|r| {
                            let v = value(r);
                            (name(r), v, v.map_or("?".to_owned(), bytes))
                        }).collect::<Vec<_>>()))
                    } }
                }
            }
        }
    };
    page(&title, &comparison.version, &body, false)
}

fn opt(number: Option<u64>) -> String {
    number.map_or_else(|| "?".into(), |n| bytes(n as f64))
}

/// A whole page around its parts.
pub(super) fn page(title: &str, version: &str, body: &Markup, script: bool) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "To the report" }
                (body)
                footer { "Made by afterdrop " (version) "." }
                @if script { script { (PreEscaped(SCRIPT)) } }
            }
        }
    }
    .into_string()
}

fn head(report: &Report, verdict: &str) -> Markup {
    let rate = report.bytes_per_cycle.filter(|&rate| rate != 0.0);
    html! {
        header {
            h1 {
                span class={ "word " (verdict) } { (verdict) } " " code { (report.workload) }
                @if let Some(rate) = rate {
                    @if report.verdict == crate::report::RunVerdict::Leak { " leaks " } @else { " grows by " }
                    (bytes(rate)) " per cycle"
                }
            }
            p {
                @if !report.ended.is_complete() {
                    "The run " (report.ended) " after " (report.cycles_run()) " of " (report.cycles) " cycles. "
                }
                (sentence(&report.summary))
            }
            p.dim {
                "heap " (report.heap) " · strategy " (report.strategy) " · "
                (count(u64::from(report.cycles_run()), "cycle")) ", " (report.warmup) " of warm-up · horizon " (report.horizon)
                @for option in &report.options { " · " code { (option) } }
                @if let Some(s) = &report.sampling {
                    " · one block in " (bytes(s.every_bytes as f64)) " was recorded: sums are estimates"
                }
            }
        }
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!(
        "{}{}.",
        first.unwrap_or_default(),
        letters.as_str().trim_end_matches('.')
    )
}

fn figures(report: &Report) -> Markup {
    let growing = report.growing_call_sites();
    let held: u64 = growing.map(|s| s.retained_bytes).sum();
    let peak = report.boundaries.iter().map(|b| b.peak_bytes).max();
    let last = report.boundaries.last();
    html! {
        dl.figures {
            @if let Some(rate) = report.bytes_per_cycle {
                div { dt { "growth of all places" } dd { (bytes(rate)) " per cycle" } }
            }
            @for part in report.process.parts.iter().filter(|p| p.verdict.is_growth()) {
                div { dt { (part.verdict) } dd { (part.amount()) } }
            }
            @if held > 0 { div { dt { "held by what grows" } dd { (bytes(held as f64)) } } }
            @if let Some(last) = last {
                div { dt { "live at the end" } dd { (bytes(last.live_bytes as f64)) } }
                div { dt { "in blocks" } dd { (exact(last.live_blocks)) } }
            }
            @if let Some(peak) = peak {
                div { dt { "peak within a cycle" } dd { (bytes(peak as f64)) } }
            }
            @if let Some(resident) = last.and_then(|b| b.resident_bytes) {
                div { dt { "resident at the end" } dd { (bytes(resident as f64)) } }
            }
            div { dt { "time of all cycles" } dd { (format!("{:.2} s", report.cost.cycle_seconds)) } }
        }
    }
}

fn call_sites(report: &Report) -> Markup {
    let call_sites = &report.call_sites;
    let of = |v: Verdict| call_sites.iter().filter(|s| s.verdict == v).count();
    html! {
        section {
            h2 id="places" { "Places that hold memory after the drop" }
            @if call_sites.is_empty() {
                p { "None: nothing that was born in a cycle was live at its end." }
            } @else {
                div.tools id="tools" hidden {
                    input type="search" id="search" placeholder="Filter by function or file ( / )"
                        aria-label="Filter by function or file";
                    label { "Order "
                        select id="order" {
                            option value="worst" { "worst first" }
                            option value="bytes" { "most bytes first" }
                            option value="name" { "by name" }
                        }
                    }
                    @for verdict in Verdict::ALL.into_iter().rev().filter(|&v| of(v) > 0) {
                        label {
                            input type="checkbox" value=(verdict.name()) checked;
                            " " span class={ "verdict " (class(verdict)) } { (verdict) } " " (exact(of(verdict) as u64))
                        }
                    }
                    span.dim id="count" role="status" aria-live="polite" {}
                }
                div id="sites" {
                    @for (rank, site) in call_sites.iter().take(IN_FULL).enumerate() {
                        (of_site(report, rank, site))
                    }
                }
                p { button type="button" id="more" hidden { "Show more" } }
                @if call_sites.len() > IN_FULL {
                    noscript {
                        p { (exact((call_sites.len() - IN_FULL) as u64)) " more are shown by script, and in report.json." }
                    }
                }
                script type="application/json" id="rest" { (PreEscaped(rest(call_sites))) }
            }
        }
    }
}

/// The class of a verdict in the style.
fn class(verdict: Verdict) -> &'static str {
    verdict.name()
}

/// A number of bytes, every digit where that is short.
fn exact_bytes(number: u64) -> String {
    match number {
        0..10_000 => format!("{} B", exact(number)),
        _ => format!("{} ({} B)", bytes(number as f64), exact(number)),
    }
}

/// The call sites beyond the first, as rows of numbers: of names and of texts each is there once.
fn rest(call_sites: &[CallSite]) -> String {
    let mut names = Names::default();
    let mut number = |name: &str| names.number(name);
    let rows: Vec<_> = call_sites
        .iter()
        .skip(IN_FULL)
        .map(|s| {
            json!([
                number(s.verdict.name()),
                s.bytes_per_cycle,
                s.retained_bytes,
                number(&bytes(s.retained_bytes as f64)),
                number(s.phase.name()),
                number(&s.function),
                number(&s.location()),
            ])
        })
        .collect();
    let data = json!({ "names": names.all, "rows": rows }).to_string();
    // Nothing in a name may end the element.
    data.replace('<', "\\u003c")
}

fn of_site(report: &Report, rank: usize, site: &CallSite) -> Markup {
    let rate = site.bytes_per_cycle.filter(|&rate| rate != 0.0);
    let is_told = rank < 3 && site.verdict >= Verdict::Undecided && site.allowed.is_none();
    html! {
        details id={ "site-" (rank + 1) } class={ "site " (class(site.verdict)) } open[is_told && rank == 0]
            data-verdict=(site.verdict.name()) data-rate=(site.bytes_per_cycle.unwrap_or(0.0))
            data-bytes=(site.retained_bytes)
            data-name={ (site.function) " " (site.location()) } {
            summary {
                span.verdict { (site.verdict) @if site.allowed.is_some() { span.dim { " allowed" } } }
                span.num { @if let Some(rate) = rate { (bytes(rate)) "/cycle" } }
                span.num { (bytes(site.retained_bytes as f64)) }
                span { (site.phase) }
                span.name { (site.function) span.where { (site.location()) } }
            }
            div.body {
                p { (sentence(&site.reason)) }
                @if let Some(why) = &site.allowed { p { "Allowed: " (why) } }
                p.dim {
                    (exact_bytes(site.retained_bytes)) " in " (exact(site.retained_blocks)) " blocks of "
                    (site.generations) " generations"
                    @if let Some(blocks) = site.blocks_per_cycle.filter(|&b| b != 0.0) {
                        ", " (format!("{blocks:.2}")) " blocks a cycle"
                    }
                    @if let Some((low, high)) = site.bytes_per_cycle_interval.map(|i| (bytes(i.0), bytes(i.1)))
                        && low != high {
                        ", " (low) " to " (high) " a cycle (95 %)"
                    }
                    " · fingerprint " code { (site.fingerprint) }
                }
                @if let Some(source) = &site.source { (excerpt(site, source)) }
                @if rank < WITH_GENERATIONS && !site.lives.is_empty() {
                    div.half { h3 { "Generations" }
                        (charts::generations(&site.lives, report.cycles_run())) }
                }
                div.half { h3 { "Who holds it" } (holder(site)) }
                (stack(site))
            }
        }
    }
}

fn excerpt(site: &CallSite, source: &Excerpt) -> Markup {
    html! {
        pre tabindex="0" role="group" aria-label={ "Source of " (site.location()) } {
            @for (number, line) in (source.first_line..).zip(&source.lines) {
                @let text = html! { span.n { (format!("{number:>5}  ")) } (line) };
                @if Some(number) == site.line { mark { (text) } } @else { (text) }
                "\n"
            }
        }
    }
}

fn stack(site: &CallSite) -> Markup {
    let frames = |frames: &mut dyn Iterator<Item = &Frame>| {
        html! {
            ol.stack {
                @for f in frames {
                    @let kind = match (site.is_blame(f), f.is_own()) {
                        (true, _) => "blame",
                        (false, true) => "own",
                        (false, false) => "other",
                    };
                    li class=(kind) { (f.function) " " span.where { (f.location()) } }
                }
            }
        }
    };
    html! {
        @if site.frames().len() > 0 {
            h3 { "Backtrace, from the allocation outwards" }
            (frames(&mut site.frames()))
            @if site.stack_cut { p.dim { "It was deeper: its outer end is cut." } }
        }
        @if !site.other_stacks.is_empty() {
            details {
                summary {
                    (site.stacks.saturating_sub(1)) " more backtraces through this line"
                    @if site.stacks as usize > site.other_stacks.len() + 1 {
                        ", of which the largest " (site.other_stacks.len()) " are here"
                    }
                }
                @for other in &site.other_stacks {
                    h3 { (exact_bytes(other.retained_bytes)) }
                    (frames(&mut other.frames.iter()))
                }
            }
        }
    }
}

/// The way from the holder to a block, as a tree.
fn holder(site: &CallSite) -> Markup {
    let Some(holder) = &site.holder else {
        return html! {
            p.dim {
                @match &site.holder_unknown {
                    Some(why) => (sentence(why)),
                    None => "It was not looked for.",
                }
            }
        };
    };
    html! {
        ul.way { li { strong { (sentence(&holder.sentence())) } (way(holder, 0)) } }
    }
}

fn way(holder: &Holder, from: usize) -> Markup {
    let Some(block) = holder.path.get(from) else {
        return html! {};
    };
    let left_out = (holder.path_blocks as usize).saturating_sub(holder.path.len());
    html! {
        ul {
            li {
                (block.kind()) " of " (exact_bytes(block.bytes)) " from " (block.function)
                @if let Some(file) = &block.file {
                    " " span.where { (file) @if let Some(line) = block.line { ":" (line) } }
                }
                @if left_out > 0 && from + 1 == holder.path.len().div_ceil(2) {
                    ul { li.dim { "and " (left_out) " more blocks" (way(holder, from + 1)) } }
                } @else {
                    (way(holder, from + 1))
                }
            }
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
                        thead { tr { th scope="col" { "part" } th scope="col" { "verdict" } th scope="col" { "why" } } }
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
    let worth = |r: &&Root| r.retained_bytes * WORTH >= live;
    let shown: Vec<&Root> = report.roots.iter().filter(worth).take(ROOTS).collect();
    if shown.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 id="roots" { "What would be freed" }
            p.dim { "What each static, thread or cause alone keeps alive, and what it reaches." }
            div.scroll tabindex="0" role="region" aria-label="Holders and what they keep alive" {
                table {
                    thead { tr {
                        th scope="col" { "alone" } th scope="col" { "blocks" } th scope="col" { "reaches" }
                        th scope="col" { "holder" }
                    } }
                    tbody { @for root in &shown { tr {
                        td { (bytes(root.retained_bytes as f64)) }
                        td { (exact(root.retained_blocks)) }
                        td { (bytes(root.reached_bytes as f64)) }
                        td {
                            (root.kind.words()) " " (root.name.as_deref().unwrap_or_default())
                            @if let Some(thread) = &root.thread { " in thread " code { (thread) } }
                            @if let Some(file) = &root.file {
                                " " span.where { (file) @if let Some(line) = root.line { ":" (line) } }
                            }
                        }
                    } } }
                }
            }
            @if report.roots.len() > shown.len() {
                p.dim { "and " (report.roots.len() - shown.len()) " more, each with little, in report.json" }
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
            h2 id="balance" { "Resident memory at the end, to the last page" }
            p.dim {
                (exact_bytes(balance.resident_bytes)) " resident; "
                (bytes(balance.unexplained_bytes as f64)) " of it unexplained."
            }
            (charts::stacked("Resident memory by what it is for", &balance.parts()))
        }
    }
}

fn sums(report: &Report) -> Markup {
    let a = &report.attribution;
    html! {
        section {
            h2 id="sums" { "What adds up, and what it cost" }
            p {
                (exact(a.live_bytes)) " B live = " (exact(a.setup_bytes)) " set-up + "
                (exact(a.call_site_bytes)) " at call sites"
                @if a.unattributed_bytes > 0 { " (" (exact(a.unattributed_bytes)) " not attributed)" } "."
                @if let Some(d) = a.allocator_difference {
                    " jemalloc counts " (exact(d.unsigned_abs())) " B "
                    @if d < 0 { "less" } @else { "more" } " (size classes, caches)."
                }
            }
            @if let Some(w) = &report.witness {
                p { "dhat, counting beneath, "
                    @if w.agrees { "agrees at " (w.stacks) " stacks." }
                    @else { "disagrees at " (w.differences.len()) " of " (w.stacks) " stacks." }
                }
            }
            p.dim {
                @if let Some(seconds) = report.cost.hook_seconds {
                    (format!("{:.1} %", 100.0 * seconds / report.cost.cycle_seconds.max(1e-9)))
                    " of the time was inside the hooks, allocator included; "
                }
                "the ledger maps " (bytes(report.cost.ledger_bytes as f64)) "."
            }
        }
    }
}
