//! Folded stacks (B. Gregg, `stackcollapse`): `outermost;…;innermost bytes`, a line each.

use super::NOT_ATTRIBUTED;
use crate::model::frame::Frame;
use crate::model::profile::Sample;
use crate::model::report::Report;

/// All stacks.
pub(super) fn render(report: &Report) -> String {
    let whole = |frame: &Frame| frame.function.clone();
    let line = |s: Sample<'_>| folded(s.frames().rev().map(|f| name(f, whole)), s.bytes());
    report.samples().map(line).collect()
}

/// A stack of names, the outermost first, and what it counts for.
pub(super) fn folded(names: impl IntoIterator<Item = String>, bytes: u64) -> String {
    format!("{} {bytes}\n", joined(names))
}

/// A stack of names, the outermost first.
pub(super) fn joined(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    if names.is_empty() {
        names.push(NOT_ATTRIBUTED.into());
    }
    names.join(";")
}

/// A frame's name and place, without what parts frames from each other, as in `[u8; 4]`.
pub(super) fn name(frame: &Frame, function: impl FnOnce(&Frame) -> String) -> String {
    let place = frame.location();
    let function = function(frame);
    let name = match place.is_empty() {
        true => function,
        false => format!("{function} ({place})"),
    };
    name.replace(';', ",")
}
