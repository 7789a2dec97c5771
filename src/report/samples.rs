//! The backtraces of a report with their frames looked up, as profilers' formats need them.

#[cfg(feature = "formats")]
use crate::base::units::bytes;
use crate::base::units::sum;
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
        sum(self.stack.live.iter().map(|b| b.bytes))
    }

    /// Live blocks.
    pub fn blocks(self) -> u64 {
        sum(self.stack.live.iter().map(|b| b.blocks))
    }
}

/// Bytes of all names of frames that a format writes.
#[cfg(feature = "formats")]
const MOST_TEXT: u64 = 1 << 27;

/// Bytes of a frame besides its names.
#[cfg(feature = "formats")]
const SEPARATORS: u64 = 16;

impl Report {
    /// Checks that the backtraces are not too long as text, each of them so often. A profile has each
    /// frame once, and a format of text repeats it.
    ///
    /// # Errors
    /// If they are. The message completes "cannot write this report: ".
    #[cfg(feature = "formats")]
    pub(super) fn check_text(&self, often: fn(&ProfileStack) -> usize) -> Result<(), String> {
        let of_frame = |frame: &Frame| {
            let file = frame.file.as_ref().map_or(0, String::len);
            (frame.function.len() + file) as u64 + SEPARATORS
        };
        let frames: Vec<u64> = self.profile.frames.iter().map(of_frame).collect();
        let of_stack = |stack: &ProfileStack| {
            let once = sum(stack.frames.iter().map(|&i| frames[i as usize]));
            once.saturating_mul(often(stack) as u64)
        };
        match sum(self.profile.stacks.iter().map(of_stack)) {
            0..=MOST_TEXT => Ok(()),
            all => Err(format!(
                "its stacks are {} of text, of at most {}; pprof and speedscope have each frame once",
                bytes(all as f64),
                bytes(MOST_TEXT as f64)
            )),
        }
    }

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
