//! Two runs side by side: which places are new, fixed or changed, and what memory and time have become.
//!
//! Places are matched by their stack: by the fingerprint, which is made of functions and files without
//! lines, and where that has changed by the blame frame's function and file. So code that moved is the
//! same place.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::terminal::{LEAST_NAME, Screen, shortened};
use super::{CallSite, Report};
use crate::base::text::printable;
use crate::base::units::{bytes, exact};
use crate::model::process::Part;
use crate::model::verdict::Verdict;

/// The schema of [`Comparison`]'s JSON.
pub const SCHEMA: &str = "afterdrop-compare/1";

/// What became of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// It grows now, and did not before.
    New,
    /// It grew before and grows faster now: their intervals do not meet.
    Worse,
    /// It cannot be told: one of the runs is undecided about it, or could not have seen it.
    Open,
    /// It grew before and grows slower now.
    Better,
    /// It grew before and does not now.
    Fixed,
    /// It grows as before.
    Same,
}

impl Became {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::New,
        Self::Worse,
        Self::Open,
        Self::Better,
        Self::Fixed,
        Self::Same,
    ];

    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worse => "worse",
            Self::Open => "open",
            Self::Better => "better",
            Self::Fixed => "fixed",
            Self::Same => "as before",
        }
    }
}

/// A place that grows, grew, or may grow, in two runs.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// What became of it.
    pub became: Became,
    /// Its function and place, or the part of the process.
    pub function: String,
    /// `file:line`; of the later run where it is in both.
    pub location: String,
    /// Phase of the allocation; `None` for a part of the process.
    pub phase: Option<&'static str>,
    /// Growth per cycle before; `None` if it did not grow. Bytes, or threads or descriptors.
    pub before: Option<f64>,
    /// Growth per cycle now.
    pub after: Option<f64>,
    /// Why it is known, if it is allowed.
    pub allowed: Option<String>,
    /// The place's fingerprint in the later run, else in the earlier.
    pub fingerprint: Option<String>,
    /// Growth is counted in bytes.
    pub in_bytes: bool,
}

/// A figure of the whole run in both.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// Its value before; `None` if it is not known.
    pub before: Option<f64>,
    /// Its value now.
    pub after: Option<f64>,
    /// In what it is counted: `B`, `ms`, or nothing.
    pub unit: &'static str,
}

/// Two runs compared.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Workload of the earlier and of the later run.
    pub workloads: [String; 2],
    /// Their verdicts.
    pub verdicts: [&'static str; 2],
    /// Places that grow, or grew, the worst first.
    pub changes: Vec<Change>,
    /// Memory and time.
    pub figures: Vec<Figure>,
    /// What a reader should know before believing the rest.
    pub warnings: Vec<String>,
}

/// Compares an earlier run with a later one.
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let [before, after] = [before, after].map(super::formats::cleaned);
    let (before, after) = (&before, &after);
    let runs = [Seen::of(before, after), Seen::of(after, before)];
    let mut changes = Vec::new();
    let mut left: Vec<&CallSite> = before.call_sites.iter().collect();
    // By the stack first, so that a place with its own match is not taken by another.
    let mut matched: Vec<Option<&CallSite>> = vec![None; after.call_sites.len()];
    type Rule = fn(&CallSite, &CallSite) -> bool;
    fn same_stack(a: &CallSite, b: &CallSite) -> bool {
        a.fingerprint == b.fingerprint && a.phase == b.phase && !a.stack.is_empty()
    }
    fn same_place(a: &CallSite, b: &CallSite) -> bool {
        a.function == b.function && a.file == b.file && a.phase == b.phase
    }
    // Two lines of a function may have one fingerprint: then what is alike in more belongs together.
    let rules: [Rule; 6] = [
        |a, b| same_stack(a, b) && a.line == b.line && a.bytes_per_cycle == b.bytes_per_cycle,
        |a, b| same_stack(a, b) && a.bytes_per_cycle == b.bytes_per_cycle,
        |a, b| same_stack(a, b) && a.line == b.line,
        same_stack,
        |a, b| same_place(a, b) && a.line == b.line,
        same_place,
    ];
    for rule in rules {
        for (site, matched) in after.call_sites.iter().zip(&mut matched) {
            if matched.is_none()
                && let Some(i) = left.iter().position(|old| rule(old, site))
            {
                *matched = Some(left.remove(i));
            }
        }
    }
    for (site, old) in after.call_sites.iter().zip(&matched) {
        changes.extend(of_site(*old, Some(site), runs));
    }
    changes.extend(left.iter().filter_map(|old| of_site(Some(old), None, runs)));
    for part in &after.process.parts {
        let old = before.process.parts.iter().find(|p| p.what == part.what);
        changes.extend(of_part(old, part, runs[1]));
    }
    let weight = |c: &Change| c.after.or(c.before).unwrap_or(0.0);
    changes.sort_by(|a, b| {
        a.became
            .cmp(&b.became)
            .then(weight(b).total_cmp(&weight(a)))
    });
    Comparison {
        schema: SCHEMA,
        workloads: [before.workload.clone(), after.workload.clone()],
        verdicts: [before.verdict.name(), after.verdict.name()],
        changes,
        figures: figures(before, after),
        warnings: warnings(before, after),
    }
}

/// What a run could see of a place that it does not have.
#[derive(Clone, Copy)]
struct Seen {
    /// It went far enough, and of the same workload, that what it does not have is not there.
    all: bool,
    /// Growth below this may have been missed, in bytes per cycle: not every block was recorded.
    missed_below: f64,
}

impl Seen {
    fn of(report: &Report, other: &Report) -> Self {
        let after_warmup = report.cycles_run().saturating_sub(report.warmup);
        let long_enough = after_warmup >= crate::model::verdict::FEWEST_CYCLES;
        Self {
            all: report.ended.is_complete() && long_enough && report.workload == other.workload,
            missed_below: report.sampling.map_or(0.0, |s| s.missed_below),
        }
    }

    /// Whether growth at such a rate would have been seen at a place like this.
    fn would_see(self, growth: &Growth, there: Option<&CallSite>) -> bool {
        let site = there.filter(|s| s.verdict == Verdict::Undecided);
        let open = site
            .and_then(|s| s.bytes_per_cycle_interval)
            .map_or(0.0, |i| i.1);
        self.all && growth.interval.0 > self.missed_below.max(open)
    }
}

/// How fast a place grows.
struct Growth {
    rate: f64,
    interval: (f64, f64),
}

fn growth(site: &CallSite, seen: Seen) -> Option<Growth> {
    let rate = site.bytes_per_cycle.filter(|_| site.verdict.is_growth())?;
    let (low, high) = site.bytes_per_cycle_interval.unwrap_or((rate, rate));
    // Of many estimates one in twenty lies outside of its interval.
    let wider = if seen.missed_below > 0.0 { 2.0 } else { 1.0 };
    Some(Growth {
        rate,
        interval: (rate - (rate - low) * wider, rate + (high - rate) * wider),
    })
}

/// What became of a place that grows in both runs.
fn of_both(before: &Growth, after: &Growth) -> Became {
    if after.interval.0 > before.interval.1 {
        Became::Worse
    } else if after.interval.1 < before.interval.0 {
        Became::Better
    } else {
        Became::Same
    }
}

fn of_site(before: Option<&CallSite>, after: Option<&CallSite>, runs: [Seen; 2]) -> Option<Change> {
    let [earlier, later] = runs;
    let old = before.and_then(|s| growth(s, earlier));
    let new = after.and_then(|s| growth(s, later));
    let is_open = |s: Option<&CallSite>| s.is_some_and(|s| s.verdict == Verdict::Undecided);
    let became = match (&old, &new) {
        (None, None) if is_open(after) && !is_open(before) => Became::Open,
        (None, None) => return None,
        // That a run did not see it says little where it could not.
        (None, Some(new)) if earlier.all && !earlier.would_see(new, before) => Became::Open,
        (None, Some(_)) => Became::New,
        (Some(_), None) if is_open(after) => Became::Open,
        (Some(old), None) if !later.would_see(old, after) => Became::Open,
        (Some(_), None) => Became::Fixed,
        (Some(old), Some(new)) => of_both(old, new),
    };
    let site = after.or(before)?;
    Some(Change {
        became,
        function: site.function.clone(),
        location: site.location(),
        phase: Some(site.phase.name()),
        before: old.map(|g| g.rate),
        after: new.map(|g| g.rate),
        allowed: site.allowed.clone(),
        fingerprint: Some(site.fingerprint.clone()),
        in_bytes: true,
    })
}

fn of_part(before: Option<&Part>, after: &Part, later: Seen) -> Option<Change> {
    let growth = |part: &Part| {
        let rate = part.per_cycle.filter(|_| part.verdict.is_growth())?;
        // What the kernel counts is not exact to the byte: a tenth is no change.
        Some(Growth {
            rate,
            interval: (rate * 0.9, rate * 1.1),
        })
    };
    let (old, new) = (before.and_then(growth), growth(after));
    let became = match (&old, &new) {
        (None, None) => return None,
        (None, Some(_)) => Became::New,
        (Some(_), None) if after.verdict == Verdict::Undecided || !later.all => Became::Open,
        (Some(_), None) => Became::Fixed,
        (Some(old), Some(new)) => of_both(old, new),
    };
    Some(Change {
        became,
        function: after.what.name().into(),
        location: String::new(),
        phase: None,
        before: old.map(|g| g.rate),
        after: new.map(|g| g.rate),
        allowed: None,
        fingerprint: None,
        in_bytes: after.what.is_in_bytes(),
    })
}

fn figures(before: &Report, after: &Report) -> Vec<Figure> {
    type Of = fn(&Report) -> Option<f64>;
    let rows: [(&'static str, &'static str, Of); 8] = [
        ("growth at places", "B", |r| r.bytes_per_cycle),
        ("live at the end", "B", |r| {
            r.boundaries.last().map(|b| b.live_bytes as f64)
        }),
        ("peak live", "B", |r| {
            r.boundaries
                .iter()
                .map(|b| b.peak_bytes)
                .max()
                .map(|b| b as f64)
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
    rows.map(|(name, unit, of)| Figure {
        name,
        before: of(before),
        after: of(after),
        unit,
    })
    .into()
}

fn warnings(before: &Report, after: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if before.workload != after.workload {
        warnings.push(format!(
            "the workloads are not the same: {} and {}",
            before.workload, after.workload
        ));
    }
    let settings = |r: &Report| {
        let mut settings = vec![
            format!("heap={}", r.heap),
            format!("strategy={}", r.strategy),
        ];
        settings.extend(r.options.iter().cloned());
        settings
    };
    let (old, new) = (settings(before), settings(after));
    if old != new {
        warnings.push(format!(
            "the settings are not the same: {} and {}",
            old.join(" "),
            new.join(" ")
        ));
    }
    for (report, which) in [(before, "earlier"), (after, "later")] {
        if !report.ended.is_complete() {
            warnings.push(format!(
                "the {which} run {}",
                crate::base::text::one_line(&report.ended.to_string())
            ));
        } else if report.verdict == super::RunVerdict::Undecided {
            warnings.push(format!("the {which} run is undecided: {}", report.summary));
        }
        if report.sampling.is_some() {
            warnings.push(format!("of the {which} run not every block was recorded"));
        }
    }
    warnings
}

impl Change {
    fn is_counted(&self) -> bool {
        self.allowed.is_none()
    }

    /// The growth before and now, in words.
    pub(super) fn rates(&self) -> String {
        let shown = |rate: f64| match self.in_bytes {
            true => bytes(rate),
            false => format!("{rate:.2}"),
        };
        match (self.before, self.after) {
            (Some(b), Some(a)) if self.became != Became::Same => {
                format!("{} -> {}/cycle", shown(b), shown(a))
            }
            (Some(rate), None) if self.became == Became::Fixed => format!("{} -> 0", shown(rate)),
            (_, Some(rate)) | (Some(rate), None) => format!("{}/cycle", shown(rate)),
            (None, None) => String::new(),
        }
    }
}

impl Figure {
    fn shown(&self, value: Option<f64>) -> String {
        match (value, self.unit) {
            (None, _) => "?".into(),
            (Some(v), "B") => bytes(v),
            (Some(v), "ms") if v < 10.0 => format!("{v:.3} ms"),
            (Some(v), "ms") => format!("{v:.1} ms"),
            (Some(v), _) => exact(v as u64),
        }
    }

    /// The two values and how they differ, in words.
    pub(super) fn words(&self) -> [String; 3] {
        let change = match (self.before, self.after) {
            (Some(b), Some(a)) if a == b => "=".to_owned(),
            (Some(b), Some(a)) if b > 0.0 && a / b >= 10.0 => format!("x {:.0}", a / b),
            (Some(b), Some(a)) if b > 0.0 => format!("{:+.1} %", 100.0 * (a / b - 1.0)),
            _ => String::new(),
        };
        [self.shown(self.before), self.shown(self.after), change]
    }
}

impl Comparison {
    /// New places, and such as cannot be told, that nobody has allowed.
    pub fn count(&self, became: Became) -> usize {
        let counted = self.changes.iter().filter(|c| c.is_counted());
        counted.filter(|c| c.became == became).count()
    }

    /// The workload, or both if they are not the same.
    pub fn workload(&self) -> String {
        match &self.workloads {
            [before, after] if before == after => after.clone(),
            [before, after] => format!("{before} and {after}"),
        }
    }

    /// What became of how many places.
    pub fn summary(&self) -> String {
        let counts: Vec<String> = Became::ALL
            .into_iter()
            .map(|b| (self.count(b), b))
            .filter(|&(n, b)| n > 0 || matches!(b, Became::New | Became::Fixed))
            .map(|(n, b)| format!("{n} {}", b.name()))
            .collect();
        counts.join(", ")
    }

    /// As indented JSON.
    pub fn to_json(&self) -> String {
        super::json::indented(self)
    }
}

/// Text with styles, where they may be used.
struct Text {
    out: String,
    color: bool,
}

impl Text {
    fn say(&mut self, part: &str, style: Style) {
        let part = printable(part);
        // Writing to a string cannot fail.
        let _ = match self.color {
            true => write!(self.out, "{style}{part}{style:#}"),
            false => write!(self.out, "{part}"),
        };
    }

    fn line(&mut self, part: &str, style: Style) {
        self.say(part.trim_end(), style);
        self.out.push('\n');
    }
}

/// Draws it as text.
pub fn render(comparison: &Comparison, screen: Screen) -> String {
    let mut text = Text {
        out: String::new(),
        color: screen.color,
    };
    let plain = Style::new();
    let [before, after] = &comparison.verdicts;
    let summary = comparison.summary();
    let head = format!(
        "{}: {before} -> {after}; {summary}",
        comparison.workloads[1]
    );
    text.line(&head, plain.bold());
    text.out.push('\n');
    for change in &comparison.changes {
        let style = |color: AnsiColor| plain.fg_color(Some(color.into()));
        let (word, style) = match (&change.allowed, change.became) {
            (Some(_), _) => ("allowed", plain),
            (None, b @ (Became::New | Became::Worse)) => (b.name(), style(AnsiColor::Red)),
            (None, b @ Became::Open) => (b.name(), style(AnsiColor::Yellow)),
            (None, b @ (Became::Better | Became::Fixed)) => (b.name(), style(AnsiColor::Green)),
            (None, b @ Became::Same) => (b.name(), plain),
        };
        text.say(&format!("  {word:<10}"), style);
        let phase = change.phase.unwrap_or_default();
        let front = format!("{:<24}  {phase:<7}  ", change.rates());
        let room = screen.width.saturating_sub(12 + front.chars().count() + 2);
        let place = shortened(&change.location, room.saturating_sub(LEAST_NAME));
        let room = room.saturating_sub(place.chars().count());
        let function = shortened(&change.function, room);
        text.line(&format!("{front}{function}  {place}"), plain);
    }
    if !comparison.changes.is_empty() {
        text.out.push('\n');
    }
    let row = |name: &str, [before, after, change]: [&str; 3]| {
        format!("  {name:<20}  {before:>10}  {after:>10}  {change:>9}")
    };
    text.line(&row("", ["before", "after", "change"]), plain.dimmed());
    for figure in &comparison.figures {
        let words = figure.words();
        let words = words.each_ref().map(String::as_str);
        text.line(&row(figure.name, words), plain);
    }
    for warning in &comparison.warnings {
        let mut line = "  note:".to_owned();
        for word in warning.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > screen.width {
                text.line(&line, plain);
                line = "       ".to_owned();
            }
            line = format!("{line} {word}");
        }
        text.line(&line, plain);
    }
    text.out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::terminal::tests::made;

    /// A report with one leaking call site of this fingerprint, place and growth.
    fn run(fingerprint: &str, line: u32, rate: f64) -> Report {
        let mut report = made();
        let site = &mut report.call_sites[0];
        site.fingerprint = fingerprint.into();
        site.line = Some(line);
        site.bytes_per_cycle = Some(rate);
        site.bytes_per_cycle_interval = Some((rate - 1.0, rate + 1.0));
        report
    }

    fn only(before: &Report, after: &Report) -> Change {
        let mut changes = compare(before, after).changes;
        assert_eq!(changes.len(), 1, "{changes:?}");
        changes.remove(0)
    }

    #[test]
    fn code_that_moved_is_the_same_place() {
        let before = run("a", 42, 100.0);
        assert_eq!(only(&before, &run("a", 99, 100.5)).became, Became::Same);
        // Another way to the same function.
        assert_eq!(only(&before, &run("b", 42, 100.5)).became, Became::Same);
        assert_eq!(only(&before, &run("a", 42, 200.0)).became, Became::Worse);
        assert_eq!(only(&before, &run("a", 42, 50.0)).became, Became::Better);
    }

    #[test]
    fn what_is_new_and_what_is_fixed_are_told_apart() {
        let leaks = run("a", 42, 100.0);
        let mut clean = run("a", 42, 0.0);
        clean.call_sites.clear();
        assert_eq!(only(&clean, &leaks).became, Became::New);
        assert_eq!(only(&leaks, &clean).became, Became::Fixed);
        let mut cache = run("a", 42, 0.0);
        cache.call_sites[0].verdict = Verdict::Cache;
        assert_eq!(only(&cache, &leaks).became, Became::New);
        assert_eq!(only(&leaks, &cache).became, Became::Fixed);
        cache.call_sites[0].verdict = Verdict::Undecided;
        cache.call_sites[0].bytes_per_cycle = None;
        let open = compare(&leaks, &cache);
        assert_eq!(
            open.changes[0].became,
            Became::Open,
            "what cannot be told is not fixed"
        );
        let mut elsewhere = run("b", 7, 100.0);
        elsewhere.call_sites[0].function = "serving::cache".into();
        let both = compare(&leaks, &elsewhere);
        let became: Vec<Became> = both.changes.iter().map(|c| c.became).collect();
        assert_eq!(became, [Became::New, Became::Fixed]);
        assert_eq!(both.summary(), "1 new, 1 fixed");
    }

    #[test]
    fn of_two_lines_with_one_stack_each_finds_itself() {
        let both = |rates: [(u32, f64); 2]| {
            let mut report = run("a", rates[0].0, rates[0].1);
            let mut other = report.call_sites[0].clone();
            (other.line, other.bytes_per_cycle) = (Some(rates[1].0), Some(rates[1].1));
            other.bytes_per_cycle_interval = None;
            report.call_sites.insert(1, other);
            report
        };
        let mut one = both([(29, 283.0), (99, 0.0)]);
        one.call_sites.remove(1);
        let changes = compare(&one, &both([(28, 554.0), (29, 283.0)])).changes;
        let found: Vec<(Became, &str)> = changes
            .iter()
            .map(|c| (c.became, &c.location[..]))
            .collect();
        assert_eq!(
            found,
            [
                (Became::New, "app/reload.rs:28"),
                (Became::Same, "app/reload.rs:29")
            ]
        );
    }

    #[test]
    fn what_a_run_could_not_see_is_neither_fixed_nor_new() {
        let leaks = run("a", 42, 100.0);
        let mut clean = run("a", 42, 0.0);
        clean.call_sites.clear();
        let mut cut = clean.clone();
        cut.boundaries.truncate(4);
        assert_eq!(only(&leaks, &cut).became, Became::Open, "too short");
        let mut failed = clean.clone();
        failed.ended = super::super::Ended::new(super::super::How::TimedOut, None);
        assert_eq!(only(&leaks, &failed).became, Became::Open);
        let mut elsewhere = clean.clone();
        elsewhere.workload = "other".into();
        assert_eq!(only(&leaks, &elsewhere).became, Became::Open);
        let mut sampled = clean.clone();
        sampled.sampling = Some(crate::report::Sampling {
            every_bytes: 1 << 19,
            live_bytes_interval: (0, 0),
            missed_below: 8180.0,
        });
        assert_eq!(only(&leaks, &sampled).became, Became::Open);
        assert_eq!(only(&sampled, &leaks).became, Became::Open);
        assert_eq!(only(&sampled, &run("a", 42, 9000.0)).became, Became::New);
    }

    #[test]
    fn what_is_allowed_does_not_count() {
        let mut clean = run("a", 42, 0.0);
        clean.call_sites.clear();
        let mut allowed = run("a", 42, 100.0);
        allowed.call_sites[0].allowed = Some("known".into());
        assert_eq!(compare(&clean, &allowed).count(Became::New), 0);
    }

    #[test]
    fn the_table_reads_at_80_columns() {
        let mut after = run("a", 99, 2_097_152.0);
        after.workload = "mine\u{1b}[31m".into();
        after.heap = crate::HeapKind::Jemalloc;
        let screen = Screen {
            color: false,
            width: 80,
        };
        let text = render(&compare(&run("a", 42, 1_048_576.0), &after), screen);
        insta::assert_snapshot!(text);
    }
}
