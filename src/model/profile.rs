//! Live blocks by backtrace and birth cycle: what profilers' formats are made of.

use serde_core::{Deserialize, Deserializer, Serialize, Serializer};

use super::frame::Frame;
use crate::base::json::fields;

/// What is live at the last boundary at call sites, by backtrace and birth cycle.
///
/// Backtraces share frames, so that each distinct frame is kept once and referred to by its index.
/// The sums over a call site's backtraces are its `retained_bytes` and `retained_blocks`.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Profile {
    /// Distinct frames.
    pub frames: Vec<Frame>,
    /// Backtraces, those of the first call site first.
    pub stacks: Vec<ProfileStack>,
    /// Mappings of code that a backtrace goes through, in the measured process.
    pub mappings: Vec<Mapping>,
}

fields! { Profile { frames, stacks, mappings } }

impl Profile {
    /// Whether every index refers to something. In a file it may not.
    pub(crate) fn is_consistent(&self, call_sites: usize) -> bool {
        self.stacks.iter().all(|stack| {
            let frames = &stack.frames;
            (stack.site as usize) < call_sites
                && frames.iter().all(|&i| (i as usize) < self.frames.len())
        })
    }
}

/// A backtrace, and the live blocks that were allocated through it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ProfileStack {
    /// Index of its call site in the report's `call_sites`.
    pub site: u32,
    /// Indices in [`Profile::frames`], innermost first, without the frames of the allocator, of
    /// the standard library that it was called through, and of afterdrop. Empty if the stack could
    /// not be read.
    pub frames: Vec<u32>,
    /// The return addresses of `frames`, innermost first, each with the number of frames that are
    /// inlined into one another there.
    pub calls: Vec<(u64, u32)>,
    /// What is live, by birth cycle.
    pub live: Vec<Born>,
}

fields! { ProfileStack { site, frames, calls, live } }

/// What is live of one birth cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(with = "(u32, u64, u64)"))]
#[non_exhaustive]
pub struct Born {
    /// The cycle, from 1.
    pub cycle: u32,
    /// Live bytes.
    pub bytes: u64,
    /// Live blocks.
    pub blocks: u64,
}

impl Serialize for Born {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.cycle, self.bytes, self.blocks).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Born {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (cycle, bytes, blocks) = Deserialize::deserialize(from)?;
        Ok(Self {
            cycle,
            bytes,
            blocks,
        })
    }
}

/// A mapping of executable code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset of the mapping in the file.
    pub offset: u64,
    /// The file, relative to the working directory of the run if it is below it.
    pub path: String,
}

fields! { Mapping { start, end, offset, path } }

/// A generation of a call site: the survivors of one birth cycle over the run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Generation {
    /// The birth cycle, from 1.
    pub cycle: u32,
    /// Live bytes after each change: the cycle at whose boundary it was seen, and the bytes from
    /// then on. 0 bytes once the generation is dead.
    pub live: Vec<(u32, u64)>,
}

fields! { Generation { cycle, live } }

/// Lines of a source file around a blame frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Excerpt {
    /// Number of the first line.
    pub first_line: u32,
    /// The lines.
    pub lines: Vec<String>,
}

fields! { Excerpt { first_line, lines } }

/// A size class of jemalloc: slabs of slots of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Bin {
    /// Bytes of a slot.
    pub size: u64,
    /// Slots of a slab.
    pub slots_per_slab: u64,
    /// Slots in use, at the baseline and at the end.
    pub slots_in_use: (u64, u64),
    /// Slabs, at the baseline and at the end.
    pub slabs: (u64, u64),
}

fields! { Bin { size, slots_per_slab, slots_in_use, slabs } }
