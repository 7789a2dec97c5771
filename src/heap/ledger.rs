//! Live blocks by address, exact.
//!
//! The table is split into shards by address, each behind its own lock: allocators give each
//! thread memory of its own region, so that threads rarely meet in a shard. A block is 16 bytes
//! of a shard's open-addressing table, which is between half and three quarters full.

use super::mapped::{map, unmap};
use super::sites::SiteId;
use super::spin::{Guard, Spin};

/// When a block was born: the running cycle and phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Birth {
    /// 0 before the first cycle.
    pub(crate) cycle: u32,
    /// The phase's number (see `cycle::Phase`).
    pub(crate) phase: u8,
}

/// One live heap allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) address: usize,
    /// Bytes asked for. From 128 GiB on the largest size that fits is kept.
    pub(crate) size: usize,
    pub(crate) site: SiteId,
    pub(crate) birth: Birth,
}

const ADDRESS_BITS: u32 = 45;
const CYCLE_BITS: u32 = 64 - ADDRESS_BITS;
const SITE_BITS: u32 = 24;
const PHASE_BITS: u32 = 3;
const SIZE_BITS: u32 = 64 - SITE_BITS - PHASE_BITS;

/// Cycles that a birth can tell apart; later ones count as this one.
pub(crate) const MAX_CYCLE: u32 = (1 << CYCLE_BITS) - 1;

/// A block in 16 bytes: `(address / 8, cycle)` and `(site, phase, size)`. Free if all zero.
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
            rest: u64::from(block.site) << (PHASE_BITS + SIZE_BITS)
                | u64::from(block.birth.phase) << SIZE_BITS
                | size,
        }
    }

    fn unpack(self) -> Block {
        Block {
            address: self.address(),
            size: self.size() as usize,
            site: (self.rest >> (PHASE_BITS + SIZE_BITS)) as SiteId,
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

/// Sums over the ledger's life, or over one shard of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) live_bytes: u64,
    pub(crate) live_blocks: u64,
    /// Blocks ever recorded; a `realloc` records its block anew.
    pub(crate) allocations: u64,
    /// Bytes ever recorded.
    pub(crate) allocated_bytes: u64,
    /// Frees of blocks that were not in the ledger: allocated before it ran, or not recorded.
    pub(crate) unknown_frees: u64,
    /// Blocks that could not be recorded because the system gave the ledger no memory.
    pub(crate) refused: u64,
}

impl Totals {
    const NONE: Self = Self {
        live_bytes: 0,
        live_blocks: 0,
        allocations: 0,
        allocated_bytes: 0,
        unknown_frees: 0,
        refused: 0,
    };

    fn add(&mut self, other: &Self) {
        self.live_bytes += other.live_bytes;
        self.live_blocks += other.live_blocks;
        self.allocations += other.allocations;
        self.allocated_bytes += other.allocated_bytes;
        self.unknown_frees += other.unknown_frees;
        self.refused += other.refused;
    }
}

struct Shard {
    slots: *mut Packed,
    capacity: usize,
    totals: Totals,
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
            totals: Totals::NONE,
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
            totals: self.totals,
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

    #[inline]
    fn insert(&mut self, block: &Block) {
        self.totals.allocations += 1;
        self.totals.allocated_bytes += block.size as u64;
        let full = (self.totals.live_blocks as usize + 1) * 4 > self.capacity * 3;
        if full && !self.grow() && self.totals.live_blocks as usize + 1 >= self.capacity {
            self.totals.refused += 1;
            return;
        }
        let Some(i) = self.slot_of(block.address) else {
            self.totals.refused += 1;
            return;
        };
        let packed = Packed::of(block);
        let old = core::mem::replace(&mut self.slots()[i], packed);
        self.totals.live_bytes += packed.size();
        if old.is_free() {
            self.totals.live_blocks += 1;
        } else {
            // Its free was not seen: it happened while the thread was inside a hook.
            self.totals.live_bytes -= old.size();
        }
    }

    #[inline]
    fn remove(&mut self, address: usize) -> Option<Block> {
        let found = self
            .slot_of(address)
            .filter(|&i| !self.slots()[i].is_free());
        let Some(mut hole) = found else {
            self.totals.unknown_frees += 1;
            return None;
        };
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
        self.totals.live_blocks -= 1;
        self.totals.live_bytes -= block.size as u64;
        Some(block)
    }
}

const SHARDS: usize = 256;

/// A shard on cache lines of its own (two of them: processors fetch lines in pairs).
#[repr(align(128))]
struct Padded(Spin<Shard>);

pub(crate) struct Ledger {
    shards: [Padded; SHARDS],
}

impl Ledger {
    pub(crate) const fn new() -> Self {
        // A template that is copied, which is what an array of locks needs.
        #[allow(clippy::declare_interior_mutable_const)]
        const SHARD: Padded = Padded(Spin::new(Shard::new()));
        Self {
            shards: [SHARD; SHARDS],
        }
    }

    fn shard(&self, address: usize) -> Guard<'_, Shard> {
        // By 64 KiB regions, spread by a multiplication: see the module's docs.
        let region = (address as u64 >> 16).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.shards[(region >> 56) as usize].0.lock()
    }

    pub(crate) fn insert(&self, block: &Block) {
        self.shard(block.address).insert(block);
    }

    /// Takes the block at `address` out; `None` if it is not in the ledger.
    pub(crate) fn remove(&self, address: usize) -> Option<Block> {
        self.shard(address).remove(address)
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut sum = Totals::NONE;
        for shard in &self.shards {
            sum.add(&shard.0.lock().totals);
        }
        sum
    }

    /// Calls `visit` with every live block, shard by shard. Other threads may allocate meanwhile:
    /// each shard is seen at one instant, not all of them at the same. `visit` must not allocate
    /// or free through the heap: the shard is locked.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(Block)) {
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
            site: (address % 1000) as SiteId,
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
                site: (1 << 24) - 1,
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
    fn the_ledger_equals_a_plain_map_after_any_sequence() {
        for seed in 0..20 {
            let ledger = Ledger::new();
            let mut naive: HashMap<usize, Block> = HashMap::new();
            let mut random = Random(seed);
            let mut allocations = 0;
            for _ in 0..20_000 {
                // Few regions and many neighbours: long probe sequences, wraps and shifts.
                let address = 0x7f00_0000_0000 + random.below(3000) as usize * 8;
                if random.below(5) < 3 {
                    let b = block(address, random.below(5000) as usize);
                    ledger.insert(&b);
                    naive.insert(address, b);
                    allocations += 1;
                } else {
                    assert_eq!(
                        ledger.remove(address),
                        naive.remove(&address),
                        "seed {seed}"
                    );
                }
            }
            let totals = ledger.totals();
            assert_eq!(totals.live_blocks, naive.len() as u64);
            assert_eq!(
                totals.live_bytes,
                naive.values().map(|b| b.size as u64).sum::<u64>()
            );
            assert_eq!(totals.allocations, allocations);
            let mut seen = HashMap::new();
            ledger.for_each(|b| {
                seen.insert(b.address, b);
            });
            assert_eq!(seen, naive);
        }
    }

    #[test]
    fn threads_leave_nothing_behind() {
        static LEDGER: Ledger = Ledger::new();
        std::thread::scope(|scope| {
            for t in 0..4 {
                scope.spawn(move || {
                    for round in 0..50 {
                        for i in 0..500 {
                            // All threads in the same regions.
                            LEDGER.insert(&block(0x5000_0000 + (i * 4 + t) * 16, i + round));
                        }
                        for i in 0..500 {
                            let address = 0x5000_0000 + (i * 4 + t) * 16;
                            assert_eq!(LEDGER.remove(address).unwrap().size, i + round);
                        }
                    }
                });
            }
        });
        let totals = LEDGER.totals();
        assert_eq!((totals.live_blocks, totals.live_bytes), (0, 0));
        assert_eq!(totals.allocations, 4 * 50 * 500);
    }

    #[test]
    fn a_large_table_costs_at_most_32_bytes_a_block() {
        let ledger = Ledger::new();
        for i in 0..300_000_usize {
            ledger.insert(&block(0x6000_0000 + i * 64, 64));
        }
        let bytes: usize = ledger
            .shards
            .iter()
            .map(|s| s.0.lock().capacity * size_of::<Packed>())
            .sum();
        assert!(bytes <= 32 * 300_000, "{bytes}");
    }

    #[test]
    fn an_unknown_free_is_counted() {
        let ledger = Ledger::new();
        assert_eq!(ledger.remove(64), None);
        assert_eq!(ledger.totals().unknown_frees, 1);
    }
}
