//! The explanation of a call site, and of a part of the process.

use super::evidence;
use super::holders;
use crate::base::text::count;
use crate::base::units::{bytes, exact, rate, sum};
use crate::model::frame::relevant;
use crate::model::peak::PeakCallSite;
use crate::model::process::{Grows, Part};
use crate::model::report::{CallSite, Report};
use crate::report::names::{short, short_of_stack};
use crate::report::screen::{Canvas, PLAIN, Screen};
use crate::report::sparkline::sparkline;

/// Columns of a chart.
const CHART: usize = 60;

/// Frames shown of each stack.
const FRAMES: usize = 30;

/// The verdict on the run, and its notes: one may say that the run was cut off.
pub fn render_head(report: &Report, screen: Screen) -> String {
    let Report {
        verdict, summary, ..
    } = report;
    let workload = report.heading();
    let mut canvas = Canvas::new(screen);
    canvas.wrapped(&format!("{workload}: {verdict}: {summary}"), 0, PLAIN);
    for note in &report.warnings {
        canvas.wrapped(&format!("note: {note}"), 0, PLAIN);
    }
    canvas.into_text()
}

/// Explains the verdict on a call site. `index` is its number in the report, from 1.
pub fn render(report: &Report, index: usize, site: &CallSite, screen: Screen) -> String {
    let mut canvas = Canvas::new(screen);
    canvas.styled(&format!("call site {index}: {}  ", site.verdict), PLAIN);
    canvas.frame(&short(&site.function), &site.location(), PLAIN);
    canvas.wrapped(&site.reason, 2, PLAIN);
    if let Some(reason) = &site.allowed {
        canvas.wrapped(&format!("allowed: {reason}"), 2, PLAIN);
    }
    if let Some(pool) = &site.pool {
        canvas.wrapped(pool, 2, PLAIN);
    }
    chart(&mut canvas, "live bytes", &site.series, "B", report);
    let retained = format!(
        "retained at the end, warm-up included: {} B in {} of {}",
        exact(site.retained_bytes),
        count(site.retained_blocks, "block"),
        count(u64::from(site.generations), "generation"),
    );
    canvas.wrapped(&retained, 2, PLAIN);
    at_peak(&mut canvas, report, site);
    if let (Some(slope), Some((low, high))) = (site.bytes_per_cycle, site.bytes_per_cycle_interval)
    {
        let growth = format!(
            "growth (Theil-Sen): {} B per cycle, 95 % interval {} to {}",
            rate(slope),
            rate(low),
            rate(high)
        );
        canvas.wrapped(&growth, 2, PLAIN);
    }
    evidence::figures(&mut canvas, &site.evidence, report.horizon, true);
    evidence::alternatives(&mut canvas, site.verdict, &site.evidence, report);
    holders::of_site(&mut canvas, report, site);
    stacks(&mut canvas, site);
    canvas.into_text()
}

/// What a call site had when the live bytes were highest.
fn at_peak(canvas: &mut Canvas, report: &Report, site: &CallSite) {
    let Some(peak) = &report.peak else {
        return;
    };
    let mut at_peak = peak.call_sites.iter();
    let is_same = |p: &&PeakCallSite| {
        let frame = (&p.function, &p.file, p.line, p.phase);
        frame == (&site.function, &site.file, site.line, site.phase)
    };
    let had = at_peak.find(is_same).map_or(0, |p| p.bytes);
    let text = format!(
        "at the peak (cycle {}, {}): {} B of {} B",
        peak.cycle,
        peak.phase,
        exact(had),
        exact(peak.live_bytes)
    );
    canvas.wrapped(&text, 2, PLAIN);
}

/// Explains the verdict on a part of the process.
pub fn render_part(report: &Report, part: &Part, screen: Screen) -> String {
    let (what, unit) = match part.what {
        Grows::Threads => ("threads", "threads"),
        Grows::FileDescriptors => ("open file descriptors", "descriptors"),
        Grows::CHeap => ("bytes allocated by C code", "B"),
        Grows::MappedMemory => ("bytes mapped by no allocator", "B"),
        Grows::ResidentMemory => ("resident bytes that no other part explains", "B"),
        Grows::AllocatorKeepsPages | Grows::None => ("bytes", "B"),
    };
    let mut canvas = Canvas::new(screen);
    let head = format!("process, {}: {}", part.what.name(), part.verdict);
    canvas.line(&head, PLAIN);
    canvas.wrapped(&part.reason, 2, PLAIN);
    chart(&mut canvas, what, &part.series, unit, report);
    if let Some(slope) = part.per_cycle {
        let growth = format!("growth (Theil-Sen): {} {unit} per cycle", rate(slope));
        canvas.wrapped(&growth, 2, PLAIN);
    }
    evidence::figures(&mut canvas, &part.evidence, report.horizon, false);
    evidence::alternatives(&mut canvas, part.verdict, &part.evidence, report);
    canvas.into_text()
}

/// A series at the boundaries after the warm-up.
fn chart(canvas: &mut Canvas, what: &str, series: &[u64], unit: &str, report: &Report) {
    let title = format!(
        "{what} at {} after a warm-up of {}",
        count(series.len() as u64, "boundary"),
        count(u64::from(report.warmup), "cycle")
    );
    canvas.end_line();
    canvas.line(&title, PLAIN);
    if let (Some(&first), Some(&last)) = (series.first(), series.last()) {
        let bars = sparkline(series, CHART);
        let range = format!("  {bars} {} -> {} {unit}", exact(first), exact(last));
        canvas.line(&range, PLAIN);
    }
}

/// The stacks that retain the most.
fn stacks(canvas: &mut Canvas, site: &CallSite) {
    let others = site
        .other_stacks
        .iter()
        .map(|s| (s.retained_bytes, &s.frames));
    let of_others = sum(others.clone().map(|(bytes, _)| bytes));
    let first = site.retained_bytes.saturating_sub(of_others);
    let not_shown = (site.stacks as usize).saturating_sub(site.other_stacks.len() + 1);
    for (i, (retained, frames)) in [(first, &site.stack)].into_iter().chain(others).enumerate() {
        let rest = match (i, not_shown) {
            (0, 1..) => format!(
                " (includes {} not shown)",
                count(not_shown as u64, "more stack")
            ),
            _ => String::new(),
        };
        canvas.end_line();
        let head = format!("stack {}: {}{rest}", i + 1, bytes(retained as f64));
        canvas.line(&head, PLAIN);
        let frames = relevant(frames);
        let shown = &frames[..frames.len().min(FRAMES)];
        for (frame, name) in shown.iter().zip(short_of_stack(shown)) {
            canvas.pad_to(2);
            canvas.frame(&name, &frame.location(), PLAIN);
        }
        let more = frames.len() - shown.len();
        if more > 0 {
            let more = format!("  and {}", count(more as u64, "more frame"));
            canvas.line(&more, PLAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn a_leak_is_explained_with_its_figures() {
        let report = example::report();
        let text = render(&report, 1, &report.call_sites[0], Screen::default());
        insta::assert_snapshot!(text);
    }
}
