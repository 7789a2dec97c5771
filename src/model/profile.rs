//! What profilers' formats are made of: live blocks by backtrace and birth cycle.

use serde::{Deserialize, Serialize};

use super::report::{CallSite, Report};
use crate::model::frame::Frame;

/// What is live at the last boundary of all that belongs to a call site, by backtrace and birth.
///
/// Frames are kept once and numbered, because many backtraces share them. The sums of a call site's stacks are
/// its `retained_bytes` and `retained_blocks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Profile {
    /// Distinct frames.
    pub frames: Vec<Frame>,
    /// Backtraces, those of the first call site first.
    pub stacks: Vec<ProfileStack>,
    /// Code that was mapped in the measured process, where a backtrace leads into it.
    pub mappings: Vec<Mapping>,
}

/// A backtrace, and what it has allocated that is live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct ProfileStack {
    /// Index in [`Report::call_sites`].
    pub site: u32,
    /// Indices in [`Profile::frames`], innermost first, without those of the allocator, of the standard
    /// library beneath the first that matters, and of the tool. Empty if it could not be read.
    pub frames: Vec<u32>,
    /// The same as calls, innermost first: the return address in the measured process, and how many of
    /// the frames lie there, inlined into each other.
    pub calls: Vec<(u64, u32)>,
    /// What is live, by birth cycle.
    pub live: Vec<Born>,
}

/// What is live of one birth cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "formats", schemars(with = "(u32, u64, u64)"))]
pub struct Born {
    /// The cycle, from 1.
    pub cycle: u32,
    /// Live bytes.
    pub bytes: u64,
    /// Live blocks.
    pub blocks: u64,
}

impl From<(u32, u64, u64)> for Born {
    fn from((cycle, bytes, blocks): (u32, u64, u64)) -> Self {
        Self {
            cycle,
            bytes,
            blocks,
        }
    }
}

impl From<Born> for (u32, u64, u64) {
    fn from(born: Born) -> Self {
        (born.cycle, born.bytes, born.blocks)
    }
}

/// Executable code of a file at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Bytes into the file.
    pub offset: u64,
    /// The file; relative to the folder that the run was made in, if it is below it.
    pub path: String,
}

/// A generation of a call site: the survivors of one birth cycle, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Generation {
    /// The cycle of its birth, from 1.
    pub cycle: u32,
    /// From which cycle's boundary on how many bytes were live: an entry for each change, 0 where it
    /// ended.
    pub live: Vec<(u32, u64)>,
}

/// Lines of a source file around a blame frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
pub struct Excerpt {
    /// Number of the first line.
    pub first_line: u32,
    /// The lines.
    pub lines: Vec<String>,
}

/// A size class of jemalloc's: slots of one size in slabs of some pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
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

/// A backtrace with its frames looked up.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The call site that it belongs to.
    pub site: &'a CallSite,
    /// The backtrace.
    pub stack: &'a ProfileStack,
    profile: &'a Profile,
}

impl<'a> Sample<'a> {
    /// Its frames, innermost first; none if it could not be read.
    pub fn frames(self) -> impl DoubleEndedIterator<Item = &'a Frame> + ExactSizeIterator {
        let all = &self.profile.frames;
        self.stack.frames.iter().map(|&i| &all[i as usize])
    }

    /// Live bytes.
    pub fn bytes(self) -> u64 {
        self.stack.live.iter().map(|b| b.bytes).sum()
    }

    /// Live blocks.
    pub fn blocks(self) -> u64 {
        self.stack.live.iter().map(|b| b.blocks).sum()
    }
}

impl Report {
    /// The backtraces of what is live, those of the first call site first.
    pub fn samples(&self) -> impl Iterator<Item = Sample<'_>> {
        let profile = &self.profile;
        profile.stacks.iter().filter_map(move |stack| {
            let site = self.call_sites.get(stack.site as usize)?;
            Some(Sample {
                site,
                stack,
                profile,
            })
        })
    }
}

impl Profile {
    /// Whether all that is numbered is there, as far as a file is to be believed.
    pub(crate) fn is_whole(&self, call_sites: usize) -> bool {
        self.stacks.iter().all(|stack| {
            let frames = &stack.frames;
            (stack.site as usize) < call_sites
                && frames.iter().all(|&i| (i as usize) < self.frames.len())
        })
    }
}
