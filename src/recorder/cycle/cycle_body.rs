//! The body of the cycle loop, and the errors that end the loop.

use std::io;

use super::phase_tracker::PhaseTracker;
use super::workload::Failure;

/// The body of the cycle loop: the closure of a check, or a workload with a strategy.
pub(crate) trait CycleBody {
    /// Runs one cycle, and tells the tracker when a phase begins.
    fn run_cycle(&mut self, phases: &mut PhaseTracker) -> Result<(), CycleError>;

    /// Waits for work that the cycle has queued, on a device or in a thread pool.
    fn sync(&mut self) -> Result<(), CycleError> {
        Ok(())
    }
}

/// An error that ends the cycle loop before its last cycle.
pub(crate) enum CycleError {
    /// The workload failed. The report of the run has the message.
    Workload(String),
    /// The journal, or a file beside it, could not be written.
    Io(io::Error),
}

impl From<io::Error> for CycleError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Failure> for CycleError {
    fn from(failure: Failure) -> Self {
        Self::Workload(failure.to_string())
    }
}
