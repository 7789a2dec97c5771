//! A run that has ended, with its report.

use std::path::PathBuf;

use crate::analysis::jemalloc_change;
use crate::base::error::Error;
use crate::model::report::{FILE, Report};

/// Whether this build has jemalloc. What reads its dumps is compiled only then.
pub(super) const HAS_JEMALLOC: bool = cfg!(feature = "jemalloc");

/// A run that has ended, with its report.
pub(crate) struct Measured {
    pub(crate) report: Report,
    /// Why `report.json` could not be written, for example because the disk is full. The report in memory
    /// is complete nevertheless.
    pub(crate) unwritten: Option<Error>,
    /// The folder of the run.
    pub(super) folder: PathBuf,
}

impl Measured {
    /// A run with this report, whose files are in this folder.
    pub(super) fn new(report: Report, folder: PathBuf) -> Self {
        Self {
            report,
            unwritten: None,
            folder,
        }
    }

    /// Adds a warning that a file beside the report could not be read or written. What was measured does
    /// not depend on it.
    pub(super) fn warn_of(&mut self, error: &Error) {
        let warning = format!("{error}; the report does not depend on this file");
        self.report.warnings.push(warning);
    }

    /// Writes `report.json` to the folder of the run, and then the files that are made from others there. An
    /// error with the report is kept for [`check_written`](Self::check_written).
    pub(crate) fn write(mut self) -> Self {
        let path = self.folder.join(FILE);
        self.unwritten = self.report.write(&path).err();
        if let Some(full) = self.unwritten.as_ref().filter(|e| e.is_full_disk())
            && HAS_JEMALLOC
            // The report has what matters of these statistics, and all else.
            && jemalloc_change::remove_dumps(&self.folder)
        {
            let warning =
                format!("{full}: the statistics of the allocator were removed to make room");
            self.report.warnings.push(warning);
            self.unwritten = self.report.write(&path).err();
        }
        if HAS_JEMALLOC && let Err(error) = jemalloc_change::write_table(&self.folder) {
            self.warn_of(&error);
        }
        self
    }

    /// Returns the report if it could be written.
    ///
    /// # Errors
    /// If it could not. If the run itself failed, the error is one of the child.
    pub(crate) fn check_written(self) -> Result<Report, Error> {
        match self.unwritten {
            None => Ok(self.report),
            Some(error) if self.report.ended.is_complete() => Err(error),
            Some(error) => Err(Error::child(error.to_string())),
        }
    }
}
