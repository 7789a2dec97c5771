//! Which part of the process grows besides the blocks that the ledger has.

use crate::model::process::Grows;
use crate::model::process::Part;
use crate::model::process::Process;

use crate::analysis::balance::{Beneath, beneath, sheet};
use crate::analysis::journal::Journal;
use crate::analysis::verdict::{self, Criteria, Judgement};
use crate::base::units::{bytes as rounded, exact};
use crate::model::journal::{Counts, Memory};
use crate::model::process::Balance;
use crate::model::run::HeapKind;
use crate::model::verdict::{Rule, Verdict};

/// A part's level at the baseline, and at the boundaries after it.
struct Level {
    before: u64,
    series: Vec<u64>,
}

/// What is added to a difference, so that it cannot fall below 0 and lose its growth there.
const ABOVE_ZERO: u64 = 1 << 40;

impl Level {
    /// Takes [`ABOVE_ZERO`] off again, or as much of it as leaves nothing below 0.
    fn lowered(mut self) -> Self {
        let lowest = self.series.iter().copied().fold(self.before, u64::min);
        let base = lowest.min(ABOVE_ZERO);
        self.before -= base;
        self.series.iter_mut().for_each(|level| *level -= base);
        self
    }

    fn judged(&self, criteria: Criteria) -> Judgement {
        verdict::judge_level(self.before, &self.series, criteria)
    }
}

/// Judges the parts of the process, as far as the run has got.
pub(crate) fn judge(journal: &Journal, criteria: Criteria) -> Vec<(Grows, Vec<u64>, Judgement)> {
    let counts = || journal.boundaries.iter().map(|b| &b.counts);
    let warmup = journal.start.warmup;
    let baseline = counts().find(|c| c.cycle == warmup);
    let counts: Vec<&Counts> = counts().filter(|c| c.cycle > warmup).collect();
    let series = |level: &dyn Fn(&Counts, &Memory) -> Option<u64>| {
        let of = |c: &Counts| level(c, c.memory.as_ref()?);
        let series = counts.iter().map(|c| of(c)).collect::<Option<Vec<u64>>>()?;
        let before = baseline.and_then(of).or(series.first().copied())?;
        Some(Level { before, series })
    };
    let heap = journal.start.heap;
    let parts = [
        (Grows::Threads, series(&|c, _| Some(c.threads))),
        (Grows::FileDescriptors, series(&|_, m| Some(m.descriptors))),
        (Grows::CHeap, series(&|c, m| c_code(c, m, heap))),
        (
            Grows::MappedMemory,
            series(&|c, m| by_hand(c, m, heap)).map(Level::lowered),
        ),
        (
            Grows::ResidentMemory,
            series(&|c, m| unexplained(c, m, heap)),
        ),
    ];
    let threads = counts.iter().map(|c| c.threads).max().unwrap_or(1);
    let c_code_alone = counts.iter().any(|c| c.jemalloc.is_some());
    let mut judged: Vec<(Grows, Vec<u64>, Judgement)> = Vec::new();
    for (what, series) in parts {
        let Some(level) = series else { continue };
        let judgement = level.judged(criteria);
        let judgement = match what {
            Grows::CHeap => {
                let least = THREAD_CACHE * threads.max(1);
                match missing(least, &judgement, &level.series) {
                    Some(more) if c_code_alone => judgement.undecided_for_size(more),
                    // Rust's own freed blocks are in those caches, and fill them for long.
                    Some(more) => judgement.undecided(more),
                    None => judgement,
                }
            }
            Grows::ResidentMemory => match missing(PAGED_IN, &judgement, &level.series) {
                Some(more) => judgement.undecided_for_size(more),
                // Some pages now and then, and no steady growth.
                None if judgement.evidence.rule != Rule::TooFewCycles
                    && !judgement.settled
                    && grown(&level.series) <= PAGED_IN / 2 =>
                {
                    judgement.churn()
                }
                None => judgement,
            },
            _ => judgement,
        };
        judged.push((what, level.series, judgement));
    }
    if let Some(touched) = series(&|c, m| touched(c, m)).map(Level::lowered) {
        doubt(&mut judged, &touched, criteria);
    }
    // The last resort. Where blocks grow, huge pages and the kernel's own counting make the
    // allocator's memory a little more than it believes to have.
    let live: Vec<u64> = counts.iter().map(|c| c.live_bytes).collect();
    judged.retain(|(what, series, _)| {
        *what != Grows::ResidentMemory || grown(&live) <= grown(series) / EXPLAINED
    });
    let verdict = |judged: &[(Grows, Vec<u64>, Judgement)], which: Grows| {
        let found = judged.iter().find(|(what, ..)| *what == which);
        found.map_or(Verdict::WarmUp, |(.., j)| j.verdict)
    };
    let open = |judged: &_, which| verdict(judged, which) >= Verdict::Undecided;
    let grows = |judged: &_, which| verdict(judged, which).is_growth();
    // A thread's stack is mapped memory, and known to be one only if the thread has allocated. What
    // is resident in new mappings or of a C heap that grows is the same growth once more.
    if grows(&judged, Grows::Threads) {
        judged.retain(|(what, ..)| !matches!(what, Grows::MappedMemory | Grows::ResidentMemory));
    }
    if open(&judged, Grows::MappedMemory) || open(&judged, Grows::CHeap) {
        judged.retain(|(what, ..)| *what != Grows::ResidentMemory);
    }
    judged
}

/// Bytes of freed blocks that glibc keeps for a thread and counts as allocated, at most: seven of
/// each of 64 sizes up to 1,032 (malloc.c, "tcache").
const THREAD_CACHE: u64 = 7 * 64 * (24 + 1032) / 2;

/// Bytes of libraries and mapped files that a program may touch for the first time, bit by bit,
/// long after it has started.
const PAGED_IN: u64 = 512 << 10;

/// The share of what is resident that live blocks must have grown by to explain it.
const EXPLAINED: u64 = 4;

/// By how much a level is higher at the end than at the beginning.
fn grown(series: &[u64]) -> u64 {
    let ends = series.first().zip(series.last());
    ends.map_or(0, |(first, last)| last.saturating_sub(*first))
}

/// Growth of a part counts once it is more than so many bytes; until then it may be what the system
/// keeps. Cycles until it would be more, where it grows and is not yet.
fn missing(least: u64, judgement: &Judgement, series: &[u64]) -> Option<u32> {
    let grown = grown(series);
    if !judgement.verdict.is_growth() || grown > least {
        return None;
    }
    let rate = grown as f64 / series.len() as f64;
    let more = (least - grown) as f64 / rate.max(1.0);
    Some(more.min(1e6) as u32 + 1)
}

/// What is left of the C heap beside Rust's blocks is known to so many bytes.
const ROUNDED: u64 = 1024;

/// Bytes that C code has allocated. `None` where its blocks cannot be told from others.
fn c_code(counts: &Counts, memory: &Memory, heap: HeapKind) -> Option<u64> {
    let c = memory.c_heap?;
    match heap {
        // dhat keeps its own books there.
        HeapKind::Dhat => None,
        _ if counts.jemalloc.is_some() => Some(c.in_use),
        HeapKind::System | HeapKind::Jemalloc => match beneath(heap, memory) {
            // By how much a block is rounded is not known to the byte.
            Beneath::CHeap => Some(c.in_use.saturating_sub(memory.chunks) / ROUNDED * ROUNDED),
            Beneath::Another => Some(c.in_use),
        },
    }
}

/// Address space that was mapped by hand, and some that always is: a level, not an amount.
fn by_hand(counts: &Counts, memory: &Memory, heap: HeapKind) -> Option<u64> {
    let c_mapped = memory.c_heap.unwrap_or_default().mapped;
    let mapped = memory.resident.mapped.saturating_sub(c_mapped);
    // The kernel may join the allocator's memory to the C heap's or a file's, where it is not
    // counted: then it is more than what is mapped.
    match (counts.jemalloc, beneath(heap, memory)) {
        (Some(j), _) => (ABOVE_ZERO + mapped).checked_sub(j.mapped + j.retained),
        (None, Beneath::CHeap) => Some(ABOVE_ZERO + mapped),
        (None, Beneath::Another) => None,
    }
}

/// Resident memory that neither an allocator nor the tool explains: threads' stacks, too, which grow
/// where a recursion goes ever deeper.
fn unexplained(counts: &Counts, memory: &Memory, heap: HeapKind) -> Option<u64> {
    let r = memory.resident;
    let c = memory.c_heap.unwrap_or_default();
    let anonymous = match (counts.jemalloc, beneath(heap, memory)) {
        (Some(j), _) => r.anonymous.saturating_sub(j.resident + c.mapped),
        (None, Beneath::CHeap) => r.anonymous.saturating_sub(c.mapped),
        (None, Beneath::Another) => 0,
    };
    let beside_malloc = r.c_heap.saturating_sub(c.system.saturating_sub(c.mapped));
    // Of what lies behind a file it is not known whether an allocator has it.
    Some(anonymous + (r.files - r.behind_files) + r.program_zeroed + r.stacks + beside_malloc)
}

/// All anonymous memory that is resident, as a level beside what jemalloc believes to be: it holds
/// pages that were never touched for resident, and growth of other memory may hide behind them.
fn touched(counts: &Counts, memory: &Memory) -> Option<u64> {
    let j = counts.jemalloc?;
    let c_mapped = memory.c_heap.unwrap_or_default().mapped;
    (ABOVE_ZERO + memory.resident.anonymous).checked_sub(j.resident + c_mapped)
}

/// Doubts that resident memory does not grow where what is touched does: that may be the
/// allocator's pages, until there are more than it has.
fn doubt(judged: &mut [(Grows, Vec<u64>, Judgement)], touched: &Level, criteria: Criteria) {
    let found = judged
        .iter_mut()
        .find(|(what, ..)| *what == Grows::ResidentMemory);
    let Some((_, series, judgement)) = found else {
        return;
    };
    if judgement.verdict.is_growth() || grown(&touched.series) <= PAGED_IN / 2 {
        return;
    }
    let judged = touched.judged(criteria);
    if judged.verdict.is_growth() {
        series.clone_from(&touched.series);
        *judgement = judged.undecided(2 * criteria.horizon);
    }
}

/// Growth of kept pages from which on it is worth a word: bytes, and the share of what is resident.
const KEPT_BYTES: u64 = 4 << 20;
const KEPT_SHARE: u64 = 10;

/// Rises of a level that is known to the byte from which on a run is not clean while they may go on.
const SIGNS: usize = 5;

/// What the C library allocates for itself and for the tool, now and then, and keeps for reuse.
const OWN_BLOCKS: u64 = 32 << 10;

/// The verdict on the process.
pub(crate) fn process(journal: &Journal, criteria: Criteria) -> Process {
    let new_threads = new_threads(journal);
    let judged = judge(journal, criteria);
    let purged_bytes = journal.purge.map(|p| p.before.saturating_sub(p.after));
    let parts: Vec<Part> = judged
        .into_iter()
        .map(|(what, series, j)| Part {
            what,
            verdict: j.verdict,
            per_cycle: j.bytes_per_cycle.map(|s| s.value),
            reason: why(&j, criteria),
            evidence: j.evidence,
            series,
        })
        .collect();
    // Over the system's allocator what C code has is not known to the byte.
    let c_code_alone = journal
        .boundaries
        .iter()
        .any(|b| b.counts.jemalloc.is_some());
    let is_exact = |p: &Part| match p.what {
        Grows::CHeap => c_code_alone,
        Grows::Threads | Grows::FileDescriptors | Grows::MappedMemory => true,
        _ => false,
    };
    let is_open = |p: &Part| {
        let is_much = p.what != Grows::CHeap || grown(&p.series) > OWN_BLOCKS;
        p.verdict == Verdict::Undecided && p.evidence.rises.len() >= SIGNS && is_much
    };
    let matters = |p: &&Part| {
        p.verdict.is_growth() || p.evidence.rule == Rule::TooLittle || (is_exact(p) && is_open(p))
    };
    // Of two that are equally bad the first is nearer to the cause.
    let worst = parts.iter().rev().filter(matters).max_by_key(|p| p.verdict);
    let (grows, verdict, sentence) = match worst {
        Some(part) => (part.what, part.verdict, sentence(part, &new_threads)),
        None => match kept(journal, purged_bytes) {
            Some(sentence) => (Grows::AllocatorKeepsPages, Verdict::Cache, sentence),
            None => (Grows::None, Verdict::WarmUp, "nothing else grows".into()),
        },
    };
    Process {
        grows,
        verdict,
        sentence,
        parts,
        purged_bytes,
        new_threads,
    }
}

/// Why a part has its verdict, in words that fit any unit.
fn why(judgement: &Judgement, criteria: Criteria) -> String {
    let evidence = &judgement.evidence;
    let Some(last) = evidence.rises.last() else {
        return "it does not rise".into();
    };
    let rose = match evidence.rises.len() {
        1 => "it rose once".to_owned(),
        n => format!("it rose {n} times"),
    };
    let last = format!("{rose}, the last time in cycle {last} after the warm-up");
    match (judgement.verdict, evidence.more_cycles) {
        (_, Some(more)) if evidence.rule == Rule::TooLittle => format!(
            "{last}, but it is no more so far than the system itself may keep; {more} more cycles \
             would tell"
        ),
        (Verdict::Leak, _) => format!("{last}: past the horizon of {} cycles", criteria.horizon),
        (Verdict::Growing | Verdict::Undecided, Some(more)) => {
            format!("{last}; {more} more cycles would tell whether it goes on")
        }
        _ => format!("{last}, and not since"),
    }
}

fn sentence(part: &Part, new_threads: &[String]) -> String {
    let rate = match (part.what, part.per_cycle) {
        (_, None) => String::new(),
        (Grows::Threads, Some(n)) => format!("{n:.2} threads a cycle stay"),
        (Grows::FileDescriptors, Some(n)) => format!("{n:.2} file descriptors a cycle stay open"),
        (_, Some(n)) if n < 1000.0 => format!("{} B a cycle", exact(n.max(0.0) as u64)),
        (_, Some(n)) => format!("{} a cycle ({} B)", rounded(n), exact(n.max(0.0) as u64)),
    };
    let what = match part.what {
        Grows::CHeap => " that C code allocates and does not free; no Rust allocator sees it",
        Grows::MappedMemory => " of memory that was mapped, by hand or by C code, and not unmapped",
        Grows::ResidentMemory => {
            " of pages that no allocator has and no new mapping explains: touched for the first \
             time in an old mapping, or taken by `sbrk`"
        }
        _ => "",
    };
    let mut names: Vec<&String> = new_threads.iter().collect();
    names.dedup();
    let names = match part.what {
        Grows::Threads if !names.is_empty() => {
            let shown: Vec<String> = names.iter().take(3).map(|n| format!("`{n}`")).collect();
            format!(", named {}", shown.join(", "))
        }
        _ => String::new(),
    };
    format!("{}: {rate}{what}{names}; {}", part.what.name(), part.reason)
}

/// What to say where live bytes are flat, and pages pile up behind the allocator.
fn kept(journal: &Journal, purged: Option<u64>) -> Option<String> {
    let heap = journal.start.heap;
    let after = |c: &&Counts| c.cycle >= journal.start.warmup.max(1);
    let mut counts = journal.boundaries.iter().map(|b| &b.counts).filter(after);
    let first = sheet(counts.next()?, heap)?;
    let last = sheet(counts.next_back()?, heap)?;
    let held = |b: &Balance| (b.slack_bytes + b.kept_bytes).saturating_sub(b.untouched_bytes);
    let grown = held(&last).saturating_sub(held(&first));
    let live = last.live_bytes.saturating_sub(first.live_bytes);
    if grown < KEPT_BYTES || grown * KEPT_SHARE < last.resident_bytes || live > grown / 2 {
        return None;
    }
    let grown = rounded(grown as f64);
    let tried = match purged {
        Some(bytes) => format!(
            "asked for them after the run, it gave {} back",
            rounded(bytes as f64)
        ),
        None => "it was not asked to give them back".into(),
    };
    let remedy = match heap {
        HeapKind::Jemalloc => {
            "`_RJEM_MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0` returns them at once (for a \
             jemalloc without prefix `MALLOC_CONF`), `background_thread:true` after a while"
        }
        _ => "`malloc_trim(0)` returns them, or `MALLOC_TRIM_THRESHOLD_=0` as they come",
    };
    Some(format!(
        "the allocator keeps pages: {grown} more than at the baseline, of which no block is left; \
         {tried}. That is no leak: {remedy}"
    ))
}

/// Names of threads that were not there at the baseline, sorted.
fn new_threads(journal: &Journal) -> Vec<String> {
    let of = |at_end: bool| journal.threads.iter().find(|t| t.at_end == at_end);
    let (Some(before), Some(after)) = (of(false), of(true)) else {
        return Vec::new();
    };
    let is_new = |id: &u32| before.threads.iter().all(|(known, _)| known != id);
    let new = after.threads.iter().filter(|(id, _)| is_new(id));
    let mut names: Vec<String> = new.map(|(_, name)| name.clone()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;
