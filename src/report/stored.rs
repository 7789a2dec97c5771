//! Reading and writing `report.json`.

use std::path::Path;

use super::json;
use crate::base::error::Error;
use crate::base::files;
use crate::model::report::{Report, SCHEMA};

impl Report {
    /// Reads a `report.json`.
    ///
    /// # Errors
    /// If the file cannot be read, is not a report, or has another schema.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let report: Self = json::read(path, "report", SCHEMA)?;
        match report.profile.is_consistent(report.call_sites.len()) {
            true => Ok(report),
            false => Err(Error::malformed(
                path,
                None,
                "its profile refers to call sites or frames that are not in it",
            )),
        }
    }

    /// The report as JSON: indented, but with plain lists on one line.
    pub fn to_json(&self) -> String {
        json::indented(self)
    }

    /// Writes it as JSON, atomically: under a temporary name that is then renamed.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        files::write_bytes(path, self.to_json().as_bytes())
    }
}
