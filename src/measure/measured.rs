//! A run that has ended, with its report.

use std::path::PathBuf;

use crate::base::error::Error;
use crate::model::report::{FILE, Report};

/// A run that has ended, with its report.
pub(crate) struct Measured {
    pub(crate) report: Report,
    /// Why a file in the folder of the run could not be read or written, for example because the disk
    /// is full. The report in memory is complete nevertheless.
    pub(crate) unwritten: Option<Error>,
    /// The folder of the run.
    pub(super) folder: PathBuf,
}

impl Measured {
    /// Writes `report.json` to the folder of the run. An error is kept for
    /// [`check_written`](Self::check_written).
    pub(crate) fn write(mut self) -> Self {
        let written = self.report.write(&self.folder.join(FILE));
        self.unwritten = self.unwritten.or(written.err());
        self
    }

    /// Returns the report if all files of the run could be read and written.
    ///
    /// # Errors
    /// If one could not. If the run itself failed, the error is one of the child.
    pub(crate) fn check_written(self) -> Result<Report, Error> {
        match self.unwritten {
            None => Ok(self.report),
            Some(error) if self.report.ended.is_complete() => Err(error),
            Some(error) => Err(Error::child(error.to_string())),
        }
    }
}
