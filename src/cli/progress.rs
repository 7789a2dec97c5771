//! The progress bar: the cycle, the live bytes, and how many verdicts may still change.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::units;
use crate::measure::ShowProgress;

/// A progress bar on standard error. It is hidden if that is not a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// `cycles` are those to run; `None` if it is not known how many there will be.
    pub(super) fn new(cycles: Option<u32>, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(cycles.map(u64::from), target);
        let template = match cycles {
            Some(_) => "  cycle {pos} of {len} {bar:20} {wide_msg}",
            None => "  cycle {pos}: {wide_msg}",
        };
        // Both are valid; without one the bar has its default style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl ShowProgress for Bar {
    #[cfg(feature = "exec")]
    fn is_shown(&self) -> bool {
        !self.0.is_hidden()
    }

    fn show(&mut self, cycle: u32, live_bytes: u64, unsettled: Option<(usize, &str)>) {
        if self.0.is_hidden() {
            return;
        }
        let live = units::bytes(live_bytes as f64);
        let unsettled = match unsettled {
            Some((count, why)) => format!("; {count} unsettled: {why}"),
            None => String::new(),
        };
        self.0.set_position(u64::from(cycle));
        self.0.set_message(format!("{live} live{unsettled}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
