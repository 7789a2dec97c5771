//! One measurement, from the start of the child to its report.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::child;
use super::end;
use super::measured::{HAS_JEMALLOC, Measured};
use super::observer::{Observed, Observer};
use super::progress::ShowProgress;
use super::request::Request;
use super::run_folder;
use crate::analysis::journal::Journal;
use crate::analysis::{self, RunContext, jemalloc_change, witness};
use crate::base::error::Error;
use crate::base::files;
use crate::model::end::{Ended, How};
use crate::model::journal;
use crate::model::run::HeapKind;
use crate::report::Witness;

/// Whether this build has dhat. What reads its file is compiled only then.
const HAS_DHAT: bool = cfg!(feature = "dhat");

/// Measures in a child process, and shows the progress. A run that fails after its first boundary is
/// reported like any other.
///
/// # Errors
/// If the child cannot be started or reaches no boundary, or its journal cannot be read.
pub(crate) fn measure(
    mut request: Request,
    interrupted: &AtomicBool,
    progress: impl ShowProgress,
) -> Result<Measured, Error> {
    // The child inherits the read end, so that it has to stay open until the child has started.
    let (read_end, replies) = std::io::pipe()
        .map_err(|e| Error::unstarted("create a pipe to the measured process", &e))?;
    let plan = &mut request.start.plan;
    plan.replies = Some(read_end.as_raw_fd());
    let folder = plan.out.clone();
    let mut observer = Observer::new(plan, replies, progress);
    let ended = child::run(&request.start, interrupted, || observer.poll())?;
    run_folder::remove_temporary(&folder);
    let ended = with_full_disk(ended, &folder);
    let observed = observer
        .finish()
        .map_err(|error| why_no_journal(error, &ended, &folder))?;
    measured(request, observed, ended, folder)
}

/// Makes the report of a run that has ended.
///
/// It is apart from [`measure`], because everything that a generic function names is compiled, used or not.
fn measured(
    request: Request,
    observed: Observed,
    ended: Ended,
    folder: PathBuf,
) -> Result<Measured, Error> {
    let journal = observed.journal;
    let (witness, unread) = match dhat_witness(&journal, &folder) {
        Ok(witness) => (witness, None),
        Err(error) => (None, Some(error)),
    };
    let with = RunContext {
        ended,
        horizon: request.start.plan.horizon,
        options: request.options,
        witness,
        holder_search: observed.found,
        all_holders: request.all_holders,
        config: request.config,
    };
    let mut report = analysis::report(&journal, observed.folding, with).without_home();
    if HAS_JEMALLOC {
        report.bins = jemalloc_change::bins(&folder);
    }
    if report.boundaries.is_empty() && report.ended.how == How::Failed {
        // Nothing was measured, and the reason is all there is to report.
        return Err(Error::child(format!("the measured run {}", report.ended)));
    }
    let mut measured = Measured::new(report, folder);
    if let Some(error) = unread {
        measured.warn_of(&error);
    }
    Ok(measured)
}

/// How the process ended, with the reason if it could write neither its journal nor a message.
fn with_full_disk(ended: Ended, folder: &Path) -> Ended {
    let is_silent = ended.detail.as_deref().is_some_and(end::is_silent);
    match files::check_writable(folder) {
        Err(full) if ended.how == How::Failed && is_silent => {
            Ended::new(How::Failed, full.to_string())
        }
        _ => ended,
    }
}

/// The error for a run without a readable journal.
fn why_no_journal(error: Error, ended: &Ended, folder: &Path) -> Error {
    if ended.is_complete() {
        let has_journal = folder.join(journal::FILE).exists();
        return if has_journal {
            error
        } else {
            Error::not_begun()
        };
    }
    // If the disk is full, the child cannot even write why it has ended.
    match files::check_writable(folder) {
        Err(full) => full,
        Ok(()) => Error::child(format!(
            "the measured process ended before its first cycle: it {ended}"
        )),
    }
}

/// The profile of dhat compared with the recorder, and the file prepared for dhat's viewer; `None` if
/// there is none.
fn dhat_witness(journal: &Journal, folder: &Path) -> Result<Option<Witness>, Error> {
    let path = folder.join(journal::DHAT_FILE);
    if HAS_DHAT && journal.start.heap == HeapKind::Dhat && path.exists() {
        let witness = witness::compare(journal, &path)?;
        witness::remove_hook_frames(&path)?;
        return Ok(witness);
    }
    Ok(None)
}
