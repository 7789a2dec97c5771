//! What is known of the process besides the blocks in the ledger.

use super::verdict::{Evidence, Verdict};
use crate::base::json::{fields, names};

/// What grows in the process besides the blocks in the ledger.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Process {
    /// The part that decides the verdict; `none` if no part grows.
    pub grows: Grows,
    /// The worst verdict on a part that counts. A part that fluctuates without steady growth gives a
    /// warning and leaves the run's verdict as it is: C code and the kernel allocate on their own.
    pub verdict: Verdict,
    /// What grows and what to do about it, in a sentence.
    pub sentence: String,
    /// The parts that were judged.
    pub parts: Vec<Part>,
    /// Resident memory that the allocator returned when it was asked to, after the last boundary;
    /// `None` if it was not asked.
    pub purged_bytes: Option<u64>,
    /// Names of the threads that were started after the baseline and still ran at the end.
    pub new_threads: Vec<String>,
}

fields! { Process { grows, verdict, sentence, parts, purged_bytes: default, new_threads } }

impl Process {
    /// A sentence for each part that is undecided, without the part that decides.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = String> {
        let open = self
            .parts
            .iter()
            .filter(|p| p.verdict == Verdict::Undecided && p.what != self.grows)
            // In a run that ended early all parts are undecided, also those that never rose.
            .filter(|p| !p.evidence.rises.is_empty());
        open.map(|p| format!("undecided whether there is {}: {}", p.what.name(), p.reason))
    }
}

/// A part of the process that can grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Grows {
    /// No part grows.
    None,
    /// Free pages that the allocator keeps for reuse, which are no leak.
    AllocatorKeepsPages,
    /// Blocks that C code allocated.
    CHeap,
    /// Memory that was mapped with `mmap`, not by an allocator.
    MappedMemory,
    /// Resident memory that no other part explains: pages of old mappings that were touched for the
    /// first time, the program break, stacks that grew.
    ResidentMemory,
    /// Threads.
    Threads,
    /// Open files, sockets and other descriptors.
    FileDescriptors,
}

names! {
    Grows {
        None: "none", AllocatorKeepsPages: "allocator-keeps-pages", CHeap: "c-heap",
        MappedMemory: "mapped-memory", ResidentMemory: "resident-memory", Threads: "threads",
        FileDescriptors: "file-descriptors",
    }
}

impl Grows {
    /// Its name in reports.
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

    /// Whether its size is in bytes; else it is a number of things.
    #[cfg(feature = "formats")]
    pub(crate) const fn is_in_bytes(self) -> bool {
        !matches!(self, Self::Threads | Self::FileDescriptors)
    }

    /// Its name in JSON and on the command line.
    #[cfg(any(feature = "cli", feature = "formats"))]
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

/// A part of the process, judged like a call site.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Part {
    /// Which part it is.
    pub what: Grows,
    /// The verdict on its series.
    pub verdict: Verdict,
    /// The reason for the verdict, in words.
    pub reason: String,
    /// The figures behind the verdict.
    pub evidence: Evidence,
    /// Growth per cycle, in bytes, threads or descriptors; `None` if it is not known.
    pub per_cycle: Option<f64>,
    /// Its size at each boundary after the baseline, in the same unit.
    pub series: Vec<u64>,
}

fields! { Part { what, verdict, reason, evidence, per_cycle: default, series } }

/// Resident memory of the process at a boundary by use, in bytes.
///
/// The parts and `unexplained_bytes` add up to `resident_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Balance {
    /// `VmRSS` of `/proc/self/status`.
    pub resident_bytes: u64,
    /// Live blocks, in bytes as requested.
    pub live_bytes: u64,
    /// Rounding of live blocks to size classes, and free slots on pages that are in use, those in
    /// thread caches included.
    pub slack_bytes: u64,
    /// Pages without a live block that the allocator keeps for reuse.
    pub kept_bytes: u64,
    /// The allocator's own data.
    pub metadata_bytes: u64,
    /// What the allocator counts and is not resident, because its pages were never touched. It is
    /// already subtracted from the metadata, then from what is kept, the slack and the live blocks.
    pub untouched_bytes: u64,
    /// Memory that afterdrop mapped for itself.
    pub ledger_bytes: u64,
    /// Blocks of C code, and what its allocator keeps. Under dhat its own blocks are part of it.
    pub c_heap_bytes: u64,
    /// Stacks of threads.
    pub stack_bytes: u64,
    /// Code and data of the executable.
    pub program_bytes: u64,
    /// Other mapped files: libraries and shared memory.
    pub file_bytes: u64,
    /// Anonymous memory of no allocator: mapped with `mmap`, or by the loader.
    pub mapped_bytes: u64,
    /// `resident_bytes` less the resident memory of all mappings.
    pub unexplained_bytes: i64,
}

fields! {
    Balance {
        resident_bytes, live_bytes, slack_bytes, kept_bytes, metadata_bytes, untouched_bytes,
        ledger_bytes, c_heap_bytes, stack_bytes, program_bytes, file_bytes, mapped_bytes,
        unexplained_bytes,
    }
}
