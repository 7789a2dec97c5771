//! The levels of the process that are judged, one value per boundary.

use crate::analysis::balance::{Backend, backend};
use crate::analysis::journal::Journal;
use crate::analysis::verdict::{self, Criteria, Judgement, alike, rises};
use crate::model::journal::{Counts, Memory};
use crate::model::run::HeapKind;

/// Offset of differences, so that they do not saturate at 0 and hide growth there.
const OFFSET: u64 = 1 << 40;

/// The unit in which the C heap is known if Rust's blocks are in it, too, and come and go: by how much
/// the C library rounds up the size of a block is not known to the byte.
const ROUNDING: u64 = 1024;

/// Bytes that a block takes at most besides its chunk: what remains of a larger free chunk if it is too
/// small for a chunk of its own (malloc.c, `MINSIZE`).
const SLACK: u64 = 16;

/// A level at the baseline, and at the boundaries after it.
pub(super) struct Level {
    before: u64,
    pub(super) series: Vec<u64>,
}

impl Level {
    pub(super) fn judge(&self, criteria: Criteria) -> Judgement {
        verdict::judge_level(self.before, &self.series, criteria)
    }

    /// Subtracts [`OFFSET`], or as much of it as leaves no value below 0.
    fn without_offset(mut self) -> Self {
        let lowest = self.series.iter().copied().fold(self.before, u64::min);
        let base = lowest.min(OFFSET);
        self.before -= base;
        self.series.iter_mut().for_each(|level| *level -= base);
        self
    }
}

/// By how much a series is higher at its end than at its beginning.
pub(super) fn growth(series: &[u64]) -> u64 {
    let ends = series.first().zip(series.last());
    ends.map_or(0, |(first, last)| last.saturating_sub(*first))
}

/// Whether a series rises in nine of ten cycles.
pub(super) fn rises_in_most_cycles(series: &[u64]) -> bool {
    10 * alike(&rises(series)).0 >= 9 * series.len().saturating_sub(1)
}

/// The boundaries of a run that has passed its warm-up.
pub(super) struct Levels<'a> {
    baseline: Option<&'a Counts>,
    /// The counts of the boundaries after the baseline.
    pub(super) counts: Vec<&'a Counts>,
    heap: HeapKind,
    /// Not every block was recorded.
    is_sampled: bool,
    /// The process is a program as it is.
    is_exec: bool,
}

impl<'a> Levels<'a> {
    pub(super) fn new(journal: &'a Journal) -> Self {
        let warmup = journal.start.warmup;
        let counts = || journal.boundaries.iter().map(|b| &b.counts);
        Self {
            baseline: counts().find(|c| c.cycle == warmup),
            // A process without descriptors cannot read its mappings any more: what it said before counts.
            counts: counts()
                .filter(|c| c.cycle > warmup)
                .take_while(|c| c.memory.is_some())
                .collect(),
            heap: journal.start.heap,
            is_sampled: journal.start.sampled_every.is_some(),
            is_exec: journal.start.exec,
        }
    }

    /// The level of something; `None` if it is not known at every boundary.
    fn level(&self, of: &dyn Fn(&Counts, &Memory) -> Option<u64>) -> Option<Level> {
        let of = |c: &Counts| of(c, c.memory.as_ref()?);
        let counts = self.counts.iter();
        let series = counts.map(|c| of(c)).collect::<Option<Vec<u64>>>()?;
        let before = self.baseline.and_then(of).or(series.first().copied())?;
        Some(Level { before, series })
    }

    pub(super) fn threads(&self) -> Option<Level> {
        self.level(&|c, _| Some(c.threads))
    }

    pub(super) fn file_descriptors(&self) -> Option<Level> {
        self.level(&|_, m| Some(m.descriptors))
    }

    /// Bytes that C code has allocated. `None` if its blocks cannot be told from others.
    pub(super) fn c_heap(&self) -> Option<Level> {
        // What rises in most cycles by more than may be the slack of new blocks is no rounding.
        let least = self.level(&|counts, memory| match self.in_c_heap(counts, memory)? {
            (bytes, true) => (OFFSET + bytes).checked_sub(SLACK * counts.live_blocks),
            (_, false) => None,
        });
        // The first blocks may come from those that were free.
        let steady = least.filter(|l| rises_in_most_cycles(&l.series[l.series.len() / 4..]));
        steady.map(Level::without_offset).or_else(|| {
            self.level(&|counts, memory| match self.in_c_heap(counts, memory)? {
                (bytes, true) => Some(bytes / ROUNDING * ROUNDING),
                (bytes, false) => Some(bytes),
            })
        })
    }

    /// Bytes in the C heap without recorded blocks, and whether these had to be subtracted.
    fn in_c_heap(&self, counts: &Counts, memory: &Memory) -> Option<(u64, bool)> {
        let in_use = memory.c_heap?.in_use;
        // What its recorded blocks take is an estimate then, and so would be what is beside them. Of a program
        // as it is all blocks are recorded: what is beside them is the recorder's own.
        if self.is_sampled && memory.chunks > 0 || self.is_exec {
            return None;
        }
        match self.heap {
            // dhat's own data is in the C heap.
            HeapKind::Dhat => None,
            // Where C's functions are recorded, their blocks are.
            _ if counts.jemalloc.is_some() => {
                Some((in_use.saturating_sub(memory.chunks), memory.chunks > 0))
            }
            HeapKind::System | HeapKind::Jemalloc => match backend(self.heap, memory) {
                Backend::CHeap => Some((in_use.saturating_sub(memory.chunks), true)),
                Backend::Unknown => Some((in_use, false)),
            },
        }
    }

    /// Address space that was mapped by neither allocator, plus a constant.
    pub(super) fn mapped(&self) -> Option<Level> {
        let level = self.level(&|counts, memory| {
            let c_mapped = memory.c_heap.unwrap_or_default().mapped;
            let mapped = memory.resident.mapped.saturating_sub(c_mapped);
            // The kernel may merge the allocator's mappings with those of the C heap or of a file,
            // where they are not counted. Then the allocator has more than is counted as mapped.
            match (counts.jemalloc, backend(self.heap, memory)) {
                (Some(j), _) => (OFFSET + mapped).checked_sub(j.mapped + j.retained),
                (None, Backend::CHeap) => Some(OFFSET + mapped),
                (None, Backend::Unknown) => None,
            }
        });
        level.map(Level::without_offset)
    }

    /// Resident memory that neither an allocator nor the recorder explains. It includes the stacks
    /// of threads, which grow if a recursion gets deeper.
    pub(super) fn resident(&self) -> Option<Level> {
        self.level(&|counts, memory| {
            let r = memory.resident;
            let c = memory.c_heap.unwrap_or_default();
            let anonymous = match (counts.jemalloc, backend(self.heap, memory)) {
                (Some(j), _) => r.anonymous.saturating_sub(j.resident + c.mapped),
                (None, Backend::CHeap) => r.anonymous.saturating_sub(c.mapped),
                (None, Backend::Unknown) => 0,
            };
            let beside_malloc = r.c_heap.saturating_sub(c.system.saturating_sub(c.mapped));
            // What the kernel merged with a file's mapping may be an allocator's.
            let files = r.files.saturating_sub(r.behind_files);
            Some(anonymous + files + r.program_zeroed + r.stacks + beside_malloc)
        })
    }

    /// All anonymous resident memory beyond what jemalloc counts as resident, plus a constant.
    /// jemalloc counts pages that were never touched, too, and growth of other memory may hide
    /// behind them.
    pub(super) fn touched(&self) -> Option<Level> {
        let level = self.level(&|counts, memory| {
            let j = counts.jemalloc?;
            let c_mapped = memory.c_heap.unwrap_or_default().mapped;
            (OFFSET + memory.resident.anonymous).checked_sub(j.resident + c_mapped)
        });
        level.map(Level::without_offset)
    }
}
