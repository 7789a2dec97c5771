//! Live blocks by address, with all that is known of each: what dhat is compared with.
//!
//! The table is split into shards by address, each behind its own lock: allocators give each
//! thread memory of its own region, so that threads rarely meet in a shard. A block is 16 bytes
//! of a shard's open-addressing table, which is between half and three quarters full.

use super::mapping::{map, unmap};
use super::spin_lock::{SpinGuard, SpinLock};
use crate::model::block::StackId;
use crate::model::block::{Birth, MAX_CYCLE};

/// One live heap allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) address: usize,
    /// Bytes asked for. From 128 GiB on the largest size that fits is kept.
    pub(crate) size: usize,
    pub(crate) stack_id: StackId,
    pub(crate) birth: Birth,
}

const ADDRESS_BITS: u32 = 45;
const CYCLE_BITS: u32 = 64 - ADDRESS_BITS;
const SITE_BITS: u32 = 24;
const PHASE_BITS: u32 = 3;
const SIZE_BITS: u32 = 64 - SITE_BITS - PHASE_BITS;

const _: () = assert!(MAX_CYCLE < 1 << CYCLE_BITS);

/// A block in 16 bytes: `(address / 8, cycle)` and `(stack, phase, size)`. Free if all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    address_cycle: u64,
    rest: u64,
}

impl Packed {
    const FREE: Self = Self {
        address_cycle: 0,
        rest: 0,
    };

    fn of(block: &Block) -> Self {
        let cycle = block.birth.cycle.min(MAX_CYCLE);
        let size = (block.size as u64).min((1 << SIZE_BITS) - 1);
        Self {
            // Every allocator aligns to 8 bytes, and user space ends below 2^48.
            address_cycle: ((block.address as u64) >> 3) << CYCLE_BITS | u64::from(cycle),
            rest: u64::from(block.stack_id) << (PHASE_BITS + SIZE_BITS)
                | u64::from(block.birth.phase) << SIZE_BITS
                | size,
        }
    }

    fn unpack(self) -> Block {
        Block {
            address: self.address(),
            size: self.size() as usize,
            stack_id: (self.rest >> (PHASE_BITS + SIZE_BITS)) as StackId,
            birth: Birth {
                cycle: (self.address_cycle & u64::from(MAX_CYCLE)) as u32,
                phase: (self.rest >> SIZE_BITS) as u8 & ((1 << PHASE_BITS) - 1),
            },
        }
    }

    fn size(self) -> u64 {
        self.rest & ((1 << SIZE_BITS) - 1)
    }

    fn is_free(self) -> bool {
        self.address_cycle == 0
    }

    fn address(self) -> usize {
        ((self.address_cycle >> CYCLE_BITS) << 3) as usize
    }
}

struct Shard {
    slots: *mut Packed,
    capacity: usize,
    /// Slots that are not free.
    used: usize,
}

// SAFETY: a shard owns the mapping at `slots` (tests: `threads_leave_nothing_behind`).
unsafe impl Send for Shard {}

const FIRST_CAPACITY: usize = 4096 / size_of::<Packed>();

/// Where a block's search starts: the high bits of a product pick the slot, without a division
/// and for any capacity (D. Lemire, "Fast random integer generation in an interval", 2019).
fn home(address: usize, capacity: usize) -> usize {
    let hash = (address as u64 >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((u128::from(hash) * capacity as u128) >> 64) as usize
}

/// The slot behind `i`, the table being a ring.
#[inline]
fn next(i: usize, capacity: usize) -> usize {
    if i + 1 == capacity { 0 } else { i + 1 }
}

/// Slots from `from` forward to `to` on the ring.
#[inline]
fn distance(from: usize, to: usize, capacity: usize) -> usize {
    if to >= from {
        to - from
    } else {
        to + capacity - from
    }
}

impl Shard {
    const fn new() -> Self {
        Self {
            slots: core::ptr::null_mut(),
            capacity: 0,
            used: 0,
        }
    }

    fn slots(&mut self) -> &mut [Packed] {
        if self.capacity == 0 {
            return &mut [];
        }
        // SAFETY: `slots` maps `capacity` of them, zeroed or written, and `&mut self` is the only
        // way to them.
        unsafe { core::slice::from_raw_parts_mut(self.slots, self.capacity) }
    }

    /// Slot of the block at `address`, or the free slot where it belongs.
    #[inline]
    fn slot_of(&mut self, address: usize) -> Option<usize> {
        let capacity = self.capacity;
        if capacity == 0 {
            return None;
        }
        let slots = self.slots();
        let mut i = home(address, capacity);
        loop {
            let packed = slots[i];
            if packed.is_free() || packed.address() == address {
                return Some(i);
            }
            i = next(i, capacity);
        }
    }

    /// Grows by half, so that the table is never less than half full once it is large.
    #[cold]
    fn grow(&mut self) -> bool {
        let capacity = (self.capacity + self.capacity / 2).max(FIRST_CAPACITY);
        let at = map(capacity * size_of::<Packed>());
        if at.is_null() {
            return false;
        }
        let mut grown = Self {
            slots: at.cast(),
            capacity,
            used: self.used,
        };
        for &packed in self.slots().iter().filter(|p| !p.is_free()) {
            if let Some(i) = grown.slot_of(packed.address()) {
                grown.slots()[i] = packed;
            }
        }
        if self.capacity > 0 {
            // SAFETY: every block was copied, and `slots` is overwritten next.
            unsafe { unmap(self.slots.cast(), self.capacity * size_of::<Packed>()) };
        }
        *self = grown;
        true
    }

    /// Keeps a block, if there is room.
    #[inline]
    fn insert(&mut self, block: &Block) {
        let full = (self.used + 1) * 4 > self.capacity * 3;
        if full && !self.grow() && self.used + 1 >= self.capacity {
            return;
        }
        let Some(i) = self.slot_of(block.address) else {
            return;
        };
        let old = core::mem::replace(&mut self.slots()[i], Packed::of(block));
        self.used += usize::from(old.is_free());
    }

    #[inline]
    fn remove(&mut self, address: usize) -> Option<Block> {
        let found = self
            .slot_of(address)
            .filter(|&i| !self.slots()[i].is_free());
        let mut hole = found?;
        let capacity = self.capacity;
        let slots = self.slots();
        let block = slots[hole].unpack();
        // Backward-shift deletion (Knuth, TAOCP 6.4, algorithm R): close the hole with the next
        // block that may stand there, so that no search ever meets a tombstone.
        let mut i = hole;
        loop {
            i = next(i, capacity);
            let packed = slots[i];
            if packed.is_free() {
                break;
            }
            let start = home(packed.address(), capacity);
            if distance(start, i, capacity) >= distance(hole, i, capacity) {
                slots[hole] = packed;
                hole = i;
            }
        }
        slots[hole] = Packed::FREE;
        self.used -= 1;
        Some(block)
    }
}

const SHARDS: usize = 256;

/// A shard on cache lines of its own (two of them: processors fetch lines in pairs).
#[repr(align(128))]
struct Padded(SpinLock<Shard>);

pub(super) struct AddressMap {
    shards: [Padded; SHARDS],
}

impl AddressMap {
    pub(super) const fn new() -> Self {
        // A template that is copied, which is what an array of locks needs.
        #[allow(clippy::declare_interior_mutable_const)]
        const SHARD: Padded = Padded(SpinLock::new(Shard::new()));
        Self {
            shards: [SHARD; SHARDS],
        }
    }

    fn shard(&self, address: usize) -> SpinGuard<'_, Shard> {
        // By 64 KiB regions, spread by a multiplication: see the module's docs.
        let region = (address as u64 >> 16).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.shards[(region >> 56) as usize].0.lock()
    }

    pub(super) fn insert(&self, block: &Block) {
        self.shard(block.address).insert(block);
    }

    /// The block at `address`; `None` if it is not there.
    pub(super) fn get(&self, address: usize) -> Option<Block> {
        let mut shard = self.shard(address);
        let i = shard.slot_of(address)?;
        let packed = shard.slots()[i];
        (!packed.is_free()).then(|| packed.unpack())
    }

    /// Takes the block at `address` out; `None` if it is not there.
    pub(super) fn remove(&self, address: usize) -> Option<Block> {
        self.shard(address).remove(address)
    }

    /// Calls `visit` with every live block, shard by shard. Other threads may allocate meanwhile:
    /// each shard is seen at one instant, not all of them at the same. `visit` must not allocate
    /// or free through the heap: the shard is locked.
    pub(super) fn for_each(&self, mut visit: impl FnMut(Block)) {
        for shard in &self.shards {
            let mut shard = shard.0.lock();
            for packed in shard.slots().iter().filter(|p| !p.is_free()) {
                visit(packed.unpack());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn block(address: usize, size: usize) -> Block {
        Block {
            address,
            size,
            stack_id: (address % 1000) as StackId,
            birth: Birth {
                cycle: (size % 100) as u32,
                phase: (size % 5) as u8,
            },
        }
    }

    #[test]
    fn a_block_survives_packing_at_the_edges() {
        for b in [
            block(8, 0),
            Block {
                address: (1 << 48) - 8,
                size: (1 << SIZE_BITS) - 1,
                stack_id: (1 << 24) - 1,
                birth: Birth {
                    cycle: MAX_CYCLE,
                    phase: 7,
                },
            },
        ] {
            assert_eq!(Packed::of(&b).unpack(), b);
            assert!(!Packed::of(&b).is_free());
        }
    }

    #[test]
    fn what_does_not_fit_is_held_at_the_largest_that_does() {
        let mut b = block(8, usize::MAX);
        b.birth.cycle = u32::MAX;
        let kept = Packed::of(&b).unpack();
        assert_eq!(kept.birth.cycle, MAX_CYCLE);
        assert_eq!(kept.size, (1 << SIZE_BITS) - 1);
    }

    /// A small generator of its own, so that a failure repeats.
    struct Random(u64);
    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % n
        }
    }

    #[test]
    fn the_map_equals_a_plain_one_after_any_sequence() {
        for seed in 0..20 {
            let map = AddressMap::new();
            let mut naive: HashMap<usize, Block> = HashMap::new();
            let mut random = Random(seed);
            for _ in 0..20_000 {
                // Few regions and many neighbours: long probe sequences, wraps and shifts.
                let address = 0x7f00_0000_0000 + random.below(3000) as usize * 8;
                if random.below(5) < 3 {
                    let b = block(address, random.below(5000) as usize);
                    map.insert(&b);
                    naive.insert(address, b);
                } else {
                    assert_eq!(map.remove(address), naive.remove(&address), "seed {seed}");
                }
            }
            let mut seen = HashMap::new();
            map.for_each(|b| {
                seen.insert(b.address, b);
            });
            assert_eq!(seen, naive);
        }
    }

    #[test]
    fn threads_leave_nothing_behind() {
        static MAP: AddressMap = AddressMap::new();
        std::thread::scope(|scope| {
            for t in 0..4 {
                scope.spawn(move || {
                    for round in 0..50 {
                        for i in 0..500 {
                            // All threads in the same regions.
                            MAP.insert(&block(0x5000_0000 + (i * 4 + t) * 16, i + round));
                        }
                        for i in 0..500 {
                            let address = 0x5000_0000 + (i * 4 + t) * 16;
                            assert_eq!(MAP.remove(address).unwrap().size, i + round);
                        }
                    }
                });
            }
        });
        MAP.for_each(|block| panic!("{block:?} is left"));
    }

    #[test]
    fn a_large_table_costs_at_most_32_bytes_a_block() {
        let map = AddressMap::new();
        for i in 0..300_000_usize {
            map.insert(&block(0x6000_0000 + i * 64, 64));
        }
        let bytes: usize = map
            .shards
            .iter()
            .map(|s| s.0.lock().capacity * size_of::<Packed>())
            .sum();
        assert!(bytes <= 32 * 300_000, "{bytes}");
    }

    #[test]
    fn what_is_not_there_is_none() {
        assert_eq!(AddressMap::new().remove(64), None);
    }
}
