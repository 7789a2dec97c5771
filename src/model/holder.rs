//! Holders in the report: what keeps survivors reachable.

use super::holders::HolderKind;
use crate::base::json::fields;

/// What keeps a call site's blocks reachable, or how they are lost.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Holder {
    /// What it is.
    pub kind: HolderKind,
    /// Name of the static or thread-local, or the function whose local variable it is. For lost blocks
    /// the function that allocated the block that nothing points at. `None` if there is no name.
    pub name: Option<String>,
    /// File in which that is declared, running, or was allocated.
    pub file: Option<String>,
    /// Line in `file`.
    pub line: Option<u32>,
    /// Name of the thread that it belongs to, if it belongs to one.
    pub thread: Option<String>,
    /// Blocks of the call site that it holds.
    pub blocks: u64,
    /// Blocks of the call site whose holder was searched for.
    pub of_blocks: u64,
    /// `blocks` divided by `of_blocks`, from 0 to 1.
    pub share: f64,
    /// Generations with a block that it holds.
    pub generations: u32,
    /// Lost blocks of the call site, if this holder is of another kind.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub lost_blocks: u64,
    /// Whether the search covered all memory that could hold a block: every thread, and memory of C
    /// code.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub searched_all: bool,
    /// Blocks in the reference cycle, if it is one; of lost blocks with links between them: in the
    /// shortest cycle of links.
    pub cycle_blocks: Option<u32>,
    /// The retaining path to one of the blocks, the shortest one: first the block that the holder
    /// points at, last the call site's own. For a reference cycle its blocks.
    pub path: Vec<PathBlock>,
    /// Blocks on the whole path. `path` may leave out those in the middle.
    pub path_blocks: u32,
}

fields! {
    Holder {
        kind, name: default, file: default, line: default, thread: default, blocks, of_blocks,
        share, generations, lost_blocks: default, searched_all: default, cycle_blocks: default,
        path, path_blocks,
    }
}

/// A block on a retaining path.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PathBlock {
    /// Its type, as far as the allocation shows it: `Arc`, `Vec`, `HashMap` and so on.
    pub what: Option<String>,
    /// How the block before it, or the holder, refers to it, if that is known: `.attribute`, `['key']`, `[3]`, or the name
    /// of a local variable. Of Python's objects.
    #[cfg_attr(feature = "formats", schemars(default))]
    pub via: Option<String>,
    /// Function of the innermost frame of its allocation outside of the standard library: where it was
    /// allocated, in the user's own code or in a dependency.
    pub function: String,
    /// File of that frame.
    pub file: Option<String>,
    /// Line of that frame.
    pub line: Option<u32>,
    /// Size in bytes, as the allocator rounded it.
    pub bytes: u64,
}

fields! {
    PathBlock {
        what: default, via: default, function, file: default, line: default, bytes,
    }
}

/// A holder, and how much memory would be freed without it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Root {
    /// What it is.
    pub kind: HolderKind,
    /// Its name, as [`Holder::name`].
    pub name: Option<String>,
    /// Its file, as [`Holder::file`].
    pub file: Option<String>,
    /// Its line, as [`Holder::line`].
    pub line: Option<u32>,
    /// Its thread, as [`Holder::thread`].
    pub thread: Option<String>,
    /// Bytes that are reachable from it alone, as the allocator rounded them: its retained size.
    pub retained_bytes: u64,
    /// Blocks that are reachable from it alone.
    pub retained_blocks: u64,
    /// Bytes that are reachable from it, and maybe from other holders too.
    pub reached_bytes: u64,
    /// Blocks that are reachable from it, and maybe from other holders too.
    pub reached_blocks: u64,
}

fields! {
    Root {
        kind, name: default, file: default, line: default, thread: default, retained_bytes,
        retained_blocks, reached_bytes, reached_blocks,
    }
}

impl Root {
    /// Whether it is a static of Rust's own libraries or of its test harness, of which no program is the owner.
    pub(crate) fn is_of_runtime(&self) -> bool {
        const CRATES: [&str; 4] = ["alloc", "core", "std", "test"];
        let name = self.name.as_deref().unwrap_or_default();
        let first = name.trim_start_matches('<').split_once("::");
        first.is_some_and(|(name, _)| CRATES.contains(&name))
    }
}

/// How the holder search went.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HolderSearch {
    /// Why it failed; `None` if it succeeded.
    pub failure: Option<String>,
    /// Seconds for which the measured process was paused.
    pub pause_seconds: f64,
    /// Seconds that the search took, in the frozen copy of the process.
    pub seconds: f64,
    /// Bytes searched for pointers.
    pub searched_bytes: u64,
    /// Bytes of memory that the search itself took.
    pub own_bytes: u64,
    /// Threads whose stacks and registers could not be read.
    pub missed_threads: u32,
}

fields! {
    HolderSearch {
        failure: default, pause_seconds, seconds, searched_bytes, own_bytes, missed_threads,
    }
}
