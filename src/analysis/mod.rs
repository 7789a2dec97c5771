//! From the journal to the report: stacks folded by blame frame, series made of censuses, each
//! judged.

use self::sampling::Estimate;
use self::verdict::{Criteria, Judgement, Series};
use crate::analysis::config::Config;
use crate::analysis::found::Found;
use crate::analysis::journal::Journal;
use crate::base::names::fnv;
use crate::base::units::{bytes, one_line};
use crate::model::block::NO_STACK;
use crate::model::end::Early;
use crate::model::end::{Ended, How};
use crate::model::frame::{Frame, relevant};
use crate::model::holder::HolderSearch;
use crate::model::journal::Counts;
use crate::model::process::Process;
use crate::model::profile::Generation;
use crate::model::report::{
    Attribution, Boundary, CallSite, Cost, OtherStack, Report, RunVerdict, SCHEMA, Witness,
};
use crate::model::run::{HeapKind, Strategy};
use crate::model::sampling::Sampling;
use crate::model::verdict::Verdict;

pub(crate) mod allow;
mod balance;

pub(crate) mod config;
mod fold;
pub(crate) mod found;
mod held;
pub(crate) mod jemalloc_change;
pub(crate) mod journal;
pub(crate) mod limits;
pub(crate) mod process;
mod profile;
pub(crate) mod sampling;

mod symbols;
pub(crate) mod verdict;
pub(crate) mod witness;

pub(crate) use fold::Folding;
use held::Naming;

use self::symbols::UNATTRIBUTED;

/// Call sites that are told of in full: the rest of many thousands is for the profile.
const IN_FULL: usize = 1000;
/// Call sites whose source is shown.
const WITH_SOURCE: usize = 100;
/// Changes of generations that are told of all call sites together.
const CHANGES: usize = 200_000;

/// What the journal does not know.
pub(crate) struct Circumstances {
    pub(crate) ended: Ended,
    pub(crate) horizon: u32,
    pub(crate) options: Vec<String>,
    pub(crate) witness: Option<Witness>,
    /// Who holds the survivors, or why that is not known; `None` if it was not looked for.
    pub(crate) found: Option<Result<Found, String>>,
    /// Of harmless call sites, too, the holder is told.
    pub(crate) all_holders: bool,
    /// Leaks that are known.
    pub(crate) config: Config,
}

/// Judges the series of all groups that a run has so far, each by itself and then those together
/// that a cycle's load may explain.
pub(crate) fn judge(series: &[Series], journal: &Journal, horizon: u32) -> Vec<Judgement> {
    let terms = terms(journal, horizon);
    let mut judgements: Vec<Judgement> = series.iter().map(|s| verdict::judge(s, terms)).collect();
    verdict::judge_model_sized(&mut judgements, typical_load(journal));
    verdict::judge_pooled(&mut judgements, series, terms);
    if journal.start.sampled_every.is_some() {
        let n = after_warmup(journal);
        judgements = judgements
            .into_iter()
            .map(|j| sampling::doubt(j, n))
            .collect();
    }
    judgements
}

/// Calls a leak what may grow and is lost, where all that might hold it was searched.
pub(crate) fn call_lost(
    judgements: &mut [Judgement],
    found: &Found,
    folding: &mut Folding,
    journal: &Journal,
) {
    let may_be_lost = |i: usize| judgements.get(i).is_some_and(Judgement::may_be_lost);
    let holders = Naming::new(found, journal).of_groups(folding, may_be_lost);
    call_lost_by(judgements, found, &holders);
}

fn call_lost_by(judgements: &mut [Judgement], found: &Found, holders: &[held::OfGroup]) {
    // Where C code's memory, or a thread's stack, was not seen, what is lost may be held there.
    if !found.searched_all() {
        return;
    }
    for (judgement, holder) in judgements.iter_mut().zip(holders) {
        judgement.call_lost(holder.lost_generations);
    }
}

/// By what this run is judged, as far as it has got.
pub(crate) fn terms(journal: &Journal, horizon: u32) -> Criteria {
    match after_warmup(journal) {
        n if journal.start.auto => Criteria::interim(n, horizon),
        _ => Criteria::fixed(horizon),
    }
}

/// Cycles after the warm-up that reached their boundary.
fn after_warmup(journal: &Journal) -> u32 {
    let cycles = journal.boundaries.iter().map(|b| b.counts.cycle);
    cycles.filter(|&c| c > journal.start.warmup).count() as u32
}

/// Makes the report of a journal, of which some may have been folded before.
pub(crate) fn report(journal: &Journal, mut folding: Folding, with: Circumstances) -> Report {
    folding.catch_up(journal);
    let mut series = folding.series(journal);
    let mut judgements = judge(&series, journal, with.horizon);
    let found = with.found.as_ref().and_then(|f| f.as_ref().ok());
    let mut naming = found.map(|found| Naming::new(found, journal));
    // To find the name of a holder takes longer than all the rest.
    let is_wanted = |i: usize| {
        let verdict = judgements.get(i).map(|j| j.verdict);
        with.all_holders || verdict.is_some_and(|v| v >= Verdict::Undecided)
    };
    let mut holders = match &mut naming {
        Some(naming) => naming.of_groups(&mut folding, is_wanted),
        None => Vec::new(),
    };
    let any_wanted = (0..judgements.len()).any(is_wanted);
    if let Some(found) = found {
        call_lost_by(&mut judgements, found, &holders);
    }
    let naming = naming.filter(|_| any_wanted);
    let roots = naming.map_or_else(Vec::new, |mut n| n.roots(&mut folding));
    let mut of_groups: Vec<(usize, CallSite)> = Vec::new();
    for (i, judgement) in judgements.into_iter().enumerate() {
        let held = folding.groups()[i].retained.blocks > 0;
        if held || judgement.verdict != Verdict::WarmUp {
            let bytes = std::mem::take(&mut series[i].bytes);
            let mut site = site(&folding, i, journal, judgement, bytes);
            if let Some(of_group) = holders.get_mut(i).map(std::mem::take) {
                site.holder = of_group.holder;
                site.holder_unknown = of_group.unknown;
            }
            of_groups.push((i, site));
        }
    }
    of_groups.sort_by(|(_, a), (_, b)| {
        let rate = |s: &CallSite| s.bytes_per_cycle.unwrap_or(0.0);
        b.verdict
            .cmp(&a.verdict)
            .then(rate(b).total_cmp(&rate(a)))
            .then(b.retained_bytes.cmp(&a.retained_bytes))
            .then(a.location().cmp(&b.location()))
    });
    tell_more(&mut of_groups, &mut folding, journal);
    let (groups, mut call_sites): (Vec<usize>, Vec<CallSite>) = of_groups.into_iter().unzip();
    let profile = profile::of(&groups, &mut folding, journal);
    let mut known = with.config.warnings;
    known.extend(allow::mark(&mut call_sites, &with.config.allowed));
    let ended = ended(journal, with.ended);
    let after_warmup = after_warmup(journal);
    let new = || call_sites.iter().filter(|s| s.allowed.is_none());
    let process = process::process(journal, terms(journal, with.horizon));
    let mut run = RunVerdict::worst(new().map(|s| s.verdict).chain([process.verdict]));
    // What a run did not reach it cannot clear.
    if run == RunVerdict::Clean
        && (after_warmup < crate::model::verdict::FEWEST_CYCLES || !ended.is_complete())
    {
        run = RunVerdict::Undecided;
    }
    let growth = new()
        .filter(|s| s.verdict.is_growth())
        .filter_map(|s| s.bytes_per_cycle);
    let bytes_per_cycle =
        (run != RunVerdict::Undecided).then(|| growth.fold(0.0, |sum, rate| sum + rate));
    let attribution = attribution(journal, &call_sites);
    let sampling = sampling(journal, &folding, after_warmup);
    let mut warnings = warnings(
        journal,
        &attribution,
        &ended,
        with.witness.as_ref(),
        sampling,
    );
    if !call_sites.is_empty() && call_sites.iter().all(|s| s.line.is_none()) {
        warnings.push(
            "this build has no line tables, so that places are functions at best: set \
             `debug = \"line-tables-only\"` for its profile in Cargo.toml, and no `strip`"
                .into(),
        );
    }
    if run != RunVerdict::Leak {
        warnings.extend(process.doubts());
    }
    if run == RunVerdict::Undecided && ended.is_complete() {
        warnings.extend(gave_up(journal, &process));
    }
    warnings.extend(holder_doubts(with.found.as_ref(), &call_sites));
    warnings.extend(known);
    Report {
        schema: SCHEMA.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        workload: journal.start.workload.clone(),
        options: with.options,
        heap: journal.start.heap,
        strategy: journal.start.strategy,
        cycles: journal.start.cycles,
        auto: journal.start.auto,
        warmup: journal.start.warmup,
        horizon: with.horizon,
        verdict: run,
        summary: summary(
            run,
            &call_sites,
            &process,
            after_warmup,
            journal.start.warmup,
        ),
        warnings,
        ended,
        bytes_per_cycle,
        call_sites,
        boundaries: journal
            .boundaries
            .iter()
            .map(|b| boundary(&b.counts, journal.start.heap))
            .collect(),
        process,
        roots,
        holder_search: holder_search(journal, with.found.as_ref()),
        sampling,
        attribution,
        cost: cost(journal),
        witness: with.witness,
        profile,
        bins: Vec::new(),
    }
}

/// Adds to the worst call sites what not all of many thousands can have: generations, stacks, source.
fn tell_more(call_sites: &mut [(usize, CallSite)], folding: &mut Folding, journal: &Journal) {
    let mut room = CHANGES;
    for (rank, (group, site)) in call_sites.iter_mut().enumerate() {
        // By the stack that retains the most.
        let (stacks, count) = folding.stacks(*group, journal);
        let mut stacks = stacks.into_iter();
        let (stack, cut) = stacks
            .next()
            .map_or_else(Default::default, |s| (s.frames, s.cut));
        site.stacks = count;
        site.stack_cut = cut;
        site.fingerprint = fingerprint(&stack);
        if rank >= IN_FULL {
            continue;
        }
        site.stack = stack;
        let others = stacks.map(|s| OtherStack {
            retained_bytes: s.bytes,
            frames: relevant(&s.frames).to_vec(),
        });
        site.other_stacks = others.collect();
        let lives = || folding.groups()[*group].lives();
        let changes: usize = lives().map(|(_, live)| live.len()).sum();
        if changes <= room {
            room -= changes;
            site.lives = lives()
                .map(|(cycle, live)| Generation {
                    cycle,
                    live: live.to_vec(),
                })
                .collect();
        }
        if let (Some(file), Some(line), true) = (&site.file, site.line, rank < WITH_SOURCE) {
            site.source = folding.excerpt(file, line);
        }
    }
}

fn site(
    folding: &Folding,
    index: usize,
    journal: &Journal,
    judgement: Judgement,
    series: Vec<u64>,
) -> CallSite {
    let group = &folding.groups()[index];
    let grows = judgement.bytes_per_cycle;
    let (function, file, line) = match group.blame.clone() {
        Some(frame) => (frame.function, frame.file, frame.line),
        None => (UNATTRIBUTED.into(), None, None),
    };
    CallSite {
        verdict: judgement.verdict,
        reason: judgement.reason,
        function,
        file,
        line,
        phase: group.phase,
        bytes_per_cycle: grows.map(|s| s.value),
        bytes_per_cycle_interval: grows.map(|s| match journal.start.sampled_every {
            None => (s.low, s.high),
            Some(every) => {
                let n = after_warmup(journal);
                let (low, high) = Estimate::growth_interval(every, s.value, n);
                (s.low.min(low), s.high.max(high))
            }
        }),
        blocks_per_cycle: judgement.blocks_per_cycle.map(|s| s.value),
        retained_bytes: group.retained.bytes,
        retained_bytes_interval: journal
            .start
            .sampled_every
            .map(|every| estimate(every, group.retained).interval()),
        retained_blocks: group.retained.blocks,
        generations: group.living_generations(),
        series,
        evidence: judgement.evidence,
        lives: Vec::new(),
        source: None,
        stacks: 0,
        other_stacks: Vec::new(),
        holder: None,
        holder_unknown: None,
        allowed: None,
        fingerprint: String::new(),
        stack: Vec::new(),
        stack_cut: false,
    }
}

/// Why holders are not known, or may not be right.
fn holder_doubts(found: Option<&Result<Found, String>>, call_sites: &[CallSite]) -> Option<String> {
    match found? {
        Err(why) => Some(format!("holders are not known: {}", one_line(why))),
        Ok(found) => {
            let done = found.done?;
            let is_lost = |s: &CallSite| {
                let holder = s.holder.as_ref();
                holder.is_some_and(|h| h.kind.is_lost() || h.lost_blocks > 0)
            };
            if !call_sites.iter().any(is_lost) {
                return None;
            }
            if done.missed_threads > 0 {
                return Some(format!(
                    "threads whose stacks were not searched, because they block all signals: {}; what \
                     nothing else points at may be held there",
                    done.missed_threads
                ));
            }
            (!done.saw_c_code).then(|| {
                "memory of C code was not searched, nor what is mapped by hand, because the system's \
                 allocator has both: what nothing else points at may be held there; --heap jemalloc tells"
                    .into()
            })
        }
    }
}

/// How holders were looked for.
fn holder_search(journal: &Journal, found: Option<&Result<Found, String>>) -> Option<HolderSearch> {
    let found = found?;
    let done = found.as_ref().ok().and_then(|f| f.done);
    let searched = journal.searched.as_ref();
    Some(HolderSearch {
        failure: found.as_ref().err().cloned(),
        pause_seconds: searched.map_or(0.0, |l| l.pause_nanos as f64 / 1e9),
        seconds: done.map_or(0.0, |d| d.nanos as f64 / 1e9),
        searched_bytes: done.map_or(0, |d| d.searched_bytes),
        own_bytes: done.map_or(0, |d| d.own_bytes),
        missed_threads: done.map_or(0, |d| d.missed_threads),
    })
}

/// What is live of a group, where it is estimated.
fn estimate(every: u64, live: fold::Live) -> Estimate {
    Estimate::of(every, live.bytes)
}

/// How sure the sums are, where they are estimated.
fn sampling(journal: &Journal, folding: &Folding, after_warmup: u32) -> Option<Sampling> {
    let every = journal.start.sampled_every?;
    let last = journal.boundaries.last().map(|b| b.counts)?;
    let setup = Estimate::of(every, last.setup_bytes);
    let groups = folding.groups().iter();
    let live = groups.fold(setup, |sum, g| sum.and(estimate(every, g.retained)));
    Some(Sampling::of(every, live, after_warmup))
}

/// A hash over functions and files of the frames that matter.
fn fingerprint(stack: &[Frame]) -> String {
    let mut text = String::new();
    for frame in relevant(stack) {
        let file = frame.file.as_deref().unwrap_or_default();
        text += &format!("{}\0{file}\0", frame.function);
    }
    format!("{:016x}", fnv(text.as_bytes()))
}

/// Live bytes that a cycle's load adds: the median after the warm-up.
fn typical_load(journal: &Journal) -> u64 {
    let counts = journal.boundaries.iter().map(|b| b.counts);
    let mut loads: Vec<u64> = counts
        .filter(|c| c.cycle > journal.start.warmup)
        .map(|c| c.loaded_bytes)
        .collect();
    loads.sort_unstable();
    loads.get(loads.len() / 2).copied().unwrap_or(0)
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

fn attribution(journal: &Journal, call_sites: &[CallSite]) -> Attribution {
    let Some(last) = journal.boundaries.last().map(|b| b.counts) else {
        return Attribution::default();
    };
    let without_stack = call_sites.iter().filter(|s| s.function == UNATTRIBUTED);
    Attribution {
        live_bytes: last.live_bytes,
        setup_bytes: last.setup_bytes,
        call_site_bytes: call_sites.iter().map(|s| s.retained_bytes).sum(),
        unattributed_bytes: without_stack.map(|s| s.retained_bytes).sum(),
        cut_stacks: journal.stacks.values().filter(|s| s.cut).count() as u32,
        allocator_difference: last
            .jemalloc
            .map(|j| j.allocated as i64 - last.live_bytes as i64),
        unseen_calls: last.unseen,
        unknown_frees: last.unknown_frees,
        refused: last.refused,
    }
}

/// Timed calls from which on their mean is worth printing.
const ENOUGH_TIMED: u64 = 20;

fn cost(journal: &Journal) -> Cost {
    let last = journal.boundaries.last().map(|b| b.counts);
    let nanos: u64 = journal
        .boundaries
        .iter()
        .map(|b| b.counts.cycle_nanos)
        .sum();
    Cost {
        hook_seconds: last
            .filter(|c| c.timed_calls >= ENOUGH_TIMED)
            .map(|c| c.hook_nanos as f64 / 1e9),
        cycle_seconds: nanos as f64 / 1e9,
        ledger_bytes: last.map_or(0, |c| c.mapped_bytes),
    }
}

/// What the journal says of the end is nearer to the workload than what the parent saw.
fn ended(journal: &Journal, seen: Ended) -> Ended {
    match journal.end.as_ref().map(|e| &e.failure) {
        Some(Some(failure)) => Ended::new(How::Failed, failure.clone()),
        // It ran all cycles; how the process went after that changes nothing that was measured.
        Some(None) => Ended::new(How::Completed, None),
        None if seen.is_complete() => Ended::new(
            How::Failed,
            "the process exited before all cycles ran".to_owned(),
        ),
        None => seen,
    }
}

fn summary(
    run: RunVerdict,
    call_sites: &[CallSite],
    process: &Process,
    after_warmup: u32,
    warmup: u32,
) -> String {
    let looked = format!("{after_warmup} cycles after a warm-up of {warmup}");
    let new = || call_sites.iter().filter(|s| s.allowed.is_none());
    let count = |v: Verdict| new().filter(|s| s.verdict == v).count();
    let places = |n: usize| match n {
        1 => "1 place".to_owned(),
        n => format!("{n} places"),
    };
    // The process, where it is as bad as the worst of the call sites.
    let of_process = |v: Verdict| (process.verdict == v).then_some(process.grows.name());
    let both = |call_sites: Option<String>, process: Option<&str>| match (call_sites, process) {
        // What a thread that stays holds is blocks, too: it is named first.
        (Some(call_sites), Some(process)) => format!("there is {process}, and {call_sites}"),
        (Some(call_sites), None) => call_sites,
        (None, Some(process)) => process.to_owned(),
        (None, None) => "nothing grows".to_owned(),
    };
    match run {
        RunVerdict::Leak => {
            let n = count(Verdict::Leak);
            let verb = if n == 1 { "leaks" } else { "leak" };
            let leaking = (n > 0).then(|| format!("{} {verb}", places(n)));
            format!(
                "{}, seen over {looked}",
                both(leaking, of_process(Verdict::Leak))
            )
        }
        RunVerdict::Growing => {
            let n = count(Verdict::Growing);
            let growing = (n > 0).then(|| format!("memory grows at {}", places(n)));
            let growing = both(growing, of_process(Verdict::Growing));
            format!("{growing}, but {looked} do not reach the horizon")
        }
        RunVerdict::Undecided => {
            let n = count(Verdict::Undecided);
            let open = (n > 0).then(|| places(n));
            let of_process = of_process(Verdict::Undecided).map(|what| format!("the {what}"));
            let open = match (open, of_process) {
                (Some(open), Some(process)) => Some(format!("{open} and {process}")),
                (open, process) => open.or(process),
            };
            match open {
                Some(open) => format!("{open} cannot be told yet, seen over {looked}"),
                None if after_warmup >= crate::model::verdict::FEWEST_CYCLES => {
                    format!("nothing grew in {looked}, but the run did not get to its end")
                }
                None => format!(
                    "{looked} are too few for a verdict; at least {} are needed",
                    crate::model::verdict::FEWEST_CYCLES
                ),
            }
        }
        RunVerdict::Clean if new().count() < call_sites.len() => {
            format!("nothing grows but what is allowed, seen over {looked}")
        }
        RunVerdict::Clean => format!("nothing grows, seen over {looked}"),
    }
}

/// Why a run that ends by itself has ended before all was told.
fn gave_up(journal: &Journal, process: &Process) -> Option<String> {
    let (reached, most) = (journal.boundaries.len() as u32, journal.start.cycles);
    if !journal.start.auto || reached >= most {
        return None;
    }
    let open = process
        .parts
        .iter()
        .filter(|p| p.verdict == Verdict::Undecided);
    let more = open.filter_map(|p| p.evidence.more_cycles).max()?;
    let enough = u64::from(reached) + u64::from(more);
    Some(format!(
        "the run ended after {reached} of at most {most} cycles, because the rest would not have \
         told more: about --cycles {enough} would"
    ))
}

fn warnings(
    journal: &Journal,
    attribution: &Attribution,
    ended: &Ended,
    witness: Option<&Witness>,
    sampling: Option<Sampling>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let reached = journal.boundaries.len();
    if !ended.is_complete() {
        warnings.push(format!(
            "the run ended early ({}): {reached} of {} boundaries were reached, and only they \
             are reported",
            one_line(&ended.to_string()),
            journal.start.cycles
        ));
    }
    if journal
        .end
        .as_ref()
        .is_some_and(|e| e.early == Some(Early::Time))
    {
        warnings.push(format!(
            "the run ended after {reached} cycles because its time was over; --max-time gives it \
             more"
        ));
    }
    if journal.start.strategy == Strategy::Keep {
        warnings.push("the strategy `keep` itself keeps every model: that is what is shown".into());
    }
    let restless = journal
        .boundaries
        .iter()
        .filter(|b| !b.counts.quiet)
        .count();
    if restless > 0 {
        warnings.push(format!(
            "at {restless} of {reached} boundaries other threads were still allocating after \
             100 ms; what they hold at that moment may be counted: let them finish in `sync`"
        ));
    }
    if attribution.unseen_calls > 0 {
        warnings.push(format!(
            "{} calls were not recorded, because they came from inside the allocator (a signal \
             handler that allocates)",
            attribution.unseen_calls
        ));
    }
    if attribution.refused > 0 {
        warnings.push(format!(
            "the ledger found no room for {} blocks or stacks: the system refused it memory, or more \
             than 16 million stacks allocated, or had live blocks of so many phases; see the README's \
             limits",
            attribution.refused
        ));
    }
    if journal.start.heap == HeapKind::Dhat {
        warnings.push(
            "under dhat what C code allocates is not judged, because dhat's own books are among \
             it: --heap jemalloc judges it"
                .into(),
        );
    }
    if journal.boundaries.iter().any(|b| b.counts.memory.is_none()) {
        warnings.push(
            "the kernel does not tell of this process's mappings (/proc/self/smaps), so that only \
             blocks are judged, and no C code, mapped memory, threads or file descriptors"
                .into(),
        );
    }
    if journal.start.by_cfi {
        warnings.push(
            "stacks were walked by call frame information, because this build has no frame pointers \
             or AFTERDROP_UNWIND=cfi is set; RUSTFLAGS=\"-C force-frame-pointers=yes\" makes \
             recording several times faster"
                .into(),
        );
    }
    if let Some(s) = sampling {
        warnings.push(format!(
            "one block in {} was recorded, and the rest is estimated: a leak of {} per cycle is missed in \
             one of twenty runs, a smaller one more often; the same program is drawn from in the same way \
             again; without --sample every block is recorded",
            bytes(s.every_bytes as f64),
            bytes(s.missed_below)
        ));
    }
    let named = journal.stacks.iter().any(|(&id, _)| id != NO_STACK);
    if !named && attribution.unattributed_bytes > 0 {
        warnings.push(
            "no allocation has a readable stack: build with frame pointers \
             (RUSTFLAGS=\"-C force-frame-pointers=yes\")"
                .into(),
        );
    }
    if let Some(witness) = witness.filter(|w| !w.agrees) {
        warnings.push(format!(
            "dhat and the ledger disagree at {} stacks: see `witness` in report.json",
            witness.differences.len()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::block::CensusEntry;
    use crate::model::journal::Boundary;
    use crate::model::run::Phase;

    fn row(site: u32, birth: u32, bytes: u64, blocks: u64) -> CensusEntry {
        CensusEntry {
            stack_id: site,
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

    fn made(journal: &Journal) -> Report {
        let with = Circumstances {
            ended: Ended::new(How::Completed, None),
            horizon: 64,
            options: Vec::new(),
            witness: None,
            found: None,
            all_holders: true,
            config: Config::default(),
        };
        report(journal, Folding::default(), with)
    }

    #[test]
    fn rows_become_a_series_of_what_was_born_after_the_warm_up() {
        // 10 bytes each cycle; the block of cycle 5 goes in cycle 8.
        let report = made(&journal(12, |cycle| {
            let mut rows = vec![row(0, cycle, 10, 1)];
            if cycle == 8 {
                rows.push(row(0, 5, 0, 0));
            }
            rows
        }));
        let site = &report.call_sites[0];
        assert_eq!(site.series, [10, 20, 30, 40, 40, 50, 60, 70, 80]);
        assert_eq!((site.retained_bytes, site.generations), (110, 11));
        assert_eq!(site.function, UNATTRIBUTED);
        assert_eq!(report.attribution.unattributed_bytes, 110);
    }

    #[test]
    fn a_group_that_appears_late_was_empty_before() {
        let report = made(&journal(10, |cycle| match cycle {
            9 => vec![row(0, 9, 7, 1)],
            _ => Vec::new(),
        }));
        assert_eq!(report.call_sites[0].series, [0, 0, 0, 0, 0, 7, 7]);
    }

    #[test]
    fn a_leak_is_the_verdict_of_the_run() {
        let report = made(&journal(80, |cycle| vec![row(0, cycle, 4096, 1)]));
        assert_eq!(report.verdict, RunVerdict::Leak);
        assert_eq!(report.bytes_per_cycle, Some(4096.0));
        assert_eq!(report.call_sites[0].blocks_per_cycle, Some(1.0));
    }

    #[test]
    fn nothing_at_all_is_clean_and_too_little_is_not() {
        assert_eq!(
            made(&journal(20, |_| Vec::new())).verdict,
            RunVerdict::Clean
        );
        let short = made(&journal(6, |_| Vec::new()));
        assert_eq!(short.verdict, RunVerdict::Undecided);
        assert!(short.summary.contains("too few"), "{}", short.summary);
    }

    #[test]
    fn a_journal_without_an_end_is_a_failed_run() {
        let mut cut = journal(80, |cycle| vec![row(0, cycle, 4096, 1)]);
        cut.end = None;
        cut.boundaries.truncate(6);
        let report = made(&cut);
        assert_eq!(report.ended.how, How::Failed);
        assert_eq!(report.cycles_run(), 6);
        assert!(
            report.warnings[0].contains("6 of 80"),
            "{:?}",
            report.warnings
        );
    }
}
