//! Folded stacks (B. Gregg, `stackcollapse`): `outermost;…;innermost bytes`, a line each.

use super::NOT_ATTRIBUTED;
use crate::report::{Report, Sample};
use crate::symbols::Frame;

/// All stacks.
pub(super) fn render(report: &Report) -> String {
    report.samples().map(|s| line(&[], s, s.bytes())).collect()
}

/// One stack beneath some frames of our own.
pub(super) fn line(roots: &[String], sample: Sample<'_>, bytes: u64) -> String {
    let mut names: Vec<String> = roots.to_vec();
    names.extend(sample.frames().rev().map(name));
    if sample.frames().len() == 0 {
        names.push(NOT_ATTRIBUTED.into());
    }
    format!("{} {bytes}\n", names.join(";"))
}

/// A frame's name, without what parts frames from each other, as in `[u8; 4]`.
fn name(frame: &Frame) -> String {
    let place = frame.location();
    let name = match place.is_empty() {
        true => frame.function.clone(),
        false => format!("{} ({place})", frame.function),
    };
    name.replace(';', ",")
}
