//! Markdown as GitHub renders it, for a pull request: the worst call sites first, and short enough for
//! a comment.

use std::fmt::Write;

use super::markup::{cell, code, html};
use crate::base::text::{count, duration, tail};
use crate::base::units::{bytes, exact, sum};
use crate::model::report::{Boundary, CallSite, Report};
use crate::model::verdict::Verdict;
use crate::report::names::{short, short_of_stack};

/// Characters of the page. GitHub accepts 65,536.
const MOST: usize = 60_000;

/// Call sites shown with their stack.
const WITH_STACK: usize = 10;

/// Frames shown of a stack.
const FRAMES: usize = 25;

/// Characters shown of a name.
const WIDTH: usize = 160;

const TABLE: &str = "\n| verdict | per cycle | retained | blocks | phase | call site | holder |\n\
                     | --- | ---: | ---: | ---: | --- | --- | --- |\n";

pub(super) fn render(report: &Report) -> String {
    let mut page = Limited::default();
    page.add(&head(report));
    let (serious, harmless): (Vec<&CallSite>, Vec<&CallSite>) = report
        .call_sites
        .iter()
        .partition(|s| s.verdict >= Verdict::Undecided);
    let parts = report.process.parts.iter();
    for part in parts.filter(|p| p.verdict.is_growth()) {
        let (amount, reason) = (part.amount(), cell(&part.reason));
        page.add(&format!("\n**{}**: {amount}: {reason}\n", part.verdict));
    }
    if !serious.is_empty() {
        page.add(TABLE);
        page.rows(&serious);
        page.add("\n");
        for site in serious.iter().take(WITH_STACK) {
            page.add(&of_site(site));
        }
    }
    if !harmless.is_empty() {
        let retained = sum(harmless.iter().map(|s| s.retained_bytes));
        let open = format!(
            "<details><summary>{} without growth, retaining {}</summary>\n{TABLE}",
            count(harmless.len() as u64, "call site"),
            bytes(retained as f64)
        );
        let close = "\n</details>\n\n";
        if page.add(&open) {
            page.reserve(close.len());
            page.rows(&harmless);
            page.add_always(close);
        }
    }
    page.add(&foot(report));
    page.text
}

fn head(report: &Report) -> String {
    let verdict = report.verdict.name().to_uppercase();
    let mut text = format!("### afterdrop: {verdict} {}\n\n", code(&report.heading()));
    let rate = report.bytes_per_cycle.filter(|&rate| rate != 0.0);
    let rate = rate.map_or_else(String::new, |r| format!("**{} per cycle**: ", bytes(r)));
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{rate}{}\n", cell(&report.summary));
    if !report.ended.is_complete() {
        let point = format!(" after {}", report.cycles_of_all());
        let _ = writeln!(text, "The run {}.\n", cell(&report.ended.at(&point)));
    }
    let options: String = report
        .options
        .iter()
        .map(|o| format!(" · {}", code(o)))
        .collect();
    let heap = match (report.exec, report.live) {
        (true, _) => String::new(),
        (_, Some(windows)) => format!(
            "heap {} · a cycle is a window of {} · ",
            report.heap,
            duration(windows.seconds)
        ),
        _ => format!("heap {} · strategy {} · ", report.heap, report.strategy),
    };
    let _ = writeln!(
        text,
        "{heap}{}, {} of them warm-up · horizon {}{options}",
        count(u64::from(report.cycles_run()), "cycle"),
        report.warmup,
        report.horizon,
    );
    text
}

/// A call site with its reason, holder and stack, folded.
fn of_site(site: &CallSite) -> String {
    let mut text = format!(
        "<details><summary>{}: <code>{}</code> {}</summary>\n\n{}\n\n",
        site.verdict,
        html(&name(&site.function)),
        html(&site.location()),
        cell(&site.reason)
    );
    // Writing to a `String` cannot fail.
    if let Some(holder) = &site.holder {
        let _ = writeln!(text, "{}\n", cell(&holder.sentence()));
    }
    let all = site.frames().len();
    let shown = site.frames().take(FRAMES);
    let names = short_of_stack(shown.clone());
    let frames: Vec<String> = shown
        .zip(names)
        .map(|(f, name)| html(&format!("{}  {}", tail(&name, WIDTH), f.location())))
        .collect();
    if all > 0 {
        let more = match all.saturating_sub(FRAMES) {
            0 => String::new(),
            more => format!("\n… and {}", count(more as u64, "more frame")),
        };
        let _ = writeln!(text, "<pre>{}{more}</pre>", frames.join("\n"));
    }
    text + "\n</details>\n\n"
}

fn foot(report: &Report) -> String {
    let mut text = String::new();
    let ends = |value: fn(&Boundary) -> Option<u64>| {
        let first = report.boundaries.first().and_then(value)?;
        let last = report.boundaries.last().and_then(value)?;
        Some(format!("{} → {}", bytes(first as f64), bytes(last as f64)))
    };
    let live = ends(|b| Some(b.live_bytes));
    let resident = ends(|b| b.resident_bytes);
    let peak = report.boundaries.iter().map(|b| b.peak_bytes).max();
    for (what, value) in [
        ("live", live),
        ("resident", resident),
        (
            "peak live",
            peak.map(|p| bytes(p as f64) + &at_peak(report)),
        ),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "- {what}: {value}");
        }
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "- note: {}", cell(warning));
    }
    text
}

/// The call site that has most of the live bytes at the peak.
fn at_peak(report: &Report) -> String {
    let peak = report.peak.as_ref();
    let Some((peak, site)) = peak.and_then(|p| Some((p, p.call_sites.first()?))) else {
        return String::new();
    };
    let share = peak.percent(site.bytes);
    let place = format!("{} {}", name(&site.function), site.location());
    format!(", {share:.0} % of it at {}", cell(place.trim_end()))
}

/// A function's short name, where even that may be long.
pub(super) fn name(function: &str) -> String {
    tail(&short(function), WIDTH)
}

/// Text that stays below a length.
#[derive(Default)]
struct Limited {
    text: String,
    /// Characters so far.
    used: usize,
    /// Characters that are kept for the end.
    reserved: usize,
}

impl Limited {
    /// Adds the text if there is room for all of it.
    fn add(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let fits = self.used + self.reserved + length <= MOST;
        if fits {
            self.add_always(text);
        }
        fits
    }

    fn add_always(&mut self, text: &str) {
        self.used += text.chars().count();
        self.text += text;
    }

    /// Keeps room for some characters.
    fn reserve(&mut self, length: usize) {
        self.reserved += length;
    }

    /// Adds rows up to half of the room that is left, and the number of those left out.
    fn rows(&mut self, call_sites: &[&CallSite]) {
        let half = (MOST + self.used) / 2;
        for (shown, site) in call_sites.iter().enumerate() {
            let row = row(site);
            if self.used + row.chars().count() > half || !self.add(&row) {
                let left = exact((call_sites.len() - shown) as u64);
                self.add_always(&format!(
                    "| | | | | | and {left} more: see report.json | |\n"
                ));
                return;
            }
        }
    }
}

fn row(site: &CallSite) -> String {
    let verdict = match &site.allowed {
        Some(_) => format!("{}, allowed", site.verdict),
        None => site.verdict.to_string(),
    };
    let holder = site.holder.as_ref().map_or_else(String::new, |holder| {
        let sentence = holder.sentence();
        let holder = sentence.strip_prefix("held by ").unwrap_or(&sentence);
        cell(&tail(holder, WIDTH))
    });
    format!(
        "| {verdict} | {} | {} | {} | {} | {}<br>{} | {holder} |\n",
        site.growth().map_or_else(String::new, bytes),
        bytes(site.retained_bytes as f64),
        exact(site.retained_blocks),
        site.phase,
        code(&name(&site.function)),
        code(&site.location()),
    )
}
