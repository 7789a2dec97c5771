//! What a cycle does, for the loop that runs it.

use std::io;

use super::marks::Marks;
use super::workload::Failure;

/// What a cycle does.
pub(crate) trait Body {
    /// Runs one cycle, marking its phases.
    fn cycle(&mut self, marks: &mut Marks) -> Result<(), Stopped>;

    /// Waits for work that was queued elsewhere.
    fn sync(&mut self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Why the cycles stopped early.
pub(crate) enum Stopped {
    /// The workload could not go on.
    Workload(String),
    /// The journal, or a file beside it, could not be written.
    Journal(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Journal(error)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Workload(failure.to_string())
    }
}
