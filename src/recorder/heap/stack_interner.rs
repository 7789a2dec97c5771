//! Interned stacks: each distinct backtrace has one number, and its return addresses are kept until
//! the process ends (`frame_store.rs`).
//!
//! A stack is looked up by the hash of its return addresses, without a lock. A new one is added
//! under a lock.
//!
//! # The index
//! An open-addressing hash table with linear probing, split into shards by the highest bits of the
//! hash, so that only one shard at a time is copied to a larger table. It is not a
//! [`MappedTable`](super::mapped_table::MappedTable), which needs `&mut self` to insert: lookups go
//! on here while a stack is added or a shard grows.
//!
//! Invariants, and the memory ordering that they need:
//! 1. A slot is filled once and never changes. Its stack is stored before its hash, which is stored
//!    with release and loaded with acquire: a hash that is seen comes with its stack.
//! 2. A table is published complete, by a release store of its address. A table that was outgrown
//!    stays mapped, because a reader may still use it. A reader that does not find a stack there
//!    searches again under the lock.

use super::frame_store::{FrameStore, HashedFrame};
use super::mapped_vec::MappedVec;
use super::mapping::map;
use super::spin_lock::SpinLock;
use crate::model::block::{NO_STACK, StackId};
use crate::recorder::primitive::{
    AtomicPtr, AtomicU32, AtomicU64, IS_MODEL,
    Ordering::{Acquire, Relaxed, Release},
};

/// The stacks of this process.
pub(super) static STACKS: StackInterner = StackInterner::new();

/// Stacks at most: a block of dhat's table has as many bits for one.
const MAX_STACKS: u32 = 1 << 24;

const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;

/// Slots of a shard's first table.
const FIRST_CAPACITY: usize = if IS_MODEL { 2 } else { 128 };

/// A slot of the index; empty if its hash is 0.
struct Slot {
    hash: AtomicU64,
    stack_id: AtomicU32,
}

/// The table of a shard: this header and its slots are one mapping.
struct Index {
    /// A power of two.
    capacity: usize,
    slots: *const Slot,
}

/// The shard of a hash.
#[inline]
fn shard_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SHARD_BITS)) as usize
}

impl Index {
    /// An empty table; null if the system refuses memory.
    fn new(capacity: usize) -> *mut Self {
        let header = size_of::<Self>().next_multiple_of(64);
        let at = map(header + capacity * size_of::<Slot>());
        if at.is_null() {
            return core::ptr::null_mut();
        }
        let index: *mut Self = at.cast();
        // SAFETY: the mapping holds the header and, behind it, `capacity` slots, which are empty if
        // all their bytes are zero (tests: `a_stack_has_one_number_and_is_read_as_it_was`).
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
        // SAFETY: the index is masked below `capacity`, and a table is never unmapped
        // (tests: `threads_agree_on_the_number_of_a_stack`).
        (0..self.capacity).map(move |i| unsafe { &*self.slots.add(start.wrapping_add(i) & mask) })
    }

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

    /// All hashes and their stacks; called by the writer.
    fn entries(&self) -> impl Iterator<Item = (u64, StackId)> {
        self.probe(0)
            .map(|slot| (slot.hash.load(Relaxed), slot.stack_id.load(Relaxed)))
            .filter(|&(hash, _)| hash != 0)
    }

    /// Adds a hash that is not in the table; called by the writer.
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

/// What is changed under the lock.
struct Writer {
    /// Stacks in each shard.
    counts: [u32; SHARDS],
    /// A stack's number here is one less than its [`StackId`], since 0 is [`NO_STACK`].
    frames: FrameStore,
    /// Stacks for which there was no room.
    refused: u64,
}

pub(super) struct StackInterner {
    shards: [AtomicPtr<Index>; SHARDS],
    writer: SpinLock<Writer>,
}

// SAFETY: `shards` point to mappings that are never unmapped and whose slots are atomic; all else is
// behind the lock (tests: `threads_agree_on_the_number_of_a_stack`).
unsafe impl Sync for StackInterner {}

impl StackInterner {
    pub(super) const fn new() -> Self {
        Self {
            shards: [const { AtomicPtr::new(core::ptr::null_mut()) }; SHARDS],
            writer: SpinLock::new(Writer {
                counts: [0; SHARDS],
                frames: FrameStore::new(),
                refused: 0,
            }),
        }
    }

    /// Whether no thread holds its lock.
    #[cfg(feature = "preload")]
    pub(super) fn is_unlocked(&self) -> bool {
        self.writer.is_unlocked()
    }

    /// The stack with this hash, if it is known. Takes no lock.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<StackId> {
        let index = self.shards[shard_of(hash)].load(Acquire);
        if index.is_null() {
            return None;
        }
        // SAFETY: a published table is complete and is never unmapped
        // (tests: `threads_agree_on_the_number_of_a_stack`).
        unsafe { &*index }.find(hash)
    }

    /// The number of a stack, which is added if it is new; [`NO_STACK`] if there is no room for it.
    /// `frames` are all its frames, innermost first, and `hash` is their hash, which is not 0.
    #[cold]
    pub(super) fn intern(
        &self,
        hash: u64,
        is_truncated: bool,
        frames: impl ExactSizeIterator<Item = HashedFrame> + Clone,
    ) -> StackId {
        let mut writer = self.writer.lock();
        if let Some(stack_id) = self.find(hash) {
            return stack_id;
        }
        match self.add(&mut writer, hash, is_truncated, frames) {
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
        is_truncated: bool,
        frames: impl ExactSizeIterator<Item = HashedFrame> + Clone,
    ) -> Option<StackId> {
        let stack_id = writer.frames.len() as u32 + 1;
        if stack_id >= MAX_STACKS {
            return None;
        }
        let shard = shard_of(hash);
        let mut index = self.shards[shard].load(Relaxed);
        // SAFETY: a published table is complete and is never unmapped
        // (tests: `threads_agree_on_the_number_of_a_stack`).
        let old = unsafe { index.as_ref() };
        let capacity = old.map_or(0, |i| i.capacity);
        if (writer.counts[shard] as usize + 1) * 2 > capacity {
            let grown = Index::new((capacity * 2).max(FIRST_CAPACITY));
            if grown.is_null() {
                return None;
            }
            for (hash, stack_id) in old.into_iter().flat_map(Index::entries) {
                // SAFETY: mapped above, and no other thread has it yet.
                unsafe { &*grown }.insert(hash, stack_id);
            }
            self.shards[shard].store(grown, Release);
            index = grown;
        }
        writer.frames.push(is_truncated, frames)?;
        writer.counts[shard] += 1;
        // SAFETY: not null any more. A published table is never unmapped
        // (tests: `threads_agree_on_the_number_of_a_stack`).
        unsafe { &*index }.insert(hash, stack_id);
        Some(stack_id)
    }

    /// Number of known stacks. They are numbered `1..=count`.
    pub(super) fn count(&self) -> u32 {
        self.writer.lock().frames.len() as u32
    }

    /// Stacks for which there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.writer.lock().refused
    }

    /// Copies the return addresses of a stack, innermost first, into `to`. Returns whether the stack
    /// was truncated. Leaves `to` empty if the stack is not known.
    pub(super) fn read(&self, stack_id: StackId, to: &mut MappedVec<usize>) -> bool {
        let number = (stack_id as usize).wrapping_sub(1);
        self.writer.lock().frames.read(number, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backtrace_of(n: u64) -> Vec<usize> {
        (0..5).map(|i| (n as usize) * 10 + i).collect()
    }

    /// The frames of a backtrace, with hashes that no two frames share.
    fn frames_of(n: u64) -> impl ExactSizeIterator<Item = HashedFrame> + Clone {
        let hash = move |(i, ret)| (ret, hash_of(n) ^ i as u64);
        backtrace_of(n).into_iter().enumerate().map(hash)
    }

    fn hash_of(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn a_stack_has_one_number_and_is_read_as_it_was() {
        let stacks = StackInterner::new();
        let numbers: Vec<StackId> = (0..20_000)
            .map(|n| stacks.intern(hash_of(n), n.is_multiple_of(7), frames_of(n)))
            .collect();
        assert_eq!(stacks.count(), 20_000);
        let mut to = MappedVec::new();
        for (n, &stack_id) in numbers.iter().enumerate() {
            let n = n as u64;
            assert_eq!(stacks.find(hash_of(n)), Some(stack_id));
            assert_eq!(stacks.intern(hash_of(n), false, frames_of(n)), stack_id);
            assert_eq!(stacks.read(stack_id, &mut to), n.is_multiple_of(7));
            assert_eq!(to.as_slice(), backtrace_of(n));
        }
    }

    #[test]
    fn an_unknown_stack_is_empty() {
        let stacks = StackInterner::new();
        let mut to = MappedVec::new();
        assert!(!stacks.read(NO_STACK, &mut to) && to.as_slice().is_empty());
        assert!(!stacks.read(5, &mut to) && to.as_slice().is_empty());
        assert_eq!(stacks.find(3), None);
    }

    #[test]
    fn threads_agree_on_the_number_of_a_stack() {
        static STACKS: StackInterner = StackInterner::new();
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
