//! Reading the memory of the running thread's stack, within checked bounds.
//!
//! Invariants:
//! 1. A stack is mapped from its live frames to its upper end, and the upper end does not move. So
//!    an address that was inside the bounds once stays readable while it is at or above a live
//!    frame.
//! 2. Only the running thread writes to its stack, so that plain reads see no torn values.

use super::frame::{FrameWords, WORD};
use crate::recorder::foreign_memory::word;

/// Stack memory that a walk can read frames from. Tests implement it for arrays.
pub(super) trait StackMemory {
    /// Whether a frame may be read at an address.
    fn contains(&self, at: usize) -> bool;

    /// The two words of the frame at an address.
    ///
    /// # Safety
    /// The address is aligned to a word, and is inside or between two addresses that are.
    #[inline]
    unsafe fn words(&self, at: usize) -> FrameWords {
        // SAFETY: the contract of this function: both words are in readable stack memory.
        unsafe { words(at) }
    }

    /// The two words of the frame at an address; `None` where they must not be read.
    #[inline]
    fn read(&self, at: usize) -> Option<FrameWords> {
        // SAFETY: `contains` has just said that the frame may be read.
        self.contains(at).then(|| unsafe { self.words(at) })
    }
}

/// The address range of a thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackBounds {
    /// Lowest address of the stack's mapping.
    pub(crate) low: usize,
    /// One past the highest.
    pub(crate) high: usize,
}

impl StackBounds {
    pub(super) const UNKNOWN: Self = Self { low: 0, high: 0 };

    /// The bounds of the running thread's stack, as the threading library has them;
    /// [`StackBounds::UNKNOWN`] if it does not know. May call the C library's allocator, never
    /// Rust's.
    pub(super) fn of_this_thread() -> Self {
        // SAFETY: `pthread_getattr_np` fills the zeroed `pthread_attr_t`; it is read and destroyed
        // only if that succeeded (tests: `a_local_variable_is_on_its_threads_stack`).
        unsafe {
            let mut attr: libc::pthread_attr_t = core::mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &mut attr) != 0 {
                return Self::UNKNOWN;
            }
            let mut low: *mut libc::c_void = core::ptr::null_mut();
            let mut size = 0;
            let is_known = libc::pthread_attr_getstack(&attr, &mut low, &mut size) == 0;
            libc::pthread_attr_destroy(&mut attr);
            if is_known {
                Self {
                    low: low as usize,
                    high: low as usize + size,
                }
            } else {
                Self::UNKNOWN
            }
        }
    }

    /// Whether an address is on this stack, and not on the alternate stack of a signal handler or
    /// on that of a coroutine.
    #[inline]
    pub(super) fn contains(self, at: usize) -> bool {
        self.low <= at && at < self.high
    }

    /// A reader of the frames between `live`, an address in a live frame, and the upper end of the
    /// stack. It reads nothing if `live` is not on this stack.
    #[inline]
    pub(super) fn reader(self, live: usize) -> StackReader {
        let is_inside = live >= self.low && self.high.saturating_sub(2 * WORD) >= live;
        let low = if is_inside { live } else { usize::MAX };
        StackReader {
            low,
            span: self.high.saturating_sub(2 * WORD).saturating_sub(low),
        }
    }
}

/// The live part of the running thread's stack.
#[derive(Clone, Copy, Debug)]
pub(super) struct StackReader {
    low: usize,
    /// Greatest distance of a frame from `low`, so that its two words fit.
    span: usize,
}

impl StackMemory for StackReader {
    #[inline]
    fn contains(&self, at: usize) -> bool {
        // One comparison checks both ends: an address below `low` wraps to a large distance.
        at.wrapping_sub(self.low) <= self.span && at.is_multiple_of(WORD)
    }
}

/// The two words at an address of this thread's stack.
///
/// # Safety
/// Both words are in readable stack memory: invariant 1 of this module.
#[inline]
pub(super) unsafe fn words(at: usize) -> FrameWords {
    // SAFETY: the contract of this function, and only this thread writes to its stack
    // (tests: `nothing_outside_the_bounds_is_read`).
    unsafe { (word::<0>(at), word::<WORD>(at)) }
}

#[cfg(test)]
impl<F: Fn(usize) -> Option<FrameWords>> StackMemory for F {
    fn contains(&self, at: usize) -> bool {
        self(at).is_some()
    }

    unsafe fn words(&self, at: usize) -> FrameWords {
        self(at).unwrap_or((0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_bounds_is_read() {
        let words = [1_usize, 2, 3, 4, 5];
        let start = words.as_ptr() as usize;
        let bounds = StackBounds {
            low: start,
            high: start + 4 * WORD,
        };
        let reader = bounds.reader(start + WORD);
        let read = |at| reader.read(at);
        assert_eq!(read(start + WORD), Some((2, 3)));
        assert_eq!(read(start + 2 * WORD), Some((3, 4)));
        assert_eq!(read(start), None, "below the live frame");
        assert_eq!(read(start + 3 * WORD), None, "half above the stack");
        assert_eq!(read(start + WORD + 1), None, "not aligned");
        assert_eq!(read(0), None, "null");
        let foreign = bounds.reader(start + 4 * WORD);
        assert_eq!(foreign.read(start + WORD), None, "not on this stack");
        assert_eq!(StackBounds::UNKNOWN.reader(start).read(start), None);
        let tiny = StackBounds {
            low: start,
            high: start + WORD,
        };
        assert_eq!(
            tiny.reader(start).read(start),
            None,
            "no room for two words"
        );
    }

    #[test]
    fn a_local_variable_is_on_its_threads_stack() {
        let local = 0_u8;
        let at = &raw const local as usize;
        assert!(StackBounds::of_this_thread().contains(at));
    }
}
