//! Judges each part of the process, and removes growth that another part explains.

use super::levels::{Level, Levels, growth, rises_in_most_cycles};
use crate::analysis::journal::Journal;
use crate::analysis::verdict::{Criteria, Judgement, alike, rises};
use crate::model::journal::Counts;
use crate::model::process::Grows;
use crate::model::verdict::{Rule, Verdict};

/// The maximum number of bytes that glibc keeps in freed blocks for one thread and counts as
/// allocated: seven of each of 64 sizes up to 1,032 bytes (malloc.c, "tcache").
const THREAD_CACHE: u64 = 7 * 64 * (24 + 1032) / 2;

/// The maximum number of freed blocks of one size that glibc caches for one thread: 7 up to version
/// 2.41, 16 from then on (malloc.c, `TCACHE_FILL_COUNT`).
const CACHED_OF_ONE_SIZE: u64 = 16;

/// Bytes of libraries and mapped files that a program may touch for the first time long after its
/// start.
const PAGED_IN: u64 = 512 << 10;

/// Live blocks explain resident memory if they grow by more than this fraction of it.
const EXPLAINED_FRACTION: u64 = 4;

/// A part of the process with its level and the judgement on it.
pub(crate) struct JudgedPart {
    pub(crate) what: Grows,
    pub(crate) series: Vec<u64>,
    pub(crate) judgement: Judgement,
}

/// Judges the parts of the process, as far as the run has got.
pub(crate) fn judge(journal: &Journal, criteria: Criteria) -> Vec<JudgedPart> {
    let levels = Levels::new(journal);
    let parts = [
        (Grows::Threads, levels.threads()),
        (Grows::FileDescriptors, levels.file_descriptors()),
        (Grows::CHeap, levels.c_heap()),
        (Grows::MappedMemory, levels.mapped()),
        (Grows::ResidentMemory, levels.resident()),
    ];
    let mut judged: Vec<JudgedPart> = Vec::new();
    for (what, level) in parts {
        let Some(level) = level else { continue };
        let judgement = level.judge(criteria);
        let judgement = match what {
            Grows::CHeap => c_heap(judgement, &level, &levels),
            Grows::ResidentMemory => resident(judgement, &level),
            _ => judgement,
        };
        judged.push(JudgedPart {
            what,
            series: level.series,
            judgement,
        });
    }
    if let Some(touched) = levels.touched() {
        doubt_resident(&mut judged, &touched, criteria);
    }
    remove_explained(&mut judged, &levels);
    judged
}

/// Growth of the C heap counts once it exceeds what the C library may keep for its threads, or if it
/// is by the same amount again and again.
fn c_heap(judgement: Judgement, level: &Level, levels: &Levels<'_>) -> Judgement {
    let threads = levels.counts.iter().map(|c| c.threads).max().unwrap_or(1);
    if rises_alike(&level.series, threads.max(1)) {
        return judgement;
    }
    let has_no_recorded_blocks = |c: &&Counts| c.memory.is_some_and(|m| m.chunks == 0);
    let is_c_code_alone = levels.counts.iter().any(has_no_recorded_blocks);
    let least = THREAD_CACHE * threads.max(1);
    match cycles_to_exceed(least, &judgement, &level.series) {
        Some(more) if is_c_code_alone || rises_in_most_cycles(&level.series) => {
            judgement.undecided_for_size(more)
        }
        // Rust's own freed blocks are in these caches, too, and fill them for a long time.
        Some(more) => judgement.undecided(more),
        None => judgement,
    }
}

/// Whether a series rises in most cycles, and mostly by one and the same amount: more often than the
/// caches of these threads have room for freed blocks of one size.
fn rises_alike(series: &[u64], threads: u64) -> bool {
    let (count, alike, _) = alike(&rises(series));
    rises_in_most_cycles(series)
        && 2 * alike >= count
        && alike as u64 > CACHED_OF_ONE_SIZE * threads
}

/// Growth of resident memory counts once it exceeds what may be paged in late.
fn resident(judgement: Judgement, level: &Level) -> Judgement {
    let is_little = growth(&level.series) <= PAGED_IN / 2;
    let is_long_enough = judgement.evidence.rule != Rule::TooFewCycles;
    match cycles_to_exceed(PAGED_IN, &judgement, &level.series) {
        Some(more) => judgement.undecided_for_size(more),
        // A few pages at irregular times are not growth.
        None if is_long_enough && !judgement.settled && is_little => judgement.churn(),
        None => judgement,
    }
}

/// The number of cycles after which growth will exceed `least`; `None` if there is no growth, or if
/// it does already.
fn cycles_to_exceed(least: u64, judgement: &Judgement, series: &[u64]) -> Option<u32> {
    let growth = growth(series);
    if !judgement.verdict.is_growth() || growth > least {
        return None;
    }
    let rate = growth as f64 / series.len() as f64;
    let more = (least - growth) as f64 / rate.max(1.0);
    Some(more.min(1e6) as u32 + 1)
}

/// Withdraws the verdict that resident memory does not grow, if touched memory does. It may be the
/// allocator's pages, until there are more than the allocator has.
fn doubt_resident(judged: &mut [JudgedPart], touched: &Level, criteria: Criteria) {
    let resident = judged.iter_mut().find(|p| p.what == Grows::ResidentMemory);
    let Some(resident) = resident else {
        return;
    };
    if resident.judgement.verdict.is_growth() || growth(&touched.series) <= PAGED_IN / 2 {
        return;
    }
    let by_touched = touched.judge(criteria);
    if by_touched.verdict.is_growth() {
        resident.series.clone_from(&touched.series);
        resident.judgement = by_touched.undecided(2 * criteria.horizon);
    }
}

/// Removes parts whose growth is explained by blocks or by another part.
fn remove_explained(judged: &mut Vec<JudgedPart>, levels: &Levels<'_>) {
    // If blocks grow, huge pages and the kernel's own accounting make the allocator's memory a
    // little larger than the allocator counts.
    let live: Vec<u64> = levels.counts.iter().map(|c| c.live_bytes).collect();
    let live = growth(&live);
    judged.retain(|p| {
        p.what != Grows::ResidentMemory || live <= growth(&p.series) / EXPLAINED_FRACTION
    });
    // The stack of a thread is mapped memory, and is recognized as a stack only if the thread has
    // allocated.
    if verdict_on(judged, Grows::Threads).is_growth() {
        judged.retain(|p| !matches!(p.what, Grows::MappedMemory | Grows::ResidentMemory));
    }
    // New mappings and the C heap become resident.
    let is_open = |what| verdict_on(judged, what) >= Verdict::Undecided;
    if is_open(Grows::MappedMemory) || is_open(Grows::CHeap) {
        judged.retain(|p| p.what != Grows::ResidentMemory);
    }
}

fn verdict_on(judged: &[JudgedPart], what: Grows) -> Verdict {
    let part = judged.iter().find(|p| p.what == what);
    part.map_or(Verdict::WarmUp, |p| p.judgement.verdict)
}
