//! Why a verdict is what it is: the series, the generations, the test with its figures, and what
//! would have changed it.

use std::fmt::Write;

use super::terminal::{LEAST_NAME, Screen, shortened, sparkline};
use super::{CallSite, Report};
use crate::base::text::printable;
use crate::base::units::{bytes, exact, rate};
use crate::model::frame::location_of;
use crate::model::process::{Grows, Part};
use crate::model::verdict::Verdict;
use crate::model::verdict::{Evidence, RisesBy, Rule};

/// Columns of a chart.
const CHART: usize = 60;
/// Width of the labels at the left.
const LABEL: usize = 16;
/// Frames shown of each stack.
const FRAMES: usize = 30;
/// Holders shown with what they alone keep alive.
const TOP_ROOTS: usize = 10;

/// Explains a call site; `index` is its number in the report, from 1.
pub fn render(report: &Report, index: usize, site: &CallSite, screen: Screen) -> String {
    let mut text = String::new();
    let place = format!("{}  {}", site.function, site.location());
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "call site {index}: {}  {}",
        site.verdict,
        printable(&place)
    );
    text += &folded(&printable(&site.reason), 2, screen);
    if let Some(reason) = &site.allowed {
        let _ = writeln!(text, "  allowed: {}", printable(reason));
    }
    text += &chart("live bytes", &site.series, "B", report);
    let _ = writeln!(
        text,
        "  held at the end, warm-up included: {} B in {} blocks of {} birth cycles",
        exact(site.retained_bytes),
        exact(site.retained_blocks),
        site.generations
    );
    if let (Some(slope), Some((low, high))) = (site.bytes_per_cycle, site.bytes_per_cycle_interval)
    {
        let _ = writeln!(
            text,
            "  growth (Theil-Sen): {} B a cycle, 95 % between {} and {}",
            rate(slope),
            rate(low),
            rate(high)
        );
    }
    text += &rule(&site.evidence, report.horizon, true, screen);
    text += "\nwhat would have changed it\n";
    text += &folded(&otherwise(site.verdict, &site.evidence), 2, screen);
    holder(report, site, screen, &mut text);
    stacks(site, screen, &mut text);
    text
}

/// Who holds the call site, block by block, and what the holders of the whole report alone keep alive.
fn holder(report: &Report, site: &CallSite, screen: Screen, text: &mut String) {
    if report.holder_search.is_none() {
        return;
    }
    text.push_str("\nwho holds it\n");
    match (&site.holder, &site.holder_unknown) {
        (Some(holder), _) => {
            let place = location_of(holder.file.as_deref(), holder.line);
            let thread = holder.thread.as_ref();
            let thread = thread.map_or_else(String::new, |t| format!(", in thread `{t}`"));
            let (kind, name) = holder.who();
            let who = match holder.kind.is_lost() {
                true => holder.lost(),
                false => format!("{kind}{name}{}  {place}{thread}", holder.part()),
            };
            *text += &folded(&printable(&who), 2, screen);
            for block in &holder.path {
                let place = location_of(block.file.as_deref(), block.line);
                let step = format!(
                    "\u{2514} {} of {} B  {}  {place}",
                    block.kind(),
                    exact(block.bytes),
                    block.function
                );
                *text += &folded(&printable(&step), 4, screen);
            }
            let left_out = u64::from(holder.path_blocks).saturating_sub(holder.path.len() as u64);
            if left_out > 0 {
                let more = format!("({} blocks in the middle are left out)", exact(left_out));
                *text += &folded(&more, 4, screen);
            }
        }
        (None, Some(why)) => *text += &folded(&printable(why), 2, screen),
        (None, None) => text.push_str("  it was not found out\n"),
    }
    if !report.roots.is_empty() {
        text.push_str(
            "\nwhat holders alone keep alive: what would be freed if they were cleared\n",
        );
        let roots = report.roots.iter().filter(|r| r.retained_bytes > 0);
        for root in roots.take(TOP_ROOTS) {
            *text += &folded(&printable(&super::terminal::root(root)), 2, screen);
        }
    }
}

/// Explains a part of the process.
pub fn render_part(report: &Report, part: &Part, screen: Screen) -> String {
    let (what, unit) = match part.what {
        Grows::Threads => ("threads", "threads"),
        Grows::FileDescriptors => ("open file descriptors", "descriptors"),
        Grows::CHeap => ("bytes that C code has allocated", "B"),
        Grows::MappedMemory => ("address space that is mapped by hand", "B"),
        Grows::ResidentMemory => ("resident memory that nothing else explains", "B"),
        Grows::AllocatorKeepsPages | Grows::None => ("level", "B"),
    };
    let name = part.what.name();
    let mut text = format!("process, {name}: {}\n", part.verdict);
    text += &folded(&part.reason, 2, screen);
    text += &chart(what, &part.series, unit, report);
    if let Some(slope) = part.per_cycle {
        let _ = writeln!(text, "  growth (Theil-Sen): {} {unit} a cycle", rate(slope));
    }
    text += &rule(&part.evidence, report.horizon, false, screen);
    text += "\nwhat would have changed it\n";
    text += &folded(&otherwise(part.verdict, &part.evidence), 2, screen);
    text
}

/// A series at the boundaries behind the warm-up.
fn chart(what: &str, series: &[u64], unit: &str, report: &Report) -> String {
    let n = series.len();
    let mut text = format!(
        "\n{what} at the {n} boundaries after the warm-up of {}\n",
        report.warmup
    );
    if let (Some(&first), Some(&last)) = (series.first(), series.last()) {
        let _ = writeln!(
            text,
            "  {} {} -> {} {unit}",
            sparkline(series, CHART),
            exact(first),
            exact(last)
        );
    }
    text
}

/// Of a part of the process only its level is known, and no lives.
fn rule(e: &Evidence, horizon: u32, has_lives: bool, screen: Screen) -> String {
    let mut text = String::from("\nthe figures that decide\n");
    let mut line = |label: &str, value: &str| {
        let folded = folded(value, LABEL, screen);
        let _ = write!(
            text,
            "  {label:<width$}{}",
            folded.trim_start(),
            width = LABEL - 2
        );
    };
    let what = match e.rises_by {
        RisesBy::Generations => "a generation that outlives all that died came to stay",
        RisesBy::Floor => "all that followed was more than any before",
        RisesBy::Troughs => {
            "what a stretch of the longest life held at least was more than any before"
        }
    };
    let rises = match e.rises.len() {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        n => format!("{n} times"),
    };
    let at = match e.rises[..] {
        [] => String::new(),
        _ => format!(", in the cycles {}", ranges(&e.rises)),
    };
    line("rises", &format!("{rises}: {what}{at}"));
    if !e.rises.is_empty() {
        line(
            "span",
            &format!(
                "{} cycles from the first to the last that was confirmed; the horizon is {horizon}",
                e.span
            ),
        );
        line(
            "quiet",
            &format!(
                "{} cycles since the last; {} are needed to count as stopped (the longest wait \
                 was {})",
                e.quiet, e.quiet_needed, e.longest_gap
            ),
        );
    }
    if has_lives {
        line(
            "longest life",
            &format!("{} cycles, of what died", e.longest_life),
        );
    }
    let looks = match e.analyses {
        0 => "the run's length was fixed beforehand".to_owned(),
        n => format!("this is look {n}, and all looks together spend no more than 0.01"),
    };
    line(
        "chance",
        &format!(
            "{:.1e} that a series without trend rises as much (Mann-Kendall); less than {:.1e} is \
             believed: {looks}",
            e.chance, e.significance
        ),
    );
    let rule = match e.rule {
        Rule::Horizon => "rises went on for longer than the horizon",
        Rule::ModelSized => "a generation stayed in every cycle, together as large as the model",
        Rule::Lost => "nothing points at survivors of several generations",
        Rule::NotYet => "rises go on, and the horizon is not reached",
        Rule::Stopped => "rises stopped, for as long as they took",
        Rule::Replaced => "each new generation replaces an old one",
        Rule::Young if has_lives => "generations die young",
        Rule::Young => "it does not rise",
        Rule::BeforeBaseline => "nothing was born after the warm-up",
        Rule::TooFewCycles => "fewer cycles than any rule needs",
        Rule::TooLittle => "it grows, but by no more than what the system itself may keep",
        Rule::Open => "no rule holds yet",
    };
    line("rule", rule);
    text
}

/// Text in lines of the look's width, each indented.
fn folded(text: &str, indent: usize, screen: Screen) -> String {
    let room = screen.width.saturating_sub(indent).max(30);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let used = lines.last().map_or(0, |l| l.chars().count());
        if used > 0 && used + 1 + word.chars().count() > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    let indented = lines.iter().map(|line| format!("{:indent$}{line}\n", ""));
    indented.collect()
}

/// What would have changed the verdict.
fn otherwise(verdict: Verdict, e: &Evidence) -> String {
    let last = e.rises.last().copied().unwrap_or(0);
    let more = e.more_cycles.unwrap_or(0);
    match (verdict, e.rule) {
        (Verdict::Leak, Rule::ModelSized) => {
            "it would be `growing` if a cycle without a survivor had come in between, or if less \
             than nine tenths of what a load leaves live had stayed; --cycles 83 shows whether \
             something is swept or cached after all"
                .into()
        }
        (Verdict::Leak, Rule::Lost) => {
            "it would be `growing` if anything that the program can reach pointed at its blocks; with \
             --no-holders it is waited for the horizon"
                .into()
        }
        (Verdict::Leak, _) => format!(
            "it would be a cache if nothing had come to stay after cycle {last} for {} cycles, and \
             `growing` with --horizon {} or more",
            e.quiet_needed,
            e.span + 1
        ),
        (Verdict::Growing, _) => format!(
            "{more} more cycles make it a leak if it goes on, and a cache if it stops; a shorter \
             --horizon (up to {}) makes it a leak now",
            e.span.max(1)
        ),
        (Verdict::Undecided, _) => format!("it takes at least {more} more cycles to tell"),
        (Verdict::Cache, Rule::Stopped) => format!(
            "it would be growing if something had come to stay within the last {} cycles",
            e.quiet_needed
        ),
        (Verdict::Cache | Verdict::Churn, _) if e.rises.is_empty() && e.longest_life == 0 => {
            "it would be growing if it had risen again and again".into()
        }
        (Verdict::Cache | Verdict::Churn, _) => format!(
            "it would be growing if generations had stayed for longer than the {} cycles that one \
             lived at the most",
            e.longest_life
        ),
        (Verdict::WarmUp, _) => "it would be judged if it were born after the warm-up".into(),
    }
}

fn stacks(site: &CallSite, screen: Screen, text: &mut String) {
    let others = site
        .other_stacks
        .iter()
        .map(|s| (s.retained_bytes, &s.frames));
    let held: u64 = others.clone().map(|(bytes, _)| bytes).sum();
    let first = site.retained_bytes.saturating_sub(held);
    for (i, (retained, frames)) in [(first, &site.stack)].into_iter().chain(others).enumerate() {
        let rest = match (i, site.stacks as usize - site.other_stacks.len()) {
            (0, n) if n > 1 => format!(" (with {} stacks that are not shown)", n - 1),
            _ => String::new(),
        };
        let _ = writeln!(text, "\nstack {}: {}{rest}", i + 1, bytes(retained as f64));
        for frame in crate::model::frame::relevant(frames).iter().take(FRAMES) {
            let line = frame.line.map(|l| format!(":{l}")).unwrap_or_default();
            let file = frame.file.as_deref().unwrap_or("(unknown place)");
            let place = printable(&format!("{file}{line}"));
            // The place is what a person looks for: the name gives way.
            let room = screen.width.saturating_sub(4 + place.chars().count());
            let function = shortened(&printable(&frame.function), room.max(LEAST_NAME));
            let _ = writeln!(text, "  {function}  {place}");
        }
    }
}

/// `1-80`, `3, 6, 9-12`; the middle left out where there are too many.
fn ranges(numbers: &[u32]) -> String {
    const MOST: usize = 12;
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &n in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == n => *end = n,
            _ => runs.push((n, n)),
        }
    }
    let shown = |&(a, b): &(u32, u32)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    };
    if runs.len() <= MOST {
        return runs.iter().map(shown).collect::<Vec<_>>().join(", ");
    }
    let half = MOST / 2;
    let front: Vec<String> = runs[..half].iter().map(shown).collect();
    let back: Vec<String> = runs[runs.len() - half..].iter().map(shown).collect();
    format!("{}, ..., {}", front.join(", "), back.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_folded_into_ranges() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        let odd: Vec<u32> = (0..50).map(|n| 2 * n + 1).collect();
        assert_eq!(
            ranges(&odd),
            "1, 3, 5, 7, 9, 11, ..., 89, 91, 93, 95, 97, 99"
        );
    }

    #[test]
    fn a_leak_is_explained_with_its_figures() {
        let report = super::super::terminal::tests::made();
        let text = render(&report, 1, &report.call_sites[0], Screen::default());
        insta::assert_snapshot!(text);
    }
}
