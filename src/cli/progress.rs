//! The progress bar: the cycle, the live bytes, and what is still open.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::measure::Progress;

/// Draws on standard error, if that is a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(cycles: u32, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(u64::from(cycles)), target);
        // The template is a literal; if it were wrong the default bar would do.
        if let Ok(style) =
            ProgressStyle::with_template("  cycle {pos} of {len} {bar:20} {wide_msg}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, how_far: Progress<'_>) {
        if self.0.is_hidden() {
            return;
        }
        let live = crate::base::units::bytes(how_far.live_bytes as f64);
        let open = match (how_far.open, how_far.why) {
            (Some(n), Some(why)) => format!("; {n} open: {why}"),
            _ => String::new(),
        };
        self.0.set_position(u64::from(how_far.cycle));
        self.0.set_message(format!("{live} live{open}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
