//! Live blocks by address, with everything that is known of each: what dhat is compared with.
//!
//! The map is split into shards by the page of the address, each a [`MappedTable`] behind a lock of
//! its own. There are many more shards than threads, so that two threads rarely need the same one. A
//! block takes 16 bytes, in a table that is between three eighths and three quarters full once it is
//! large.

use super::mapped_table::{MappedTable, TableSlot};
use super::spin_lock::{SpinGuard, SpinLock};
use crate::model::block::{Birth, MAX_CYCLE, StackId};

/// One live heap allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) address: usize,
    /// Bytes asked for. From 128 GiB on, the largest size that fits is stored.
    pub(crate) size: usize,
    pub(crate) stack_id: StackId,
    pub(crate) birth: Birth,
}

const ADDRESS_BITS: u32 = 45;
const CYCLE_BITS: u32 = 64 - ADDRESS_BITS;
const STACK_BITS: u32 = 24;
const PHASE_BITS: u32 = 3;
const SIZE_BITS: u32 = 64 - STACK_BITS - PHASE_BITS;

const _: () = assert!(MAX_CYCLE < 1 << CYCLE_BITS);

/// A block in 16 bytes: `(address / 8, cycle)` and `(stack, phase, size)`. Free if all bytes are
/// zero.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PackedBlock {
    address_cycle: u64,
    rest: u64,
}

impl PackedBlock {
    fn pack(block: &Block) -> Self {
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
            size: (self.rest & ((1 << SIZE_BITS) - 1)) as usize,
            stack_id: (self.rest >> (PHASE_BITS + SIZE_BITS)) as StackId,
            birth: Birth {
                cycle: (self.address_cycle & u64::from(MAX_CYCLE)) as u32,
                phase: (self.rest >> SIZE_BITS) as u8 & ((1 << PHASE_BITS) - 1),
            },
        }
    }

    fn address(self) -> usize {
        ((self.address_cycle >> CYCLE_BITS) << 3) as usize
    }
}

impl TableSlot for PackedBlock {
    type Key = usize;

    const FREE: Self = Self {
        address_cycle: 0,
        rest: 0,
    };
    const MAX_LOAD_PERCENT: usize = 75;

    fn key(&self) -> Option<usize> {
        (self.address_cycle != 0).then(|| self.address())
    }

    fn hash(address: usize) -> u64 {
        address as u64 >> 3
    }
}

type Shard = MappedTable<PackedBlock>;

const SHARDS: usize = 256;

/// A shard on cache lines of its own: two of them, because processors fetch lines in pairs.
#[repr(align(128))]
struct Padded(SpinLock<Shard>);

pub(super) struct AddressMap {
    shards: [Padded; SHARDS],
}

impl AddressMap {
    pub(super) const fn new() -> Self {
        Self {
            shards: [const { Padded(SpinLock::new(Shard::new())) }; SHARDS],
        }
    }

    fn shard(&self, address: usize) -> SpinGuard<'_, Shard> {
        // The multiplication spreads neighbouring pages evenly over the shards, so that these grow
        // at about the same time.
        let page = (address as u64 >> 12).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.shards[(page >> 56) as usize].0.lock()
    }

    /// Inserts a block, or replaces the one at its address. Without memory the block is left out.
    pub(super) fn insert(&self, block: &Block) {
        let packed = PackedBlock::pack(block);
        let _ = self
            .shard(block.address)
            .insert_or(packed, |old| *old = packed);
    }

    /// The block at `address`; `None` if it is not there.
    pub(super) fn get(&self, address: usize) -> Option<Block> {
        let shard = self.shard(address);
        shard.get(address).map(|packed| packed.unpack())
    }

    /// Removes the block at `address` and returns it; `None` if it is not there.
    pub(super) fn remove(&self, address: usize) -> Option<Block> {
        self.shard(address).remove(address).map(PackedBlock::unpack)
    }

    /// Calls `visit` with every live block, shard by shard. Other threads may allocate meanwhile:
    /// each shard is seen at one instant, not all at the same. `visit` must not allocate or free
    /// through the heap, because the shard is locked.
    pub(super) fn for_each(&self, mut visit: impl FnMut(Block)) {
        for shard in &self.shards {
            let shard = shard.0.lock();
            shard.iter().for_each(|packed| visit(packed.unpack()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
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
            assert_eq!(PackedBlock::pack(&b).unpack(), b);
            assert!(PackedBlock::pack(&b).key().is_some());
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_stored_as_the_largest_that_does() {
        let mut b = block(8, usize::MAX);
        b.birth.cycle = u32::MAX;
        let kept = PackedBlock::pack(&b).unpack();
        assert_eq!(kept.birth.cycle, MAX_CYCLE);
        assert_eq!(kept.size, (1 << SIZE_BITS) - 1);
    }

    #[test]
    fn the_map_equals_a_plain_one_after_any_sequence() {
        for seed in 0..20 {
            let map = AddressMap::new();
            let mut plain: HashMap<usize, Block> = HashMap::new();
            let mut random = Random::new(seed);
            for _ in 0..20_000 {
                // Few pages and many neighbours: long probe sequences, and entries that move back.
                let address = 0x7f00_0000_0000 + random.below(3000) as usize * 8;
                if random.below(5) < 3 {
                    let b = block(address, random.below(5000) as usize);
                    map.insert(&b);
                    plain.insert(address, b);
                } else {
                    assert_eq!(map.remove(address), plain.remove(&address), "seed {seed}");
                }
            }
            let mut seen = HashMap::new();
            map.for_each(|b| {
                seen.insert(b.address, b);
            });
            assert_eq!(seen, plain);
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
                            // All threads use the same pages.
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
            .map(|s| s.0.lock().capacity() * size_of::<PackedBlock>())
            .sum();
        assert!(bytes <= 32 * 300_000, "{bytes}");
    }

    #[test]
    fn an_unknown_address_has_no_block() {
        let map = AddressMap::new();
        assert_eq!((map.get(64), map.remove(64)), (None, None));
    }
}
