//! Reading and writing `report.json`.

#[cfg(feature = "cli")]
use std::io::{self, Write};
use std::path::Path;

use super::json;
use crate::base::error::Error;
use crate::base::files;
use crate::model::report::{Report, SCHEMA};

/// Bytes of the largest report that is read. A run takes less than 1 kB for a call site without details,
/// for a stack, and for a boundary.
const LARGEST: u64 = 1 << 30;

/// Entries of a list that has a few in every run.
const LONGEST_LIST: usize = 1000;

/// Frames of a stack. A recorded one has 128, with what is inlined there.
const LONGEST_STACK: usize = 10_000;

impl Report {
    /// Reads a `report.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not a report, or has another schema.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let report: Self = json::read(path, "report", LARGEST, SCHEMA, |report: &Self| {
            &report.schema
        })?;
        match report.inconsistency() {
            None => Ok(report),
            Some(wrong) => Err(Error::malformed(path, None, wrong)),
        }
    }

    /// What no run writes, if it is in the report.
    fn inconsistency(&self) -> Option<String> {
        if !self.profile.is_consistent(self.call_sites.len()) {
            return Some("its profile refers to call sites or frames that are not in it".into());
        }
        let holders = self.call_sites.iter().filter_map(|s| s.holder.as_ref());
        let path = holders.map(|holder| holder.path.len()).max();
        let stacks = self.profile.stacks.iter();
        let stack = stacks.map(|stack| stack.frames.len()).max();
        let lists = [
            (self.options.len(), LONGEST_LIST, "options"),
            (
                self.process.parts.len(),
                LONGEST_LIST,
                "parts of the process",
            ),
            (self.warnings.len(), LONGEST_LIST, "warnings"),
            (
                path.unwrap_or(0),
                LONGEST_LIST,
                "blocks in the path to a holder",
            ),
            (stack.unwrap_or(0), LONGEST_STACK, "frames in a stack"),
        ];
        let (length, most, of) = lists.into_iter().find(|&(length, most, _)| length > most)?;
        Some(format!("it has {length} {of}, of at most {most}"))
    }

    /// The report as JSON: indented, but with plain lists on one line.
    pub fn to_json(&self) -> String {
        json::indented(self)
    }

    /// Writes it as JSON, atomically: under a temporary name that is then renamed.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        files::write_with(path, |to| json::write_indented(self, to))
    }

    /// Writes it as JSON with a line break at the end, piece by piece: a report may be very long.
    ///
    /// # Errors
    /// If `to` cannot be written.
    #[cfg(feature = "cli")]
    pub(crate) fn write_json(&self, to: &mut dyn Write) -> io::Result<()> {
        json::write_indented(self, to)?;
        writeln!(to)
    }
}
