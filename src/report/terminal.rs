//! One screen of text: the verdict, the call sites worst first, the life of the run as a small chart,
//! what adds up, and what was written.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{CallSite, Holder, Kind, PathBlock, Report, Root, RunVerdict};
use crate::base::text::{printable, visible};
use crate::base::units::{bytes, exact, one_line, rate};
use crate::model::frame::{Frame, Owner, location_of, relevant};
use crate::model::process::Grows;
use crate::model::verdict::Verdict;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Whether escape sequences may be used.
    pub color: bool,
    /// Columns of the screen.
    pub width: usize,
}

impl Default for Screen {
    /// Plain text of 100 columns.
    fn default() -> Self {
        Self {
            color: false,
            width: 100,
        }
    }
}

/// Lines of a screen that has room for a prompt.
const SCREEN: usize = 38;
/// Call sites shown with their stacks, at most; the rest is a line, or a count.
const IN_FULL: usize = 3;
/// Call sites shown in a line.
const IN_BRIEF: usize = 5;
/// Frames shown of what the blame frame called.
const CALLED: usize = 3;
/// Columns that a function's name gets at least.
pub(super) const LEAST_NAME: usize = 12;
/// Columns of the chart.
const CHART: usize = 40;

/// Draws the report. `written` are the files to name at the end.
pub fn render(report: &Report, written: &str, screen: Screen) -> String {
    // As many call sites in full as one screen has room for, and always the worst.
    for in_full in (2..=IN_FULL).rev() {
        let page = draw(report, written, screen, in_full);
        if page.lines().count() <= SCREEN {
            return page;
        }
    }
    draw(report, written, screen, 1)
}

fn draw(report: &Report, written: &str, screen: Screen, in_full: usize) -> String {
    let mut page = Page {
        text: String::new(),
        screen,
    };
    page.head(report);
    // What grows in the process is nearer to the cause than the blocks it holds.
    let process_first = report.process.verdict.is_growth();
    if process_first {
        page.process(report);
    }
    page.call_sites(report, in_full);
    if !process_first {
        page.process(report);
    }
    page.charts(report);
    page.roots(report);
    page.balance(report);
    page.sums(report);
    for warning in &report.warnings {
        page.label(
            "note",
            Style::new().fg_color(Some(AnsiColor::Yellow.into())),
        );
        page.wrapped(warning);
    }
    if !written.is_empty() {
        page.label("written", DIM);
        page.wrapped(written);
    }
    page.text
}

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
/// Width of the labels at the left.
const LABEL: usize = 12;

fn color(verdict: Verdict) -> Style {
    let color = match verdict {
        Verdict::Leak => AnsiColor::Red,
        Verdict::Growing | Verdict::Undecided => AnsiColor::Yellow,
        Verdict::Cache | Verdict::Churn | Verdict::WarmUp => AnsiColor::Green,
    };
    Style::new().fg_color(Some(color.into()))
}

struct Page {
    text: String,
    screen: Screen,
}

impl Page {
    fn styled(&mut self, text: &str, style: Style) {
        let clean = printable(text);
        if self.screen.color {
            // Writing to a `String` cannot fail.
            let _ = write!(self.text, "{style}{clean}{style:#}");
        } else {
            self.text.push_str(&clean);
        }
    }

    fn line(&mut self, text: &str) {
        self.styled(text, Style::new());
        self.text.push('\n');
    }

    fn label(&mut self, label: &str, style: Style) {
        self.text.push_str("  ");
        self.styled(&format!("{label:<width$}", width = LABEL - 2), style);
    }

    /// Text behind a label, folded at the width.
    fn wrapped(&mut self, text: &str) {
        self.wrapped_in(text, Style::new());
    }

    fn wrapped_in(&mut self, text: &str, style: Style) {
        let room = self.screen.width.saturating_sub(LABEL).max(30);
        let mut used = 0;
        for word in text.split(' ') {
            let width = word.chars().count();
            if used > 0 && used + 1 + width > room {
                self.text.push('\n');
                self.text.push_str(&" ".repeat(LABEL));
                used = 0;
            }
            if used > 0 {
                self.text.push(' ');
                used += 1;
            }
            self.styled(word, style);
            used += width;
        }
        self.text.push('\n');
    }

    fn head(&mut self, report: &Report) {
        let mut title = report.workload.clone();
        let (word, style) = if report.ended.is_complete() {
            let worst = match report.verdict {
                RunVerdict::Clean => Verdict::WarmUp,
                RunVerdict::Undecided => Verdict::Undecided,
                RunVerdict::Growing => Verdict::Growing,
                RunVerdict::Leak => Verdict::Leak,
            };
            (report.verdict.name(), color(worst))
        } else {
            let _ = write!(
                title,
                " {} after {} of {} cycles",
                one_line(&report.ended.to_string()),
                report.cycles_run(),
                report.cycles
            );
            ("failed", color(Verdict::Leak))
        };
        let word = format!("{:<width$}", word.to_uppercase(), width = LABEL);
        self.styled(&word, style.bold());
        if let Some(sampling) = &report.sampling {
            let every = bytes(sampling.every_bytes as f64);
            let _ = write!(title, ", one block in {every} recorded:");
        }
        let by_process = report.process.verdict.is_growth();
        if by_process {
            let _ = write!(title, ": {}", report.process.grows.name());
        }
        if let Some(rate) = report.bytes_per_cycle.filter(|&rate| rate != 0.0) {
            let (apart, verb) = match (report.ended.is_complete(), report.verdict) {
                (false, _) => (true, "grew by"),
                (true, RunVerdict::Leak) => (by_process, "leaks"),
                (true, _) => (by_process, "grows by"),
            };
            let apart = if apart { ";" } else { "" };
            let _ = write!(title, "{apart} {verb} {} per cycle", bytes(rate));
        }
        self.styled(&title, BOLD);
        self.text.push('\n');
        self.text.push_str(&" ".repeat(LABEL));
        self.wrapped(&report.summary);
        self.text.push_str(&" ".repeat(LABEL));
        let mut setting = vec![
            format!("heap={}", report.heap),
            format!("strategy={}", report.strategy),
        ];
        setting.extend(report.options.iter().cloned());
        let of = if report.auto {
            format!("cycles (auto, at most {})", report.cycles)
        } else {
            format!("of {} cycles", report.cycles)
        };
        let ran = format!(
            "{} {of} in {:.2} s",
            report.cycles_run(),
            report.cost.cycle_seconds
        );
        let line = format!("{}; {ran}", setting.join(" "));
        self.wrapped_in(&line, DIM);
        self.text.push('\n');
    }

    fn call_sites(&mut self, report: &Report, in_full: usize) {
        let (serious, harmless): (Vec<_>, Vec<_>) = report
            .call_sites
            .iter()
            .partition(|s| s.verdict >= Verdict::Undecided && s.allowed.is_none());
        let mut explained: Vec<Verdict> = Vec::new();
        for site in serious.iter().take(in_full) {
            self.site_in_full(site);
            // The same sentence under every call site would push the rest off the screen.
            if !explained.contains(&site.verdict) {
                explained.push(site.verdict);
                self.text.push_str(&" ".repeat(LABEL));
                self.wrapped(&site.reason);
            }
        }
        for site in serious.iter().skip(in_full).take(IN_BRIEF) {
            self.site_in_brief(site);
        }
        self.more(serious.iter().skip(in_full + IN_BRIEF));
        for site in harmless.iter().take(IN_BRIEF) {
            self.site_in_brief(site);
        }
        self.more(harmless.iter().skip(IN_BRIEF));
        if !report.call_sites.is_empty() {
            self.text.push('\n');
        }
    }

    fn site_in_full(&mut self, site: &CallSite) {
        self.label(site.verdict.name(), color(site.verdict).bold());
        let growth = match (site.bytes_per_cycle, site.blocks_per_cycle) {
            (Some(b), Some(n)) => format!("{} B and {} blocks a cycle, ", rate(b), rate(n)),
            _ => String::new(),
        };
        self.wrapped(&format!(
            "{growth}{}{} held in {} of {}, from {}",
            bytes(site.retained_bytes as f64),
            between(site.retained_bytes_interval),
            count(site.retained_blocks, "block"),
            count(u64::from(site.generations), "generation"),
            site.phase,
        ));
        self.text.push_str(&" ".repeat(LABEL));
        self.frame(&site.function, &site.location(), BOLD);
        for frame in frames_below(site) {
            self.text.push_str(&" ".repeat(LABEL + 2));
            self.frame(&frame.function, &frame.location(), DIM);
        }
        self.holder(site);
        if site.stacks > 1 {
            self.text.push_str(&" ".repeat(LABEL + 2));
            self.styled(
                &format!("and {} more stacks through this line", site.stacks - 1),
                DIM,
            );
            self.text.push('\n');
        }
    }

    /// Who keeps the call site's blocks alive, and the way to them.
    fn holder(&mut self, site: &CallSite) {
        let Some(holder) = &site.holder else {
            if let Some(why) = &site.holder_unknown {
                self.text.push_str(&" ".repeat(LABEL));
                self.wrapped_in(&format!("holder not known: {why}"), DIM);
            }
            return;
        };
        self.text.push_str(&" ".repeat(LABEL));
        let place = location_of(holder.file.as_deref(), holder.line);
        if holder.kind.is_lost() {
            self.wrapped_in(&holder.lost(), BOLD);
            if holder.is_cause() {
                return;
            }
            if holder.kind == Kind::Lost {
                self.text.push_str(&" ".repeat(LABEL + 2));
                let name = holder.name.as_deref().unwrap_or("(not attributed)");
                self.frame(name, &place, DIM);
            }
        } else {
            let (kind, name) = holder.who();
            self.styled(&format!("held{} by {kind}", holder.part()), BOLD);
            self.frame(name, &place, BOLD);
        }
        self.way(holder);
    }

    /// The blocks between a holder and a call site: what is nearest to the holder, and to the call site.
    fn way(&mut self, holder: &Holder) {
        const SHOWN: usize = 4;
        let blocks = holder.path.as_slice();
        if blocks.is_empty() {
            return;
        }
        let more = (holder.path_blocks as usize).saturating_sub(SHOWN);
        let (front, back) = match more {
            0 => (blocks, &[][..]),
            _ => (&blocks[..SHOWN / 2], &blocks[blocks.len() - SHOWN / 2..]),
        };
        let step = |b: &PathBlock| {
            let place = location_of(b.file.as_deref(), b.line);
            format!("\u{2514} {} ({place})", b.kind())
        };
        let thread = holder.thread.iter().map(|t| format!("in thread `{t}`"));
        let mut steps: Vec<String> = thread.chain(front.iter().map(step)).collect();
        if more > 0 {
            steps.push(format!("\u{2514} {} more", exact(more as u64)));
        }
        steps.extend(back.iter().map(step));
        self.text.push_str(&" ".repeat(LABEL));
        self.wrapped_in(&steps.join(" "), DIM);
    }

    /// What would be freed if a holder were cleared.
    fn roots(&mut self, report: &Report) {
        const SHOWN: usize = 3;
        let live = report.boundaries.last().map_or(0, |b| b.live_bytes);
        let worth = report.roots.iter().filter(|r| r.retained_bytes * 50 > live);
        let shown: Vec<String> = worth.take(SHOWN).map(root).collect();
        if !shown.is_empty() {
            self.label("holders", DIM);
            self.wrapped(&format!("alone keep alive: {}", shown.join("; ")));
        }
    }

    fn site_in_brief(&mut self, site: &CallSite) {
        let label = match site.allowed {
            Some(_) => "allowed",
            None => site.verdict.name(),
        };
        self.label(label, color(site.verdict));
        let amount = match site.bytes_per_cycle.filter(|&rate| rate != 0.0) {
            Some(rate) => format!("{}/cycle", bytes(rate)),
            None => bytes(site.retained_bytes as f64),
        };
        self.styled(
            &format!("{amount:<14}  {:<7}  ", site.phase.name()),
            Style::new(),
        );
        self.frame(&site.function, &site.location(), Style::new());
    }

    /// A function and its place on one line: the place whole, the function shortened.
    fn frame(&mut self, function: &str, location: &str, style: Style) {
        let line_start = self.text.rfind('\n').map_or(0, |i| i + 1);
        let used = visible(&self.text[line_start..]);
        let room = self.screen.width.saturating_sub(used + 2);
        let location = shortened(location, room.saturating_sub(LEAST_NAME));
        let room = room.saturating_sub(location.chars().count());
        self.styled(&shortened(function, room), style);
        self.text.push_str("  ");
        self.styled(&location, style);
        self.text.push('\n');
    }

    fn more<'a>(&mut self, rest: impl Iterator<Item = &'a &'a CallSite> + Clone) {
        let n = rest.clone().count();
        if n > 0 {
            let held: u64 = rest.map(|s| s.retained_bytes).sum();
            self.label("", DIM);
            let text = format!(
                "and {n} more, holding {}: see report.json",
                bytes(held as f64)
            );
            self.styled(&text, DIM);
            self.text.push('\n');
        }
    }

    /// What grows besides the call sites, if anything does.
    fn process(&mut self, report: &Report) {
        let process = &report.process;
        if process.grows == Grows::None {
            return;
        }
        self.label(process.verdict_word(), color(process.verdict).bold());
        self.wrapped(&process.sentence);
        self.text.push('\n');
    }

    /// Resident memory at the end, by what it is for, the largest parts first.
    fn balance(&mut self, report: &Report) {
        let Some(b) = report.boundaries.last().and_then(|b| b.balance) else {
            return;
        };
        let mut parts = b.parts().to_vec();
        parts.retain(|&(_, bytes)| bytes > 0);
        parts.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        let shown: Vec<String> = parts
            .iter()
            .map(|&(name, n)| format!("{} {name}", bytes(n as f64)))
            .collect();
        let mut sum = format!("{} = {}", bytes(b.resident_bytes as f64), shown.join(" + "));
        if b.unexplained_bytes.unsigned_abs() * 50 > b.resident_bytes {
            let _ = write!(sum, "; {} unexplained", bytes(b.unexplained_bytes as f64));
        }
        self.label("memory", DIM);
        self.wrapped(&sum);
    }

    fn charts(&mut self, report: &Report) {
        let live: Vec<u64> = report.boundaries.iter().map(|b| b.live_bytes).collect();
        let resident: Option<Vec<u64>> =
            report.boundaries.iter().map(|b| b.resident_bytes).collect();
        self.chart("live", &live);
        self.chart("resident", &resident.unwrap_or_default());
        if let Some(peak) = report.boundaries.iter().map(|b| b.peak_bytes).max() {
            self.label("peak", DIM);
            self.line(&format!("{} live within a cycle", bytes(peak as f64)));
        }
    }

    fn chart(&mut self, label: &str, values: &[u64]) {
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return;
        };
        self.label(label, DIM);
        let range = format!(" {} -> {}", bytes(*first as f64), bytes(*last as f64));
        self.line(&format!("{}{range}", sparkline(values, CHART)));
    }

    fn sums(&mut self, report: &Report) {
        let a = &report.attribution;
        if report.boundaries.is_empty() {
            return;
        }
        self.label("adds up", DIM);
        let mut sum = format!(
            "{} B live = {} set-up + {} at call sites",
            exact(a.live_bytes),
            exact(a.setup_bytes),
            exact(a.call_site_bytes)
        );
        if let Some(sampling) = &report.sampling {
            sum = format!(
                "{}{} live, estimated from one block in {}",
                bytes(a.live_bytes as f64),
                between(Some(sampling.live_bytes_interval)),
                bytes(sampling.every_bytes as f64)
            );
        }
        if a.unattributed_bytes > 0 {
            let _ = write!(sum, " ({} not attributed)", exact(a.unattributed_bytes));
        }
        if let Some(difference) = a.allocator_difference {
            let sign = if difference < 0 { "-" } else { "+" };
            let _ = write!(
                sum,
                "; jemalloc allocated {sign}{} B ({})",
                exact(difference.unsigned_abs()),
                match report.sampling {
                    None => "size classes, caches",
                    Some(_) => "size classes, a page for each drawn block, the estimate's error",
                }
            );
        }
        self.wrapped(&sum);
        if let Some(witness) = &report.witness {
            self.label("dhat", DIM);
            let sentence = if witness.agrees {
                format!(
                    "agrees with the ledger at {}: {} B in {}",
                    count(u64::from(witness.stacks), "stack"),
                    exact(witness.dhat_bytes),
                    count(witness.dhat_blocks, "block")
                )
            } else {
                format!(
                    "disagrees at {} of {} stacks: ledger {} B, dhat {} B; {}",
                    witness.differences.len(),
                    witness.stacks,
                    exact(witness.ledger_bytes),
                    exact(witness.dhat_bytes),
                    witness.differences.first().map_or("", |d| d)
                )
            };
            self.wrapped(&sentence);
        }
        self.label("cost", DIM);
        let maps = bytes(report.cost.ledger_bytes as f64);
        let sentence = match report.cost.hook_seconds {
            // Threads are in the hooks side by side, also while no cycle runs.
            Some(seconds) if seconds > report.cost.cycle_seconds => format!(
                "all threads together were inside the hooks for {} times as long as the cycles \
                 took, allocator included; the ledger maps {maps}",
                rate(seconds / report.cost.cycle_seconds.max(1e-9))
            ),
            Some(seconds) => format!(
                "{:.1} % of the time was inside the hooks, allocator included; the ledger maps {maps}",
                100.0 * seconds / report.cost.cycle_seconds.max(1e-9)
            ),
            None => format!("the ledger maps {maps}"),
        };
        self.wrapped(&sentence);
    }
}

/// An interval of an estimate, behind it.
fn between(interval: Option<(u64, u64)>) -> String {
    interval.map_or_else(String::new, |(low, high)| {
        format!(" ({} to {})", bytes(low as f64), bytes(high as f64))
    })
}

/// `1 block`, `2 blocks`.
pub(super) fn count(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", exact(n))
}

/// The frames that matter next to the blame frame: of what it called, where each further crate was
/// entered, from the allocation outwards; then who called, the user's own code first.
fn frames_below(site: &CallSite) -> Vec<&Frame> {
    let relevant = relevant(&site.stack);
    let blame = relevant.iter().position(|f| site.is_blame(f));
    let (called, callers) = match blame {
        Some(i) => (&relevant[..i], &relevant[i + 1..]),
        None => (relevant, &[][..]),
    };
    let mut chosen: Vec<&Frame> = Vec::new();
    for frame in called.iter().filter(|f| f.owner == Owner::Dependency) {
        if chosen.len() < CALLED && !chosen.iter().any(|c| c.package() == frame.package()) {
            chosen.push(frame);
        }
    }
    let own = callers.iter().find(|f| f.owner == Owner::Own);
    let any = || callers.iter().find(|f| f.owner == Owner::Dependency);
    chosen.extend(own.or_else(any));
    chosen
}

/// A holder, and what it alone keeps alive.
pub(super) fn root(root: &Root) -> String {
    let name = root.name.as_deref().unwrap_or_default();
    let who = match root.kind {
        Kind::Lost => "lost blocks of".to_owned(),
        Kind::Cycle => "reference cycles of".to_owned(),
        kind => kind.words().to_owned(),
    };
    let thread = root.thread.as_ref();
    let thread = thread.map_or_else(String::new, |t| format!(" in thread `{t}`"));
    let space = if name.is_empty() { "" } else { " " };
    format!(
        "{} {who}{space}{name}{thread}",
        bytes(root.retained_bytes as f64)
    )
}

/// The name in at most `room` columns: its end says more than its start.
pub(super) fn shortened(name: &str, room: usize) -> String {
    let length = name.chars().count();
    if length <= room {
        return name.into();
    }
    let tail: String = name.chars().skip(length + 1 - room).collect();
    format!("\u{2026}{tail}")
}

/// Values as a row of bars, at most `columns` of them; each column is the highest of its values.
pub(super) fn sparkline(values: &[u64], columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let columns = columns.min(values.len());
    let high: Vec<u64> = (0..columns)
        .map(|i| {
            let range = i * values.len() / columns..(i + 1) * values.len() / columns;
            values[range].iter().copied().max().unwrap_or(0)
        })
        .collect();
    let most = high.iter().copied().max().unwrap_or(0);
    let least = high.iter().copied().min().unwrap_or(0);
    // A change of less than a tenth of the whole is drawn as small as it is.
    let range = (most - least).max(most / 10).max(1);
    high.iter()
        .map(|&v| {
            let bar = (v - least) as u128 * 7 / range as u128;
            BARS[bar.min(7) as usize]
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn a_sparkline_rises_with_its_values() {
        assert_eq!(sparkline(&[0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[5, 5, 5], 8), "▁▁▁");
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(
            sparkline(&(0..100).collect::<Vec<_>>(), 10).chars().count(),
            10
        );
        assert_eq!(sparkline(&[u64::MAX, 0], 8), "█▁");
        assert_eq!(
            sparkline(&[1000, 1001], 8),
            "▁▁",
            "a thousandth is no change"
        );
    }

    pub(in crate::report) fn made() -> Report {
        use crate::model::end::{Ended, How};
        use crate::model::process::{Grows, Process};
        use crate::model::report::{Attribution, Boundary, CallSite, Cost, SCHEMA, Witness};
        use crate::model::verdict::{Evidence, RisesBy, Rule};
        let frame = |function: &str, file: &str, line| Frame {
            function: function.into(),
            file: Some(file.into()),
            line: Some(line),
            owner: match file.split('/').next() {
                Some("alloc") => Owner::Standard,
                Some("app") => Owner::Own,
                _ => Owner::Dependency,
            },
        };
        let site = CallSite {
            verdict: Verdict::Leak,
            reason: "80 generations are retained".into(),
            function: "serving::reload".into(),
            file: Some("app/reload.rs".into()),
            line: Some(42),
            phase: crate::Phase::Load,
            bytes_per_cycle: Some(1_048_576.0),
            bytes_per_cycle_interval: Some((1_048_576.0, 1_048_576.0)),
            blocks_per_cycle: Some(1.0),
            retained_bytes: 83 * 1_048_576,
            retained_bytes_interval: None,
            retained_blocks: 83,
            generations: 83,
            series: Vec::new(),
            lives: Vec::new(),
            source: None,
            evidence: Evidence {
                rule: Rule::Horizon,
                rises_by: RisesBy::Generations,
                rises: (1..=80).collect(),
                span: 76,
                longest_gap: 1,
                quiet: 0,
                quiet_needed: 80,
                longest_life: 0,
                chance: 1e-9,
                significance: 0.01,
                analyses: 0,
                more_cycles: None,
            },
            other_stacks: Vec::new(),
            stacks: 3,
            stack: vec![
                frame("alloc::alloc::alloc", "alloc/src/alloc.rs", 95),
                frame("burn_store::apply", "burn-store-0.22.1/src/traits.rs", 146),
                frame("serving::reload", "app/reload.rs", 42),
                frame("serving::\u{1b}[31mmain", "app/main.rs", 7),
            ],
            stack_cut: false,
            holder: None,
            holder_unknown: None,
            allowed: None,
            fingerprint: "0".into(),
        };
        let cache = CallSite {
            verdict: Verdict::Cache,
            function: "tokenizer::cached".into(),
            file: None,
            line: None,
            bytes_per_cycle: Some(0.0),
            retained_bytes: 812,
            phase: crate::Phase::Infer,
            ..site.clone()
        };
        let boundary = |cycle: u32| Boundary {
            cycle,
            live_bytes: 1_048_576 * u64::from(cycle),
            live_blocks: u64::from(cycle),
            peak_bytes: 1_048_576 * u64::from(cycle) + 500,
            resident_bytes: Some(9_000_000),
            peak_resident_bytes: Some(9_500_000),
            allocations: 10,
            allocated_bytes: 100,
            loaded_bytes: 50,
            load_peak_bytes: 60,
            threads: 1,
            quiet: true,
            seconds: 0.01,
            jemalloc: None,
            balance: None,
        };
        Report {
            schema: SCHEMA.into(),
            version: "0.1.0".into(),
            workload: "mine".into(),
            options: vec!["device=ndarray".into()],
            heap: crate::HeapKind::Dhat,
            strategy: crate::Strategy::Fresh,
            cycles: 83,
            auto: false,
            warmup: 3,
            horizon: 64,
            ended: Ended::new(How::Completed, None),
            verdict: RunVerdict::Leak,
            summary: "1 call site leaks, seen over 80 cycles after a warm-up of 3".into(),
            bytes_per_cycle: Some(1_048_576.0),
            call_sites: vec![site, cache],
            boundaries: (1..=8).map(boundary).collect(),
            process: Process {
                grows: Grows::None,
                verdict: Verdict::WarmUp,
                sentence: "nothing else grows".into(),
                parts: Vec::new(),
                purged_bytes: None,
                new_threads: Vec::new(),
            },
            roots: Vec::new(),
            holder_search: None,
            sampling: None,
            attribution: Attribution {
                live_bytes: 87_000_000,
                setup_bytes: 1000,
                call_site_bytes: 86_999_000,
                ..Attribution::default()
            },
            cost: Cost {
                hook_seconds: Some(0.01),
                cycle_seconds: 0.83,
                ledger_bytes: 262_144,
            },
            witness: Some(Witness {
                agrees: true,
                stacks: 2,
                ledger_bytes: 5,
                dhat_bytes: 5,
                ledger_blocks: 1,
                dhat_blocks: 1,
                differences: Vec::new(),
            }),
            profile: crate::report::Profile::default(),
            bins: Vec::new(),
            warnings: vec!["a note".into()],
        }
    }

    #[test]
    fn the_page_reads_from_the_verdict_down() {
        let screen = Screen {
            color: false,
            width: 80,
        };
        insta::assert_snapshot!(render(&made(), "out/ report.json", screen));
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = render(&made(), "", Screen::default());
        let coloured = Screen {
            color: true,
            ..Screen::default()
        };
        let coloured = render(&made(), "", coloured);
        assert!(coloured.contains("\u{1b}[1m"));
        let lines = coloured.lines().zip(plain.lines());
        for (coloured, plain) in lines {
            assert_eq!(visible(coloured), plain.chars().count(), "{plain}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        assert_eq!(shortened("abc::def", 20), "abc::def");
        assert_eq!(shortened("abc::def", 5), "…:def");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(printable("a\u{202e}b"), "a\u{fffd}b");
    }

    #[test]
    fn escapes_take_no_columns() {
        assert_eq!(visible("\u{1b}[1;31mleak\u{1b}[0m x"), 6);
    }
}
