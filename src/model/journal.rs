//! What the measured child writes and the parent reads: one JSON record a line.
//!
//! A boundary is one line, written with one call, and its census lists only what changed since the
//! boundary before. The lines that it needs (new stacks, newly mapped code) come before it. So a
//! child that is killed leaves a journal that is whole up to its last boundary; a last line that
//! was cut off is left out.

use crate::model::end::Early;

use crate::model::block::CensusEntry;
use serde::{Deserialize, Serialize};

use crate::model::run::{HeapKind, Strategy};

/// Version of the journal's records.
pub(crate) const VERSION: u32 = 3;

/// The first record: what is going to be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start<S> {
    pub(crate) version: u32,
    pub(crate) workload: S,
    pub(crate) heap: HeapKind,
    pub(crate) strategy: Strategy,
    /// Cycles that are run; with `auto`, at most.
    pub(crate) cycles: u32,
    pub(crate) warmup: u32,
    /// The run ends once every stack is settled.
    pub(crate) auto: bool,
    pub(crate) pid: u32,
    /// Stacks were walked by call frame information, because the build has no frame pointers.
    pub(crate) by_cfi: bool,
    /// Of so many bytes one was drawn, and its block recorded; `None` if all blocks were.
    #[serde(default)]
    pub(crate) sampled_every: Option<u64>,
}

/// Executable code of a file at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Code<S> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes into the file.
    pub(crate) offset: u64,
    pub(crate) path: S,
}

/// A stack seen for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stack<A> {
    pub(crate) id: u32,
    /// The stack had more frames than were kept.
    pub(crate) cut: bool,
    /// Return addresses, innermost first.
    pub(crate) stack: A,
}

/// jemalloc's own counters at a boundary, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct JemallocBytes {
    /// `stats.allocated`: what the program holds, rounded up to size classes.
    pub allocated: u64,
    /// `stats.active`: pages that hold at least one such block.
    pub active: u64,
    /// `stats.metadata`: jemalloc's own bookkeeping.
    pub metadata: u64,
    /// `stats.resident`: pages that jemalloc believes to be in memory.
    pub resident: u64,
    /// `stats.mapped`: bytes in active extents mapped by jemalloc.
    pub mapped: u64,
    /// `stats.retained`: address space that it keeps without memory behind it.
    pub retained: u64,
}

/// Resident bytes by kind, and what else the balance needs. The kinds add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resident {
    /// All of it: the sum of `Rss` over all mappings.
    pub(crate) total: u64,
    /// The tool's own mappings.
    pub(crate) tool: u64,
    /// Threads' stacks.
    pub(crate) stacks: u64,
    /// The C heap, as far as it is known by its place: the program break, and glibc's arenas.
    pub(crate) c_heap: u64,
    /// The executable's code and data.
    pub(crate) program: u64,
    /// Other mapped files: libraries, shared memory.
    pub(crate) files: u64,
    /// Of `files`, what has no name and lies directly behind one: its `.bss`, or memory that the
    /// kernel happened to put there.
    pub(crate) behind_files: u64,
    /// Of the program, its `.bss`: pages that it has touched.
    #[serde(default)]
    pub(crate) program_zeroed: u64,
    /// Anonymous memory: the allocator's, and whatever else was mapped.
    pub(crate) anonymous: u64,
    /// Address space of that and of other mapped files, resident or not, as far as it may be
    /// accessed at all; and of what looks like the tool's own, but is more than that.
    pub(crate) mapped: u64,
}

/// What the C library's allocator says of itself, in bytes: see [`crate::recorder::heap::c_heap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CHeap {
    pub(crate) system: u64,
    pub(crate) in_use: u64,
    pub(crate) free: u64,
    pub(crate) mapped: u64,
}

/// The process's memory at a boundary, beyond what the ledger counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) resident: Resident,
    pub(crate) c_heap: Option<CHeap>,
    /// Bytes that the ledger's blocks take if the C library's allocator is what is beneath, at most.
    pub(crate) chunks: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
}

/// The threads of the process at the baseline or at the end: number and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Threads {
    pub(crate) at_end: bool,
    pub(crate) threads: Vec<(u32, String)>,
}

/// Resident memory before and after the allocator was asked, after the last boundary, to give back
/// what it keeps for reuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purge {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// The numbers of one boundary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The cycle that just ended, from 1.
    pub(crate) cycle: u32,
    pub(crate) live_bytes: u64,
    pub(crate) live_blocks: u64,
    /// Highest live bytes since the boundary before, to 4 KiB a thread.
    pub(crate) peak_bytes: u64,
    /// Live bytes born in this cycle's load when the load was done.
    pub(crate) loaded_bytes: u64,
    /// By how much live bytes were higher at the most while it was loading.
    pub(crate) load_peak_bytes: u64,
    /// Blocks allocated in this cycle, and their bytes.
    pub(crate) allocations: u64,
    pub(crate) allocated_bytes: u64,
    /// Live bytes that were there before the first cycle, and their blocks.
    pub(crate) setup_bytes: u64,
    pub(crate) setup_blocks: u64,
    /// Resident memory; `None` if the kernel did not tell.
    pub(crate) resident_bytes: Option<u64>,
    /// The highest that it ever was.
    pub(crate) peak_resident_bytes: Option<u64>,
    pub(crate) jemalloc: Option<JemallocBytes>,
    /// `None` if the kernel did not tell.
    pub(crate) memory: Option<Memory>,
    pub(crate) threads: u64,
    /// The heap came to rest before the boundary was taken.
    pub(crate) quiet: bool,
    /// Nanoseconds of load, infer and drop.
    pub(crate) cycle_nanos: u64,
    /// The ledger's own: nanoseconds inside the hooks since the cycles began (estimated from so
    /// many timed calls), bytes of its mappings, and what it could not record.
    pub(crate) hook_nanos: u64,
    pub(crate) timed_calls: u64,
    pub(crate) mapped_bytes: u64,
    pub(crate) unseen: u64,
    pub(crate) unknown_frees: u64,
    pub(crate) refused: u64,
}

/// A boundary: its numbers, and the rows that differ from the boundary before. A row with no
/// blocks is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boundary<R> {
    #[serde(flatten)]
    pub(crate) counts: Counts,
    pub(crate) census: R,
}

/// A search for holders behind a boundary, in a copy of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Searched<S> {
    /// The cycle that ended with the boundary.
    pub(crate) cycle: u32,
    /// Why there are none; `None` if they are in a file of their own.
    pub(crate) failure: Option<S>,
    /// Nanoseconds for which the process was held up.
    pub(crate) pause_nanos: u64,
}

/// How the workload ended on its own account. A child that was killed leaves none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End<S> {
    /// `None` if all went well; else what went wrong in which cycle and phase.
    pub(crate) failure: Option<S>,
    /// Why it ended before all cycles ran, if it was not a failure.
    pub(crate) early: Option<Early>,
}

/// A block's bytes and blocks that dhat should have under a stack.
pub(crate) type Witness = (u32, u64, u64);

/// One line of the journal. The writer's is over borrowed parts, so that writing allocates
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(
    clippy::large_enum_variant,
    reason = "one is alive at a time, and boxing would allocate in the measured process"
)]
pub(crate) enum Record<S = String, A = Vec<u64>, R = Vec<CensusEntry>, W = Vec<Witness>> {
    Start(Start<S>),
    Code(Code<S>),
    Stack(Stack<A>),
    Boundary(Boundary<R>),
    /// At the end of a dhat window: live `(stack, bytes, blocks)` as dhat should have them.
    Witness(W),
    Threads(Threads),
    /// Who holds the survivors was looked for.
    Searched(Searched<S>),
    Purge(Purge),
    End(End<S>),
}

pub(crate) type RecordRef<'a> = Record<&'a str, &'a [usize], &'a [CensusEntry], &'a [Witness]>;
