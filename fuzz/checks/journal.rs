//! What is made of the journal of a run that has no report.

use std::path::Path;

use super::report;

/// Makes the report of a folder that has only a journal, and shows it.
///
/// # Panics
/// As [`report::show`].
pub fn check(folder: &Path) {
    if let Ok(report) = afterdrop::bench::report_of_journal(folder) {
        report::show(&report);
    }
}
