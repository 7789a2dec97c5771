//! The call sites of a report, the worst first.

use super::fold::{FoldedSite, Folding};
use super::holders::SiteHolder;
use super::journal::Journal;
use super::pools;
use super::sampling::Estimate;
use super::symbols::UNATTRIBUTED;
use super::verdict::{Judgement, Series};
use crate::base::names::fnv;
use crate::base::order::sort_by;
use crate::base::statistics::Slope;
use crate::model::frame::{Frame, relevant};
use crate::model::profile::Generation;
use crate::model::report::{CallSite, OtherStack};
use crate::model::verdict::Verdict;

/// The maximum number of call sites that are reported with stacks and generations. The profile has
/// the stacks of all.
const MAX_DETAILED: usize = 1000;

/// The maximum number of call sites that are reported with their source.
const MAX_WITH_SOURCE: usize = 100;

/// The maximum number of changes of generations that are reported, all call sites together.
const MAX_CHANGES: usize = 200_000;

/// A call site of the report, with its index in [`Folding::sites`].
pub(super) type Indexed = (usize, CallSite);

/// The call sites that were judged, the worst first. `holders` has an entry for each of them, or is
/// empty if holders were not searched for.
pub(super) fn call_sites(
    judgements: Vec<Judgement>,
    series: Vec<Series>,
    mut holders: Vec<SiteHolder>,
    folding: &mut Folding,
    journal: &Journal,
) -> Vec<Indexed> {
    let mut sites: Vec<Indexed> = Vec::new();
    for (i, (judgement, series)) in judgements.into_iter().zip(series).enumerate() {
        let folded = &folding.sites()[i];
        // Warm-up that was freed in the end is not worth a line.
        if folded.retained.blocks == 0 && judgement.verdict == Verdict::WarmUp {
            continue;
        }
        let mut site = call_site(folded, journal, judgement, series.bytes);
        if let Some(holder) = holders.get_mut(i).map(std::mem::take) {
            site.holder = holder.holder;
            site.holder_unknown = holder.unknown;
        }
        sites.push((i, site));
    }
    sort_by(&mut sites, |(_, a), (_, b)| {
        let rate = |s: &CallSite| s.bytes_per_cycle.unwrap_or(0.0);
        b.verdict
            .cmp(&a.verdict)
            .then(rate(b).total_cmp(&rate(a)))
            .then(b.retained_bytes.cmp(&a.retained_bytes))
            .then(a.location().cmp(&b.location()))
    });
    add_details(&mut sites, folding, journal);
    sites
}

/// A call site without the details that only the worst ones get.
fn call_site(
    folded: &FoldedSite,
    journal: &Journal,
    judgement: Judgement,
    series: Vec<u64>,
) -> CallSite {
    let growth = judgement.bytes_per_cycle;
    let (function, file, line) = match folded.blame.clone() {
        Some(frame) => (frame.function, frame.file, frame.line),
        None => (UNATTRIBUTED.into(), None, None),
    };
    let retained = folded.retained.bytes;
    let sampled_every = journal.start.sampled_every;
    CallSite {
        verdict: judgement.verdict,
        reason: judgement.reason,
        function,
        file,
        line,
        phase: folded.phase,
        bytes_per_cycle: growth.map(|s| s.value),
        bytes_per_cycle_interval: growth.map(|s| growth_interval(s, journal)),
        blocks_per_cycle: judgement.blocks_per_cycle.map(|s| s.value),
        retained_bytes: retained,
        retained_bytes_interval: sampled_every.map(|n| Estimate::of(n, retained).interval()),
        retained_blocks: folded.retained.blocks,
        generations: folded.generations_alive(),
        series,
        evidence: judgement.evidence,
        lives: Vec::new(),
        source: None,
        stacks: 0,
        other_stacks: Vec::new(),
        holder: None,
        holder_unknown: None,
        objects: Vec::new(),
        pool: None,
        allowed: None,
        fingerprint: String::new(),
        stack: Vec::new(),
        stack_cut: false,
    }
}

/// The interval of a growth, widened by the error of sampling.
fn growth_interval(growth: Slope, journal: &Journal) -> (f64, f64) {
    match journal.start.sampled_every {
        None => (growth.low, growth.high),
        Some(every) => {
            let n = journal.after_warmup();
            let (low, high) = Estimate::growth_interval(every, growth.value, n);
            (growth.low.min(low), growth.high.max(high))
        }
    }
}

/// Adds what only the worst of many thousands of call sites can have: generations, stacks, source.
fn add_details(sites: &mut [Indexed], folding: &mut Folding, journal: &Journal) {
    let mut changes_left = MAX_CHANGES;
    for (rank, (index, site)) in sites.iter_mut().enumerate() {
        // The first stack is the one that retains the most.
        let (stacks, count) = folding.stacks(*index, journal);
        let mut stacks = stacks.into_iter();
        let (stack, cut) = stacks
            .next()
            .map_or_else(Default::default, |s| (s.frames, s.cut));
        site.stacks = count;
        site.pool = pools::of(&stack);
        site.stack_cut = cut;
        site.fingerprint = fingerprint(&stack);
        if rank >= MAX_DETAILED {
            continue;
        }
        site.stack = stack;
        let others = stacks.map(|s| OtherStack {
            retained_bytes: s.bytes,
            frames: relevant(&s.frames).to_vec(),
        });
        site.other_stacks = others.collect();
        let generations = || folding.sites()[*index].generation_bytes();
        let changes: usize = generations().map(|(_, live)| live.len()).sum();
        if changes <= changes_left {
            changes_left -= changes;
            site.lives = generations()
                .map(|(cycle, live)| Generation {
                    cycle,
                    live: live.to_vec(),
                })
                .collect();
        }
        if let (Some(file), Some(line), true) = (&site.file, site.line, rank < MAX_WITH_SOURCE) {
            site.source = folding.excerpt(file, line);
        }
    }
}

/// A hash over the functions and files of the relevant frames, which is the same in other builds as
/// long as these do not change.
fn fingerprint(stack: &[Frame]) -> String {
    let mut text = String::new();
    for frame in relevant(stack) {
        let file = frame.file.as_deref().unwrap_or_default();
        text += &format!("{}\0{file}\0", frame.function);
    }
    format!("{:016x}", fnv(text.as_bytes()))
}
