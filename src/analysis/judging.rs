//! Judges all call sites of a run, as far as the run has got.

use super::fold::Folding;
use super::holder_search::SearchResults;
use super::holders::{Holders, SiteHolder};
use super::journal::Journal;
use super::live::{self, Service};
use super::sampling;
use super::verdict::{self, Criteria, Judgement, Series};

/// Judges each call site by its own series, then those together that belong together: growth by
/// whole models, and call sites that hold the same memory in turn.
pub(crate) fn judge(series: &[Series], journal: &Journal, horizon: u32) -> Vec<Judgement> {
    let criteria = criteria(journal, horizon);
    let each = series.iter().map(|s| verdict::judge(s, criteria));
    let mut judgements: Vec<Judgement> = each.collect();
    verdict::judge_model_sized(&mut judgements, typical_load(journal));
    verdict::judge_pooled(&mut judgements, series, criteria);
    if journal.start.sampled_every.is_some() {
        let n = journal.after_warmup();
        let judged = judgements.into_iter();
        judgements = judged
            .map(|j| sampling::undecided_if_too_few(j, n))
            .collect();
    }
    if journal.start.live {
        let service = Service::of(journal, horizon);
        let judged = judgements.into_iter().zip(series);
        judgements = judged
            .map(|(j, series)| live::reviewed(j, series, service))
            .collect();
    }
    judgements
}

/// Calls possible growth a leak if the holder search found its survivors lost.
pub(crate) fn call_lost(
    judgements: &mut [Judgement],
    results: &SearchResults,
    folding: &mut Folding,
    journal: &Journal,
) {
    let may_be_lost = |i: usize| judgements.get(i).is_some_and(Judgement::may_be_lost);
    let holders = Holders::new(results, journal).of_sites(folding, may_be_lost);
    call_lost_by(judgements, results, &holders, journal);
}

/// The same, with the holders of the call sites known.
pub(super) fn call_lost_by(
    judgements: &mut [Judgement],
    results: &SearchResults,
    holders: &[SiteHolder],
    journal: &Journal,
) {
    // If memory of C code, or the stack of a thread, was not searched, it may hold what seems lost.
    if !results.searched_all() {
        return;
    }
    let collects = journal
        .interpreter
        .as_ref()
        .is_some_and(|python| python.collects);
    for (judgement, holder) in judgements.iter_mut().zip(holders) {
        judgement.call_lost(holder.lost_generations);
        if let Some(cycles) = holder.garbage_cycles.filter(|_| !collects) {
            judgement.call_garbage(cycles);
        }
    }
}

/// The criteria by which a run is judged, as far as it has got.
pub(crate) fn criteria(journal: &Journal, horizon: u32) -> Criteria {
    match journal.after_warmup() {
        _ if journal.start.live => Service::of(journal, horizon).criteria(horizon),
        n if journal.start.auto => Criteria::interim(n, horizon),
        _ => Criteria::fixed(horizon),
    }
}

/// The live bytes that the load of one cycle adds: the median after the warm-up.
fn typical_load(journal: &Journal) -> u64 {
    let counts = journal.boundaries.iter().map(|b| b.counts);
    let mut loads: Vec<u64> = counts
        .filter(|c| c.cycle > journal.start.warmup)
        .map(|c| c.loaded_bytes)
        .collect();
    loads.sort_unstable();
    loads.get(loads.len() / 2).copied().unwrap_or(0)
}
