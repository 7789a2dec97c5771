//! The backtraces of a report with their frames looked up, as profilers' formats need them.

use crate::model::frame::Frame;
use crate::model::profile::{Profile, ProfileStack};
use crate::model::report::{CallSite, Report};

/// A backtrace of [`Report::profile`] with its call site and its frames.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sample<'a> {
    /// The call site that it belongs to.
    pub site: &'a CallSite,
    /// The backtrace.
    pub stack: &'a ProfileStack,
    profile: &'a Profile,
}

impl<'a> Sample<'a> {
    /// Its frames, innermost first. There are none if the stack could not be read.
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
    /// The backtraces of what is live at the last boundary, those of the first call site first.
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
