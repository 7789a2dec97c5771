//! The balance sheet: resident memory, accounted for; and which part of the process grows besides
//! the blocks that the ledger has.

use serde::{Deserialize, Serialize};

use crate::cycle::HeapKind;
use crate::journal::{CHeap, Counts, Journal, Memory};
use crate::report::{bytes as rounded, exact};
use crate::verdict::{self, Judgement, Terms, Verdict};

/// Resident memory of the process at a boundary, in bytes, by what it is for.
///
/// The parts add up to `resident_bytes` but for `unexplained_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// `VmRSS` of `/proc/self/status`.
    pub resident_bytes: u64,
    /// Live blocks, as many bytes as were asked for.
    pub live_bytes: u64,
    /// Rounding of live blocks to size classes, and free slots beside them in pages that are in
    /// use, threads' caches included.
    pub slack_bytes: u64,
    /// Pages without a live block that the allocator keeps for reuse.
    pub kept_bytes: u64,
    /// The allocator's own bookkeeping.
    pub metadata_bytes: u64,
    /// What the allocator counts beyond what is resident: pages that were never touched. They were
    /// taken off the metadata, then off what is kept, the slack and the live blocks.
    pub untouched_bytes: u64,
    /// The tool's own mappings.
    pub ledger_bytes: u64,
    /// C code's blocks and what its allocator keeps. Under dhat, dhat's own blocks are among them.
    pub c_heap_bytes: u64,
    /// Threads' stacks.
    pub stack_bytes: u64,
    /// The executable's code and data.
    pub program_bytes: u64,
    /// Other mapped files: libraries, shared memory.
    pub file_bytes: u64,
    /// Anonymous memory that no allocator has: mapped by hand, or by the loader.
    pub mapped_bytes: u64,
    /// What the kernel says of the whole, less what it says of the single mappings.
    pub unexplained_bytes: i64,
}

/// The balance of a boundary; `None` where the kernel did not tell.
pub(crate) fn sheet(counts: &Counts, heap: HeapKind) -> Option<Balance> {
    let memory = counts.memory?;
    let r = memory.resident;
    let c = memory.c_heap.unwrap_or_default();
    let resident_bytes = counts.resident_bytes?;
    let common = Balance {
        resident_bytes,
        live_bytes: counts.live_bytes,
        ledger_bytes: r.tool,
        stack_bytes: r.stacks,
        program_bytes: r.program,
        file_bytes: r.files,
        unexplained_bytes: resident_bytes as i64 - r.total as i64,
        ..Balance::default()
    };
    // Large blocks of C code have mappings of their own, among the anonymous ones.
    let c_mapped = c.mapped.min(r.anonymous);
    let anonymous = r.anonymous - c_mapped;
    let live = counts.live_bytes;
    let parts = match (counts.jemalloc, beneath(heap, &memory)) {
        (Some(j), _) => {
            let slack_bytes = j.active.saturating_sub(live);
            let kept_bytes = j.resident.saturating_sub(j.active + j.metadata);
            let allocator = live + slack_bytes + kept_bytes + j.metadata;
            Balance {
                slack_bytes,
                kept_bytes,
                metadata_bytes: j.metadata,
                untouched_bytes: allocator.saturating_sub(anonymous),
                mapped_bytes: anonymous.saturating_sub(allocator),
                c_heap_bytes: r.c_heap + c_mapped,
                ..common
            }
        }
        (None, Beneath::CHeap) => {
            let chunks = memory.chunks.min(c.in_use);
            let resident = r.c_heap + c_mapped;
            let all = chunks.max(live) + c.free + (c.in_use - chunks);
            Balance {
                slack_bytes: chunks.saturating_sub(live),
                kept_bytes: c.free,
                c_heap_bytes: c.in_use - chunks + resident.saturating_sub(all),
                untouched_bytes: all.saturating_sub(resident),
                mapped_bytes: anonymous,
                ..common
            }
        }
        (None, Beneath::Another) => Balance {
            // All that is anonymous is taken for the allocator's.
            slack_bytes: anonymous.saturating_sub(live),
            untouched_bytes: live.saturating_sub(anonymous),
            c_heap_bytes: r.c_heap + c_mapped,
            ..common
        },
    };
    Some(parts.without_untouched())
}

/// What is beneath the ledger, where it is not jemalloc.
enum Beneath {
    /// The C library's allocator.
    CHeap,
    /// One that says nothing of itself.
    Another,
}

fn beneath(heap: HeapKind, memory: &Memory) -> Beneath {
    let c_has_them = |c: CHeap| c.in_use >= memory.chunks / 10 * 9;
    match heap {
        HeapKind::Dhat => Beneath::CHeap,
        _ if memory.c_heap.is_some_and(c_has_them) => Beneath::CHeap,
        _ => Beneath::Another,
    }
}

impl Balance {
    /// Takes what was never touched off the parts that it is most likely in.
    fn without_untouched(mut self) -> Self {
        let mut left = self.untouched_bytes;
        for part in [
            &mut self.metadata_bytes,
            &mut self.kept_bytes,
            &mut self.slack_bytes,
            &mut self.live_bytes,
            &mut self.c_heap_bytes,
        ] {
            let taken = left.min(*part);
            *part -= taken;
            left -= taken;
        }
        self
    }

    /// The parts by name.
    pub fn parts(&self) -> [(&'static str, u64); 10] {
        [
            ("live", self.live_bytes),
            ("slack", self.slack_bytes),
            ("kept for reuse", self.kept_bytes),
            ("metadata", self.metadata_bytes),
            ("ledger", self.ledger_bytes),
            ("C heap", self.c_heap_bytes),
            ("stacks", self.stack_bytes),
            ("program", self.program_bytes),
            ("files", self.file_bytes),
            ("other mapped", self.mapped_bytes),
        ]
    }
}

/// What grows in the process besides the blocks that the ledger has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// What it is; `none` if nothing does.
    pub grows: Grows,
    /// The worst of the verdicts on the parts, if any grows. What cannot be told yet of a part is
    /// a warning, and no reason to doubt the run: C code and the kernel have habits of their own.
    pub verdict: Verdict,
    /// That in a sentence, with what to do.
    pub sentence: String,
    /// The parts that were judged.
    pub parts: Vec<Part>,
    /// Resident memory that the allocator gave back when it was asked to, after the last boundary;
    /// `None` if it was not asked.
    pub purged_bytes: Option<u64>,
    /// Names of the threads that came after the baseline and were still there at the end.
    pub new_threads: Vec<String>,
}

impl Process {
    /// What cannot be told yet, in a sentence for each part.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = String> {
        let open = self
            .parts
            .iter()
            .filter(|p| p.verdict == Verdict::Undecided);
        open.map(|p| {
            format!(
                "it cannot be told yet whether there is {}: {}",
                p.what.name(),
                p.reason
            )
        })
    }

    /// The word for it in reports: a process that keeps pages is no cache.
    pub(crate) fn verdict_word(&self) -> &'static str {
        match self.grows {
            Grows::AllocatorKeepsPages => "kept",
            _ => self.verdict.name(),
        }
    }
}

/// A part of the process that can grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grows {
    /// None of them.
    None,
    /// Pages that the allocator keeps: no leak.
    AllocatorKeepsPages,
    /// Blocks of C code.
    CHeap,
    /// Memory that was mapped by hand.
    MappedMemory,
    /// Threads.
    Threads,
    /// Open files, sockets and the like.
    FileDescriptors,
}

impl Grows {
    /// The words for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::AllocatorKeepsPages => "the allocator keeps pages",
            Self::CHeap => "growth in the C heap",
            Self::MappedMemory => "growth in mapped memory",
            Self::Threads => "growth in threads",
            Self::FileDescriptors => "growth in file descriptors",
        }
    }
}

/// A part of the process, judged as a site is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    pub what: Grows,
    /// The verdict on its level.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// Growth per cycle, in bytes, or in threads or descriptors; `None` if it cannot be told.
    pub per_cycle: Option<f64>,
    /// Its level at each boundary after the baseline, in the same unit.
    pub series: Vec<u64>,
}

/// Judges the parts of the process, as far as the run has got.
pub(crate) fn judge(journal: &Journal, terms: Terms) -> Vec<(Grows, Vec<u64>, Judgement)> {
    let counts: Vec<&Counts> = journal
        .boundaries
        .iter()
        .map(|b| &b.counts)
        .filter(|c| c.cycle > journal.start.warmup)
        .collect();
    let series = |level: &dyn Fn(&Counts, &Memory) -> Option<u64>| {
        let levels = counts.iter().map(|c| level(c, c.memory.as_ref()?));
        levels.collect::<Option<Vec<u64>>>()
    };
    let heap = journal.start.heap;
    let parts = [
        (Grows::CHeap, series(&|c, m| c_code(c, m, heap))),
        (Grows::MappedMemory, series(&|c, m| by_hand(c, m, heap))),
        (Grows::Threads, series(&|c, _| Some(c.threads))),
        (Grows::FileDescriptors, series(&|_, m| Some(m.descriptors))),
    ];
    let mut judged: Vec<(Grows, Vec<u64>, Judgement)> = Vec::new();
    for (what, series) in parts {
        let Some(series) = series else { continue };
        let mut judgement = verdict::judge_level(&series, terms);
        if what == Grows::CHeap && judgement.verdict.is_growth() {
            let threads = counts.iter().map(|c| c.threads).max().unwrap_or(1);
            judgement = beyond_caches(judgement, &series, threads);
        }
        judged.push((what, series, judgement));
    }
    // A thread's stack is mapped memory, and known to be one only if the thread has allocated.
    if judged
        .iter()
        .any(|(what, _, j)| *what == Grows::Threads && j.verdict >= Verdict::Undecided)
    {
        judged.retain(|(what, ..)| *what != Grows::MappedMemory);
    }
    judged
}

/// Bytes of freed blocks that glibc keeps for a thread and counts as allocated, at most: seven of
/// each of 64 sizes up to 1,032 (malloc.c, "tcache").
const THREAD_CACHE: u64 = 7 * 64 * (24 + 1032) / 2;

/// Growth of the C heap counts once it is more than freed blocks in threads' caches can be.
fn beyond_caches(judgement: Judgement, series: &[u64], threads: u64) -> Judgement {
    let (Some(first), Some(last)) = (series.first(), series.last()) else {
        return judgement;
    };
    let grown = last.saturating_sub(*first);
    let kept = THREAD_CACHE * threads.max(1);
    if grown > kept {
        return judgement;
    }
    let rate = grown as f64 / series.len() as f64;
    let more = (kept - grown) as f64 / rate.max(1.0);
    let mut open = judgement.undecided();
    open.evidence.more_cycles = Some(more.min(1e6) as u32 + 1);
    open
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
    let mapped = memory.resident.anonymous_mapped.saturating_sub(c_mapped);
    match (counts.jemalloc, beneath(heap, memory)) {
        (Some(j), _) => Some(mapped.saturating_sub(j.mapped + j.retained)),
        (None, Beneath::CHeap) => Some(mapped),
        (None, Beneath::Another) => None,
    }
}

/// Growth of kept pages from which on it is worth a word: bytes, and the share of what is resident.
const KEPT_BYTES: u64 = 4 << 20;
const KEPT_SHARE: u64 = 10;

/// The verdict on the process.
pub(crate) fn process(journal: &Journal, terms: Terms) -> Process {
    let new_threads = new_threads(journal);
    let judged = judge(journal, terms);
    let purged_bytes = journal.purge.map(|p| p.before.saturating_sub(p.after));
    let parts: Vec<Part> = judged
        .into_iter()
        .map(|(what, series, j)| Part {
            what,
            verdict: j.verdict,
            per_cycle: j.bytes_per_cycle.map(|s| s.value),
            reason: why(&j, terms),
            series,
        })
        .collect();
    let worst = parts.iter().max_by_key(|p| p.verdict);
    let (grows, verdict, sentence) = match worst.filter(|p| p.verdict.is_growth()) {
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
fn why(judgement: &Judgement, terms: Terms) -> String {
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
        (Verdict::Leak, _) => format!("{last}: past the horizon of {} cycles", terms.horizon),
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
        (_, Some(n)) => format!("{} a cycle ({} B)", rounded(n), exact(n.max(0.0) as u64)),
    };
    let what = match part.what {
        Grows::CHeap => " that C code allocates and does not free; no Rust allocator sees it",
        Grows::MappedMemory => " of memory that was mapped, by hand or by C code, and not unmapped",
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
mod tests {
    use super::*;
    use crate::journal::JemallocBytes;
    use crate::smaps::Resident;

    fn adds_up(b: &Balance) {
        let parts: u64 = b.parts().iter().map(|(_, bytes)| bytes).sum();
        let sum = parts as i64 + b.unexplained_bytes;
        assert_eq!(sum, b.resident_bytes as i64, "{b:?}");
    }

    fn counts(jemalloc: Option<JemallocBytes>, anonymous: u64, c: CHeap) -> Counts {
        let resident = Resident {
            total: anonymous + 1_000 + 200 + 30 + 4_000 + 50_000,
            tool: 1_000,
            stacks: 200,
            c_heap: 30,
            program: 4_000,
            files: 50_000,
            anonymous,
            anonymous_mapped: 2 * anonymous,
        };
        Counts {
            live_bytes: 500,
            resident_bytes: Some(resident.total + 7),
            jemalloc,
            memory: Some(Memory {
                resident,
                c_heap: Some(c),
                chunks: 640,
                descriptors: 5,
            }),
            ..Counts::default()
        }
    }

    #[test]
    fn the_parts_add_up_whatever_is_beneath() {
        let jemalloc = JemallocBytes {
            allocated: 600,
            active: 900,
            metadata: 100,
            resident: 1_500,
            mapped: 3_000,
            retained: 0,
        };
        let c = CHeap {
            system: 90,
            in_use: 70,
            free: 20,
            mapped: 40,
        };
        for anonymous in [0, 40, 1_000, 1_540, 9_000] {
            let sheet = sheet(&counts(Some(jemalloc), anonymous, c), HeapKind::Jemalloc).unwrap();
            adds_up(&sheet);
            assert_eq!(sheet.mapped_bytes, anonymous.saturating_sub(1_540));
            if anonymous >= 1_540 {
                assert_eq!((sheet.slack_bytes, sheet.kept_bytes), (400, 500));
            }
        }
        let glibc = CHeap {
            system: 2_000,
            in_use: 1_000,
            free: 900,
            mapped: 100,
        };
        for anonymous in [0, 100, 2_000, 9_000] {
            adds_up(&sheet(&counts(None, anonymous, glibc), HeapKind::System).unwrap());
            adds_up(&sheet(&counts(None, anonymous, c), HeapKind::System).unwrap());
            adds_up(&sheet(&counts(None, anonymous, glibc), HeapKind::Dhat).unwrap());
        }
        assert_eq!(sheet(&Counts::default(), HeapKind::System), None);
    }
}
