//! The last backtrace of a thread, and the stack walk that records it.
//!
//! In a build with frame pointers each frame starts with two words: the caller's frame pointer and
//! the return address. A walk along them is a dependent chain: each load waits for the one before.
//! That is why a stack whose layout is cached is not walked at all (`layout_cache.rs`).
//!
//! Invariants:
//! 1. The result of a walk depends on the stack's memory only, not on what was recorded before.
//! 2. Recorded frames are ordered by address: the outermost has the highest, since stacks grow
//!    downwards.

#[cfg(all(feature = "preload", target_arch = "x86_64"))]
use super::cfi;
#[cfg(target_arch = "x86_64")]
use super::cfi_walk::{CfiWalk, CfiWalker};
use super::frame::{Frame, MAX_FRAMES, Walk, mix};
#[cfg(all(feature = "preload", target_arch = "x86_64"))]
use super::mixed_stack::MixedStack;
use super::registers::Registers;
#[cfg(all(feature = "preload", target_arch = "x86_64"))]
use super::stack_memory::StackBounds;
use super::stack_memory::StackMemory;

/// The last backtrace of a thread, outermost frame first. Valid if all its bytes are zero: then it
/// is empty.
pub(super) struct LastStack {
    len: usize,
    /// The last walk used frame pointers, so that the address of every frame is known.
    has_addresses: bool,
    frames: [Frame; MAX_FRAMES],
    #[cfg(target_arch = "x86_64")]
    cfi: CfiWalker,
    #[cfg(all(feature = "preload", target_arch = "x86_64"))]
    mixed: MixedStack,
}

impl LastStack {
    pub(super) const fn new() -> Self {
        Self {
            len: 0,
            has_addresses: false,
            frames: [Frame::EMPTY; MAX_FRAMES],
            #[cfg(target_arch = "x86_64")]
            cfi: CfiWalker::new(),
            #[cfg(all(feature = "preload", target_arch = "x86_64"))]
            mixed: MixedStack::new(),
        }
    }

    /// Forgets the last backtrace.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        #[cfg(target_arch = "x86_64")]
        self.cfi.clear();
        #[cfg(all(feature = "preload", target_arch = "x86_64"))]
        self.mixed.clear();
    }

    /// Return addresses of the last walk, innermost first.
    pub(super) fn return_addresses(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.frames[..self.len]
            .iter()
            .rev()
            .map(|f| f.return_address)
    }

    /// Return addresses of the last walk, innermost first, each with the hash of it and of all
    /// outer ones.
    pub(super) fn hashed_frames(&self) -> impl ExactSizeIterator<Item = (usize, u64)> + Clone + '_ {
        self.frames[..self.len]
            .iter()
            .rev()
            .map(|f| (f.return_address, f.hash))
    }

    /// Addresses of the frames of the last walk, outermost first; `None` if they are not known.
    pub(super) fn frame_addresses(
        &self,
    ) -> Option<impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone + '_> {
        let are_known = self.has_addresses && self.len > 0;
        are_known.then(|| self.frames[..self.len].iter().map(|f| f.at))
    }

    /// Walks from the frame at `first` outwards until the stack ends.
    pub(super) fn walk_frame_pointers(&mut self, first: usize, stack: impl StackMemory) -> Walk {
        let mut at = first;
        let mut len = 0;
        let mut truncated = false;
        while let Some((caller_fp, return_address)) = stack.read(at).filter(|&(_, ret)| ret != 0) {
            let Some(frame) = self.frames.get_mut(len) else {
                truncated = true;
                break;
            };
            (frame.at, frame.return_address) = (at, return_address);
            len += 1;
            if caller_fp <= at {
                break;
            }
            at = caller_fp;
        }
        let frames = &mut self.frames[..len];
        frames.reverse();
        let mut hash = 0;
        for frame in frames {
            hash = mix(hash, frame.return_address);
            frame.hash = hash;
        }
        self.len = len;
        self.has_addresses = true;
        Walk { hash, truncated }
    }

    /// Walks by call frame information, for builds without frame pointers.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn walk_cfi(&mut self, start: Registers, stack: impl StackMemory) -> Walk {
        self.walk_cfi_until(start, stack, usize::MAX)
    }

    /// Walks by call frame information up to the frame with the address `end` in it.
    #[cfg(target_arch = "x86_64")]
    fn walk_cfi_until(&mut self, start: Registers, stack: impl StackMemory, end: usize) -> Walk {
        let walk = self.cfi.walk(start, &stack, end);
        self.take(walk)
    }

    /// Takes over the frames of a walk by call frame information.
    #[cfg(target_arch = "x86_64")]
    fn take(&mut self, walk: CfiWalk) -> Walk {
        self.has_addresses = false;
        let CfiWalk {
            attached,
            len,
            truncated,
        } = walk;
        let mut hash = match attached {
            0 => 0,
            _ => self.frames[attached - 1].hash,
        };
        let inner = self.frames[attached..len].iter_mut();
        for (frame, return_address) in inner.zip(self.cfi.return_addresses(attached..len)) {
            hash = mix(hash, return_address);
            (frame.return_address, frame.hash) = (return_address, hash);
        }
        self.len = len;
        Walk { hash, truncated }
    }

    /// Finds the stack by call frame information up to where Python runs, if it does on this stack, and
    /// reads its frames. The hash is that of both, and not that of the frames that are interned.
    #[cfg(all(feature = "preload", target_arch = "x86_64"))]
    pub(super) fn find_mixed(&mut self, start: Registers, stack: StackBounds) -> Walk {
        let MixedStack { python, begins, .. } = &mut self.mixed;
        let end = python.read(start.sp, stack, Some(begins));
        self.mixed.end = end.unwrap_or(usize::MAX);
        let reader = stack.reader(start.sp);
        let walk = match end {
            Some(end) => self.find_part(start, reader, end),
            None => self.walk_cfi_until(start, reader, usize::MAX),
        };
        let python = &self.mixed.python;
        match python.is_empty() {
            true => walk,
            false => Walk {
                hash: mix(walk.hash, python.hash() as usize).max(1),
                truncated: walk.truncated || python.is_truncated(),
            },
        }
    }

    /// The walk up to the frame with the address `end` in it, which is not made if it is known.
    #[cfg(all(feature = "preload", target_arch = "x86_64"))]
    fn find_part(&mut self, start: Registers, stack: impl StackMemory, end: usize) -> Walk {
        let forgotten = cfi::forgotten();
        if let Some(hash) = self.mixed.parts.find(start, end, &stack, forgotten) {
            self.mixed.is_walked = false;
            return Walk {
                hash,
                truncated: false,
            };
        }
        let found = self.cfi.walk(start, &stack, end);
        let walk = self.take(found);
        self.mixed.is_walked = true;
        let learned = (&self.cfi, found);
        self.mixed
            .parts
            .learn((start, end), learned, walk.hash, &stack, forgotten);
        walk
    }

    /// The frames to intern after [`LastStack::find_mixed`] from the same registers, innermost first, and
    /// their hash.
    #[cfg(all(feature = "preload", target_arch = "x86_64"))]
    pub(super) fn mixed_frames(
        &mut self,
        walk: Walk,
        start: Registers,
        stack: StackBounds,
    ) -> (
        Walk,
        impl ExactSizeIterator<Item = (usize, u64)> + Clone + '_,
    ) {
        if self.mixed.end != usize::MAX && !self.mixed.is_walked {
            self.walk_cfi_until(start, stack.reader(start.sp), self.mixed.end);
        }
        let (walk, frames) = match self.mixed.python.is_empty() {
            true => (walk, &self.frames[..self.len]),
            false => self.mixed.merge(walk, &self.frames[..self.len]),
        };
        let frames = frames.iter().rev();
        (walk, frames.map(|f| (f.return_address, f.hash)))
    }

    /// Walks by frame pointers: call frame information is only read on x86-64.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn walk_cfi(&mut self, start: Registers, stack: impl StackMemory) -> Walk {
        self.walk_frame_pointers(start.bp, stack)
    }

    /// Walks by call frame information in which the prediction was right.
    #[cfg(all(test, target_arch = "x86_64"))]
    pub(super) fn predicted_walks(&self) -> u32 {
        self.cfi.predicted_walks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::recorder::heap::frame::{FrameWords, WORD};

    /// A synthetic stack: frames of four words each, and the return address
    /// `1000 * (frame + 1) + call`, where frame 0 is the outermost.
    struct Synthetic {
        words: Vec<usize>,
    }

    impl Synthetic {
        const BASE: usize = 0x10_000;
        const DEPTH: usize = 200;

        fn new(calls: &[usize]) -> Self {
            assert!(calls.len() <= Self::DEPTH);
            let mut words = vec![0; 4 * Self::DEPTH];
            for (frame, call) in calls.iter().enumerate() {
                let at = Self::index(frame);
                words[at] = if frame == 0 {
                    0
                } else {
                    Self::address(frame - 1)
                };
                words[at + 1] = 1000 * (frame + 1) + call;
            }
            Self { words }
        }

        /// Inner frames have lower addresses, as on a real stack.
        fn index(frame: usize) -> usize {
            4 * (Self::DEPTH - 1 - frame)
        }

        fn address(frame: usize) -> usize {
            Self::BASE + Self::index(frame) * WORD
        }

        fn read(&self, at: usize) -> Option<FrameWords> {
            let i = at.checked_sub(Self::BASE)? / WORD;
            Some((*self.words.get(i)?, *self.words.get(i + 1)?))
        }

        fn walk(&self, depth: usize, last: &mut LastStack) -> Walk {
            last.walk_frame_pointers(Self::address(depth - 1), |at| self.read(at))
        }
    }

    #[test]
    fn a_walk_lists_return_addresses_from_the_innermost() {
        let stack = Synthetic::new(&[1, 2, 3]);
        let mut last = LastStack::new();
        let walk = stack.walk(3, &mut last);
        assert!(last.return_addresses().eq([3003, 2002, 1001]));
        assert!(!walk.truncated);
    }

    #[test]
    fn the_result_does_not_depend_on_the_walk_before() {
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
                let mut fresh = LastStack::new();
                let stack = Synthetic::new(second);
                let truth = stack.walk(second.len(), &mut fresh);
                let mut used = LastStack::new();
                Synthetic::new(first).walk(first.len(), &mut used);
                let found = stack.walk(second.len(), &mut used);
                assert_eq!(found, truth, "{first:?} then {second:?}");
                assert!(
                    used.return_addresses().eq(fresh.return_addresses()),
                    "{first:?} then {second:?}"
                );
            }
        }
    }

    #[test]
    fn a_changed_outer_call_is_noticed_under_equal_inner_frames() {
        let mut last = LastStack::new();
        let one = Synthetic::new(&[1, 1, 1, 1]).walk(4, &mut last);
        let other = Synthetic::new(&[1, 2, 1, 1]).walk(4, &mut last);
        assert_ne!(one.hash, other.hash);
        assert!(last.return_addresses().eq([4001, 3001, 2002, 1001]));
    }

    #[test]
    fn the_result_does_not_depend_on_earlier_walks() {
        const WORDS: usize = 1024;
        let base = Synthetic::BASE;
        // One memory for all walks: popped frames stay there, as on a real stack.
        let mut words = vec![0; WORDS];
        let mut frames: Vec<(usize, usize)> = Vec::new();
        let mut random = Random::new(17);
        let mut used = LastStack::new();
        for _ in 0..20_000 {
            // In one of eight rounds an outer frame goes on to another call, and the same inner
            // frames are built again.
            let same_inner_frames = random.below(8) == 0;
            let popped = frames.split_off(random.index(frames.len() + 1));
            let pushed = match popped.split_first() {
                Some((first, inner)) if same_inner_frames => {
                    let changed = (first.0, random.below(3) as usize);
                    [changed].into_iter().chain(inner.iter().copied()).collect()
                }
                _ => {
                    let most = 60_usize.saturating_sub(frames.len()).min(6);
                    let count = 1 + random.index(most + 1);
                    let frame = |_| (2 + 2 * random.index(3), random.index(3));
                    (0..count).map(frame).collect::<Vec<_>>()
                }
            };
            frames.extend(pushed);
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
            let (found, mut fresh) = (used.walk_frame_pointers(outer, read), LastStack::new());
            assert_eq!(found, fresh.walk_frame_pointers(outer, read), "{frames:?}");
            assert!(
                used.return_addresses().eq(fresh.return_addresses()),
                "{frames:?}"
            );
        }
    }

    #[test]
    fn a_deep_stack_is_truncated_at_its_outer_end() {
        let calls: Vec<usize> = (0..150).collect();
        let stack = Synthetic::new(&calls);
        let mut last = LastStack::new();
        let walk = stack.walk(150, &mut last);
        assert!(walk.truncated);
        assert_eq!(last.return_addresses().len(), MAX_FRAMES);
        assert_eq!(last.return_addresses().next(), Some(150 * 1000 + 149));
    }

    #[test]
    fn a_frame_pointer_that_does_not_go_up_ends_the_walk() {
        let mut stack = Synthetic::new(&[1, 2, 3]);
        stack.words[Synthetic::index(1)] = Synthetic::address(1);
        let mut last = LastStack::new();
        stack.walk(3, &mut last);
        assert!(last.return_addresses().eq([3003, 2002]));
    }

    #[test]
    fn frames_are_ordered_from_the_highest_address_down() {
        let mut last = LastStack::new();
        let mut random = Random::new(9);
        for _ in 0..300 {
            let depth = 1 + random.index(40);
            let calls: Vec<usize> = (0..depth).map(|_| random.index(2)).collect();
            Synthetic::new(&calls).walk(depth, &mut last);
            let at: Vec<usize> = last.frames[..last.len].iter().map(|f| f.at).collect();
            assert!(at.windows(2).all(|w| w[0] > w[1]), "{at:x?}");
            assert!(at.iter().all(|at| at.is_multiple_of(WORD)));
        }
    }
}
