//! What was live at the peak, and what each crate has.

use super::label::{COLUMN, label};
use crate::base::text::{count, tail_of_path};
use crate::base::units::bytes;
use crate::model::peak::Peak;
use crate::model::report::Report;
use crate::model::run::Phase;
use crate::report::names::short;
use crate::report::screen::{Canvas, DIM, PLAIN, Screen};

/// Call sites shown, of those with at least one fiftieth of the live bytes.
const CALL_SITES: usize = 3;

/// Crates shown.
const CRATES: usize = 20;

/// Columns of a location.
const LOCATION: usize = 40;

/// Columns of a number of bytes.
const BYTES: usize = 12;

/// The highest live bytes within a cycle, and the call sites that had most of them.
pub(super) fn peak(canvas: &mut Canvas, report: &Report) {
    let Some(highest) = report.boundaries.iter().map(|b| b.peak_bytes).max() else {
        return;
    };
    let mut pieces = vec![format!("{} live within a cycle", bytes(highest as f64))];
    if let Some(peak) = &report.peak {
        let phase = match peak.phase {
            Phase::Cycle => String::new(),
            phase => format!(", {phase}"),
        };
        let counted = bytes(peak.live_bytes as f64);
        pieces.push(format!(
            "({counted} counted in cycle {}{phase}):",
            peak.cycle
        ));
        pieces.extend(parts(peak));
    }
    label(canvas, "peak", DIM);
    canvas.wrapped_pieces(pieces.iter().map(String::as_str), COLUMN, PLAIN);
}

/// The largest call sites, and what was allocated before the first cycle.
fn parts(peak: &Peak) -> Vec<String> {
    let is_large = |bytes: u64| bytes.saturating_mul(50) >= peak.live_bytes;
    let large = peak.call_sites.iter().filter(|site| is_large(site.bytes));
    let mut parts: Vec<String> = large
        .take(CALL_SITES)
        .map(|site| {
            let name = short(&site.function);
            let location = site.location();
            let location = tail_of_path(&location, LOCATION);
            let place = format!("{name} {location}");
            format!("{:.0} % {}", peak.percent(site.bytes), place.trim_end())
        })
        .collect();
    if is_large(peak.setup_bytes) {
        parts.push(format!(
            "{:.0} % from set-up",
            peak.percent(peak.setup_bytes)
        ));
    }
    if parts.is_empty() {
        parts.push("many small call sites".into());
    }
    let last = parts.len() - 1;
    parts[..last].iter_mut().for_each(|part| part.push(';'));
    parts
}

/// What is retained and what was live at the peak, by crate or shared library.
pub fn render_by_crate(report: &Report, screen: Screen) -> String {
    let mut canvas = Canvas::new(screen);
    canvas.end_line();
    let right = |text: &str| format!("{text:>BYTES$}");
    let head = format!("{}{}  crate", right("retained"), right("at the peak"));
    canvas.line(&head, DIM);
    for share in report.crates.iter().take(CRATES) {
        let retained = bytes(share.retained_bytes as f64);
        let peak = bytes(share.peak_bytes as f64);
        canvas.styled(&(right(&retained) + &right(&peak)), PLAIN);
        canvas.line(&format!("  {}", share.name), PLAIN);
    }
    let more = report.crates.len().saturating_sub(CRATES);
    if more > 0 {
        let more = format!("and {}, in report.json", count(more as u64, "smaller one"));
        canvas.wrapped(&more, 2 * BYTES + 2, DIM);
    }
    canvas.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::report;

    #[test]
    fn crates_are_listed_with_what_they_retain_and_had_at_the_peak() {
        insta::assert_snapshot!(render_by_crate(&report(), Screen::default()));
    }
}
