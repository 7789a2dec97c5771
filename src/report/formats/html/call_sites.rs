//! The call sites of the page: their filter, and each with its source, generations, holder and stacks.

use maud::{Markup, PreEscaped, html};
use serde_json::json;

use super::charts;
use super::shell::{class, exact_bytes, function, sentence};
use crate::base::text::count;
use crate::base::units::{bytes, exact, rate};
use crate::model::frame::Frame;
use crate::model::holder::Holder;
use crate::model::profile::Excerpt;
use crate::model::report::{CallSite, Report};
use crate::model::verdict::Verdict;
use crate::report::formats::interned::Interned;
use crate::report::names::{short, short_of_stack};
use crate::report::wording::FRAMES;

/// Call sites drawn with their stacks and generations. The script draws a line for each of the rest.
const IN_FULL: usize = 250;

/// Call sites drawn with the map of their generations.
const WITH_GENERATIONS: usize = 50;

/// Blocks shown of a retaining path, each in a list within that of the one before. A run records fewer.
const DEEPEST: usize = 50;

/// Changes of generations that are drawn of a call site, and of all. A run records no more of all.
const CHANGES: usize = 20_000;
const ALL_CHANGES: usize = 200_000;

/// All call sites, with their filter.
pub(super) fn all(report: &Report) -> Markup {
    let call_sites = &report.call_sites;
    let changes = |site: &CallSite| site.lives.iter().map(|g| g.live.len()).sum::<usize>();
    let all_changes: usize = call_sites.iter().take(WITH_GENERATIONS).map(changes).sum();
    let with_generations = |rank: usize, site: &CallSite| {
        rank < WITH_GENERATIONS && changes(site) <= CHANGES && all_changes <= ALL_CHANGES
    };
    let of = |v: Verdict| call_sites.iter().filter(|s| s.verdict == v).count();
    html! {
        section {
            h2 id="call-sites" { "Call sites that retain memory after the drop" }
            @if call_sites.is_empty() {
                p { "None: no block that was allocated in a cycle was live at the end." }
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
                        (in_full(report, rank, site, with_generations(rank, site)))
                    }
                }
                p { button type="button" id="more" hidden { "Show more" } }
                @if call_sites.len() > IN_FULL {
                    noscript {
                        p {
                            (count((call_sites.len() - IN_FULL) as u64, "more call site"))
                            ": enable scripts to see them, or read report.json."
                        }
                    }
                }
                script type="application/json" id="rest" { (PreEscaped(rest(call_sites))) }
            }
        }
    }
}

/// The call sites beyond the first as rows of numbers, and each of their texts once.
fn rest(call_sites: &[CallSite]) -> String {
    let mut names = Interned::default();
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
                number(&short(&s.function)),
                number(&s.location()),
                number(&s.function),
            ])
        })
        .collect();
    let data = json!({ "names": names.all, "rows": rows }).to_string();
    // Nothing in a name may end the `script` element.
    data.replace('<', "\\u003c")
}

fn in_full(report: &Report, rank: usize, site: &CallSite, with_generations: bool) -> Markup {
    let is_open = rank == 0 && site.verdict >= Verdict::Undecided && site.allowed.is_none();
    html! {
        details id={ "site-" (rank + 1) } class={ "site " (class(site.verdict)) } open[is_open]
            data-verdict=(site.verdict.name()) data-rate=(site.bytes_per_cycle.unwrap_or(0.0))
            data-bytes=(site.retained_bytes)
            data-name={ (short(&site.function)) " " (site.location()) " " (site.function) } {
            summary {
                span.verdict { (site.verdict) @if site.allowed.is_some() { span.dim { " allowed" } } }
                span.num { @if let Some((amount, time)) = site.growth().map(|g| report.growth_rate(g)) {
                    (amount) "/" (time)
                } }
                span.num { (bytes(site.retained_bytes as f64)) }
                span { (site.phase) }
                span.name { (function(&site.function)) span.where { (site.location()) } }
            }
            div.body {
                p { (sentence(&site.reason)) }
                @if let Some(why) = &site.allowed { p { "Allowed: " (why) } }
                (figures(report, site))
                @if let Some(source) = &site.source { (excerpt(site, source)) }
                @if with_generations && !site.lives.is_empty() {
                    div.half { h3 { "Generations" }
                        (charts::generations(&site.lives, report.cycles_run())) }
                }
                div.half { h3 { "Who holds it" } (holder(site))
                @if let Some(pool) = &site.pool { p { (sentence(pool)) } } }
                (stacks(site))
            }
        }
    }
}

fn figures(report: &Report, site: &CallSite) -> Markup {
    html! {
        p.dim {
            (exact_bytes(site.retained_bytes)) " in " (count(site.retained_blocks, "block")) " of "
            (count(u64::from(site.generations), "generation"))
            @if let Some(blocks) = site.blocks_per_cycle.filter(|&b| b != 0.0) {
                ", " (rate(blocks)) @if rate(blocks) == "1" { " block" } @else { " blocks" } " per cycle"
            }
            @if let Some((low, high)) = site.bytes_per_cycle_interval
                .map(|i| (report.growth_rate(i.0), report.growth_rate(i.1))) && low != high {
                ", " (low.0) " to " (high.0) " per " (low.1) " (95 %)"
            }
            " · fingerprint " code { (site.fingerprint) }
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

fn stacks(site: &CallSite) -> Markup {
    html! {
        @if site.frames().len() > 0 {
            h3 { "Stack, innermost frame first" }
            (stack(site, site.shown_frames()))
            @if site.stack_cut { p.dim { "The stack was deeper: its outermost frames were not recorded." } }
        }
        @if !site.other_stacks.is_empty() {
            details {
                summary {
                    (count(u64::from(site.stacks.saturating_sub(1)), "more stack")) " of this call site"
                    @if site.stacks as usize > site.other_stacks.len() + 1 {
                        "; the " (site.other_stacks.len()) " largest are shown"
                    }
                }
                @for other in &site.other_stacks {
                    h3 { (exact_bytes(other.retained_bytes)) }
                    (stack(site, &other.frames[..other.frames.len().min(FRAMES)]))
                }
            }
        }
    }
}

fn stack(site: &CallSite, frames: &[Frame]) -> Markup {
    let names = short_of_stack(frames);
    html! {
        ol.stack {
            @for (frame, name) in frames.iter().zip(names) {
                @let kind = match (site.is_blame(frame), frame.is_own()) {
                    (true, _) => "blame",
                    (false, true) => "own",
                    (false, false) => "other",
                };
                li class=(kind) {
                    span title=(frame.function) { (name) } " " span.where { (frame.location()) }
                }
            }
        }
    }
}

/// The holder, with its retaining path as a tree.
fn holder(site: &CallSite) -> Markup {
    let Some(holder) = &site.holder else {
        return html! {
            p.dim {
                @match &site.holder_unknown {
                    Some(why) => (sentence(why)),
                    None => "There was no search for holders.",
                }
            }
        };
    };
    html! {
        ul.path {
            li {
                strong title=[holder.name.as_deref()] { (sentence(&holder.sentence())) }
                (path(holder, 0))
            }
        }
    }
}

/// The retaining path from a block on.
fn path(holder: &Holder, from: usize) -> Markup {
    let Some(block) = holder.path.get(from) else {
        return html! {};
    };
    if from == DEEPEST {
        let more = count((holder.path.len() - from) as u64, "more block");
        return html! { ul { li.dim { "and " (more) ": see report.json" } } };
    }
    let left_out = (holder.path_blocks as usize).saturating_sub(holder.path.len());
    html! {
        ul {
            li {
                (block.step()) " of " (exact_bytes(block.bytes)) " from " (function(&block.function))
                " " span.where { (block.location()) }
                @if left_out > 0 && from + 1 == holder.path.len().div_ceil(2) {
                    ul { li.dim {
                        "and " (count(left_out as u64, "more block")) (path(holder, from + 1))
                    } }
                } @else {
                    (path(holder, from + 1))
                }
            }
        }
    }
}
