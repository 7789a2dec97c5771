//! What the commands make of a report of others, and what must hold for any of them.

use std::path::Path;

use afterdrop::Report;
use afterdrop::report::formats::{self, Format};
use afterdrop::report::strategies::{self, Comparison};
use afterdrop::report::terminal::Screen;
use afterdrop::report::{compare, explain, terminal};

/// Call sites and parts that are explained: a report may have very many.
const EXPLAINED: usize = 20;

/// Reads a file as `report.json` and as `strategies.json`, and shows what is in it.
///
/// # Panics
/// If a text has a character that a terminal interprets, or the report is not read back as it was
/// written.
pub fn check(path: &Path) {
    match Report::read(path) {
        Ok(report) => show(&report),
        Err(error) => assert_printable("the error", &error.to_string()),
    }
    if let Ok(comparison) = Comparison::read(path) {
        let screen = strategies::render(&comparison, Screen::default());
        assert_printable("strategies", &screen);
        assert_no_control("strategies, html", &formats::strategies_page(&comparison));
        comparison.to_json();
    }
}

/// Shows a report in every format, explains it, and compares it with itself.
///
/// # Panics
/// As [`check`].
pub fn show(report: &Report) {
    for format in Format::ALL {
        // What a format cannot represent is an error with a message.
        match formats::render(report, format) {
            Ok(bytes) if format == Format::Pprof => assert!(!bytes.is_empty()),
            Ok(bytes) => {
                let text = String::from_utf8(bytes).expect("text");
                assert_no_control(format.name(), &text);
            }
            Err(error) => assert_printable("the error", &error.to_string()),
        }
    }
    let screen = Screen::default();
    assert_printable("the screen", &terminal::render(report, "", screen));
    assert_printable("explain", &explain::render_head(report, screen));
    for (index, site) in (1..).zip(&report.call_sites).take(EXPLAINED) {
        assert_printable("explain", &explain::render(report, index, site, screen));
    }
    for part in report.process.parts.iter().take(EXPLAINED) {
        assert_printable("explain", &explain::render_part(report, part, screen));
    }
    let comparison = compare::compare(report, report);
    assert_printable("compare", &compare::render(&comparison, screen));
    for text in [
        comparison.to_json(),
        formats::compare::markdown(&comparison),
        formats::compare::page(&comparison, &report.version),
    ] {
        assert_no_control("compare", &text);
    }
    let _ = formats::flame_of_difference(report, report);
    let again: Report = serde_json::from_str(&report.to_json()).expect("a report");
    assert!(again == *report, "a report is read as it was written");
}

/// Panics if a terminal would not show the text as it is.
fn assert_printable(what: &str, text: &str) {
    assert_no_control(what, text);
    let reorders = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.contains(reorders), "{what}: {text:?}");
}

fn assert_no_control(what: &str, text: &str) {
    let is_control = |c: char| c.is_control() && !"\n\t".contains(c);
    assert!(!text.contains(is_control), "{what}: {text:?}");
}
