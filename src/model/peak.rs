//! What was live at the peak of a run, and what each crate has.

use super::frame::{Frame, location_of};
use super::run::Phase;
use crate::base::json::fields;

/// What was live when the live bytes were highest, in any cycle of the run, the warm-up included.
///
/// It is counted when the bytes that the cycles have added are a tenth more than at the last count. So
/// the highest live bytes may be more than its own by a tenth of them;
/// [`Boundary::peak_bytes`](super::report::Boundary::peak_bytes) has their exact number.
///
/// `setup_bytes`, `other_bytes` and the bytes of all call sites add up to `live_bytes`.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Peak {
    /// The cycle, from 1.
    pub cycle: u32,
    /// The phase of the cycle.
    pub phase: Phase,
    /// Live bytes at that time.
    pub live_bytes: u64,
    /// Of these, bytes that were allocated before the first cycle.
    pub setup_bytes: u64,
    /// Bytes of stacks that each had less than 1/4096 of the live bytes.
    pub other_bytes: u64,
    /// The call sites, the largest first.
    pub call_sites: Vec<PeakCallSite>,
}

fields! { Peak { cycle, phase, live_bytes, setup_bytes, other_bytes, call_sites } }

impl Peak {
    /// A number of bytes as a part of all live bytes, in percent.
    pub(crate) fn percent(&self, bytes: u64) -> f64 {
        100.0 * bytes as f64 / self.live_bytes.max(1) as f64
    }
}

/// What a call site had at the peak.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PeakCallSite {
    /// Function of the blame frame, as in [`CallSite`](super::report::CallSite).
    pub function: String,
    /// File of the blame frame.
    pub file: Option<String>,
    /// Line of the blame frame.
    pub line: Option<u32>,
    /// Phase in which the blocks were allocated.
    pub phase: Phase,
    /// Live bytes.
    pub bytes: u64,
    /// Live blocks.
    pub blocks: u64,
    /// The relevant frames of its stack with the most bytes, innermost first. Only for the largest.
    pub frames: Vec<Frame>,
}

fields! { PeakCallSite { function, file: default, line: default, phase, bytes, blocks, frames } }

impl PeakCallSite {
    /// The blame frame as `file:line`, as far as it is known; else nothing.
    pub fn location(&self) -> String {
        location_of(self.file.as_deref(), self.line)
    }
}

/// What the code of a crate, or of a shared library, has allocated: the innermost frame of each stack
/// counts that is not of the standard library, the C library or an allocator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "formats", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CrateShare {
    /// The crate with its version, such as `ndarray-0.17.2`; the file name of a shared library; or
    /// `own code`, `standard library` or `(not attributed)`.
    pub name: String,
    /// Bytes that are live at the last boundary, those from before the first cycle left out.
    pub retained_bytes: u64,
    /// Blocks that are live at the last boundary.
    pub retained_blocks: u64,
    /// Live bytes in [`Peak`]; 0 if there is none.
    pub peak_bytes: u64,
    /// Live blocks in [`Peak`].
    pub peak_blocks: u64,
}

fields! { CrateShare { name, retained_bytes, retained_blocks, peak_bytes, peak_blocks } }
