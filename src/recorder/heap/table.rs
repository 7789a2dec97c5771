//! From the address of a block to a number, without a lock or a search.
//!
//! A radix tree of three levels over the 48 bits of an address. A leaf has a number for each 16
//! bytes of 256 KiB; blocks of 8 bytes, two of which may share those, have a tree of their own for
//! the odd halves. A block belongs to the thread that allocates or frees it, so that plain loads and
//! stores of its number are enough: an allocator hands an address on only once it is free.
//!
//! A leaf costs a quarter of the heap that it stands for, and only the pages of it that are used;
//! it stays, because allocators use their addresses again.

use core::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use super::mapping::map;
use super::spin_lock::SpinLock;

const GRANULE_BITS: u32 = 4;
const LEAF_BITS: u32 = 14;
const MIDDLE_BITS: u32 = 15;
const ROOT_BITS: u32 = 15;
const ADDRESS_BITS: u32 = GRANULE_BITS + LEAF_BITS + MIDDLE_BITS + ROOT_BITS;

type Leaf = [AtomicU32; 1 << LEAF_BITS];
type Middle = [AtomicPtr<Leaf>; 1 << MIDDLE_BITS];
type Root = [AtomicPtr<Middle>; 1 << ROOT_BITS];

/// Leaves are mapped so many at a time: one mapping for each would be many system calls.
const LEAVES_AT_ONCE: usize = 16;

/// Numbers by address; 0 is none.
pub(super) struct Table {
    /// For the even and the odd halves of the granules.
    roots: [Root; 2],
    /// Mapped leaves that are not used yet: where, and how many.
    spare: SpinLock<Spare>,
}

struct Spare {
    at: *mut Leaf,
    left: usize,
}

impl Spare {
    /// A leaf without a number in it.
    fn leaf(&mut self) -> Option<*mut Leaf> {
        if self.left == 0 {
            let at: *mut Leaf = map(LEAVES_AT_ONCE * size_of::<Leaf>()).cast();
            if at.is_null() {
                return None;
            }
            (self.at, self.left) = (at, LEAVES_AT_ONCE);
        }
        self.left -= 1;
        let leaf = self.at;
        // SAFETY: the next leaf of the mapping, or its end.
        self.at = unsafe { leaf.add(1) };
        Some(leaf)
    }
}

// SAFETY: the spare leaves are a mapping that nobody else has
// (tests: `threads_share_a_table`).
unsafe impl Send for Spare {}

/// The places of an address in the levels, and which half of its granule it begins.
#[inline(always)]
fn places(address: usize) -> (usize, usize, usize, usize) {
    let part = |shift: u32, bits: u32| (address >> shift) & ((1 << bits) - 1);
    (
        part(GRANULE_BITS - 1, 1),
        part(GRANULE_BITS + LEAF_BITS + MIDDLE_BITS, ROOT_BITS),
        part(GRANULE_BITS + LEAF_BITS, MIDDLE_BITS),
        part(GRANULE_BITS, LEAF_BITS),
    )
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            roots: [const { [const { AtomicPtr::new(core::ptr::null_mut()) }; 1 << ROOT_BITS] }; 2],
            spare: SpinLock::new(Spare {
                at: core::ptr::null_mut(),
                left: 0,
            }),
        }
    }

    /// Where the number of the block at an address is; `None` where none was ever put near it.
    #[inline(always)]
    fn find(&self, address: usize) -> Option<&AtomicU32> {
        let (half, root, middle, leaf) = places(address);
        let at = self.roots[half][root].load(Acquire);
        // SAFETY: what is published is complete, and never unmapped.
        let at = unsafe { at.as_ref()? }[middle].load(Acquire);
        // SAFETY: as above.
        Some(&unsafe { at.as_ref()? }[leaf])
    }

    /// The same, made if it is not there; `None` if the system gives no memory, or the address is
    /// beyond what user space has.
    #[inline(always)]
    fn find_or_make(&self, address: usize) -> Option<&AtomicU32> {
        self.find(address).or_else(|| self.make(address))
    }

    #[cold]
    fn make(&self, address: usize) -> Option<&AtomicU32> {
        if address >> ADDRESS_BITS != 0 {
            return None;
        }
        let (half, root, middle, _) = places(address);
        // The lock keeps two threads from mapping the same twice.
        let mut spare = self.spare.lock();
        let slot = &self.roots[half][root];
        if slot.load(Relaxed).is_null() {
            let new: *mut Middle = map(size_of::<Middle>()).cast();
            if new.is_null() {
                return None;
            }
            slot.store(new, Release);
        }
        // SAFETY: not null by now; complete (zero bytes are null pointers), and never unmapped.
        let slot = &unsafe { &*slot.load(Relaxed) }[middle];
        if slot.load(Relaxed).is_null() {
            slot.store(spare.leaf()?, Release);
        }
        drop(spare);
        self.find(address)
    }

    /// Keeps the number of the block at an address, and gives back what was there: 0, unless the
    /// free of an earlier block was not seen. `None` if there is no room.
    #[inline(always)]
    pub(super) fn put(&self, address: usize, number: u32) -> Option<u32> {
        let slot = self.find_or_make(address)?;
        let old = slot.load(Relaxed);
        slot.store(number, Relaxed);
        Some(old)
    }

    /// The number of the block at an address; 0 if there is none.
    pub(super) fn get(&self, address: usize) -> u32 {
        self.find(address).map_or(0, |slot| slot.load(Relaxed))
    }

    /// Visits every block by address, with its number. Other threads may change it meanwhile.
    pub(super) fn for_each(&self, mut visit: impl FnMut(usize, u32)) {
        for root in 0..1 << ROOT_BITS {
            let middles = [0, 1].map(|half| {
                let at = self.roots[half][root].load(Acquire);
                // SAFETY: what is published is complete, and never unmapped.
                unsafe { at.as_ref() }
            });
            if middles.iter().all(Option::is_none) {
                continue;
            }
            for middle in 0..1 << MIDDLE_BITS {
                let leaves = middles.map(|level| {
                    let at = level?[middle].load(Acquire);
                    // SAFETY: as above.
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

    /// Takes the number of the block at an address out; 0 if there is none. Takes no lock, so that
    /// a signal handler may.
    #[inline(always)]
    pub(super) fn take(&self, address: usize) -> u32 {
        let Some(slot) = self.find(address) else {
            return 0;
        };
        let number = slot.load(Relaxed);
        if number != 0 {
            slot.store(0, Relaxed);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn neighbours_have_numbers_of_their_own() {
        static TABLE: Table = Table::new();
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
            assert_eq!(TABLE.put(at, i), Some(0));
        }
        let mut seen = Vec::new();
        TABLE.for_each(|at, number| seen.push((number, at)));
        let all = (1..).zip(addresses);
        assert!(seen.into_iter().eq(all), "in the order of their addresses");
        for (i, &at) in (1..).zip(&addresses) {
            assert_eq!(TABLE.get(at), i);
            assert_eq!((TABLE.take(at), TABLE.take(at)), (i, 0), "{at:#x}");
        }
    }

    #[test]
    fn what_is_not_there_is_none_and_what_cannot_be_is_refused() {
        static TABLE: Table = Table::new();
        assert_eq!(TABLE.take(0x7000_0000_0000), 0);
        assert_eq!(TABLE.put(1 << 48, 7), None);
        assert_eq!(TABLE.put(64, 7), Some(0));
        assert_eq!(TABLE.put(64, 8), Some(7), "a free that was not seen");
    }

    #[test]
    fn the_table_equals_a_plain_map_after_any_sequence() {
        static TABLE: Table = Table::new();
        let mut naive: HashMap<usize, u32> = HashMap::new();
        let mut random = crate::base::random::Random::new(3);
        for _ in 0..200_000 {
            let address = 0x5500_0000_0000 + random.below(1 << 20) as usize * 8;
            if random.below(2) == 0 {
                let number = 1 + random.below(1 << 24) as u32;
                let old = naive.insert(address, number).unwrap_or(0);
                assert_eq!(TABLE.put(address, number), Some(old));
            } else {
                assert_eq!(TABLE.take(address), naive.remove(&address).unwrap_or(0));
            }
        }
    }

    #[test]
    fn threads_share_a_table() {
        static TABLE: Table = Table::new();
        std::thread::scope(|scope| {
            for t in 1..=4_u32 {
                scope.spawn(move || {
                    // All of them in the same leaves.
                    let at = |i: usize| 0x1000_0000 + (i * 4 + t as usize) * 16;
                    for _ in 0..20 {
                        assert!((0..50_000).all(|i| TABLE.put(at(i), t) == Some(0)));
                        assert!((0..50_000).all(|i| TABLE.take(at(i)) == t));
                    }
                });
            }
        });
    }
}
