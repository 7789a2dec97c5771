//! Finds the report or the workload that an argument names.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::base::error::Error;
use crate::base::names;
use crate::measure::{folder_with_journal, report_of};
use crate::model::journal;
use crate::model::report::{FILE, Report};
use crate::workloads::Entry;

/// The report that a path names, which is a file or the folder of a run, and the file that it was read
/// from. If the run has only a journal, the report is made from that.
///
/// # Errors
/// If there is neither, or it cannot be read.
pub(super) fn read_report(path: &Path) -> Result<(Report, PathBuf), Error> {
    let is_unreported = path.is_dir() && !path.join(FILE).exists();
    if is_unreported && let Some(folder) = folder_with_journal(path) {
        return Ok((report_of(&folder)?, folder.join(journal::FILE)));
    }
    let file = report_file(path)?;
    Ok((Report::read(&file)?, file))
}

/// The report file that a path names: the file itself, or the `report.json` in a folder.
///
/// # Errors
/// If the path is a folder without a report. The message names the runs in its subfolders.
fn report_file(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let report = path.join(FILE);
    if report.exists() {
        return Ok(report);
    }
    let entries = fs::read_dir(path).map_err(|e| Error::io("read the folder", path, e))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut runs: Vec<String> = folders
        .filter(|p| p.join(FILE).exists())
        .map(|p| p.display().to_string())
        .collect();
    runs.sort_unstable();
    let missing = Error::usage(format!("the folder {} has no {FILE}", path.display()));
    Err(match runs[..] {
        [] => missing,
        _ => missing.hint(format!("name one of the runs in it: {}", runs.join(" "))),
    })
}

/// A workload: one of the list, or one made from a file.
pub(super) enum Found<'a> {
    Listed(&'a Entry),
    #[cfg(feature = "keras")]
    Made(Box<Entry>),
}

impl Deref for Found<'_> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        match self {
            Self::Listed(entry) => entry,
            #[cfg(feature = "keras")]
            Self::Made(entry) => entry,
        }
    }
}

/// The workload with this name.
///
/// # Errors
/// If there is none. The message suggests the nearest name.
pub(super) fn find_workload<'a>(workloads: &'a [Entry], name: &str) -> Result<Found<'a>, Error> {
    if let Some(entry) = workloads.iter().find(|w| w.name() == name) {
        return Ok(Found::Listed(entry));
    }
    #[cfg(feature = "keras")]
    if crate::workloads::keras::is_file(name) {
        return Ok(Found::Made(Box::new(crate::workloads::keras_file(name))));
    }
    #[cfg(feature = "keras")]
    if let Some(error) = crate::workloads::keras::not_a_file(name) {
        return Err(error);
    }
    let known: Vec<&str> = workloads.iter().map(Entry::name).collect();
    Err(names::unknown("workload", name, &known))
}
