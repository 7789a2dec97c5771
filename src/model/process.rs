//! What is known of the process besides the blocks that the recorder has.

use crate::base::units::bytes;
use crate::model::verdict::Evidence;
use crate::model::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// What grows in the process besides the blocks that the ledger has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Process {
    /// What it is; `none` if nothing does.
    pub grows: Grows,
    /// The worst of the verdicts on the parts, if any grows. What is restless but shows no steady
    /// growth is a warning, and no reason to doubt the run: C code and the kernel have habits of
    /// their own.
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
    /// What cannot be told yet, in a sentence for each part but the one that decides.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = String> {
        let open = self
            .parts
            .iter()
            .filter(|p| p.verdict == Verdict::Undecided && p.what != self.grows);
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
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
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
    /// Resident memory of which nothing else is known: pages of old mappings, the program break,
    /// stacks that grow deeper.
    ResidentMemory,
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
            Self::ResidentMemory => "growth in resident memory",
            Self::Threads => "growth in threads",
            Self::FileDescriptors => "growth in file descriptors",
        }
    }

    /// Whether its level is in bytes; else it is a number.
    #[cfg_attr(not(feature = "formats"), allow(dead_code))]
    pub(crate) const fn is_in_bytes(self) -> bool {
        !matches!(self, Self::Threads | Self::FileDescriptors)
    }

    /// How a report's JSON and a command line name it.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::AllocatorKeepsPages => "allocator-keeps-pages",
            Self::CHeap => "c-heap",
            Self::MappedMemory => "mapped-memory",
            Self::ResidentMemory => "resident-memory",
            Self::Threads => "threads",
            Self::FileDescriptors => "file-descriptors",
        }
    }
}

/// A part of the process, judged as a call site is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Part {
    /// What it is.
    pub what: Grows,
    /// The verdict on its level.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The figures behind it.
    pub evidence: Evidence,
    /// Growth per cycle, in bytes, or in threads or descriptors; `None` if it cannot be told.
    pub per_cycle: Option<f64>,
    /// Its level at each boundary after the baseline, in the same unit.
    pub series: Vec<u64>,
}

impl Part {
    /// Its growth in words, with what grows: `growth in the C heap, 5.01 kB a cycle`.
    #[cfg_attr(not(feature = "formats"), allow(dead_code))]
    pub(crate) fn amount(&self) -> String {
        match self.per_cycle {
            Some(rate) if self.what.is_in_bytes() => {
                format!("{}, {} a cycle", self.what.name(), bytes(rate))
            }
            Some(rate) => format!("{}, {rate:.2} a cycle", self.what.name()),
            None => self.what.name().to_owned(),
        }
    }
}

/// Resident memory of the process at a boundary, in bytes, by what it is for.
///
/// The parts add up to `resident_bytes` but for `unexplained_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
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
