//! What the search for holders writes, and the analysis reads.

use serde::{Deserialize, Serialize};

/// What the copy writes, in the folder of a run.
pub(crate) const FILE: &str = "holders.jsonl";

/// Kinds of holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A static of the program or of a shared object.
    Static,
    /// A thread-local of a thread.
    ThreadLocal,
    /// A local of a function that still runs, or a register of it.
    Stack,
    /// What the threading library keeps of a thread, such as what it was started with.
    Thread,
    /// Memory of C code.
    CHeap,
    /// Memory that was mapped by hand.
    Mapped,
    /// The measured workload itself, which the run holds until its end.
    Workload,
    /// A block at which nothing points: it is lost, and what it holds with it.
    Lost,
    /// Blocks that only point at each other: a reference cycle.
    Cycle,
}

impl Kind {
    /// How a report's JSON names it.
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
            Self::Lost => "lost",
            Self::Cycle => "cycle",
        }
    }

    /// Whether nothing can reach what it holds any more.
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Lost | Self::Cycle)
    }
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Record<S = String, A = Vec<u64>, W = Vec<(u32, u64)>> {
    Holder(HolderRecord<S, A>),
    /// Blocks of a stack, birth cycle and phase that a holder reached first:
    /// `(stack, birth, phase, holder, blocks)`.
    Held((u32, u32, u8, u16, u64)),
    Way(Way<W>),
    Done(Done),
}

/// A holder, as the copy knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HolderRecord<S, A> {
    pub(crate) id: u16,
    pub(crate) kind: Kind,
    /// Of a static or thread-local: its symbol, as the file has it; may be empty.
    pub(crate) symbol: S,
    /// Of what belongs to a thread: its number.
    pub(crate) thread: Option<i32>,
    /// Of a stack: addresses in the code of the frame and of its callers.
    pub(crate) frames: A,
    /// Of a lost block: its stack.
    pub(crate) stack_id: Option<u32>,
    /// Of a cycle: its blocks.
    pub(crate) cycle: u32,
    /// All that it reached first, and what nobody else reaches; as the allocator has them.
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) alone_bytes: u64,
    pub(crate) alone_blocks: u64,
}

/// The shortest way from a holder to a block of a stack: stack and bytes of each block, itself the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Way<W> {
    pub(crate) stack_id: u32,
    pub(crate) phase: u8,
    pub(crate) holder: u16,
    pub(crate) blocks: W,
    /// Blocks of the whole way, of which the middle may be left out.
    pub(crate) in_all: u32,
}

/// The last line: it was all searched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Live blocks, and their bytes as the allocator has them.
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
    /// Bytes that were searched, roots included, some more than once.
    pub(crate) searched_bytes: u64,
    pub(crate) nanos: u64,
    /// Bytes of the search's own memory.
    pub(crate) own_bytes: u64,
    /// Threads whose registers and stacks were not seen.
    pub(crate) missed_threads: u32,
    /// C code has memory of its own, which was searched, too.
    pub(crate) saw_c_code: bool,
}

impl Done {
    /// Whether all that could hold a block was searched: every thread, and memory of C code.
    pub(crate) fn searched_all(&self) -> bool {
        self.saw_c_code && self.missed_threads == 0
    }
}
