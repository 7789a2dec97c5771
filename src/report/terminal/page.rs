//! The order of the page, and its head.

use std::fmt::{self, Write};

use super::label::{COLUMN, label};
use super::{call_sites, peak, totals};
use crate::base::text::{count, duration, excerpt};
use crate::base::units::bytes;
use crate::model::report::{Report, RunVerdict};
use crate::model::verdict::Verdict;
use crate::report::screen::{BOLD, Canvas, DIM, PLAIN, Screen, YELLOW, color_of};

/// Lines of a terminal that leave room for the prompt.
const LINES: usize = 38;

/// Columns of the words about how a run ended: they may have the message of a panic.
const LONGEST_END: usize = 300;

/// Call sites shown in full, at most.
const IN_FULL: usize = 3;

/// Draws the report. `written` names the files of the run, and may be empty.
///
/// The page has as many call sites in full as fit 38 lines, and at least one.
pub fn render(report: &Report, written: &str, screen: Screen) -> String {
    for in_full in (2..=IN_FULL).rev() {
        let page = draw(report, written, screen, in_full);
        if page.lines().count() <= LINES {
            return page;
        }
    }
    draw(report, written, screen, 1)
}

/// The report as the terminal shows it, without colours, in 100 columns.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(self, "", Screen::default()))
    }
}

fn draw(report: &Report, written: &str, screen: Screen, in_full: usize) -> String {
    let mut canvas = Canvas::new(screen);
    head(&mut canvas, report);
    // A part of the process that grows is nearer to the cause than the blocks it holds.
    let process_first = report.process.verdict.is_growth();
    if process_first {
        totals::process(&mut canvas, report);
    }
    call_sites::all(&mut canvas, report, in_full);
    if !process_first {
        totals::process(&mut canvas, report);
    }
    totals::charts(&mut canvas, report);
    totals::objects(&mut canvas, report);
    peak::peak(&mut canvas, report);
    totals::roots(&mut canvas, report);
    totals::balance(&mut canvas, report);
    totals::sums(&mut canvas, report);
    totals::witness(&mut canvas, report);
    totals::cost(&mut canvas, report);
    for warning in &report.warnings {
        label(&mut canvas, "note", YELLOW);
        canvas.wrapped(warning, COLUMN, PLAIN);
    }
    if !written.is_empty() {
        label(&mut canvas, "written", DIM);
        canvas.wrapped(written, COLUMN, PLAIN);
    }
    canvas.into_text()
}

/// The verdict and the rate on the first line, then the summary and the settings.
fn head(canvas: &mut Canvas, report: &Report) {
    let (word, verdict) = match (report.ended.is_complete(), report.verdict) {
        (false, _) => ("failed", Verdict::Leak),
        (true, RunVerdict::Clean) => ("clean", Verdict::WarmUp),
        (true, RunVerdict::Undecided) => ("undecided", Verdict::Undecided),
        (true, RunVerdict::Growing) => ("growing", Verdict::Growing),
        (true, RunVerdict::Leak) => ("leak", Verdict::Leak),
    };
    canvas.styled(&word.to_uppercase(), color_of(verdict).bold());
    canvas.pad_to(COLUMN);
    canvas.line(&title(report), BOLD);
    canvas.wrapped(&report.summary, COLUMN, PLAIN);
    let settings = settings(report);
    canvas.wrapped_pieces(settings.iter().map(String::as_str), COLUMN, DIM);
    canvas.end_line();
}

fn title(report: &Report) -> String {
    let mut title = report.heading();
    let is_complete = report.ended.is_complete();
    // Writing to a `String` cannot fail.
    if !is_complete {
        let ended = report
            .ended
            .at(&format!(" after {}", report.cycles_of_all()));
        let _ = write!(title, " {}", excerpt(&ended, LONGEST_END));
    }
    if let Some(sampling) = &report.sampling {
        let every = bytes(sampling.every_bytes as f64);
        let _ = write!(title, " (sampled, one block per {every})");
    }
    let by_process = report.process.verdict.is_growth();
    if by_process {
        let _ = write!(title, ": {}", report.process.grows.name());
    }
    if let Some(rate) = report.bytes_per_cycle.filter(|&rate| rate != 0.0) {
        let (apart, verb) = match (is_complete, report.verdict) {
            (false, _) => (true, "grew by"),
            (true, RunVerdict::Leak) => (by_process, "leaks"),
            (true, _) => (by_process, "grows by"),
        };
        let apart = if apart { ";" } else { "" };
        let (amount, time) = report.growth_rate(rate);
        let _ = write!(title, "{apart} {verb} {amount} per {time}");
    }
    title
}

/// The settings, the number of cycles, and their time.
fn settings(report: &Report) -> Vec<String> {
    let mut settings = report.settings();
    let (run, most) = (report.cycles_run(), report.cycles);
    let cycles = match report.auto {
        true => format!("{} (auto, at most {most})", count(u64::from(run), "cycle")),
        false if !report.has_strategy() => count(u64::from(run), "cycle"),
        false => format!("{run} of {}", count(u64::from(most), "cycle")),
    };
    if let Some(last) = settings.last_mut() {
        last.push(';');
    }
    settings.push(cycles);
    let seconds = report.cost.cycle_seconds;
    settings.push(match report.live {
        Some(windows) => format!("of {} each", duration(windows.seconds)),
        None => format!("in {seconds:.2} s"),
    });
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::columns;
    use crate::report::example::report;

    #[test]
    fn the_page_reads_from_the_verdict_down() {
        let screen = Screen {
            color: false,
            width: 80,
        };
        insta::assert_snapshot!(render(&report(), "out/ report.json", screen));
    }

    #[test]
    fn a_report_displays_as_the_terminal_shows_it() {
        let report = report();
        assert_eq!(report.to_string(), render(&report, "", Screen::default()));
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = report().to_string();
        let screen = Screen {
            color: true,
            ..Screen::default()
        };
        let coloured = render(&report(), "", screen);
        assert!(coloured.contains("\u{1b}[1m"));
        for (coloured, plain) in coloured.lines().zip(plain.lines()) {
            assert_eq!(columns(coloured), plain.chars().count(), "{plain}");
        }
    }
}
