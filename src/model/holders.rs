//! Records of a holder search: the frozen copy writes them, the analysis reads them.

use crate::base::json::{fields, names, variants};
use crate::base::text::count;
use crate::base::units::bytes;

/// Name of the file, in the folder of a run: one JSON record a line.
pub(crate) const FILE: &str = "holders.jsonl";

/// What a holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum HolderKind {
    /// A static of the program or of a shared object.
    Static,
    /// A thread-local of a thread.
    ThreadLocal,
    /// A local variable of a function that has not returned, in memory or in a register.
    Stack,
    /// The thread's control block in the C library, with the closure that it was started with.
    Thread,
    /// Memory of C code, from `malloc`.
    CHeap,
    /// Memory that was mapped without the allocator, by `mmap`.
    Mapped,
    /// The measured workload itself, which the run owns until its end.
    Workload,
    /// A module of Python's: what is in its variables.
    Module,
    /// Objects of Python's that refer only to each other, and that its collector frees when it comes.
    Garbage,
    /// A block to which nothing points, or only links between blocks that are lost like it: it is lost,
    /// and so is all that it holds.
    Lost,
    /// A reference cycle: blocks that only point to each other.
    Cycle,
    /// Nothing that was searched points at the block, and what was not searched may hold it.
    NotFound,
}

names! {
    HolderKind {
        Static: "static", ThreadLocal: "thread-local", Stack: "stack", Thread: "thread",
        CHeap: "c-heap", Mapped: "mapped", Workload: "workload", Module: "module",
        Garbage: "garbage", Lost: "lost", Cycle: "cycle", NotFound: "not-found",
    }
}

impl HolderKind {
    /// Its name in report.json.
    #[cfg(feature = "formats")]
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::ThreadLocal => "thread-local",
            Self::Stack => "stack",
            Self::Thread => "thread",
            Self::CHeap => "c-heap",
            Self::Mapped => "mapped",
            Self::Workload => "workload",
            Self::Module => "module",
            Self::Garbage => "garbage",
            Self::Lost => "lost",
            Self::Cycle => "cycle",
            Self::NotFound => "not-found",
        }
    }

    /// Whether no root reaches it or what it holds.
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Lost | Self::Cycle)
    }

    /// Whether no root that was searched reaches it or what it holds.
    pub(crate) const fn has_no_root(self) -> bool {
        matches!(
            self,
            Self::Lost | Self::Cycle | Self::NotFound | Self::Garbage
        )
    }
}

/// One line of [`FILE`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record<S = String, A = Vec<u64>, P = Vec<(u32, u64, u16, String)>> {
    /// The holders are in the order of their numbers.
    Holder(HolderRecord<S, A>),
    /// Blocks of a stack, birth cycle and phase that a holder reached before any other:
    /// `(stack, birth, phase, holder, blocks)`.
    Held((u32, u32, u8, u16, u64)),
    /// The same of blocks that a static or thread-local reaches, too, but which another one, the last
    /// number, reached before it. Only of stacks whose blocks several of them have reached first.
    Reached(((u32, u32, u8, u16, u64), u16)),
    Path(RetainingPath<P>),
    /// Objects of Python's of one type, of a stack, birth cycle and phase:
    /// `(stack, birth, phase, type, blocks)`.
    Objects((u32, u32, u8, u16, u64)),
    /// The number and the name of a type of Python's.
    Type((u16, S)),
    /// The last line: the search is complete.
    Summary(Summary),
}

variants! {
    Record<S, A, P> {
        Holder: "holder", Held: "held", Reached: "reached", Path: "path", Objects: "objects",
        Type: "type", Summary: "summary",
    }
}

/// A holder, before it is named. Bytes are usable bytes, as the allocator reports them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HolderRecord<S, A> {
    /// Its number, from 1.
    pub(crate) id: u16,
    pub(crate) kind: HolderKind,
    /// The mangled symbol of a static or thread-local, or the name of a module or running function of Python's; empty
    /// if there is none.
    pub(crate) symbol: S,
    /// Of a running function of Python's: its file, and the line that it is in, which is 0 if it is not known.
    pub(crate) file: S,
    pub(crate) line: u32,
    /// Id of the thread to which the memory belongs.
    pub(crate) thread: Option<i32>,
    /// Of a local variable: program counters of its function and of the callers, innermost first.
    pub(crate) frames: A,
    /// Of a lost block, and of garbage: the stack that allocated it.
    pub(crate) stack_id: Option<u32>,
    /// Blocks of a cycle of pointers among lost blocks; 0 for other holders.
    pub(crate) cycle: u32,
    /// Bytes of the blocks that it reached before any other holder; of a holder in [`Record::Reached`],
    /// of all that it reaches.
    pub(crate) reached_bytes: u64,
    pub(crate) reached_blocks: u64,
    /// Of these, what no other holder reaches.
    pub(crate) retained_bytes: u64,
    pub(crate) retained_blocks: u64,
}

fields! {
    HolderRecord<S, A> {
        id, kind, symbol, file, line, thread: default, frames, stack_id: default, cycle,
        reached_bytes, reached_blocks, retained_bytes, retained_blocks,
    }
}

/// The shortest path from a holder to a block of a stack.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RetainingPath<P> {
    /// The stack that allocated the block.
    pub(crate) stack_id: u32,
    pub(crate) phase: u8,
    pub(crate) holder: u16,
    /// Stack, bytes and type of each block, which is 0 if it is no object of Python's, and how the one before refers to
    /// it, or nothing: the one to which the holder points first, the block itself last.
    pub(crate) blocks: P,
    /// Blocks of the whole path, of which the middle may be left out.
    pub(crate) total_blocks: u32,
}

fields! { RetainingPath<P> { stack_id, phase, holder, blocks, total_blocks } }

/// What was searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Live blocks, and their usable bytes.
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// Bytes that were searched, roots included, some more than once.
    pub(crate) searched_bytes: u64,
    /// Duration of the search in nanoseconds.
    pub(crate) nanos: u64,
    /// Bytes of memory that the search took.
    pub(crate) own_bytes: u64,
    /// Threads whose registers and stacks were not searched.
    pub(crate) missed_threads: u32,
    /// Memory of C code was searched.
    pub(crate) searched_c_memory: bool,
    pub(crate) unsearched: Unsearched,
}

fields! {
    Summary {
        blocks, bytes, searched_bytes, nanos, own_bytes, missed_threads, searched_c_memory,
        unsearched,
    }
}

/// Bytes that were not searched, by reason, where pointers to blocks may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsearched {
    /// Mappings that a forked copy of the process does not have: `MADV_DONTFORK`.
    pub(crate) not_copied: u64,
    /// Mappings that are empty in a forked copy: `MADV_WIPEONFORK`.
    pub(crate) wiped: u64,
    /// Memory of devices.
    pub(crate) devices: u64,
    /// Pages of shared mappings that were not in memory.
    pub(crate) evicted: u64,
    /// Memory that could not be read.
    pub(crate) unreadable: u64,
    /// Memory that cannot be told from the allocator's own.
    pub(crate) like_allocator: u64,
    /// Heaps of the C library, which have no roots of others only as far as its main arena is known.
    pub(crate) c_heaps: u64,
    /// Memory that cannot be told from the recorder's own.
    pub(crate) like_recorder: u64,
    /// Memory that was searched for aligned pointers only.
    pub(crate) unaligned: u64,
    /// Blocks, not bytes, that were allocated inside of a hook, and are not known.
    pub(crate) unknown_blocks: u64,
}

fields! {
    Unsearched {
        not_copied, wiped, devices, evicted, unreadable, like_allocator, c_heaps, like_recorder,
        unaligned, unknown_blocks,
    }
}

impl Unsearched {
    /// Whether there is no such memory.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What was not searched, and why.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let of_bytes = |n: u64, what: &str| (n > 0).then(|| format!("{} {what}", bytes(n as f64)));
        let blocks = count(self.unknown_blocks, "block");
        [
            of_bytes(self.not_copied, "that a fork does not copy (MADV_DONTFORK)"),
            of_bytes(self.wiped, "that a fork empties (MADV_WIPEONFORK)"),
            of_bytes(self.devices, "of devices"),
            of_bytes(self.evicted, "of shared mappings that are not in memory"),
            of_bytes(self.unreadable, "that could not be read"),
            of_bytes(
                self.like_allocator,
                "mapped like the allocator's own (MAP_NORESERVE)",
            ),
            of_bytes(
                self.c_heaps,
                "in heaps of the C library, whose main arena was not found",
            ),
            of_bytes(
                self.like_recorder,
                "marked like the recorder's own (MAP_NORESERVE and MADV_DONTDUMP)",
            ),
            of_bytes(
                self.unaligned,
                "for pointers that are not aligned (up to 268 MB of blocks are, and as much beside them)",
            ),
            (self.unknown_blocks > 0)
                .then(|| format!("{blocks} allocated by signal handlers inside of a hook")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Summary {
    /// Whether all memory that could hold a block was searched.
    pub(crate) fn searched_all(&self) -> bool {
        self.searched_c_memory && self.missed_threads == 0 && self.unsearched.is_none()
    }
}
