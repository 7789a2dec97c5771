//! Decides whether a check fails, and writes the message.

use std::path::Path;

use crate::analysis::limits::{Budget, Limits};
use crate::base::error::Error;
use crate::base::text::printable;
use crate::measure::OUTPUT;
use crate::model::report::Report;
use crate::report::terminal::{self, Screen};

/// Environment variable that makes checks write their baselines instead of comparing with them.
const ENV_UPDATE: &str = "AFTERDROP_UPDATE";

/// The message for a check that could not be measured.
pub(super) fn of_error(name: &str, error: &Error) -> String {
    let name = printable(name);
    match error.is_child() {
        true => format!("check `{name}`: {error}"),
        false => format!("check `{name}` could not run: {error}"),
    }
}

/// The message to fail with; `None` if the check passes, and then the warnings of the report are
/// printed.
pub(super) fn of_report(
    name: &str,
    report: &Report,
    limits: Limits,
    baseline: Option<&Path>,
    folder: &Path,
) -> Option<String> {
    let name = printable(name);
    if !report.ended.is_complete() {
        return Some(format!(
            "check `{name}`: the measured run {}\n  {} of {} cycles were run; see {}",
            report.ended,
            report.cycles_run(),
            report.cycles,
            folder.display()
        ));
    }
    let mut exceeded = limits.broken_by(report);
    if let Some(path) = baseline {
        match over_baseline(report, path, exceeded.is_empty()) {
            Ok(over) => exceeded.extend(over),
            Err(error) => exceeded.push(error.to_string()),
        }
    }
    if !exceeded.is_empty() {
        let page = terminal::render(report, &folder.to_string_lossy(), Screen::default());
        return Some(format!("check `{name}`: {}\n\n{page}", exceeded.join("; ")));
    }
    // libtest captures the output of a passing test, and prints it only if asked to.
    for warning in &report.warnings {
        println!("check `{name}`: note: {}", printable(warning));
    }
    None
}

/// A sentence for each figure that exceeds the recorded baseline. If the baseline is to be updated,
/// there are none, and it is written if the check `passes` otherwise.
fn over_baseline(report: &Report, path: &Path, passes: bool) -> Result<Vec<String>, Error> {
    let needed = Budget::of(report);
    if std::env::var_os(ENV_UPDATE).is_some_and(|update| update == "1") {
        if passes {
            needed.write(path)?;
        }
        return Ok(Vec::new());
    }
    let threads = report.boundaries.last().map_or(1, |b| b.threads);
    Ok(needed.over(&Budget::read(path)?, threads))
}

/// The error for a child that exited successfully without reaching the check.
pub(super) fn check_not_reached(test: &str, folder: &Path) -> Error {
    Error::child(format!(
        "the child exited without reaching the check: it was started as `--exact {test}`"
    ))
    .hint(format!(
        "if the test has another name, set it with `.test(\"...\")`; the output of the child is in {}",
        folder.join(OUTPUT).display()
    ))
}
