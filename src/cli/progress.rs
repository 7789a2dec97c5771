//! The progress bar: cycle k of n and the live bytes, read off the journal as it grows.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::journal::Record;
use crate::report;

/// Follows a journal and draws on standard error, if that is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    journal: PathBuf,
    file: Option<File>,
    line: Vec<u8>,
}

impl Progress {
    pub(super) fn new(journal: PathBuf, cycles: u32, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(u64::from(cycles)), target);
        // The template is a literal; if it were wrong the default bar would do.
        if let Ok(style) = ProgressStyle::with_template("  cycle {pos} of {len} {bar:30} {msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            journal,
            file: None,
            line: Vec::new(),
        }
    }

    /// Reads what was written since the last call.
    pub(super) fn look(&mut self) {
        if self.bar.is_hidden() {
            return;
        }
        if self.file.is_none() {
            self.file = File::open(&self.journal).ok();
        }
        let Some(file) = &mut self.file else { return };
        let mut new = Vec::new();
        if file.read_to_end(&mut new).is_err() {
            return;
        }
        for byte in new {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            if self.line.starts_with(b"{\"boundary\"")
                && let Ok(Record::<String>::Boundary(b)) = serde_json::from_slice(&self.line)
            {
                self.bar.set_position(u64::from(b.counts.cycle));
                let live = report::bytes(b.counts.live_bytes as f64);
                self.bar.set_message(format!("{live} live"));
            }
            self.line.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
