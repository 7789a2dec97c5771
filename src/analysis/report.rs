//! Puts the report together.

use super::allow;
use super::call_sites::call_sites;
use super::config::Config;
use super::fold::Folding;
use super::holder_search::SearchResults;
use super::holders::{Holders, SiteHolder};
use super::journal::Journal;
use super::judging::{call_lost_by, criteria, judge};
use super::summary::Summary;
use super::verdict::Judgement;
use super::warnings::{Facts, no_lines};
use super::{crates, live, objects, peak, process, profile, totals};
use crate::base::text::one_line;
use crate::model::end::Ended;
use crate::model::holder::Root;
use crate::model::process::Process;
use crate::model::report::{CallSite, Report, RunVerdict, SCHEMA, Witness};
use crate::model::verdict::{FEWEST_CYCLES, Verdict};

/// What a report needs to know beside the journal.
pub(crate) struct RunContext {
    /// How the process ended, as the parent saw it.
    pub(crate) ended: Ended,
    pub(crate) horizon: u32,
    pub(crate) options: Vec<String>,
    /// The comparison with dhat, if that was the heap.
    pub(crate) witness: Option<Witness>,
    /// The results of the holder search, or why there are none; `None` if there was no search.
    pub(crate) holder_search: Option<Result<SearchResults, String>>,
    /// Holders of harmless call sites are reported, too.
    pub(crate) all_holders: bool,
    /// Known leaks.
    pub(crate) config: Config,
}

/// Makes the report of a journal. `folding` may have taken in a part of it before.
pub(crate) fn report(journal: &Journal, mut folding: Folding, with: RunContext) -> Report {
    folding.catch_up(journal);
    let series = folding.series(journal);
    let mut judgements = judge(&series, journal, with.horizon);
    let holder_search = with.holder_search.as_ref();
    let results = holder_search.and_then(|results| results.as_ref().ok());
    let all = with.all_holders;
    let (holders, roots) = holders(results, &mut judgements, all, &mut folding, journal);
    let sites = call_sites(judgements, series, holders, &mut folding, journal);
    let (indices, mut call_sites): (Vec<usize>, Vec<CallSite>) = sites.into_iter().unzip();
    let objects = objects::add(results, &folding, journal, &indices, &mut call_sites);
    let profile = profile::of(&indices, &mut folding, journal);
    let unused_entries = allow::mark(&mut call_sites, &with.config.allowed);

    let start = &journal.start;
    let ended = totals::ended(journal, with.ended);
    let after_warmup = journal.after_warmup();
    let process = process::process(journal, criteria(journal, with.horizon));
    let run = run_verdict(&call_sites, &process, is_whole(journal, &ended));
    let attribution = totals::attribution(journal, &call_sites);
    let sampling = totals::sampling(journal, &folding, after_warmup);
    let facts = Facts {
        journal,
        ended: &ended,
        run,
        call_sites: &call_sites,
        process: &process,
        attribution: &attribution,
        sampling,
        witness: with.witness.as_ref(),
        holder_search,
        unread: &folding.unread(no_lines(&call_sites)),
    };
    let mut warnings = facts.warnings();
    warnings.extend(with.config.warnings.into_iter().chain(unused_entries));
    let summary = Summary {
        run,
        call_sites: &call_sites,
        process: &process,
        after_warmup,
        warmup: start.warmup,
        has_gap: journal.damage.gap_after.is_some(),
        lacks_objects: journal.lacks_objects(),
        rate: growth(run, &call_sites).unwrap_or(0.0),
    };
    Report {
        schema: SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        workload: start.workload.clone(),
        options: with.options.into_iter().chain(python(journal)).collect(),
        exec: start.exec,
        live: live::windows_of(journal, with.horizon),
        heap: start.heap,
        strategy: start.strategy,
        cycles: totals::cycles(journal),
        auto: start.auto,
        warmup: start.warmup,
        horizon: with.horizon,
        verdict: run,
        summary: summary.sentence(),
        warnings,
        ended,
        bytes_per_cycle: growth(run, &call_sites),
        boundaries: totals::boundaries(journal),
        call_sites,
        peak: peak::of(&mut folding, journal),
        crates: crates::shares(&profile, &mut folding, journal),
        objects,
        process,
        roots,
        holder_search: totals::holder_search(journal, holder_search),
        sampling,
        attribution,
        cost: totals::cost(journal),
        witness: with.witness,
        profile,
        bins: Vec::new(),
    }
}

/// The holders of the call sites and the roots. Possible growth whose survivors are lost is called
/// a leak.
fn holders(
    results: Option<&SearchResults>,
    judgements: &mut [Judgement],
    all: bool,
    folding: &mut Folding,
    journal: &Journal,
) -> (Vec<SiteHolder>, Vec<Root>) {
    let Some(results) = results else {
        return Default::default();
    };
    // Finding the name of a holder takes longer than everything else.
    let is_wanted = |i: usize| {
        let verdict = judgements.get(i).map(|j| j.verdict);
        all || verdict.is_some_and(|v| v >= Verdict::Undecided)
    };
    let is_any_wanted = (0..judgements.len()).any(is_wanted);
    let mut holders = Holders::new(results, journal);
    let of_sites = holders.of_sites(folding, is_wanted);
    call_lost_by(judgements, results, &of_sites, journal);
    let roots = match is_any_wanted {
        true => holders.roots(folding),
        false => Vec::new(),
    };
    (of_sites, roots)
}

/// Whether a run was long enough for a verdict, completed, and was recorded and could be read as a whole.
fn is_whole(journal: &Journal, ended: &Ended) -> bool {
    let is_read = journal.damage.gap_after.is_none();
    let is_recorded = is_read && !journal.lacks_objects();
    journal.after_warmup() >= FEWEST_CYCLES && ended.is_complete() && is_recorded
}

/// The worst verdict on a call site that is not allowed, or on the process. A run that is not whole is not
/// clean.
fn run_verdict(call_sites: &[CallSite], process: &Process, is_whole: bool) -> RunVerdict {
    let new = call_sites.iter().filter(|s| s.allowed.is_none());
    let worst = RunVerdict::worst(new.map(|s| s.verdict).chain([process.verdict]));
    match worst {
        RunVerdict::Clean if !is_whole => RunVerdict::Undecided,
        worst => worst,
    }
}

/// The growth of all new call sites together, in bytes per cycle; `None` if the run is undecided.
fn growth(run: RunVerdict, call_sites: &[CallSite]) -> Option<f64> {
    let new = call_sites.iter().filter(|s| s.allowed.is_none());
    let growing = new.filter(|s| s.verdict.is_growth());
    let rates = growing.filter_map(|s| s.bytes_per_cycle);
    (run != RunVerdict::Undecided).then(|| rates.fold(0.0, |sum, rate| sum + rate))
}

/// The interpreter of Python in the process, and what was set for it, as options.
fn python(journal: &Journal) -> Vec<String> {
    let Some(python) = &journal.interpreter else {
        return Vec::new();
    };
    let allocator = python.allocator.as_deref();
    let version = format!("python={}", one_line(&python.version));
    let allocator = allocator.map(|name| format!("PYTHONMALLOC={}", one_line(name)));
    [version].into_iter().chain(allocator).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::symbols::UNATTRIBUTED;
    use crate::model::block::CensusEntry;
    use crate::model::end::How;
    use crate::model::journal::Boundary;
    use crate::model::journal::Counts;
    use crate::model::run::Phase;

    fn entry(stack_id: u32, birth: u32, bytes: u64, blocks: u64) -> CensusEntry {
        CensusEntry {
            stack_id,
            birth,
            phase: Phase::Load as u8,
            bytes,
            blocks,
        }
    }

    fn journal(cycles: u32, census: impl Fn(u32) -> Vec<CensusEntry>) -> Journal {
        Journal::made(cycles, |cycle| Boundary {
            counts: Counts {
                cycle,
                quiet: true,
                ..Counts::default()
            },
            census: census(cycle),
        })
    }

    fn report_of(journal: &Journal) -> Report {
        let with = RunContext {
            ended: Ended::new(How::Completed, None),
            horizon: 64,
            options: Vec::new(),
            witness: None,
            holder_search: None,
            all_holders: true,
            config: Config::default(),
        };
        report(journal, Folding::default(), with)
    }

    #[test]
    fn a_series_counts_what_was_born_after_the_warm_up() {
        // 10 bytes per cycle; the block of cycle 5 is freed in cycle 8.
        let report = report_of(&journal(12, |cycle| {
            let mut entries = vec![entry(0, cycle, 10, 1)];
            if cycle == 8 {
                entries.push(entry(0, 5, 0, 0));
            }
            entries
        }));
        let site = &report.call_sites[0];
        assert_eq!(site.series, [10, 20, 30, 40, 40, 50, 60, 70, 80]);
        assert_eq!((site.retained_bytes, site.generations), (110, 11));
        assert_eq!(site.function, UNATTRIBUTED);
        assert_eq!(report.attribution.unattributed_bytes, 110);
    }

    #[test]
    fn a_call_site_that_appears_late_was_empty_before() {
        let report = report_of(&journal(10, |cycle| match cycle {
            9 => vec![entry(0, 9, 7, 1)],
            _ => Vec::new(),
        }));
        assert_eq!(report.call_sites[0].series, [0, 0, 0, 0, 0, 7, 7]);
    }

    #[test]
    fn a_leak_is_the_verdict_of_the_run() {
        let report = report_of(&journal(80, |cycle| vec![entry(0, cycle, 4096, 1)]));
        assert_eq!(report.verdict, RunVerdict::Leak);
        assert_eq!(report.bytes_per_cycle, Some(4096.0));
        assert_eq!(report.call_sites[0].blocks_per_cycle, Some(1.0));
    }

    #[test]
    fn a_run_without_blocks_is_clean_unless_it_is_too_short() {
        assert_eq!(
            report_of(&journal(20, |_| Vec::new())).verdict,
            RunVerdict::Clean
        );
        let short = report_of(&journal(6, |_| Vec::new()));
        assert_eq!(short.verdict, RunVerdict::Undecided);
        assert!(short.summary.contains("too few"), "{}", short.summary);
    }

    #[test]
    fn a_journal_without_an_end_is_a_failed_run() {
        let mut cut = journal(80, |cycle| vec![entry(0, cycle, 4096, 1)]);
        cut.end = None;
        cut.boundaries.truncate(6);
        let report = report_of(&cut);
        assert_eq!(report.ended.how, How::Failed);
        assert_eq!(report.cycles_run(), 6);
        assert!(
            report.warnings[0].contains("6 of 80"),
            "{:?}",
            report.warnings
        );
    }
}
