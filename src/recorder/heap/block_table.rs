//! From the address of a live block to the number of its counter row, without a lock or a search.
//!
//! A radix tree of three levels over the 48 bits of an address. A leaf has a number for each 16
//! bytes of 256 KiB. Blocks of 8 bytes, two of which may be in the same 16, have a second tree for
//! the upper halves. A leaf costs a quarter of the heap that it covers, and only those of its pages
//! that are used. It is never unmapped, because allocators use their addresses again.
//!
//! Not a hash table: a radix tree needs no hash, no probe and no growth, and neighbouring blocks have
//! neighbouring numbers, which share cache lines and pages.
//!
//! Invariants, and the memory ordering that they need:
//! 1. The number at an address is written only by the thread that has allocated the block there, or
//!    that frees it. The program itself orders the two (it must pass the address on), and an
//!    allocator gives an address to another thread only after the block was freed. So relaxed loads
//!    and stores are enough.
//! 2. A level is published by a release store, complete and zeroed, and read with acquire.
//! 3. Levels are added under a lock, so that no two threads map the same one. Reading, replacing and
//!    removing take no lock, so that a signal handler may free.

use super::mapping::map;
use super::spin_lock::SpinLock;
use crate::recorder::primitive::{
    AtomicPtr, AtomicU32, IS_MODEL,
    Ordering::{Acquire, Relaxed, Release},
};

const GRANULE_BITS: u32 = 4;
const LEAF_BITS: u32 = if IS_MODEL { 1 } else { 14 };
const MIDDLE_BITS: u32 = if IS_MODEL { 1 } else { 15 };
const ROOT_BITS: u32 = if IS_MODEL { 1 } else { 15 };
const ADDRESS_BITS: u32 = GRANULE_BITS + LEAF_BITS + MIDDLE_BITS + ROOT_BITS;

type Leaf = [AtomicU32; 1 << LEAF_BITS];
type Middle = [AtomicPtr<Leaf>; 1 << MIDDLE_BITS];
type Root = [AtomicPtr<Middle>; 1 << ROOT_BITS];

/// Leaves in one mapping. A mapping for each leaf would be many system calls.
const LEAVES_PER_MAPPING: usize = 16;

/// Numbers of live blocks by address; 0 is none.
pub(super) struct BlockTable {
    /// The trees for the lower and the upper halves of the granules.
    roots: [Root; 2],
    /// Also held while a level is added.
    spare: SpinLock<SpareLeaves>,
}

/// The unused rest of a mapping of leaves.
struct SpareLeaves {
    next: *mut Leaf,
    count: usize,
}

impl SpareLeaves {
    /// An empty leaf; `None` if the system refuses memory.
    fn take(&mut self) -> Option<*mut Leaf> {
        if self.count == 0 {
            let mapped: *mut Leaf = map(LEAVES_PER_MAPPING * size_of::<Leaf>()).cast();
            if mapped.is_null() {
                return None;
            }
            (self.next, self.count) = (mapped, LEAVES_PER_MAPPING);
        }
        self.count -= 1;
        let leaf = self.next;
        // SAFETY: the mapping had at least one unused leaf, so that the result points to the next
        // one or to one past the end (tests: `the_table_equals_a_plain_map_after_any_sequence`).
        self.next = unsafe { leaf.add(1) };
        Some(leaf)
    }
}

// SAFETY: the spare leaves are a mapping that nothing else refers to
// (tests: `threads_share_a_table`).
unsafe impl Send for SpareLeaves {}

/// The indices of an address: which half of its granule, and its index in each level from the root.
#[inline(always)]
fn indices(address: usize) -> (usize, usize, usize, usize) {
    let part = |shift: u32, bits: u32| (address >> shift) & ((1 << bits) - 1);
    (
        part(GRANULE_BITS - 1, 1),
        part(GRANULE_BITS + LEAF_BITS + MIDDLE_BITS, ROOT_BITS),
        part(GRANULE_BITS + LEAF_BITS, MIDDLE_BITS),
        part(GRANULE_BITS, LEAF_BITS),
    )
}

impl BlockTable {
    pub(super) const fn new() -> Self {
        Self {
            roots: [const { [const { AtomicPtr::new(core::ptr::null_mut()) }; 1 << ROOT_BITS] }; 2],
            spare: SpinLock::new(SpareLeaves {
                next: core::ptr::null_mut(),
                count: 0,
            }),
        }
    }

    /// Whether no thread holds its lock.
    #[cfg(feature = "preload")]
    pub(super) fn is_unlocked(&self) -> bool {
        self.spare.is_unlocked()
    }

    /// The entry for an address; `None` if its leaf does not exist.
    #[inline(always)]
    fn entry(&self, address: usize) -> Option<&AtomicU32> {
        let (half, root, middle, leaf) = indices(address);
        let at = self.roots[half][root].load(Acquire);
        // SAFETY: a published level is complete and is never unmapped
        // (tests: `threads_share_a_table`).
        let at = unsafe { at.as_ref()? }[middle].load(Acquire);
        // SAFETY: a published leaf is complete and is never unmapped
        // (tests: `threads_share_a_table`).
        Some(&unsafe { at.as_ref()? }[leaf])
    }

    /// The entry for an address, with the levels that lead to it; `None` if the system refuses
    /// memory, or the address is not one of user space.
    #[inline(always)]
    fn entry_or_create(&self, address: usize) -> Option<&AtomicU32> {
        self.entry(address).or_else(|| self.create(address))
    }

    #[cold]
    fn create(&self, address: usize) -> Option<&AtomicU32> {
        if address >> ADDRESS_BITS != 0 {
            return None;
        }
        let (half, root, middle, _) = indices(address);
        let mut spare = self.spare.lock();
        let slot = &self.roots[half][root];
        if slot.load(Relaxed).is_null() {
            let new: *mut Middle = map(size_of::<Middle>()).cast();
            if new.is_null() {
                return None;
            }
            slot.store(new, Release);
        }
        // SAFETY: not null any more. A published level is complete (its zeroed bytes are null
        // pointers) and is never unmapped (tests: `threads_share_a_table`).
        let slot = &unsafe { &*slot.load(Relaxed) }[middle];
        if slot.load(Relaxed).is_null() {
            slot.store(spare.take()?, Release);
        }
        drop(spare);
        self.entry(address)
    }

    /// Sets the number of the block at an address. Returns the old one: 0, unless the free of an
    /// earlier block there was not seen. `None` if there is no room.
    #[inline(always)]
    pub(super) fn insert(&self, address: usize, number: u32) -> Option<u32> {
        let entry = self.entry_or_create(address)?;
        let old = entry.load(Relaxed);
        entry.store(number, Relaxed);
        Some(old)
    }

    /// The number of the block at an address; 0 if there is none.
    pub(super) fn get(&self, address: usize) -> u32 {
        self.entry(address).map_or(0, |entry| entry.load(Relaxed))
    }

    /// Removes the number of the block at an address and returns it; 0 if there is none. Takes no
    /// lock, so that a signal handler may call it.
    #[inline(always)]
    pub(super) fn remove(&self, address: usize) -> u32 {
        let Some(entry) = self.entry(address) else {
            return 0;
        };
        let number = entry.load(Relaxed);
        if number != 0 {
            entry.store(0, Relaxed);
        }
        number
    }

    /// Calls `visit` with the address of every block, in ascending order, and its number. Other
    /// threads may change the table meanwhile.
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, u32)) {
        for root in 0..1 << ROOT_BITS {
            let middles = [0, 1].map(|half| {
                let at = self.roots[half][root].load(Acquire);
                // SAFETY: a published level is complete and is never unmapped
                // (tests: `neighbours_have_separate_numbers`).
                unsafe { at.as_ref() }
            });
            if middles.iter().all(Option::is_none) {
                continue;
            }
            for middle in 0..1 << MIDDLE_BITS {
                let leaves = middles.map(|level| {
                    let at = level?[middle].load(Acquire);
                    // SAFETY: a published leaf is complete and is never unmapped
                    // (tests: `neighbours_have_separate_numbers`).
                    unsafe { at.as_ref() }
                });
                if leaves.iter().all(Option::is_none) {
                    continue;
                }
                let high = root << MIDDLE_BITS | middle;
                for granule in 0..1 << LEAF_BITS {
                    for (half, leaf) in leaves.iter().enumerate() {
                        let number = leaf.map_or(0, |leaf| leaf[granule].load(Relaxed));
                        if number != 0 {
                            let address = (high << LEAF_BITS | granule) << GRANULE_BITS;
                            visit(address | half << (GRANULE_BITS - 1), number);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::HashMap;

    #[test]
    fn neighbours_have_separate_numbers() {
        static TABLE: BlockTable = BlockTable::new();
        let addresses = [
            8,
            16,
            24,
            32,
            (1 << 18) - 8,
            1 << 18,
            (1 << 33) + 8,
            (1 << 48) - 16,
        ];
        for (i, &at) in (1..).zip(&addresses) {
            assert_eq!(TABLE.insert(at, i), Some(0));
        }
        let mut seen = Vec::new();
        TABLE.for_each(|at, number| seen.push((number, at)));
        let all = (1..).zip(addresses);
        assert!(seen.into_iter().eq(all), "in ascending order");
        for (i, &at) in (1..).zip(&addresses) {
            assert_eq!(TABLE.get(at), i);
            assert_eq!((TABLE.remove(at), TABLE.remove(at)), (i, 0), "{at:#x}");
        }
    }

    #[test]
    fn an_unknown_address_has_no_number_and_an_impossible_one_is_refused() {
        static TABLE: BlockTable = BlockTable::new();
        assert_eq!(TABLE.remove(0x7000_0000_0000), 0);
        assert_eq!(TABLE.insert(1 << 48, 7), None);
        assert_eq!(TABLE.insert(64, 7), Some(0));
        assert_eq!(TABLE.insert(64, 8), Some(7), "a free that was not seen");
    }

    #[test]
    fn the_table_equals_a_plain_map_after_any_sequence() {
        static TABLE: BlockTable = BlockTable::new();
        let mut plain: HashMap<usize, u32> = HashMap::new();
        let mut random = Random::new(3);
        for _ in 0..200_000 {
            let address = 0x5500_0000_0000 + random.below(1 << 20) as usize * 8;
            if random.below(2) == 0 {
                let number = 1 + random.below(1 << 24) as u32;
                let old = plain.insert(address, number).unwrap_or(0);
                assert_eq!(TABLE.insert(address, number), Some(old));
            } else {
                assert_eq!(TABLE.remove(address), plain.remove(&address).unwrap_or(0));
            }
        }
    }

    #[test]
    fn threads_share_a_table() {
        static TABLE: BlockTable = BlockTable::new();
        std::thread::scope(|scope| {
            for t in 1..=4_u32 {
                scope.spawn(move || {
                    // All threads use the same leaves.
                    let at = |i: usize| 0x1000_0000 + (i * 4 + t as usize) * 16;
                    for _ in 0..20 {
                        assert!((0..50_000).all(|i| TABLE.insert(at(i), t) == Some(0)));
                        assert!((0..50_000).all(|i| TABLE.remove(at(i)) == t));
                    }
                });
            }
        });
    }
}
