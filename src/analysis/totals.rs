//! The figures of a report that are not those of single call sites: boundaries, how much memory is
//! attributed, what the measurement cost, and how the run ended.

use super::balance;
use super::fold::Folding;
use super::holder_search::SearchResults;
use super::journal::Journal;
use super::sampling::Estimate;
use super::symbols::UNATTRIBUTED;
use crate::model::end::{Ended, How};

use crate::model::holder::HolderSearch;
use crate::model::journal::Counts;
use crate::model::report::{Attribution, Boundary, CallSite, Cost};
use crate::model::run::HeapKind;
use crate::model::sampling::Sampling;

/// The minimum number of timed calls from which their mean is reported.
const MIN_TIMED: u64 = 20;

/// Cycles that the run was to have. A program as it is has those that it ran.
pub(super) fn cycles(journal: &Journal) -> u32 {
    match journal.start.exec {
        true => journal.boundaries.len() as u32,
        false => journal.start.cycles,
    }
}

/// The boundaries of the report.
pub(super) fn boundaries(journal: &Journal) -> Vec<Boundary> {
    let boundaries = journal.boundaries.iter();
    boundaries
        .map(|b| boundary(&b.counts, journal.start.heap))
        .collect()
}

fn boundary(c: &Counts, heap: HeapKind) -> Boundary {
    Boundary {
        cycle: c.cycle,
        live_bytes: c.live_bytes,
        live_blocks: c.live_blocks,
        peak_bytes: c.peak_bytes,
        resident_bytes: c.resident_bytes,
        peak_resident_bytes: c.peak_resident_bytes,
        allocations: c.allocations,
        allocated_bytes: c.allocated_bytes,
        loaded_bytes: c.loaded_bytes,
        load_peak_bytes: c.load_peak_bytes,
        threads: c.threads,
        quiet: c.quiet,
        seconds: c.cycle_nanos as f64 / 1e9,
        jemalloc: c.jemalloc,
        balance: balance::sheet(c, heap),
    }
}

/// How much of the live memory is attributed to call sites.
pub(super) fn attribution(journal: &Journal, call_sites: &[CallSite]) -> Attribution {
    let Some(last) = journal.boundaries.last().map(|b| b.counts) else {
        return Attribution::default();
    };
    let c_bytes = last.memory.map_or(0, |m| m.c_bytes.min(last.live_bytes));
    let without_stack = call_sites.iter().filter(|s| s.function == UNATTRIBUTED);
    Attribution {
        live_bytes: last.live_bytes,
        setup_bytes: last.setup_bytes,
        call_site_bytes: call_sites.iter().map(|s| s.retained_bytes).sum(),
        unattributed_bytes: without_stack.map(|s| s.retained_bytes).sum(),
        cut_stacks: journal.stacks.values().filter(|s| s.cut).count() as u32,
        allocator_difference: last
            .jemalloc
            .map(|j| j.allocated as i64 - (last.live_bytes - c_bytes) as i64),
        unseen_calls: last.unseen,
        unknown_frees: last.unknown_frees,
        refused: last.refused,
    }
}

/// What the measurement itself cost.
pub(super) fn cost(journal: &Journal) -> Cost {
    let last = journal.boundaries.last().map(|b| b.counts);
    let nanos = journal.boundaries.iter().map(|b| b.counts.cycle_nanos);
    Cost {
        hook_seconds: last
            .filter(|c| c.timed_calls >= MIN_TIMED)
            .map(|c| c.hook_nanos as f64 / 1e9),
        cycle_seconds: nanos.sum::<u64>() as f64 / 1e9,
        ledger_bytes: last.map_or(0, |c| c.mapped_bytes),
    }
}

/// How certain the sums are; `None` if every block was recorded.
pub(super) fn sampling(
    journal: &Journal,
    folding: &Folding,
    after_warmup: u32,
) -> Option<Sampling> {
    let every = journal.start.sampled_every?;
    let last = journal.boundaries.last().map(|b| b.counts)?;
    let setup = Estimate::of(every, last.setup_bytes);
    let sites = folding.sites().iter();
    let live = sites.fold(setup, |sum, site| {
        sum.and(Estimate::of(every, site.retained.bytes))
    });
    Some(Sampling::of(every, live, after_warmup))
}

/// How holders were searched for; `None` if they were not.
pub(super) fn holder_search(
    journal: &Journal,
    results: Option<&Result<SearchResults, String>>,
) -> Option<HolderSearch> {
    let results = results?;
    let done = results.as_ref().ok().and_then(|r| r.summary);
    let searched = journal.searched.as_ref();
    Some(HolderSearch {
        failure: results.as_ref().err().cloned(),
        pause_seconds: searched.map_or(0.0, |s| s.pause_nanos as f64 / 1e9),
        seconds: done.map_or(0.0, |d| d.nanos as f64 / 1e9),
        searched_bytes: done.map_or(0, |d| d.searched_bytes),
        own_bytes: done.map_or(0, |d| d.own_bytes),
        missed_threads: done.map_or(0, |d| d.missed_threads),
    })
}

/// How the run ended. The journal knows more about the workload than the parent, which saw only how
/// the process ended.
pub(super) fn ended(journal: &Journal, seen: Ended) -> Ended {
    let mut ended = how_it_ended(journal, seen);
    if ended.is_complete() {
        let gap = journal.damage.gap_after;
        let gap = gap.map(|last| format!("its journal cannot be read after cycle {last}"));
        ended.detail = gap;
    }
    ended
}

fn how_it_ended(journal: &Journal, seen: Ended) -> Ended {
    let is_planned = !journal.start.exec;
    match journal.end.as_ref().map(|e| &e.failure) {
        Some(Some(failure)) => Ended::new(How::Failed, failure.clone()),
        // All cycles ran. How the process ended after that does not affect what was measured.
        Some(None) if is_planned => Ended::new(How::Completed, None),
        None if is_planned && seen.is_complete() && !has_last_boundary(journal) => {
            let why = match journal.damage.lines {
                0 => "the process exited before all cycles ran",
                _ => "its journal has no readable end",
            };
            Ended::new(How::Failed, why.to_owned())
        }
        _ => seen,
    }
}

/// Whether the boundary of the last planned cycle was read.
fn has_last_boundary(journal: &Journal) -> bool {
    journal.last_cycle() >= journal.start.cycles
}
