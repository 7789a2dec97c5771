//! Interned allocation backtraces.
//!
//! A stack is found by the hash of its stack without a lock; a new one is added under a lock. Its
//! return addresses are kept for ever (`frames`).

use crate::model::block::NO_STACK;
use crate::model::block::StackId;
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::frames::{Frame, Frames};
use super::mapped_vec::MappedVec;
use super::mapping::map;
use super::spin_lock::SpinLock;

/// Stacks at most; dhat's table has as many bits for them.
pub(crate) const MAX_STACKS: u32 = 1 << 24;

/// Parts of the index, by the highest bits of a hash: one grows at a time, which holds nobody up.
const PART_BITS: u32 = 6;
const PARTS: usize = 1 << PART_BITS;

/// Slots of a part in its first mapping, a page.
const FIRST_CAPACITY: usize = 128;

/// One slot of the index; `hash` 0 is free. `stack` is written before `hash` is published.
struct Slot {
    hash: AtomicU64,
    stack_id: AtomicU32,
}

/// One generation of a part of the index: a header and its slots in one mapping. A smaller one that
/// was outgrown stays mapped, because a reader may still be in it.
struct Index {
    capacity: usize,
    slots: *const Slot,
}

/// The part of the index that a hash is in.
#[inline]
fn part_of(hash: u64) -> usize {
    (hash >> (u64::BITS - PART_BITS)) as usize
}

impl Index {
    fn new(capacity: usize) -> *mut Self {
        let header = size_of::<Self>().next_multiple_of(64);
        let at = map(header + capacity * size_of::<Slot>());
        if at.is_null() {
            return core::ptr::null_mut();
        }
        let index: *mut Self = at.cast();
        // SAFETY: the mapping holds the header and, behind it, `capacity` slots whose all-zero
        // bytes are free slots.
        unsafe {
            index.write(Self {
                capacity,
                slots: at.add(header).cast(),
            });
        }
        index
    }

    /// The slots in the order in which a hash is looked for.
    fn probe(&self, hash: u64) -> impl Iterator<Item = &Slot> {
        let mask = self.capacity - 1;
        let start = (hash ^ (hash >> 32)) as usize;
        // SAFETY: the index is masked below `capacity`, and the mapping is never unmapped.
        (0..self.capacity).map(move |i| unsafe { &*self.slots.add((start + i) & mask) })
    }

    /// The stack of a hash.
    fn find(&self, hash: u64) -> Option<StackId> {
        for slot in self.probe(hash) {
            match slot.hash.load(Acquire) {
                0 => return None,
                h if h == hash => return Some(slot.stack_id.load(Relaxed)),
                _ => {}
            }
        }
        None
    }

    /// All that are in it.
    fn stacks(&self) -> impl Iterator<Item = (u64, StackId)> {
        self.probe(0)
            .map(|slot| (slot.hash.load(Relaxed), slot.stack_id.load(Relaxed)))
            .filter(|&(hash, _)| hash != 0)
    }

    fn insert(&self, hash: u64, stack_id: StackId) {
        for slot in self.probe(hash) {
            if slot.hash.load(Relaxed) == 0 {
                slot.stack_id.store(stack_id, Relaxed);
                slot.hash.store(hash, Release);
                return;
            }
        }
    }
}

struct Writer {
    /// Stacks of each part.
    in_parts: [u32; PARTS],
    /// Stack n has the stack n - 1: 0 is [`NO_STACK`].
    stacks: Frames,
    /// Stacks that found no room.
    refused: u64,
}

pub(crate) struct Stacks {
    parts: [AtomicPtr<Index>; PARTS],
    writer: SpinLock<Writer>,
}

// SAFETY: `parts` point to mappings that live for ever and whose slots are atomics; the rest is
// behind the lock (tests: `threads_agree_on_a_site`).
unsafe impl Sync for Stacks {}

impl Stacks {
    pub(crate) const fn new() -> Self {
        Self {
            parts: [const { AtomicPtr::new(core::ptr::null_mut()) }; PARTS],
            writer: SpinLock::new(Writer {
                in_parts: [0; PARTS],
                stacks: Frames::new(),
                refused: 0,
            }),
        }
    }

    /// The stack whose stack has this hash, if it is known. Lock-free.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<StackId> {
        let index = self.parts[part_of(hash)].load(Acquire);
        if index.is_null() {
            return None;
        }
        // SAFETY: a published part is complete and never unmapped.
        unsafe { &*index }.find(hash)
    }

    /// The stack of a stack, innermost frame first, added if it is new. `hash` must be that of all of it and not 0.
    #[cold]
    pub(crate) fn intern(
        &self,
        hash: u64,
        cut: bool,
        stack: impl ExactSizeIterator<Item = Frame> + Clone,
    ) -> StackId {
        let mut writer = self.writer.lock();
        if let Some(stack_id) = self.find(hash) {
            return stack_id;
        }
        match self.add(&mut writer, hash, cut, stack) {
            Some(stack_id) => stack_id,
            None => {
                writer.refused += 1;
                NO_STACK
            }
        }
    }

    fn add(
        &self,
        writer: &mut Writer,
        hash: u64,
        cut: bool,
        stack: impl ExactSizeIterator<Item = Frame> + Clone,
    ) -> Option<StackId> {
        let stack_id = writer.stacks.len() as u32 + 1;
        if stack_id >= MAX_STACKS {
            return None;
        }
        let part = part_of(hash);
        let mut index = self.parts[part].load(Relaxed);
        // SAFETY: published parts are never unmapped.
        let old = unsafe { index.as_ref() };
        let capacity = old.map_or(0, |i| i.capacity);
        if (writer.in_parts[part] as usize + 1) * 2 > capacity {
            let grown = Index::new((capacity * 2).max(FIRST_CAPACITY));
            if grown.is_null() {
                return None;
            }
            for (hash, stack_id) in old.into_iter().flat_map(Index::stacks) {
                // SAFETY: just mapped, and nobody else has it yet.
                unsafe { &*grown }.insert(hash, stack_id);
            }
            self.parts[part].store(grown, Release);
            index = grown;
        }
        writer.stacks.push(cut, stack)?;
        writer.in_parts[part] += 1;
        // SAFETY: not null by now, and never unmapped.
        unsafe { &*index }.insert(hash, stack_id);
        Some(stack_id)
    }

    /// Stacks known; their numbers are `1..=count`.
    pub(crate) fn count(&self) -> u32 {
        self.writer.lock().stacks.len() as u32
    }

    /// Stacks for which there was no room.
    pub(crate) fn refused(&self) -> u64 {
        self.writer.lock().refused
    }

    /// Copies the return addresses of a stack, innermost first, into `to`, and says whether the
    /// stack was cut. Leaves `to` empty for a stack that is not known.
    pub(crate) fn stack(&self, stack_id: StackId, to: &mut MappedVec<usize>) -> bool {
        let number = (stack_id as usize).wrapping_sub(1);
        self.writer.lock().stacks.read(number, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack_of(n: u64) -> Vec<usize> {
        (0..5).map(|i| (n as usize) * 10 + i).collect()
    }

    /// With hashes of which none is another's.
    fn frames_of(n: u64) -> impl ExactSizeIterator<Item = Frame> + Clone {
        let hash = move |(i, ret)| (ret, hash_of(n) ^ i as u64);
        stack_of(n).into_iter().enumerate().map(hash)
    }

    fn hash_of(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn a_stack_has_one_number_and_comes_back_as_it_was() {
        let stacks = Stacks::new();
        let numbers: Vec<StackId> = (0..20_000)
            .map(|n| stacks.intern(hash_of(n), n.is_multiple_of(7), frames_of(n)))
            .collect();
        assert_eq!(stacks.count(), 20_000);
        let mut to = MappedVec::new();
        for (n, &stack_id) in numbers.iter().enumerate() {
            let n = n as u64;
            assert_eq!(stacks.find(hash_of(n)), Some(stack_id));
            assert_eq!(stacks.intern(hash_of(n), false, frames_of(n)), stack_id);
            assert_eq!(stacks.stack(stack_id, &mut to), n.is_multiple_of(7));
            assert_eq!(to.as_slice(), stack_of(n));
        }
    }

    #[test]
    fn an_unknown_site_has_no_stack() {
        let stacks = Stacks::new();
        let mut to = MappedVec::new();
        assert!(!stacks.stack(NO_STACK, &mut to) && to.as_slice().is_empty());
        assert!(!stacks.stack(5, &mut to) && to.as_slice().is_empty());
        assert_eq!(stacks.find(3), None);
    }

    #[test]
    fn threads_agree_on_a_site() {
        static STACKS: Stacks = Stacks::new();
        let seen: Vec<Vec<StackId>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10_000)
                            .map(|n| {
                                STACKS.find(hash_of(n)).unwrap_or_else(|| {
                                    STACKS.intern(hash_of(n), false, frames_of(n))
                                })
                            })
                            .collect()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|s| *s == seen[0]));
        assert_eq!(STACKS.count(), 10_000);
    }
}
