//! Folded stacks (B. Gregg, `stackcollapse`): a line `outermost;…;innermost bytes` for each stack.

use crate::model::frame::{Frame, NOT_ATTRIBUTED};
use crate::model::report::Report;
use crate::report::samples::Sample;

/// All stacks, with whole names.
pub(super) fn render(report: &Report) -> Result<String, String> {
    report.check_text(|_| 1)?;
    let names = |s: Sample<'_>| s.frames().map(|f| label(&f.function, f)).collect();
    let lines = report.samples().map(|s| line(names(s), s.bytes()));
    Ok(lines.collect())
}

/// The line of a stack. Its labels are given innermost first.
pub(super) fn line(labels: Vec<String>, bytes: u64) -> String {
    format!("{} {bytes}\n", folded(labels))
}

/// The labels of a stack joined, the outermost first.
pub(super) fn folded(mut labels: Vec<String>) -> String {
    if labels.is_empty() {
        labels.push(NOT_ATTRIBUTED.into());
    }
    labels.reverse();
    labels.join(";")
}

/// A frame's name and location. The separator of frames, as in `[u8; 4]`, becomes a comma.
pub(super) fn label(name: &str, frame: &Frame) -> String {
    let location = frame.location();
    let label = match location.is_empty() {
        true => name.to_owned(),
        false => format!("{name} ({location})"),
    };
    label.replace(';', ",")
}
