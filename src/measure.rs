//! The parent's half of a measurement, the same for all doors: start the child, wait for its end,
//! read back what it wrote, judge, and write the report beside it.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::analysis::{self, Circumstances};
use crate::child::{self, How};
use crate::config::Config;
use crate::cycle::{self, HeapKind};
use crate::error::Error;
use crate::journal::Journal;
use crate::report::{self, Report};
use crate::{jemalloc_change, witness};

/// What the workload unpacks, in the folder of a run; removed after it.
pub(crate) const SCRATCH: &str = "scratch";

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) start: child::Start,
    pub(crate) horizon: u32,
    /// The workload's settings, for the report.
    pub(crate) options: Vec<String>,
    /// Leaks that are known.
    pub(crate) config: Config,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) report: Report,
    /// Why a file beside the journal could not be read or written (a full disk). What was measured
    /// is not lost for that.
    pub(crate) unwritten: Option<Error>,
}

/// Measures in a child and writes `report.json` in the folder of the run, calling `watch` now and
/// then meanwhile. A run that failed after its first boundary is reported like any other.
///
/// # Errors
/// If the child cannot start or reaches no boundary, or the journal cannot be read.
pub(crate) fn measure(
    request: Request,
    interrupted: &AtomicBool,
    watch: impl FnMut(),
) -> Result<Measured, Error> {
    let folder = request.start.out.as_path();
    let ended = child::measure(&request.start, interrupted, watch)?;
    for left in [cycle::SPILL, SCRATCH] {
        // A killed child leaves them; one that ended has removed them.
        let _ = std::fs::remove_dir_all(folder.join(left));
    }
    child::tidy_output(folder);
    let journal = match Journal::read(&folder.join(cycle::JOURNAL)) {
        Ok(journal) => journal,
        Err(_) if !ended.is_complete() => {
            return Err(Error::child(format!(
                "the measured run did not begin: {ended}"
            )));
        }
        Err(error) => return Err(error),
    };
    let (witness, unread) = match second_witness(&journal, folder) {
        Ok(witness) => (witness, None),
        Err(error) => (None, Some(error)),
    };
    let with = Circumstances {
        ended,
        horizon: request.horizon,
        options: request.options,
        witness,
        config: request.config,
    };
    let report = analysis::report(&journal, with);
    if report.boundaries.is_empty() && report.ended.how == How::Failed {
        // Nothing was measured: a report would only hide the reason.
        return Err(Error::child(format!("the measured run {}", report.ended)));
    }
    let written = jemalloc_change::write_table(folder)
        .and_then(|()| report.write(&folder.join(report::FILE)));
    Ok(Measured {
        report,
        unwritten: unread.or(written.err()),
    })
}

/// dhat's file, compared with the ledger and made ready for its viewer.
fn second_witness(journal: &Journal, folder: &Path) -> Result<Option<report::Witness>, Error> {
    let path = folder.join(cycle::DHAT_FILE);
    if journal.start.heap != HeapKind::Dhat || !path.exists() {
        return Ok(None);
    }
    let witness = witness::compare(journal, &path)?;
    witness::tidy(&path)?;
    Ok(witness)
}
