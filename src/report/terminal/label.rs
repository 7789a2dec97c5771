//! The labels at the left of the page.

use anstyle::Style;

use crate::report::screen::Canvas;

/// The column at which everything behind a label begins.
pub(super) const COLUMN: usize = 12;

/// Begins a line with a label.
pub(super) fn label(canvas: &mut Canvas, label: &str, style: Style) {
    canvas.pad_to(2);
    canvas.styled(label, style);
    canvas.pad_to(COLUMN);
}
