//! The parent's half of a measurement, the same for all doors: start the child, look at what it
//! writes, wait for its end, judge, and write the report beside it.

use std::io::{PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::analysis::config::Config;
use crate::analysis::holder_search::SearchResults;
use crate::analysis::journal::{Journal, Reader};
use crate::analysis::process;
use crate::analysis::verdict::{self, Judgement};
use crate::analysis::{self, Folding, RunContext};
use crate::analysis::{jemalloc_change, witness};
use crate::base::error::Error;
use crate::base::files;
use crate::model::end::How;
use crate::model::report::Report;
use crate::model::run::HeapKind;
use crate::recorder::cycle::{self};
use crate::report::{self};

pub(crate) mod child;
pub(crate) mod memory_limit;

/// What the workload unpacks, in the folder of a run; removed after it.
pub(crate) const SCRATCH: &str = "scratch";

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) start: child::Start,
    pub(crate) horizon: u32,
    /// Holders are looked for.
    pub(crate) holders: bool,
    /// And told of harmless call sites, too.
    pub(crate) all_holders: bool,
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

impl Measured {
    /// The report, if all files beside it are there.
    ///
    /// # Errors
    /// The one that kept a file from being written; as that of a failed run if the run failed.
    pub(crate) fn check_written(self) -> Result<Report, Error> {
        match self.unwritten {
            None => Ok(self.report),
            Some(error) if self.report.ended.is_complete() => Err(error),
            Some(error) => Err(Error::child(error.to_string())),
        }
    }
}

/// How far a run is.
#[cfg_attr(
    not(feature = "cli"),
    expect(dead_code, reason = "only the command shows it")
)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress<'a> {
    /// Cycles that reached their boundary.
    pub(crate) cycle: u32,
    pub(crate) live_bytes: u64,
    /// Call sites that are not settled, as of the last look.
    pub(crate) open: Option<usize>,
    /// Why the worst of them is not.
    pub(crate) why: Option<&'a str>,
}

/// Measures in a child and writes `report.json` in the folder of the run, telling `watch` now and
/// then how far it is. A run that failed after its first boundary is reported like any other.
///
/// # Errors
/// If the child cannot start or reaches no boundary, or the journal cannot be read.
pub(crate) fn measure(
    mut request: Request,
    interrupted: &AtomicBool,
    watch: impl FnMut(Progress<'_>),
) -> Result<Measured, Error> {
    let (control, answers) = std::io::pipe()
        .map_err(|e| Error::child(format!("cannot make a pipe to the measured child: {e}")))?;
    request.start.control = Some(Arc::new(control.into()));
    let folder = request.start.out.clone();
    let mut observer = Observer {
        reader: Reader::new(folder.join(cycle::JOURNAL)),
        folding: Folding::default(),
        horizon: request.horizon,
        folder: folder.clone(),
        answers,
        answered: 0,
        holders: request.holders,
        asked: Vec::new(),
        found: None,
        open: None,
        why: None,
        watch,
    };
    let ended = child::measure(&request.start, interrupted, || observer.look())?;
    for left in [cycle::SPILL, SCRATCH] {
        // A killed child leaves them; one that ended has removed them.
        let _ = std::fs::remove_dir_all(folder.join(left));
    }
    child::tidy_output(&folder);
    let journal = match observer.reader.finish() {
        Ok(journal) => journal,
        Err(_) if !ended.is_complete() => {
            // On a full disk the child cannot even say why it ended.
            files::check_room(&folder)?;
            return Err(Error::child(format!(
                "the measured run did not begin: it {ended}"
            )));
        }
        Err(_) if !folder.join(cycle::JOURNAL).exists() => return Err(Error::not_begun()),
        Err(error) => return Err(error),
    };
    let (witness, unread) = match second_witness(&journal, &folder) {
        Ok(witness) => (witness, None),
        Err(error) => (None, Some(error)),
    };
    let known = observer
        .found
        .filter(|(cycle, _)| is_searched(&journal, *cycle));
    let found = known.map(|(_, found)| found);
    let found = found.or_else(|| found_by(&journal, &folder));
    let with = RunContext {
        ended,
        horizon: request.horizon,
        options: request.options,
        witness,
        holder_search: found,
        all_holders: request.all_holders,
        config: request.config,
    };
    let mut report = analysis::report(&journal, observer.folding, with).without_home();
    report.bins = jemalloc_change::bins(&folder);
    if report.boundaries.is_empty() && report.ended.how == How::Failed {
        // Nothing was measured: a report would only hide the reason.
        return Err(Error::child(format!("the measured run {}", report.ended)));
    }
    let written = jemalloc_change::write_table(&folder)
        .and_then(|()| report.write(&folder.join(crate::model::report::FILE)));
    Ok(Measured {
        report,
        unwritten: unread.or(written.err()),
    })
}

/// How often holders are looked for before a run's end.
const MOST_SEARCHES: usize = 3;

/// Whether holders were looked for behind this cycle, and no later one.
fn is_searched(journal: &Journal, cycle: u32) -> bool {
    journal.searched.as_ref().is_some_and(|l| l.cycle == cycle)
}

/// What the last search for holders has found; `None` if there was none.
fn found_by(journal: &Journal, folder: &Path) -> Option<Result<SearchResults, String>> {
    let searched = journal.searched.as_ref()?;
    let found = match &searched.failure {
        Some(failure) => Err(failure.clone()),
        None => SearchResults::read(folder),
    };
    // All of it that is of use is in the report, and the next search writes it anew.
    let _ = std::fs::remove_file(folder.join(crate::model::holders::FILE));
    Some(found)
}

/// Follows the journal, and answers a run that ends by itself.
struct Observer<W> {
    reader: Reader,
    folding: Folding,
    horizon: u32,
    folder: PathBuf,
    answers: PipeWriter,
    /// The last cycle that was answered.
    answered: u32,
    /// Holders are looked for.
    holders: bool,
    /// Cycles behind which the run was asked to look for them before its end.
    asked: Vec<u32>,
    /// What was found behind the last of them.
    found: Option<(u32, Result<SearchResults, String>)>,
    open: Option<usize>,
    why: Option<String>,
    watch: W,
}

impl<W: FnMut(Progress<'_>)> Observer<W> {
    fn look(&mut self) -> Result<(), Error> {
        let Some(journal) = self.reader.poll()? else {
            return Ok(());
        };
        let Some(last) = journal.boundaries.last().map(|b| b.counts) else {
            return Ok(());
        };
        let after_warmup = last.cycle.saturating_sub(journal.start.warmup);
        let waits = journal.start.auto && verdict::is_interim(after_warmup, self.horizon);
        let is_asked = self.asked.last() == Some(&last.cycle);
        let is_being_searched = is_asked && !is_searched(journal, last.cycle);
        if waits && last.cycle > self.answered && !is_being_searched {
            let answer = self.answer(last.cycle);
            // A child that has ended meanwhile needs no answer.
            let _ = self.answers.write_all(&[answer]);
        }
        (self.watch)(Progress {
            cycle: last.cycle,
            live_bytes: last.live_bytes,
            open: self.open,
            why: self.why.as_deref(),
        });
        Ok(())
    }

    /// What a run that has got as far as this cycle, and waits, is told.
    fn answer(&mut self, cycle: u32) -> u8 {
        let Some(journal) = self.reader.journal() else {
            return cycle::GO_ON;
        };
        let after_warmup = cycle.saturating_sub(journal.start.warmup);
        self.folding.catch_up(journal);
        let series = self.folding.series(journal);
        let mut judgements = analysis::judge(&series, journal, self.horizon);
        if self.holders && judgements.iter().any(Judgement::may_be_lost) {
            if is_searched(journal, cycle) {
                let found = found_by(journal, &self.folder);
                if let Some(Ok(found)) = &found {
                    analysis::call_lost(&mut judgements, found, &mut self.folding, journal);
                }
                self.found = found.map(|found| (cycle, found));
            } else if self.asked.len() < MOST_SEARCHES {
                self.asked.push(cycle);
                return cycle::SEARCH;
            }
        }
        self.answered = cycle;
        let criteria = analysis::criteria(journal, self.horizon);
        let left = journal.start.cycles.saturating_sub(cycle);
        // Behind the horizon what cannot be told in the cycles that are left holds nobody up.
        let parts = process::judge(journal, criteria)
            .into_iter()
            .map(|part| part.judgement)
            .filter(|j| {
                let e = &j.evidence;
                let can_be_told = e.more_cycles.is_none_or(|more| more <= left);
                j.settled || can_be_told || e.span < self.horizon
            });
        judgements.extend(parts);
        let open = || judgements.iter().filter(|j| !j.settled);
        let worst: Option<&Judgement> = open().max_by_key(|j| j.verdict);
        self.open = Some(open().count());
        self.why = worst.map(|j| j.reason.clone());
        // Where not every block is recorded, that nothing was seen says little in a short run.
        let long_enough = journal.start.sampled_every.is_none() || after_warmup > self.horizon;
        match long_enough && verdict::may_end(after_warmup, judgements.iter()) {
            true => cycle::STOP,
            false => cycle::GO_ON,
        }
    }
}

/// dhat's file, compared with the ledger and made ready for its viewer.
fn second_witness(journal: &Journal, folder: &Path) -> Result<Option<report::Witness>, Error> {
    let path = folder.join(cycle::DHAT_FILE);
    if journal.start.heap != HeapKind::Dhat || !path.exists() {
        return Ok(None);
    }
    let witness = witness::compare(journal, &path)?;
    witness::remove_hook_frames(&path)?;
    Ok(witness)
}
