//! What was live at the peak.

use crate::base::text::count;
use crate::base::units::{bytes, sum};
use crate::model::report::Report;
use crate::report::names::short;
use crate::report::screen::{Canvas, PLAIN, Screen};

/// Call sites shown.
const CALL_SITES: usize = 10;

/// Columns of a share and of a number of bytes.
const SHARE: usize = 8;
const BYTES: usize = 10;

/// The call sites that had the most when the live bytes were highest, also those that retain nothing; empty if
/// that is not known.
pub fn render_peak(report: &Report, screen: Screen) -> String {
    let mut canvas = Canvas::new(screen);
    let Some(peak) = &report.peak else {
        return String::new();
    };
    let head = format!(
        "live at the peak (cycle {}, {}): {}",
        peak.cycle,
        peak.phase,
        bytes(peak.live_bytes as f64)
    );
    canvas.line(&head, PLAIN);
    let amount = |canvas: &mut Canvas, number: u64| {
        let share = format!("{:.1} %", peak.percent(number));
        let number = bytes(number as f64);
        canvas.styled(&format!("{share:>SHARE$}{number:>BYTES$}  "), PLAIN);
    };
    for site in peak.call_sites.iter().take(CALL_SITES) {
        amount(&mut canvas, site.bytes);
        canvas.frame(&short(&site.function), &site.location(), PLAIN);
    }
    let rest = peak.call_sites.iter().skip(CALL_SITES);
    let others = count(rest.clone().count() as u64, "more call site");
    let rest = sum(rest.map(|site| site.bytes).chain([peak.other_bytes]));
    for (number, what) in [
        (rest, others.as_str()),
        (peak.setup_bytes, "from before the first cycle"),
    ] {
        if number > 0 {
            amount(&mut canvas, number);
            canvas.line(what, PLAIN);
        }
    }
    canvas.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn the_peak_lists_call_sites_that_retain_nothing() {
        insta::assert_snapshot!(render_peak(&example::report(), Screen::default()));
    }
}
