//! Follows the journal of the measured process, and replies at interim analyses.

use std::io::{PipeWriter, Write};
use std::path::{Path, PathBuf};

use super::progress::ShowProgress;
use crate::analysis::holder_search::SearchResults;
use crate::analysis::journal::{Journal, Reader};
use crate::analysis::verdict::{self, Judgement};
use crate::analysis::{self, Folding, process};
use crate::base::error::Error;
use crate::model::holders;
use crate::model::journal;
use crate::model::plan::{Plan, Reply};

/// Holder searches at interim analyses, at most. Each stops the measured process for a moment.
const MAX_SEARCHES: usize = 3;

/// Reads the journal while the measured process writes it.
pub(super) struct Observer<P> {
    reader: Reader,
    folding: Folding,
    /// The last cycle after which holders were searched for before the end of the run, and the result.
    search: Option<(u32, Result<SearchResults, String>)>,
    horizon: u32,
    folder: PathBuf,
    replies: PipeWriter,
    /// Replies sent so far.
    replied: u32,
    /// Whether to search for holders.
    holders: bool,
    /// Holder searches requested so far.
    searches: usize,
    /// How many verdicts the last interim analysis left unsettled, and the reason of the worst.
    unsettled: Option<(usize, String)>,
    progress: P,
}

impl<P: ShowProgress> Observer<P> {
    /// An observer of the run with this plan. It writes its replies to the pipe.
    pub(super) fn new(plan: &Plan, replies: PipeWriter, progress: P) -> Self {
        Self {
            reader: Reader::new(plan.out.join(journal::FILE)),
            folding: Folding::default(),
            search: None,
            horizon: plan.horizon,
            folder: plan.out.clone(),
            replies,
            replied: 0,
            holders: plan.holders,
            searches: 0,
            unsettled: None,
            progress,
        }
    }

    /// Reads new records, replies to the child if it waits, and shows the progress.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(super) fn poll(&mut self) -> Result<(), Error> {
        let Some(journal) = self.reader.poll()? else {
            return Ok(());
        };
        let Some(last) = journal.boundaries.last().map(|b| b.counts) else {
            return Ok(());
        };
        if journal.waits > self.replied {
            self.replied += 1;
            let reply = self.reply(last.cycle);
            // This fails if the child has exited, and then it needs no reply.
            let _ = self.replies.write_all(&reply.to_bytes());
        }
        let unsettled = self.unsettled.as_ref().map(|(n, why)| (*n, why.as_str()));
        self.progress.show(last.cycle, last.live_bytes, unsettled);
        Ok(())
    }

    /// Reads the rest of the journal after the child has ended.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub(super) fn finish(self) -> Result<Observed, Error> {
        let journal = self.reader.finish()?;
        let found = match self.search {
            Some((cycle, found)) if is_searched(&journal, cycle) => Some(found),
            _ => take_found(&journal, &self.folder),
        };
        Ok(Observed {
            journal,
            folding: self.folding,
            found,
        })
    }

    /// Judges the run so far, and returns the reply to the child, which waits after this cycle.
    fn reply(&mut self, cycle: u32) -> Reply {
        let Some(journal) = self.reader.journal() else {
            return Reply::Stop;
        };
        if journal.damage.gap_after.is_some() {
            // No later boundary can be read.
            return Reply::Stop;
        }
        let after_warmup = cycle.saturating_sub(journal.start.warmup);
        self.folding.catch_up(journal);
        let series = self.folding.series(journal);
        let mut judgements = analysis::judge(&series, journal, self.horizon);
        if self.holders && judgements.iter().any(Judgement::may_be_lost) {
            if is_searched(journal, cycle) {
                let found = take_found(journal, &self.folder);
                if let Some(Ok(found)) = &found {
                    analysis::call_lost(&mut judgements, found, &mut self.folding, journal);
                }
                self.search = found.map(|found| (cycle, found));
            } else if self.searches < MAX_SEARCHES {
                self.searches += 1;
                return Reply::Search;
            }
        }
        judgements.extend(self.parts_to_wait_for(journal, cycle));
        let unsettled = || judgements.iter().filter(|j| !j.settled);
        let worst: Option<&Judgement> = unsettled().max_by_key(|j| j.verdict);
        self.unsettled = worst.map(|j| (unsettled().count(), j.reason.clone()));
        // A sampled run sees few blocks at first: it is not clean before the horizon.
        let is_long_enough = journal.start.sampled_every.is_none() || after_warmup > self.horizon;
        if is_long_enough && verdict::may_end(after_warmup, judgements.iter()) {
            return Reply::Stop;
        }
        let next = verdict::next_interim(after_warmup, self.horizon);
        Reply::Continue {
            next_analysis: journal.start.warmup.saturating_add(next),
        }
    }

    /// The judgements on the parts of the process, without those that would prolong the run in vain:
    /// after the horizon, the ones that do not affect the verdict on the run, and that the remaining
    /// cycles cannot settle.
    fn parts_to_wait_for(&self, journal: &Journal, cycle: u32) -> Vec<Judgement> {
        let terms = analysis::criteria(journal, self.horizon);
        let remaining = journal.start.cycles.saturating_sub(cycle);
        let judged = process::judge(journal, terms).into_iter();
        judged
            .filter(|part| {
                let e = &part.judgement.evidence;
                let can_settle = e.more_cycles.is_none_or(|more| more <= remaining);
                let is_early = e.span < self.horizon;
                can_settle || is_early || process::is_decisive(part, journal)
            })
            .map(|part| part.judgement)
            .collect()
    }
}

/// What the child has written.
pub(super) struct Observed {
    pub(super) journal: Journal,
    pub(super) folding: Folding,
    /// The result of the last holder search; `None` if there was none.
    pub(super) found: Option<Result<SearchResults, String>>,
}

/// Whether the last holder search was after this cycle.
fn is_searched(journal: &Journal, cycle: u32) -> bool {
    journal.searched.as_ref().is_some_and(|s| s.cycle == cycle)
}

/// Reads and removes the result of the last holder search; `None` if there was none.
fn take_found(journal: &Journal, folder: &Path) -> Option<Result<SearchResults, String>> {
    let found = read_found(journal, folder);
    // The report has all of its content, and the next search creates it again.
    let _ = std::fs::remove_file(folder.join(holders::FILE));
    found
}

/// Reads the result of the last holder search; `None` if there was none.
pub(super) fn read_found(
    journal: &Journal,
    folder: &Path,
) -> Option<Result<SearchResults, String>> {
    let searched = journal.searched.as_ref()?;
    Some(match &searched.failure {
        Some(failure) => Err(failure.clone()),
        None => SearchResults::read(folder),
    })
}
