//! Records of the journal: the measured process writes them, one JSON object a line, and the parent
//! reads them.
//!
//! A boundary is one line, written with one system call. Its census lists only the entries that have
//! changed since the previous boundary. The lines that it refers to (new stacks, newly mapped code)
//! come before it. So if the process is killed, the journal is complete up to the last boundary; an
//! incomplete last line is ignored. Each line ends with its number and its checksum.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::json::{fields, variants};
use crate::base::names::fnv;
use crate::model::block::CensusEntry;
use crate::model::end::Early;
use crate::model::python::{Interpreter, PythonLocation};
use crate::model::run::{HeapKind, Strategy};

/// dhat's file in the folder of a run.
pub(crate) const DHAT_FILE: &str = "dhat-heap.json";

/// The journal's name in the folder of a run.
pub(crate) const FILE: &str = "journal.jsonl";

/// The folder in that of the run of a program as it is that has a folder for each process.
#[cfg(any(feature = "cli", feature = "preload"))]
pub(crate) const PROCESSES: &str = "processes";

/// The file in the folder of a process that has ended by `_exit`, and so without an end in its journal.
#[cfg(any(feature = "cli", feature = "preload", test))]
pub(crate) const EXITED: &str = "exited";

/// The folder of the predictions of the strategy `slot`. The parent removes it if the child was killed.
pub(crate) const PREDICTIONS: &str = "predictions";

/// Version of the format.
pub(crate) const VERSION: u32 = 6;

/// How the checksum at the end of a line begins.
pub(crate) const SUM_START: &[u8] = b",\"sum\":\"";

/// Bytes of the checksum, with the end of the line's object.
pub(crate) const SUM_LENGTH: usize = SUM_START.len() + 16 + 2;

/// How the number of a line begins, from 1, in front of its checksum: without it, nobody would notice that a line is
/// missing.
pub(crate) const NUMBER_START: &[u8] = b",\"line\":";

/// The checksum of a line up to the closing brace of its object, which it replaces. Without it, a digit
/// that has changed on the disk would be a wrong figure.
pub(crate) fn sum_of(record: &[u8]) -> [u8; SUM_LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let sum = fnv(record);
    std::array::from_fn(|i| match i.checked_sub(SUM_START.len()) {
        None => SUM_START[i],
        Some(16) => b'"',
        Some(17) => b'}',
        Some(digit) => DIGITS[(sum >> (60 - 4 * digit)) as usize & 15],
    })
}

/// The first record, and the second: what is measured, and how. Without it nothing can be reported, so that one of the
/// two may be unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start<S> {
    pub(crate) version: u32,
    pub(crate) workload: S,
    pub(crate) heap: HeapKind,
    pub(crate) strategy: Strategy,
    /// Number of cycles; with `auto`, the most that may run.
    pub(crate) cycles: u32,
    pub(crate) warmup: u32,
    /// Cycles after the warm-up beyond which steady growth is a leak.
    pub(crate) horizon: u32,
    /// The run ends when all verdicts are settled.
    pub(crate) auto: bool,
    pub(crate) pid: u32,
    /// Stacks are unwound with call frame information, because the build has no frame pointers.
    pub(crate) by_cfi: bool,
    /// Mean number of allocated bytes between two samples; `None` if every block is recorded.
    pub(crate) sampled_every: Option<u64>,
    /// The process is a program as it is, which decides how many cycles it runs.
    pub(crate) exec: bool,
    /// The process is a service that goes on. A cycle is a window of time, and the only one of the warm-up stands for
    /// all windows before: blocks that were born in it are part of the series.
    pub(crate) live: bool,
}

fields! {
    Start<S> {
        version, workload, heap, strategy, cycles, warmup, horizon, auto, pid, by_cfi,
        sampled_every: default, exec: default, live: default,
    }
}

/// A path: a text, or its bytes if they are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordedPath<S = String, B = Vec<u8>> {
    Text(S),
    Bytes(B),
}

variants! { RecordedPath<S, B> { Text: "text", Bytes: "bytes" } }

impl<'a> From<&'a [u8]> for RecordedPath<&'a str, &'a [u8]> {
    fn from(path: &'a [u8]) -> Self {
        str::from_utf8(path).map_or(Self::Bytes(path), Self::Text)
    }
}

impl RecordedPath {
    pub(crate) fn as_path(&self) -> &Path {
        match self {
            Self::Text(path) => Path::new(path),
            Self::Bytes(path) => Path::new(OsStr::from_bytes(path)),
        }
    }
}

/// An executable mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code<P = RecordedPath> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Offset in the file.
    pub(crate) offset: u64,
    pub(crate) path: P,
}

fields! { Code<P> { start, end, offset, path } }

/// A stack that is in a census for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stack<A> {
    pub(crate) id: u32,
    /// The stack has more frames than the recorder keeps: the outer ones are missing.
    pub(crate) cut: bool,
    /// Return addresses, innermost first.
    pub(crate) stack: A,
}

fields! { Stack<A> { id, cut, stack } }

/// jemalloc's statistics at a boundary, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct JemallocBytes {
    /// `stats.allocated`: all live blocks, rounded up to size classes.
    pub allocated: u64,
    /// `stats.active`: pages with at least one live block.
    pub active: u64,
    /// `stats.metadata`: jemalloc's own data structures.
    pub metadata: u64,
    /// `stats.resident`: upper bound of the pages in memory that jemalloc has mapped.
    pub resident: u64,
    /// `stats.mapped`: active extents that jemalloc has mapped.
    pub mapped: u64,
    /// `stats.retained`: address space that jemalloc has reserved for reuse, without physical memory.
    pub retained: u64,
}

fields! { JemallocBytes { allocated, active, metadata, resident, mapped, retained } }

/// Resident memory by use, in bytes. `tool`, `stacks`, `c_heap`, `program`, `files` and `anonymous` add
/// up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resident {
    /// The sum of `Rss` over all mappings.
    pub(crate) total: u64,
    /// The recorder's own mappings.
    pub(crate) tool: u64,
    /// Stacks of threads.
    pub(crate) stacks: u64,
    /// Memory of the C library's allocator that can be told by its address: the program break, and
    /// glibc's arenas.
    pub(crate) c_heap: u64,
    /// Code and data of the executable.
    pub(crate) program: u64,
    /// Mappings of other files: shared objects, shared memory.
    pub(crate) files: u64,
    /// Of `files`: unnamed mappings that directly follow a file. They are its `.bss`, or other memory
    /// to which the kernel gave this address.
    pub(crate) behind_files: u64,
    /// Of `program`: its `.bss`, as far as it was written.
    pub(crate) program_zeroed: u64,
    /// Other anonymous memory: that of the allocator, and what was mapped without it.
    pub(crate) anonymous: u64,
    /// Address space of `anonymous` and of `files` that may be accessed, resident or not; and of
    /// mappings with the flags of the recorder's own, as far as they exceed them.
    pub(crate) mapped: u64,
}

fields! {
    Resident {
        total, tool, stacks, c_heap, program, files, behind_files, program_zeroed: default,
        anonymous, mapped,
    }
}

/// Statistics of the C library's allocator, in bytes: mallinfo(3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CHeap {
    /// Obtained from the system.
    pub(crate) system: u64,
    /// In live blocks.
    pub(crate) in_use: u64,
    /// In free blocks.
    pub(crate) free: u64,
    /// Of `system`: in blocks that are mappings of their own.
    pub(crate) mapped: u64,
}

fields! { CHeap { system, in_use, free, mapped } }

/// Memory of the process at a boundary that the ledger does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: Resident,
    pub(crate) c_heap: Option<CHeap>,
    /// Upper bound of the bytes that the recorded blocks take in the C library's allocator, as far as
    /// they are there.
    pub(crate) chunks: u64,
    /// Live bytes of these blocks.
    pub(crate) c_bytes: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
}

fields! { Memory { resident, c_heap: default, chunks, c_bytes: default, descriptors } }

/// Id and name of each thread, at the baseline or at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Threads {
    pub(crate) at_end: bool,
    pub(crate) threads: Vec<(u32, String)>,
}

fields! { Threads { at_end, threads } }

/// What is open and mapped, at the baseline or at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) at_end: bool,
    /// What each open file descriptor refers to.
    pub(crate) open: Vec<String>,
    /// Bytes of the parts of [`Resident::mapped`] by name, which is empty if they are of no file.
    pub(crate) mapped: Vec<(String, u64)>,
}

fields! { Files { at_end, open, mapped } }

/// Resident memory before and after the allocator was asked to return unused memory to the system,
/// after the last boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Purge {
    pub(crate) before: u64,
    pub(crate) after: u64,
    /// Those of the C library's allocator, before it was asked.
    pub(crate) arenas: Option<Arenas>,
}

fields! { Purge { before, after, arenas: default } }

/// The arenas of glibc's allocator. Each thread may get one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arenas {
    pub(crate) count: u64,
    /// Bytes of free chunks in the main arena, and in the others.
    pub(crate) free_in_main: u64,
    pub(crate) free_in_others: u64,
}

fields! { Arenas { count, free_in_main, free_in_others } }

/// The counters of a boundary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The cycle that has just ended, from 1.
    pub(crate) cycle: u32,
    pub(crate) live_bytes: u64,
    pub(crate) live_blocks: u64,
    /// Highest live bytes since the previous boundary; 4 KiB for each thread may be missing.
    pub(crate) peak_bytes: u64,
    /// By how much the loads of this cycle have raised the live bytes.
    pub(crate) loaded_bytes: u64,
    /// Highest live bytes during the first load, less those at its start.
    pub(crate) load_peak_bytes: u64,
    /// Blocks that were allocated in this cycle, and their bytes.
    pub(crate) allocations: u64,
    pub(crate) allocated_bytes: u64,
    /// Live bytes and blocks from before the first cycle.
    pub(crate) setup_bytes: u64,
    pub(crate) setup_blocks: u64,
    /// Resident memory; `None` if the kernel does not report it.
    pub(crate) resident_bytes: Option<u64>,
    /// Highest resident memory so far.
    pub(crate) peak_resident_bytes: Option<u64>,
    pub(crate) jemalloc: Option<JemallocBytes>,
    /// `None` if the kernel does not report it.
    pub(crate) memory: Option<Memory>,
    pub(crate) threads: u64,
    /// No thread allocated or freed any more when the boundary was taken.
    pub(crate) quiet: bool,
    /// Duration of the cycle in nanoseconds.
    pub(crate) cycle_nanos: u64,
    /// Nanoseconds inside the allocator's hooks since the first cycle, estimated from the calls that
    /// were timed.
    pub(crate) hook_nanos: u64,
    pub(crate) timed_calls: u64,
    /// Bytes of the recorder's own mappings.
    pub(crate) mapped_bytes: u64,
    /// Allocations inside a hook, by a signal handler, which are not recorded.
    pub(crate) unseen: u64,
    /// Frees of blocks that were not recorded.
    pub(crate) unknown_frees: u64,
    /// Blocks and stacks for which the recorder had no memory.
    pub(crate) refused: u64,
}

fields! {
    Counts {
        cycle, live_bytes, live_blocks, peak_bytes, loaded_bytes, load_peak_bytes, allocations,
        allocated_bytes, setup_bytes, setup_blocks, resident_bytes: default,
        peak_resident_bytes: default, jemalloc: default, memory: default, threads, quiet,
        cycle_nanos, hook_nanos, timed_calls, mapped_bytes, unseen, unknown_frees, refused,
    }
}

/// A boundary: its counters, and the census entries that differ from those of the previous boundary. An
/// entry with 0 blocks has been removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boundary<R> {
    pub(crate) counts: Counts,
    pub(crate) census: R,
}

fields! { Boundary<R> { counts, census } }

/// What was live when the live bytes were about as high as never before in the run. Together with the bytes of
/// the census, the other two add up to the live bytes of that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peak<R> {
    pub(crate) cycle: u32,
    pub(crate) phase: u8,
    /// Bytes from before the first cycle.
    pub(crate) setup_bytes: u64,
    /// Bytes of stacks that have too few of them to be told.
    pub(crate) other_bytes: u64,
    /// By stack and phase. The birth cycle is 0.
    pub(crate) census: R,
}

fields! { Peak<R> { cycle, phase, setup_bytes, other_bytes, census } }

/// The child waits after the boundary of this cycle for a reply of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) cycle: u32,
}

fields! { Waiting { cycle } }

/// A holder search after a boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Searched<S> {
    /// The cycle that ended at the boundary.
    pub(crate) cycle: u32,
    /// Why no holders were found; `None` if they are in [`FILE`](super::holders::FILE).
    pub(crate) failure: Option<S>,
    /// Nanoseconds for which the threads of the process were suspended.
    pub(crate) pause_nanos: u64,
}

fields! { Searched<S> { cycle, failure: default, pause_nanos } }

/// How the workload ended. If the process was killed, this record is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End<S> {
    /// What went wrong, in which cycle and phase; `None` if nothing did.
    pub(crate) failure: Option<S>,
    /// Why it ended before all cycles were run, other than by a failure.
    pub(crate) early: Option<Early>,
    /// The last cycle that has a boundary.
    pub(crate) cycle: Option<u32>,
}

fields! { End<S> { failure: default, early: default, cycle: default } }

/// Stack, bytes and blocks of live blocks, to be compared with dhat's profile.
pub(crate) type Witness = (u32, u64, u64);

/// A line of the journal. To write one, [`RecordRef`] borrows its parts, so that nothing is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "only one exists at a time, and a box would allocate in the measured process"
)]
pub(crate) enum Record<
    S = String,
    A = Vec<u64>,
    R = Vec<CensusEntry>,
    W = Vec<Witness>,
    P = RecordedPath,
> {
    Start(Start<S>),
    Code(Code<P>),
    Interpreter(Interpreter<S>),
    Python(PythonLocation<S>),
    Stack(Stack<A>),
    Boundary(Boundary<R>),
    Peak(Peak<R>),
    Waiting(Waiting),
    /// Blocks that were allocated while dhat recorded and are live when it ends.
    Witness(W),
    Threads(Threads),
    Files(Files),
    Searched(Searched<S>),
    Purge(Purge),
    /// What could not be written, and why.
    Unwritten(S),
    End(End<S>),
}

variants! {
    Record<S, A, R, W, P> {
        Start: "start", Code: "code", Interpreter: "interpreter", Python: "python", Stack: "stack",
        Boundary: "boundary", Peak: "peak", Waiting: "waiting", Witness: "witness",
        Threads: "threads", Files: "files", Searched: "searched", Purge: "purge",
        Unwritten: "unwritten", End: "end",
    }
}

pub(crate) type RecordRef<'a> =
    Record<&'a str, &'a [usize], &'a [CensusEntry], &'a [Witness], RecordedPath<&'a str, &'a [u8]>>;
