//! Who holds what is left, as the report has it.

use serde::{Deserialize, Serialize};

use crate::model::frame::location_of;
use crate::model::holders::HolderKind;

/// Who keeps a call site's blocks alive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Holder {
    /// What it is.
    pub kind: HolderKind,
    /// The static or thread-local, the function of the frame, or of what is lost the function that
    /// allocated the block that is the cause; `None` if it has no name.
    pub name: Option<String>,
    /// Where that is declared, or was running, or allocated.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
    /// Name of the thread, of what belongs to one.
    pub thread: Option<String>,
    /// Blocks of the call site that it holds.
    pub blocks: u64,
    /// Blocks of the call site that were searched for.
    pub of_blocks: u64,
    /// `blocks` of `of_blocks`, from 0 to 1.
    pub share: f64,
    /// Birth cycles of which it holds a block.
    pub generations: u32,
    /// Blocks of the call site that are lost, where the holder is another.
    #[serde(default)]
    pub lost_blocks: u64,
    /// Whether all that could hold a block was searched: every thread, and memory of C code.
    #[serde(default)]
    pub searched_all: bool,
    /// Blocks of the cycle, where it is one.
    pub cycle_blocks: Option<u32>,
    /// The shortest way to one of them: the block that the holder points at first, the call site's own last.
    /// Of a cycle, its blocks.
    pub path: Vec<PathBlock>,
    /// Blocks of the whole way, of which the middle may be left out.
    pub path_blocks: u32,
}

/// A block on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct PathBlock {
    /// What it is, as far as the allocation tells: `Arc`, `Vec`, `HashMap` and so on.
    pub what: Option<String>,
    /// The blame frame of its allocation.
    pub function: String,
    /// Its file.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<u32>,
    /// Bytes that the allocator has for it.
    pub bytes: u64,
}

/// A static, a thread or a cause, and what would be freed if it were cleared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Root {
    /// What it is.
    pub kind: HolderKind,
    /// As in [`Holder`].
    pub name: Option<String>,
    /// As in [`Holder`].
    pub file: Option<String>,
    /// As in [`Holder`].
    pub line: Option<u32>,
    /// As in [`Holder`].
    pub thread: Option<String>,
    /// Bytes that it alone keeps alive, as the allocator has them.
    pub retained_bytes: u64,
    /// Blocks that it alone keeps alive.
    pub retained_blocks: u64,
    /// Bytes that it reaches, of which others may reach some.
    pub reached_bytes: u64,
    /// Blocks that it reaches.
    pub reached_blocks: u64,
}

impl HolderKind {
    /// The words before its name.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::ThreadLocal => "thread-local",
            Self::Stack => "a local of",
            Self::Thread => "a thread's own record",
            Self::CHeap => "memory of C code",
            Self::Mapped => "memory mapped by hand",
            Self::Workload => "the workload itself, which the run keeps to its end",
            Self::Lost => "a block at which nothing points",
            Self::Cycle => "a reference cycle",
        }
    }
}

impl Holder {
    /// Who it is, in words: what it is, with a space before a name, and the name.
    pub(crate) fn who(&self) -> (String, &str) {
        match (self.kind, &self.name) {
            (HolderKind::Stack, None) => ("a running function".to_owned(), ""),
            (HolderKind::Static, None) => ("a static without a symbol".to_owned(), ""),
            (HolderKind::ThreadLocal, None) => ("a thread-local without a symbol".to_owned(), ""),
            (kind, Some(name)) if !kind.is_lost() => (format!("{} ", kind.words()), name),
            (kind, _) => (kind.words().to_owned(), ""),
        }
    }

    /// Who it is, in a sentence without an end.
    #[cfg_attr(not(feature = "formats"), allow(dead_code))]
    pub(crate) fn sentence(&self) -> String {
        if self.kind.is_lost() {
            return self.lost().trim_end_matches(':').to_owned();
        }
        let (kind, name) = self.who();
        let place = match location_of(self.file.as_deref(), self.line) {
            none if none.is_empty() => none,
            place => format!(" ({place})"),
        };
        let thread = self.thread.as_ref();
        let thread = thread.map_or_else(String::new, |t| format!(" in thread `{t}`"));
        format!("held{} by {kind}{name}{place}{thread}", self.part())
    }

    /// Whether a block of the call site is itself the cause: nothing is between.
    pub(crate) fn is_cause(&self) -> bool {
        self.kind.is_lost() && self.path_blocks <= 1
    }

    /// How many of the call site's blocks, where it is not all.
    pub(crate) fn part(&self) -> String {
        let all = format!("{} of {}", self.blocks, self.of_blocks);
        match (self.blocks == self.of_blocks, self.lost_blocks) {
            (true, _) => String::new(),
            (false, 0) => format!(" ({all})"),
            (false, lost) => format!(" ({all}; {lost} are lost)"),
        }
    }

    /// The sentence of what is lost: who is to be asked about it.
    pub(crate) fn lost(&self) -> String {
        let part = self.part();
        if !self.searched_all {
            return format!(
                "nothing that was searched points at it{part}, and not all was (see the note below)"
            );
        }
        match (self.kind, self.cycle_blocks.unwrap_or(0)) {
            (HolderKind::Cycle, 1) => format!(
                "lost{part}: the block points at itself (an `Arc` or `Rc` of it, inside it), and \
                 nothing else does"
            ),
            (HolderKind::Cycle, n) => {
                format!("lost{part}: {n} blocks that only point at each other (a reference cycle)")
            }
            _ if self.is_cause() => format!(
                "lost{part}: nothing points at it (mem::forget, Box::leak without a keeper, into_raw \
                 never taken back)"
            ),
            _ => format!(
                "lost{part}, together with the block that holds it, at which nothing points:"
            ),
        }
    }
}

impl PathBlock {
    /// What it is, as far as it is known: `Arc`, or `block`.
    pub(crate) fn kind(&self) -> &str {
        self.what.as_deref().unwrap_or("block")
    }
}

/// How holders were looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct HolderSearch {
    /// Why there are none; `None` if they were found.
    pub failure: Option<String>,
    /// Seconds for which the measured process was held up.
    pub pause_seconds: f64,
    /// Seconds that the search took in the copy.
    pub seconds: f64,
    /// Bytes that were searched.
    pub searched_bytes: u64,
    /// Bytes of the search's own memory.
    pub own_bytes: u64,
    /// Threads whose stacks and registers were not seen.
    pub missed_threads: u32,
}
