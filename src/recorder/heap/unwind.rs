//! The stack of the running thread by frame pointers, inside checked bounds.
//!
//! Each frame of a build with frame pointers starts with two words: the caller's frame pointer and
//! the return address, both on x86-64 and on aarch64. A walk is a pointer chase: each load waits
//! for the one before, so that a stack that is known is not walked (`shapes.rs`). Of one that is not,
//! mostly a few frames at the top are new: [`Remembered`] keeps the thread's last stack, and a walk ends
//! at the first frame of it that still holds the same words, as do all outer ones.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::layout_cache;
#[cfg(target_arch = "x86_64")]
use super::steps::{Stepped, Steps};

/// Frames kept of a stack. A deeper one is cut at its outer end, and the cut is recorded.
pub(crate) const MAX_FRAMES: usize = 128;

const WORD: usize = size_of::<usize>();

/// One frame of the remembered stack.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Frame {
    /// The caller's frame pointer, as read at `at`.
    saved: usize,
    /// The return address, as read one word above.
    ret: usize,
    /// Where the frame's two words are.
    at: usize,
    /// Hash of the return addresses from the outermost frame to this one.
    hash: u64,
}

/// A frame before it is known where it attaches.
#[derive(Clone, Copy)]
#[repr(C)]
struct Fresh {
    at: usize,
    ret: usize,
    saved: usize,
}

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Hash of all return addresses kept; 0 if there is none.
    pub(crate) hash: u64,
    /// True if the stack has more frames than [`MAX_FRAMES`].
    pub(crate) cut: bool,
}

/// The last stack of a thread, outermost frame first. Valid if all its bytes are zero: there is none.
pub(crate) struct Remembered {
    len: usize,
    /// The last walk was cut: its outer end is not the stack's, so nothing may attach to it.
    cut: bool,
    /// By frame pointers, so that it is known where the frames lie.
    chained: bool,
    /// Innermost frames of a walk before it is known where they attach; kept here because a
    /// large array on a foreign thread's stack could overflow it.
    fresh: [Fresh; MAX_FRAMES],
    frames: [Frame; MAX_FRAMES],
    #[cfg(target_arch = "x86_64")]
    by_cfi: Steps,
}

/// Mixes one more return address into the hash of a stack: multiply and fold, as in wyhash
/// (Wang Yi, public domain). 64 bits: among 200 000 stacks, two share a hash with a probability
/// of about 1e-9.
#[inline]
pub(super) fn mix(hash: u64, ret: usize) -> u64 {
    let wide =
        u128::from(hash ^ 0x9E37_79B9_7F4A_7C15) * u128::from(ret as u64 ^ 0xD6E8_FEB8_6659_FD93);
    let folded = (wide as u64) ^ ((wide >> 64) as u64);
    folded.rotate_left(23).wrapping_add(ret as u64)
}

/// The two words of a frame: the caller's frame pointer and the return address.
pub(crate) type Words = (usize, usize);

/// A stack that frames can be read from.
pub(crate) trait Stack {
    /// Whether a frame may be read at an address.
    fn is_inside(&self, at: usize) -> bool;

    /// The two words of the frame at an address.
    ///
    /// # Safety
    /// It is inside, or between two that are, and aligned as a frame is.
    #[inline]
    unsafe fn words(&self, at: usize) -> Words {
        // SAFETY: the caller's promise.
        unsafe { words(at) }
    }

    /// Whether all of these frames, the outermost first, still hold the same words.
    ///
    /// # Safety
    /// As [`Stack::words`], for each of them.
    #[inline]
    unsafe fn holds(&self, frames: &[Frame]) -> bool {
        // SAFETY: the caller's promise.
        unsafe { hold(frames) }
    }

    /// The two words of the frame at an address, or `None` where they must not be read.
    #[inline]
    fn read(&self, at: usize) -> Option<Words> {
        // SAFETY: it is inside.
        self.is_inside(at).then(|| unsafe { self.words(at) })
    }
}

impl Remembered {
    pub(crate) const fn new() -> Self {
        const NONE: Frame = Frame {
            saved: 0,
            ret: 0,
            at: 0,
            hash: 0,
        };
        Self {
            len: 0,
            cut: false,
            chained: false,
            fresh: [Fresh {
                at: 0,
                ret: 0,
                saved: 0,
            }; MAX_FRAMES],
            frames: [NONE; MAX_FRAMES],
            #[cfg(target_arch = "x86_64")]
            by_cfi: Steps::new(),
        }
    }

    /// Forgets it: nothing may attach to it.
    pub(super) fn forget(&mut self) {
        self.len = 0;
        #[cfg(target_arch = "x86_64")]
        self.by_cfi.forget();
    }

    /// Return addresses of the last walk, innermost first.
    pub(crate) fn stack(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.frames[..self.len].iter().rev().map(|f| f.ret)
    }

    /// The same, each with the hash of it and of all outer ones.
    pub(super) fn frames(&self) -> impl ExactSizeIterator<Item = (usize, u64)> + Clone + '_ {
        self.frames[..self.len]
            .iter()
            .rev()
            .map(|f| (f.ret, f.hash))
    }

    /// How many of the remembered frames, from the outermost, still hold the same words.
    ///
    /// A frame is only believed if all outer ones are: an outer function may have gone on to
    /// another call and built the same inner frames again.
    #[inline]
    fn unchanged(&self, innermost: usize, stack: &impl Stack) -> usize {
        let frames = &self.frames[..=innermost];
        // SAFETY: all of them were inside when they were remembered, and are not below the innermost, which a
        // walk from a live frame has come to; a stack's upper end does not move.
        if unsafe { stack.holds(frames) } {
            return frames.len();
        }
        frames
            .iter()
            .take_while(|f| stack.read(f.at) == Some((f.saved, f.ret)))
            .count()
    }

    /// Where the frames of the last walk lie, the outermost first; `None` if that is not known of all.
    pub(super) fn places(
        &self,
    ) -> Option<impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone + '_> {
        let all = self.chained && self.len > 0;
        all.then(|| self.frames[..self.len].iter().map(|f| f.at))
    }

    /// Walks from the frame at `first` outwards, until the stack attaches to a remembered frame, or to
    /// its end; the result is in [`Remembered::stack`].
    ///
    /// The same words always give the same hash, whatever was remembered before.
    pub(super) fn walk(&mut self, first: usize, stack: impl Stack) -> Walk {
        if self.cut {
            self.len = 0;
        }
        let mut at = first;
        let mut fresh = 0;
        // Remembered frames below this index may be where the walk attaches.
        let mut candidates = self.len;
        let mut verified = false;
        let mut kept = 0;
        let mut cut = false;
        while let Some((saved, ret)) = stack.read(at).filter(|&(_, ret)| ret != 0) {
            // Stacks grow downwards: inner frames have lower addresses.
            while candidates > 0 && self.frames[candidates - 1].at < at {
                candidates -= 1;
            }
            if candidates > 0 {
                let f = self.frames[candidates - 1];
                if f.at == at && f.saved == saved && f.ret == ret {
                    if !verified {
                        let same = self.unchanged(candidates - 1, &stack);
                        verified = true;
                        candidates = candidates.min(same);
                    }
                    if candidates > 0 && self.frames[candidates - 1].at == at {
                        kept = candidates;
                        break;
                    }
                }
            }
            if fresh == MAX_FRAMES {
                cut = true;
                break;
            }
            self.fresh[fresh] = Fresh { at, ret, saved };
            fresh += 1;
            if saved <= at {
                break;
            }
            at = saved;
        }
        if kept + fresh > MAX_FRAMES {
            // The attached part no longer fits: walk again without it, so that the frames kept
            // are always the innermost.
            self.len = 0;
            return self.walk(first, stack);
        }
        let mut hash = if kept > 0 {
            self.frames[kept - 1].hash
        } else {
            0
        };
        for i in (0..fresh).rev() {
            let Fresh { at, ret, saved } = self.fresh[i];
            hash = mix(hash, ret);
            self.frames[kept] = Frame {
                saved,
                ret,
                at,
                hash,
            };
            kept += 1;
        }
        self.len = kept;
        self.cut = cut;
        self.chained = true;
        Walk { hash, cut }
    }

    /// The same by call frame information, where the chain of frame pointers is broken: the steps of
    /// the last walk are verified as frames are.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn walk_by_cfi(&mut self, start: Registers, stack: impl Stack) -> Walk {
        // Nothing may attach by frame pointers.
        (self.chained, self.cut) = (false, true);
        let Stepped { kept, len, cut } = self.by_cfi.walk(start, &stack);
        let mut hash = match kept {
            0 => 0,
            _ => self.frames[kept - 1].hash,
        };
        let inner = self.frames[kept..len].iter_mut();
        for (frame, ret) in inner.zip(self.by_cfi.returns(kept..len)) {
            hash = mix(hash, ret);
            (frame.ret, frame.hash) = (ret, hash);
        }
        self.len = len;
        Walk { hash, cut }
    }

    /// Walks by call frame information that went on from the one before.
    #[cfg(all(test, target_arch = "x86_64"))]
    pub(super) fn stepped_on(&self) -> u32 {
        self.by_cfi.stepped_on()
    }

    /// Elsewhere only frame pointers are walked.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn walk_by_cfi(&mut self, start: Registers, stack: impl Stack) -> Walk {
        self.walk(start.bp, stack)
    }
}

/// Where the running function is, and its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    /// An address in the function.
    pub(super) pc: usize,
    /// The stack pointer there.
    pub(super) sp: usize,
    /// The frame pointer there; anything, in a build without.
    pub(super) bp: usize,
}

/// The running function's frame pointer; anything, in a build without.
#[inline(always)]
pub(crate) fn frame() -> usize {
    let bp: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: copies a register, touches neither memory nor flags.
    unsafe {
        core::arch::asm!("mov {}, rbp", out(reg) bp, options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("mov {}, x29", out(reg) bp, options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        bp = 0;
    }
    bp
}

/// The running function's registers.
#[inline(always)]
pub(super) fn registers() -> Registers {
    let (pc, sp, bp): (usize, usize, usize);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: copies registers, touches neither memory nor flags.
    unsafe {
        core::arch::asm!(
            "lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
            out(reg) pc, out(reg) sp, out(reg) bp,
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "adr {}, .", "mov {}, sp", "mov {}, x29",
            out(reg) pc, out(reg) sp, out(reg) bp,
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        (pc, sp, bp) = (0, 0, 0);
    }
    Registers { pc, sp, bp }
}

/// How stacks are walked in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Unwinder {
    /// By frame pointers.
    FramePointers = 0,
    /// By call frame information: the build has no frame pointers.
    Cfi = 1,
}

static UNWINDER: AtomicU8 = AtomicU8::new(Unwinder::FramePointers as u8);

/// How stacks are walked now.
#[inline]
pub(super) fn unwinder() -> Unwinder {
    if UNWINDER.load(Relaxed) == Unwinder::Cfi as u8 {
        Unwinder::Cfi
    } else {
        Unwinder::FramePointers
    }
}

/// Settles how stacks are walked from now on: by frame pointers if their chain from here is whole, which
/// a walk by call frame information tells, and that is not asked for.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
pub(super) fn choose(by_cfi: bool) -> Unwinder {
    use super::{cfi, steps};
    /// Outermost frames that the chain may lack: the C library's start-up code has none.
    const START_UP: usize = 3;
    if !cfi::prepare() {
        return Unwinder::FramePointers;
    }
    let registers = registers();
    let bounds = Bounds::of_this_thread();
    let mut steps = [0; MAX_FRAMES];
    let reader = bounds.reader(registers.sp);
    let count = steps::walk_into(registers, |at| Some(reader.read(at)?.0), &mut steps);
    let mut chain = Remembered::new();
    chain.walk(registers.bp, bounds.reader(registers.bp));
    let equal = chain.stack().zip(steps).take_while(|(a, b)| a == b).count();
    if by_cfi || equal + START_UP < count {
        UNWINDER.store(Unwinder::Cfi as u8, Relaxed);
        return Unwinder::Cfi;
    }
    layout_cache::begin();
    Unwinder::FramePointers
}

/// Elsewhere only frame pointers are walked.
#[cfg(not(target_arch = "x86_64"))]
#[inline(never)]
pub(super) fn choose(_: bool) -> Unwinder {
    let here = registers().bp;
    let mut chain = Remembered::new();
    chain.walk(here, Bounds::of_this_thread().reader(here));
    // This function and its caller have frames, and so have the hooks, which are built as they are.
    if chain.stack().len() >= 2 {
        layout_cache::begin();
    }
    Unwinder::FramePointers
}

/// The part of a thread's stack that may be read: from a live frame to the stack's upper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Lowest address of the stack's mapping.
    pub(crate) low: usize,
    /// One past the highest.
    pub(crate) high: usize,
}

impl Bounds {
    pub(crate) const UNKNOWN: Self = Self { low: 0, high: 0 };

    /// The running thread's stack, from the threading library; [`Bounds::UNKNOWN`] if it does
    /// not tell. May call the C library's allocator, never Rust's.
    pub(crate) fn of_this_thread() -> Self {
        // SAFETY: an all-zero `pthread_attr_t` is only written by `pthread_getattr_np`, whose
        // success is checked before it is read and destroyed.
        unsafe {
            let mut attr: libc::pthread_attr_t = core::mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &mut attr) != 0 {
                return Self::UNKNOWN;
            }
            let mut low: *mut libc::c_void = core::ptr::null_mut();
            let mut size = 0;
            let told = libc::pthread_attr_getstack(&attr, &mut low, &mut size) == 0;
            libc::pthread_attr_destroy(&mut attr);
            if told {
                Self {
                    low: low as usize,
                    high: low as usize + size,
                }
            } else {
                Self::UNKNOWN
            }
        }
    }

    /// Whether a live address is on this stack, and not on a signal's or a coroutine's own.
    pub(super) fn has(self, live: usize) -> bool {
        self.low <= live && live < self.high
    }

    /// Reads the two words of frames between `live`, an address in a live frame, and the stack's
    /// upper end. Reads nothing if `live` is not on this stack (a signal's or a coroutine's own).
    #[inline]
    pub(crate) fn reader(self, live: usize) -> Reader {
        let inside = live >= self.low && self.high.saturating_sub(2 * WORD) >= live;
        let low = if inside { live } else { usize::MAX };
        Reader {
            low,
            span: self.high.saturating_sub(2 * WORD).saturating_sub(low),
        }
    }
}

/// The part of this thread's stack that is live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    low: usize,
    /// How far above `low` a frame may begin: its two words must fit.
    span: usize,
}

impl Stack for Reader {
    #[inline]
    fn is_inside(&self, at: usize) -> bool {
        // One comparison for both ends: an address below `low` wraps to a large distance.
        at.wrapping_sub(self.low) <= self.span && at.is_multiple_of(WORD)
    }
}

/// The two words at an address of this thread's stack.
///
/// # Safety
/// They may be read.
#[inline]
pub(super) unsafe fn words(at: usize) -> Words {
    // SAFETY: a stack is mapped from its live frames to its upper end, the caller promises that the
    // two words are there, and only this thread writes there
    // (tests: `nothing_outside_the_bounds_is_read`).
    unsafe {
        let words = at as *const usize;
        (words.read_volatile(), words.add(1).read_volatile())
    }
}

/// Whether frames hold the words that are kept of them. No early exit and no check in between: the
/// loads do not wait for each other.
///
/// # Safety
/// The two words of each may be read.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn hold(frames: &[Frame]) -> bool {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_setzero_si128, _mm_xor_si128,
    };
    // SAFETY: every x86-64 has SSE2, the caller lets the stack's words be read, a frame's own two lie
    // side by side, and so do those that are kept of it, aligned as the frame is.
    let differs = |f: &Frame| unsafe {
        let found = _mm_loadu_si128(f.at as *const __m128i);
        _mm_xor_si128(found, _mm_load_si128((&raw const *f).cast()))
    };
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        let mut all = _mm_setzero_si128();
        let (fours, rest) = frames.as_chunks::<4>();
        // By hand: the compiler makes a loop of its own of up to three.
        if let [first, rest @ ..] = rest {
            all = differs(first);
            if let [second, rest @ ..] = rest {
                all = _mm_or_si128(all, differs(second));
                if let [third, ..] = rest {
                    all = _mm_or_si128(all, differs(third));
                }
            }
        }
        for [a, b, c, d] in fours {
            let two = _mm_or_si128(differs(a), differs(b));
            all = _mm_or_si128(all, _mm_or_si128(two, _mm_or_si128(differs(c), differs(d))));
        }
        _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_setzero_si128())) == 0xFFFF
    }
}

/// As above, word by word.
///
/// # Safety
/// The two words of each may be read.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
unsafe fn hold(frames: &[Frame]) -> bool {
    let mut differs = 0;
    for f in frames {
        // SAFETY: the caller's promise.
        let (saved, ret) = unsafe { words(f.at) };
        differs |= (saved ^ f.saved) | (ret ^ f.ret);
    }
    differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::spin_lock::SpinLock;

    impl<F: Fn(usize) -> Option<Words>> Stack for F {
        fn is_inside(&self, at: usize) -> bool {
            self(at).is_some()
        }

        unsafe fn words(&self, at: usize) -> Words {
            self(at).unwrap_or((0, 0))
        }

        unsafe fn holds(&self, frames: &[Frame]) -> bool {
            frames.iter().all(|f| self(f.at) == Some((f.saved, f.ret)))
        }
    }

    /// A made-up stack: `depth` frames of four words each, outermost last, return address
    /// `1000 * (frame + 1) + call`.
    struct Made {
        words: Vec<usize>,
    }

    impl Made {
        const BASE: usize = 0x10_000;

        fn new(calls: &[usize]) -> Self {
            // Innermost first in memory, like a real stack. Aligned at the outer end.
            let depth = calls.len();
            let mut words = vec![0; 4 * 200];
            for (frame, call) in calls.iter().enumerate() {
                let at = Self::index(frame);
                words[at] = if frame == 0 {
                    0
                } else {
                    Self::address(frame - 1)
                };
                words[at + 1] = 1000 * (frame + 1) + call;
            }
            assert!(depth <= 200);
            Self { words }
        }

        fn index(frame: usize) -> usize {
            4 * (199 - frame)
        }

        fn address(frame: usize) -> usize {
            Self::BASE + Self::index(frame) * WORD
        }

        fn read(&self, at: usize) -> Option<Words> {
            let i = at.checked_sub(Self::BASE)? / WORD;
            Some((*self.words.get(i)?, *self.words.get(i + 1)?))
        }

        fn walk(&self, depth: usize, remembered: &mut Remembered) -> Walk {
            remembered.walk(Self::address(depth - 1), |at| self.read(at))
        }
    }

    #[test]
    fn a_walk_lists_return_addresses_from_the_innermost() {
        let made = Made::new(&[1, 2, 3]);
        let mut r = Remembered::new();
        let walk = made.walk(3, &mut r);
        assert_eq!(r.stack().collect::<Vec<_>>(), [3003, 2002, 1001]);
        assert!(!walk.cut);
    }

    #[test]
    fn what_was_remembered_never_changes_the_result() {
        // Every pair of call sequences over a small alphabet: walk one, then the other.
        let mut sequences = Vec::new();
        for a in 0..3 {
            for b in 0..3 {
                for c in 0..3 {
                    sequences.push(vec![a, b, c]);
                    sequences.push(vec![a, b, c, a]);
                }
                sequences.push(vec![a, b]);
            }
        }
        for first in &sequences {
            for second in &sequences {
                let mut fresh = Remembered::new();
                let made = Made::new(second);
                let truth = made.walk(second.len(), &mut fresh);
                let mut used = Remembered::new();
                Made::new(first).walk(first.len(), &mut used);
                let got = made.walk(second.len(), &mut used);
                assert_eq!(got, truth, "{first:?} then {second:?}");
                assert!(used.stack().eq(fresh.stack()), "{first:?} then {second:?}");
            }
        }
    }

    #[test]
    fn a_changed_outer_call_is_noticed_under_equal_inner_frames() {
        let mut r = Remembered::new();
        let one = Made::new(&[1, 1, 1, 1]).walk(4, &mut r);
        let other = Made::new(&[1, 2, 1, 1]).walk(4, &mut r);
        assert_ne!(one.hash, other.hash);
        assert_eq!(r.stack().collect::<Vec<_>>(), [4001, 3001, 2002, 1001]);
    }

    #[test]
    fn after_any_walks_the_next_one_finds_what_a_first_one_does() {
        const WORDS: usize = 1024;
        let base = Made::BASE;
        // One memory for all: what was popped stays there, as on a real stack.
        let mut words = vec![0; WORDS];
        let mut frames: Vec<(usize, usize)> = Vec::new();
        let mut random = crate::base::random::Random::new(17);
        let mut used = Remembered::new();
        for _ in 0..20_000 {
            // Now and then an outer frame returns to another call, beneath which all is as before.
            let again = random.below(8) == 0;
            let left = frames.split_off(random.index(frames.len() + 1));
            let new = match left.split_first() {
                Some((first, inner)) if again => {
                    let changed = (first.0, random.below(3) as usize);
                    [changed].into_iter().chain(inner.iter().copied()).collect()
                }
                _ => {
                    let most = 60_usize.saturating_sub(frames.len()).min(6);
                    let many = 1 + random.index(most + 1);
                    let frame = |_| (2 + 2 * random.index(3), random.index(3));
                    (0..many).map(frame).collect::<Vec<_>>()
                }
            };
            frames.extend(new);
            frames.truncate(90);
            let (mut at, mut outer) = (WORDS, 0);
            for &(size, call) in &frames {
                at -= size;
                (words[at], words[at + 1]) = (outer, 1000 + call);
                outer = base + at * WORD;
            }
            let read = |address: usize| {
                let i = address.checked_sub(base)? / WORD;
                Some((*words.get(i)?, *words.get(i + 1)?))
            };
            let (got, mut fresh) = (used.walk(outer, read), Remembered::new());
            assert_eq!(got, fresh.walk(outer, read), "{frames:?}");
            assert!(used.stack().eq(fresh.stack()), "{frames:?}");
        }
    }

    #[test]
    fn a_deep_stack_is_cut_at_its_outer_end() {
        let calls: Vec<usize> = (0..150).collect();
        let made = Made::new(&calls);
        let mut r = Remembered::new();
        let walk = made.walk(150, &mut r);
        assert!(walk.cut);
        assert_eq!(r.stack().len(), MAX_FRAMES);
        assert_eq!(r.stack().next(), Some(150 * 1000 + 149));
    }

    #[test]
    fn growing_past_the_limit_while_attached_keeps_the_innermost() {
        let calls: Vec<usize> = (0..150).collect();
        let made = Made::new(&calls);
        let mut r = Remembered::new();
        assert!(!made.walk(100, &mut r).cut);
        let attached = made.walk(150, &mut r);
        let mut fresh = Remembered::new();
        assert_eq!(attached, made.walk(150, &mut fresh));
        assert!(r.stack().eq(fresh.stack()));
    }

    #[test]
    fn a_loop_or_a_step_back_ends_the_walk() {
        let mut made = Made::new(&[1, 2, 3]);
        made.words[Made::index(1)] = Made::address(1);
        let mut r = Remembered::new();
        made.walk(3, &mut r);
        assert_eq!(r.stack().collect::<Vec<_>>(), [3003, 2002]);
    }

    #[test]
    fn frames_are_kept_from_the_highest_address_down() {
        let mut r = Remembered::new();
        let mut random = crate::base::random::Random::new(9);
        for _ in 0..300 {
            let depth = 1 + random.index(40);
            let calls: Vec<usize> = (0..depth).map(|_| random.index(2)).collect();
            Made::new(&calls).walk(depth, &mut r);
            let at: Vec<usize> = r.frames[..r.len].iter().map(|f| f.at).collect();
            assert!(at.windows(2).all(|w| w[0] > w[1]), "{at:x?}");
            assert!(at.iter().all(|at| at.is_multiple_of(WORD)));
        }
    }

    #[test]
    fn nothing_outside_the_bounds_is_read() {
        let words = [1_usize, 2, 3, 4, 5];
        let start = words.as_ptr() as usize;
        let bounds = Bounds {
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
        assert_eq!(Bounds::UNKNOWN.reader(start).read(start), None);
        let tiny = Bounds {
            low: start,
            high: start + WORD,
        };
        assert_eq!(
            tiny.reader(start).read(start),
            None,
            "no room for two words"
        );
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn both_unwinders_see_the_same_frames() {
        #[inline(never)]
        fn compare(depth: u32) {
            if depth > 0 {
                compare(depth - 1);
                // Not the last thing: a tail call would leave no frame.
                std::hint::black_box(depth);
                return;
            }
            assert_eq!(
                choose(false),
                Unwinder::FramePointers,
                "this build has frame pointers"
            );
            let registers = registers();
            let bounds = Bounds::of_this_thread();
            static BOTH: SpinLock<[Remembered; 2]> =
                SpinLock::new([Remembered::new(), Remembered::new()]);
            let [chain, cfi] = &mut *BOTH.lock();
            chain.walk(registers.bp, bounds.reader(registers.bp));
            cfi.walk_by_cfi(registers, bounds.reader(registers.sp));
            let (chain, cfi): (Vec<_>, Vec<_>) = (chain.stack().collect(), cfi.stack().collect());
            let common = chain.iter().zip(&cfi).take_while(|(a, b)| a == b).count();
            assert!(
                common > 10 && common + 3 >= cfi.len(),
                "{chain:x?}\n{cfi:x?}"
            );
        }
        compare(10);
    }

    #[test]
    fn a_thread_knows_its_own_stack() {
        let local = 0_u8;
        let at = &raw const local as usize;
        let bounds = Bounds::of_this_thread();
        assert!(bounds.low <= at && at < bounds.high);
    }
}
