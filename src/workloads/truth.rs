//! The known result of a planted case.

use crate::base::json::fields;
use crate::model::holders::HolderKind;
use crate::model::process::Grows;
use crate::model::run::Phase;
use crate::model::verdict::Verdict;

/// What a correct report says about a planted case: a workload with a leak, or with something that
/// looks like one, at a known line.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Truth {
    /// The verdict on the planted line.
    pub verdict: Verdict,
    /// The file of the planted line, relative to the repository.
    pub file: String,
    /// The planted line.
    pub line: u32,
    /// The phase in which the planted line allocates.
    pub phase: Phase,
    /// Bytes that a cycle retains there on average; 0 without a leak. If the growth is not on the
    /// Rust heap: by how much it grows per cycle, in the unit of [`Truth::grows`].
    pub bytes_per_cycle: f64,
    /// Blocks that a cycle retains there on average; 0 without a leak.
    pub blocks_per_cycle: f64,
    /// A run of [`Truth::cycles`] cycles shows the two rates only approximately.
    pub approximate: bool,
    /// What grows in the process apart from the Rust heap.
    pub grows: Grows,
    /// What holds the retained blocks; `None` if the case does not state it.
    pub holder: Option<HolderTruth>,
    /// The horizon with which the verdict is correct.
    pub horizon: u32,
    /// Enough cycles for the verdict.
    pub cycles: u32,
    /// A run with `--cycles auto` ends before this case shows its behaviour.
    pub missed_by_auto: bool,
}

fields! {
    Truth {
        verdict, file, line, phase, bytes_per_cycle, blocks_per_cycle, approximate, grows,
        holder: default, horizon, cycles, missed_by_auto,
    }
}

/// What holds the blocks that a planted case retains.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HolderTruth {
    /// The kind of holder.
    pub kind: HolderKind,
    /// A part of its name; empty if it has none.
    pub name: String,
    /// The line that declares or allocates it, in the file of the case.
    pub line: Option<u32>,
    /// The number of blocks, if the holder is a reference cycle.
    pub cycle_blocks: Option<u32>,
}

fields! { HolderTruth { kind, name, line: default, cycle_blocks: default } }
