//! Markdown as GitHub renders it, for a pull request: the worst call sites first, and short enough for a
//! comment.

use std::fmt::Write;

use crate::base::units::{bytes, exact};
use crate::model::report::{CallSite, Report};
use crate::model::verdict::Verdict;
use crate::report::terminal::count;

/// GitHub takes 65,536 characters.
const MOST: usize = 60_000;
/// Call sites whose stack is shown.
const WITH_STACK: usize = 10;
/// Frames that are shown of a stack.
const FRAMES: usize = 25;
/// Characters of a name that are shown.
const WIDE: usize = 160;

pub(super) fn render(report: &Report) -> String {
    let mut page = Limited::default();
    page.add(&head(report));
    let (told, rest): (Vec<&CallSite>, Vec<&CallSite>) = report
        .call_sites
        .iter()
        .partition(|s| s.verdict >= Verdict::Undecided);
    for part in report
        .process
        .parts
        .iter()
        .filter(|p| p.verdict.is_growth())
    {
        let (amount, reason) = (part.amount(), cell(&part.reason));
        page.add(&format!("\n**{}**: {amount}: {reason}\n", part.verdict));
    }
    if !told.is_empty() {
        page.add(TABLE);
        page.rows(&told);
        page.add("\n");
        for site in told.iter().take(WITH_STACK) {
            page.add(&of_site(site));
        }
    }
    if !rest.is_empty() {
        let held: u64 = rest.iter().map(|s| s.retained_bytes).sum();
        let open = format!(
            "<details><summary>{} that {} not grow, holding {}</summary>\n{TABLE}",
            count(rest.len() as u64, "place"),
            if rest.len() == 1 { "does" } else { "do" },
            bytes(held as f64)
        );
        let close = "\n</details>\n\n";
        if page.add(&open) {
            page.reserve(close.len());
            page.rows(&rest);
            page.add_always(close);
        }
    }
    page.add(&foot(report));
    page.text
}

const TABLE: &str = "\n| verdict | per cycle | held | blocks | phase | where | holder |\n\
                     | --- | ---: | ---: | ---: | --- | --- | --- |\n";

fn head(report: &Report) -> String {
    let verdict = report.verdict.name().to_uppercase();
    let mut text = format!("### afterdrop: {verdict} {}\n\n", code(&report.workload));
    let rate = report.bytes_per_cycle.filter(|&rate| rate != 0.0);
    let rate = rate.map_or_else(String::new, |r| format!("**{} per cycle**: ", bytes(r)));
    let _ = writeln!(text, "{rate}{}\n", cell(&report.summary));
    if !report.ended.is_complete() {
        let _ = writeln!(
            text,
            "The run {} after {} of {} cycles.\n",
            cell(&report.ended.to_string()),
            report.cycles_run(),
            report.cycles
        );
    }
    let _ = writeln!(
        text,
        "heap {} · strategy {} · {} cycles, {} of them warm-up · horizon {}{}",
        report.heap,
        report.strategy,
        report.cycles_run(),
        report.warmup,
        report.horizon,
        report
            .options
            .iter()
            .map(|o| format!(" · {}", code(o)))
            .collect::<String>()
    );
    text
}

fn of_site(site: &CallSite) -> String {
    let mut text = format!(
        "<details><summary>{}: <code>{}</code> {}</summary>\n\n{}\n\n",
        site.verdict,
        html(&short(&site.function)),
        html(&site.location()),
        cell(&site.reason)
    );
    if let Some(holder) = &site.holder {
        let _ = writeln!(text, "{}\n", cell(&holder.sentence()));
    }
    let frames: Vec<String> = site
        .frames()
        .take(FRAMES)
        .map(|f| html(&format!("{}  {}", short(&f.function), f.location())))
        .collect();
    let all = site.frames().count();
    if all > 0 {
        let more = match all.saturating_sub(FRAMES) {
            0 => String::new(),
            more => format!("\n… and {more} more"),
        };
        let _ = writeln!(text, "<pre>{}{more}</pre>", frames.join("\n"));
    }
    text + "\n</details>\n\n"
}

fn foot(report: &Report) -> String {
    let mut text = String::new();
    let ends = |f: fn(&crate::report::Boundary) -> Option<u64>| {
        let first = report.boundaries.first().and_then(f)?;
        let last = report.boundaries.last().and_then(f)?;
        Some(format!("{} → {}", bytes(first as f64), bytes(last as f64)))
    };
    let live = ends(|b| Some(b.live_bytes));
    let resident = ends(|b| b.resident_bytes);
    let peak = report.boundaries.iter().map(|b| b.peak_bytes).max();
    for (what, value) in [
        ("live", live),
        ("resident", resident),
        ("peak live", peak.map(|p| bytes(p as f64))),
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

/// Text that stays below a length.
#[derive(Default)]
struct Limited {
    text: String,
    /// Characters, and those that are kept for the end.
    used: usize,
    reserved: usize,
}

impl Limited {
    /// Adds what there is room for; all of it, or nothing.
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

    /// Keeps room for so many characters.
    fn reserve(&mut self, length: usize) {
        self.reserved += length;
    }

    /// As many rows as half of the room takes, and how many were left out.
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
    let rate = site.bytes_per_cycle.filter(|&rate| rate != 0.0);
    let verdict = match &site.allowed {
        Some(_) => format!("{}, allowed", site.verdict),
        None => site.verdict.to_string(),
    };
    let holder = site.holder.as_ref();
    format!(
        "| {verdict} | {} | {} | {} | {} | {}<br>{} | {} |\n",
        rate.map_or_else(String::new, bytes),
        bytes(site.retained_bytes as f64),
        exact(site.retained_blocks),
        site.phase,
        code(&short(&site.function)),
        code(&site.location()),
        holder.map_or_else(String::new, |h| {
            let sentence = h.sentence();
            cell(&short(
                sentence.strip_prefix("held by ").unwrap_or(&sentence),
            ))
        }),
    )
}

pub(super) fn short(name: &str) -> String {
    super::super::terminal::shortened(name, WIDE)
}

/// Text that is nothing but text: in a table, too.
pub(super) fn cell(text: &str) -> String {
    escaped(text, |c| match c {
        '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '@' => Some(format!("\\{c}")),
        _ => None,
    })
}

/// Text in the type of code: by tags, because a name may have back quotes, and a cell bars.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", html(text))
}

/// Text within tags, where Markdown is still read.
fn html(text: &str) -> String {
    escaped(text, |c| match c {
        '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' | '@' => {
            Some(format!("&#{};", u32::from(c)))
        }
        _ => None,
    })
}

/// A text without markup, on one line; `other` escapes what else must not stand for itself.
fn escaped(text: &str, other: impl Fn(char) -> Option<String>) -> String {
    let mut escaped = String::new();
    // What looks like an address would become a link.
    for c in text.replace("://", ":\u{200b}//").chars() {
        match c {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '\n' | '\r' => escaped.push(' '),
            c => match other(c) {
                Some(instead) => escaped += &instead,
                None => escaped.push(c),
            },
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_markup() {
        assert_eq!(cell("a|b*<i>@me"), "a\\|b\\*&lt;i&gt;\\@me");
        assert_eq!(code("`|<b>"), "<code>&#96;&#124;&lt;b&gt;</code>");
    }
}
