//! The native parts of mixed stacks: what a function of Python's has called.
//!
//! One stack after another has another native part: objects of several types are made in turn. The same
//! parts come back, at other places of the stack, too. So the cache keeps many of them, each with the
//! words of the stack that decided its walk, as in `cfi_walk.rs`, by their distance from the stack
//! pointer. A part is found if all these words are unchanged; then the walk would find the same return
//! addresses, and its hash is known without it.
//!
//! Invariants:
//! 1. A part holds all that its walk depends on: where the walk began and had to end, return addresses,
//!    and frame pointers as far as rules need them. Frame pointers are distances, too, so that all the
//!    walk does is the same wherever the part is.
//! 2. All words of a part are between the stack pointer and the end of its walk.
//! 3. Parts that were learned before rules were forgotten are not found.

use super::cfi_walk::{CfiWalk, CfiWalker, DecidingWord};
use super::frame::{WORD, mix};
use super::registers::Registers;
use super::stack_memory::StackMemory;

/// Parts that are kept: sets of a power of two, in each of which a part has several places.
const SETS: usize = 128;
const WAYS: usize = 4;

/// A walk that depends on more words is not kept.
const MAX_WORDS: usize = 37;

/// Valid if all its bytes are zero: then it is empty.
pub(super) struct NativeParts {
    /// How often rules had been forgotten when the parts were learned.
    forgotten: u64,
    /// Parts that were learned.
    learned: usize,
    sets: [[Part; WAYS]; SETS],
}

/// Valid if all its bytes are zero: then it is free.
#[derive(Clone, Copy)]
struct Part {
    /// Where the walk began; 0 if the part is free. The frame pointer is a distance.
    pc: usize,
    bp: usize,
    needs_bp: bool,
    len: u8,
    /// Distance of the end of the walk.
    end: usize,
    /// Hash of the return addresses.
    hash: u64,
    /// Innermost first: they differ more often than outer ones.
    words: [PartWord; MAX_WORDS],
}

#[derive(Clone, Copy)]
struct PartWord {
    /// Distance from the stack pointer.
    offset: u32,
    /// All bits are set if the value is a distance from the stack pointer, and none otherwise.
    mask: i32,
    value: usize,
}

impl PartWord {
    const EMPTY: Self = Self {
        offset: 0,
        mask: 0,
        value: 0,
    };

    /// `None` if the word is not between the stack pointer and the end of the walk.
    fn new(word: DecidingWord, sp: usize, end: usize) -> Option<Self> {
        let mask = -i32::from(word.is_frame_pointer);
        let offset = word.at.checked_sub(sp).filter(|_| word.at < end)?;
        Some(Self {
            offset: u32::try_from(offset).ok()?,
            mask,
            value: word.value.wrapping_sub(sp & mask as usize),
        })
    }

    /// # Safety
    /// The word at its distance from `sp` may be read.
    #[inline(always)]
    unsafe fn is_at(&self, sp: usize, stack: &impl StackMemory) -> bool {
        // SAFETY: the contract of this function.
        let (now, _) = unsafe { stack.words(sp + self.offset as usize) };
        now.wrapping_sub(sp & self.mask as usize) == self.value
    }
}

impl Part {
    const FREE: Self = Self {
        pc: 0,
        bp: 0,
        needs_bp: false,
        len: 0,
        end: 0,
        hash: 0,
        words: [PartWord::EMPTY; MAX_WORDS],
    };

    /// Becomes the part of a walk. If that depends on too many words, the part is free.
    fn set(
        &mut self,
        start: Registers,
        end: usize,
        hash: u64,
        needs_bp: bool,
        words: impl Iterator<Item = DecidingWord>,
    ) {
        let distance = |at: usize| at.wrapping_sub(start.sp);
        (self.pc, self.len) = (0, 0);
        for word in words {
            let to = self.words.get_mut(self.len as usize);
            let (Some(to), Some(word)) = (to, PartWord::new(word, start.sp, end)) else {
                return;
            };
            *to = word;
            self.len += 1;
        }
        (self.needs_bp, self.bp) = (needs_bp, distance(start.bp));
        (self.end, self.hash) = (distance(end), hash);
        self.pc = start.pc;
    }

    /// Whether a walk from here to this end is that of the part.
    ///
    /// # Safety
    /// All words between the stack pointer and `end` may be read.
    #[inline(always)]
    unsafe fn is_at(&self, start: Registers, end: usize, stack: &impl StackMemory) -> bool {
        let distance = |at: usize| at.wrapping_sub(start.sp);
        // SAFETY: the contract of this function, and invariant 2 of the module.
        self.pc == start.pc
            && self.end == distance(end)
            && (!self.needs_bp || self.bp == distance(start.bp))
            && self.words[..self.len as usize]
                .iter()
                .all(|word| unsafe { word.is_at(start.sp, stack) })
    }
}

/// The set of a part, by where its walk begins and ends, and the return address of the first frame, if that
/// has a frame pointer.
#[inline(always)]
fn set_of(start: Registers, end: usize, stack: &impl StackMemory) -> usize {
    let first = stack.read(start.bp).map_or(0, |(_, address)| address);
    mix(end.wrapping_sub(start.sp) as u64, first) as usize % SETS
}

impl NativeParts {
    pub(super) const fn new() -> Self {
        Self {
            forgotten: 0,
            learned: 0,
            sets: [[Part::FREE; WAYS]; SETS],
        }
    }

    /// The hash of the walk from here to the frame with the address `end` in it, if it is known. Both are
    /// in live frames of the stack.
    #[inline]
    pub(super) fn find(
        &self,
        start: Registers,
        end: usize,
        stack: &impl StackMemory,
        forgotten: u64,
    ) -> Option<u64> {
        if forgotten != self.forgotten || end < start.sp {
            return None;
        }
        let set = &self.sets[set_of(start, end, stack)];
        // SAFETY: the words between two live frames may be read (stack_memory.rs, invariant 1; tests:
        // `a_part_that_is_found_is_that_of_a_walk`).
        let found = set
            .iter()
            .find(|part| unsafe { part.is_at(start, end, stack) })?;
        Some(found.hash)
    }

    /// Remembers the last walk of `walker`, which was from here to this end.
    pub(super) fn learn(
        &mut self,
        (start, end): (Registers, usize),
        (walker, walk): (&CfiWalker, CfiWalk),
        hash: u64,
        stack: &impl StackMemory,
        forgotten: u64,
    ) {
        if forgotten != self.forgotten {
            for part in self.sets.as_flattened_mut() {
                part.pc = 0;
            }
            self.forgotten = forgotten;
        }
        if walk.truncated || walk.len == 0 || !end.is_multiple_of(WORD) {
            return;
        }
        let words = walker.deciding_words(walk.len);
        let needs_bp = walker.needs_frame_pointer(walk.len);
        let set = &mut self.sets[set_of(start, end, stack)];
        set[self.learned % WAYS].set(start, end, hash, needs_bp, words);
        self.learned = self.learned.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::recorder::heap::cfi;
    use crate::recorder::heap::registers::registers;
    use crate::recorder::heap::stack_memory::StackBounds;
    use std::hint::black_box;

    /// Calls `visit` from functions with frames of several sizes, each called from one of two places, with
    /// an address in the frame of the one before the innermost `inner`.
    fn with_calls(calls: &[u8], inner: usize, end: usize, visit: &mut dyn FnMut(usize)) {
        #[inline(never)]
        fn frame<const WORDS: usize>(
            calls: &[u8],
            inner: usize,
            end: usize,
            visit: &mut dyn FnMut(usize),
        ) {
            let room = black_box([0_u64; WORDS]);
            let end = match calls.len() == inner + 1 {
                true => room.as_ptr() as usize,
                false => end,
            };
            // Neither is a tail call, which would leave no frame.
            match calls[0] % 2 {
                0 => with_calls(&calls[1..], inner, end, visit),
                _ => {
                    with_calls(&calls[1..], inner, end, visit);
                    black_box(1);
                }
            }
            black_box(room);
        }
        match calls.first().map(|call| call / 2) {
            None => visit(end),
            Some(0) => frame::<2>(calls, inner, end, visit),
            Some(1) => frame::<6>(calls, inner, end, visit),
            Some(_) => frame::<10>(calls, inner, end, visit),
        }
        black_box(());
    }

    fn walk(
        walker: &mut CfiWalker,
        start: Registers,
        end: usize,
        stack: &impl StackMemory,
    ) -> (CfiWalk, u64) {
        let walk = walker.walk(start, stack, end);
        let hash = walker.return_addresses(0..walk.len).fold(0, mix);
        (walk, hash)
    }

    #[test]
    fn a_part_that_is_found_is_that_of_a_walk() {
        const WALKS: usize = 20_000;
        const INNER: usize = 4;
        assert!(cfi::init());
        let bounds = StackBounds::of_this_thread();
        let mut parts = Box::new(NativeParts::new());
        let mut walker = Box::new(CfiWalker::new());
        let mut random = Random::new(11);
        let (mut found, mut elsewhere) = (0, 0);
        let mut calls: Vec<u8> = (0..10).map(|_| random.below(6) as u8).collect();
        let mut last_end = 0;
        for round in 0..WALKS {
            let forgotten = round as u64 / 5000;
            with_calls(&calls, INNER, 0, &mut |end| {
                let here = registers();
                let stack = bounds.reader(here.sp);
                let mut fresh = Box::new(CfiWalker::new());
                let (_, truth) = walk(&mut fresh, here, end, &stack);
                match parts.find(here, end, &stack, forgotten) {
                    Some(hash) => {
                        assert_eq!(hash, truth, "{calls:?}");
                        found += 1;
                        elsewhere += usize::from(end != last_end);
                    }
                    None => {
                        let (walk, hash) = walk(&mut walker, here, end, &stack);
                        assert_eq!(hash, truth, "{calls:?}");
                        parts.learn((here, end), (&walker, walk), hash, &stack, forgotten);
                    }
                }
                last_end = end;
            });
            let any = random.index(calls.len());
            calls[any] = match random.below(2) {
                0 => random.below(6) as u8,
                _ => calls[any] ^ 1,
            };
        }
        assert!(found > WALKS / 4, "{found} of {WALKS}");
        assert!(elsewhere > WALKS / 20, "{elsewhere} of {found}");
    }

    #[test]
    fn nothing_is_found_after_rules_were_forgotten() {
        assert!(cfi::init());
        let bounds = StackBounds::of_this_thread();
        let mut parts = Box::new(NativeParts::new());
        let mut walker = Box::new(CfiWalker::new());
        for forgotten in [0, 0, 1, 1] {
            with_calls(&[0, 2, 4, 2, 0], 3, 0, &mut |end| {
                let here = registers();
                let stack = bounds.reader(here.sp);
                let (walk, hash) = walk(&mut walker, here, end, &stack);
                let found = parts.find(here, end, &stack, forgotten);
                let is_known = parts.learned > forgotten as usize;
                assert_eq!(found, is_known.then_some(hash));
                if found.is_none() {
                    parts.learn((here, end), (&walker, walk), hash, &stack, forgotten);
                }
            });
        }
        assert_eq!(parts.learned, 2);
    }
}
