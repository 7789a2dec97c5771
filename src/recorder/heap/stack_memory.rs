//! Reading the memory of the running thread's stack, within checked bounds.
//!
//! Invariants:
//! 1. A stack is mapped from its live frames to its upper end, and the upper end does not move. So
//!    an address that was inside the bounds once stays readable while it is at or above a live
//!    frame.
//! 2. Only the running thread writes to its stack, so that plain reads see no torn values. They
//!    are volatile because the compiler does not know what the frames of callers hold.

use super::frame::{Frame, FrameWords, WORD};

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

    /// Whether all of these frames, outermost first, still hold the recorded words.
    ///
    /// # Safety
    /// That of [`StackMemory::words`], for the address of each frame.
    #[inline]
    unsafe fn are_unchanged(&self, frames: &[Frame]) -> bool {
        // SAFETY: the contract of this function: the words of each frame are in readable stack
        // memory.
        unsafe { are_unchanged(frames) }
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
    unsafe {
        let words = at as *const usize;
        (words.read_volatile(), words.add(1).read_volatile())
    }
}

/// Whether frames still hold the recorded words. There is no early exit, so that the loads do not
/// depend on each other.
///
/// # Safety
/// The two words of each frame are in readable stack memory.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn are_unchanged(frames: &[Frame]) -> bool {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_setzero_si128, _mm_xor_si128,
    };
    // SAFETY: every x86-64 processor has SSE2. The contract of this function makes the two adjacent
    // words at `at` readable; the recorded words are the first 16 bytes of a `Frame`, which is
    // aligned to 32 (last_stack.rs, tests: `the_result_does_not_depend_on_earlier_walks`).
    let difference = |f: &Frame| unsafe {
        let found = _mm_loadu_si128(f.at as *const __m128i);
        _mm_xor_si128(found, _mm_load_si128((&raw const *f).cast()))
    };
    // SAFETY: every x86-64 processor has SSE2, and these instructions touch no memory.
    unsafe {
        let mut all = _mm_setzero_si128();
        let (fours, rest) = frames.as_chunks::<4>();
        // Unrolled by hand: the compiler would make a loop of up to three rounds.
        if let [first, rest @ ..] = rest {
            all = difference(first);
            if let [second, rest @ ..] = rest {
                all = _mm_or_si128(all, difference(second));
                if let [third, ..] = rest {
                    all = _mm_or_si128(all, difference(third));
                }
            }
        }
        for [a, b, c, d] in fours {
            let two = _mm_or_si128(difference(a), difference(b));
            let other_two = _mm_or_si128(difference(c), difference(d));
            all = _mm_or_si128(all, _mm_or_si128(two, other_two));
        }
        _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128())) == 0xFFFF
    }
}

/// The same word by word, for other processors.
///
/// # Safety
/// The two words of each frame are in readable stack memory.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
unsafe fn are_unchanged(frames: &[Frame]) -> bool {
    let mut difference = 0;
    for f in frames {
        // SAFETY: the contract of this function: both words are in readable stack memory.
        let (caller_fp, return_address) = unsafe { words(f.at) };
        difference |= (caller_fp ^ f.caller_fp) | (return_address ^ f.return_address);
    }
    difference == 0
}

#[cfg(test)]
impl<F: Fn(usize) -> Option<FrameWords>> StackMemory for F {
    fn contains(&self, at: usize) -> bool {
        self(at).is_some()
    }

    unsafe fn words(&self, at: usize) -> FrameWords {
        self(at).unwrap_or((0, 0))
    }

    unsafe fn are_unchanged(&self, frames: &[Frame]) -> bool {
        frames
            .iter()
            .all(|f| self(f.at) == Some((f.caller_fp, f.return_address)))
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
