//! Index of all live blocks by address. It tells whether a word points to a block, or into one.
//!
//! Blocks are numbered in the order of their addresses. Memory is divided into *leaves* of 256 KiB.
//! Each leaf in which a block starts has a bitmap, one bit for each 8 bytes, that is set where a block
//! starts, and for each word of the bitmap the number of bits set before it (a rank directory). Leaves
//! are found by a hash table. The index takes 2 % of the heap, whatever the sizes of the blocks.

use crate::recorder::heap::{self, MappedTable, MappedVec, NoMemory, TableSlot};

/// Number of a block, in the order of addresses.
pub(super) type BlockId = u32;

/// A leaf covers `1 << LEAF_BITS` bytes.
const LEAF_BITS: u32 = 18;
/// Words of a leaf's bitmap: a bit for each 8 bytes.
const WORDS: usize = 1 << (LEAF_BITS - 3 - 6);

#[derive(Clone, Copy)]
struct Leaf {
    /// Its address, divided by the size of a leaf.
    key: usize,
    /// The first block that starts in it.
    first: BlockId,
    /// A bit for each 8 bytes, set where a block starts.
    bits: [u64; WORDS],
    /// Bits set before each word.
    ranks: [u16; WORDS],
}

/// Flag of a value in the hash table: no block starts in the leaf, and the other bits are the
/// number of the block that extends into it.
const COVERED: u32 = 1 << 31;

/// What is in a leaf's part of memory.
#[derive(Clone, Copy)]
struct Slot {
    /// The key of the leaf plus 1; 0 if the slot is free.
    key_plus_one: usize,
    /// The leaf's number, or [`COVERED`] and a block.
    value: u32,
}

impl TableSlot for Slot {
    type Key = usize;

    const FREE: Self = Self {
        key_plus_one: 0,
        value: 0,
    };

    fn key(&self) -> Option<usize> {
        self.key_plus_one.checked_sub(1)
    }

    fn hash(key: usize) -> u64 {
        key as u64
    }
}

pub(super) struct Index {
    leaves: MappedVec<Leaf>,
    by_key: MappedTable<Slot>,
    /// Lowest address of a block, and one past the highest address in a block.
    low: usize,
    high: usize,
    count: u32,
    bytes: u64,
}

/// A block of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) id: BlockId,
    /// Its address.
    pub(super) start: usize,
}

impl Index {
    /// Builds the index of the blocks that `each` visits in ascending order of their addresses.
    pub(super) fn new(
        each: impl Fn(&mut dyn FnMut(usize)),
        size: impl Fn(usize) -> usize,
    ) -> Result<Self, NoMemory> {
        let mut index = Self {
            leaves: MappedVec::new(),
            by_key: MappedTable::new(),
            low: usize::MAX,
            high: 0,
            count: 0,
            bytes: 0,
        };
        let (mut leaves, mut last) = (0_usize, usize::MAX);
        each(&mut |at| {
            let end = at + size(at);
            let (first, last_covered) = (at >> LEAF_BITS, end >> LEAF_BITS);
            leaves += usize::from(first != last) + (last_covered - first);
            last = last_covered.max(first);
            (index.low, index.high) = (index.low.min(at), index.high.max(end));
        });
        index.by_key = MappedTable::with_capacity(leaves)?;
        let mut result = Ok(());
        each(&mut |at| {
            if result.is_ok() {
                result = index.add(at, size(at));
            }
        });
        result?;
        index.compute_ranks();
        Ok(index)
    }

    fn add(&mut self, at: usize, size: usize) -> Result<(), NoMemory> {
        let key = at >> LEAF_BITS;
        if self.leaves.as_slice().last().is_none_or(|l| l.key != key) {
            self.leaves.push(Leaf {
                key,
                first: self.count,
                bits: [0; WORDS],
                ranks: [0; WORDS],
            })?;
            // Replaces the entry of a large block that ends in this leaf.
            self.put(key, self.leaves.as_slice().len() as u32 - 1)?;
        }
        let bit = bit_of(at);
        let leaf = self.leaves.as_mut_slice().last_mut().ok_or(NoMemory)?;
        leaf.bits[bit / 64] |= 1 << (bit % 64);
        // Up to the address one past its end.
        for covered in key + 1..=(at + size) >> LEAF_BITS {
            self.put(covered, COVERED | self.count)?;
        }
        self.count += 1;
        self.bytes += size as u64;
        Ok(())
    }

    fn put(&mut self, key: usize, value: u32) -> Result<(), NoMemory> {
        let key_plus_one = key + 1;
        let slot = Slot {
            key_plus_one,
            value,
        };
        self.by_key.insert_or(slot, |known| known.value = value)?;
        Ok(())
    }

    fn compute_ranks(&mut self) {
        for leaf in self.leaves.as_mut_slice() {
            let mut sum = 0;
            for (bits, rank) in leaf.bits.iter().zip(&mut leaf.ranks) {
                *rank = sum;
                sum += bits.count_ones() as u16;
            }
        }
    }

    /// Number of blocks.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Usable bytes of all blocks.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the index itself.
    pub(super) fn own_bytes(&self) -> usize {
        size_of_val(self.leaves.as_slice()) + self.by_key.capacity() * size_of::<Slot>()
    }

    /// The block that a word points to: the word is the block's address, with or without a tag in
    /// the low three bits, or an interior pointer less than `length(start)` bytes past it.
    #[inline]
    pub(super) fn find(&self, word: usize, length: impl Fn(usize) -> usize) -> Option<Block> {
        // Fast path: most words are not addresses in the heap.
        if word.wrapping_sub(self.low) > self.high.wrapping_sub(self.low) {
            return None;
        }
        self.look_up(word, length)
    }

    #[inline(never)]
    fn look_up(&self, word: usize, length: impl Fn(usize) -> usize) -> Option<Block> {
        let value = self.by_key.get(word >> LEAF_BITS)?.value;
        let block = if value & COVERED != 0 {
            self.get(value & !COVERED)
        } else {
            let leaf = &self.leaves.as_slice()[value as usize];
            let bit = bit_of(word);
            let up_to = leaf.bits[bit / 64] & (u64::MAX >> (63 - bit % 64));
            match (up_to, bit / 64) {
                (0, at) => match leaf.bits[..at].iter().rposition(|&bits| bits != 0) {
                    Some(at) => leaf.last_block(at, leaf.bits[at]),
                    // The block, if there is one, starts in an earlier leaf.
                    None => self.get(leaf.first.checked_sub(1)?),
                },
                (up_to, at) => leaf.last_block(at, up_to),
            }
        };
        // Most pointers are to the start of a block, for which its length is not needed.
        let is_inside = || word - block.start < length(block.start);
        (word & !7 == block.start || is_inside()).then_some(block)
    }

    /// The block with this number.
    pub(super) fn get(&self, id: BlockId) -> Block {
        let leaves = self.leaves.as_slice();
        let leaf = &leaves[leaves.partition_point(|l| l.first <= id) - 1];
        let nth = (id - leaf.first) as u16;
        let word = leaf.ranks.partition_point(|&rank| rank <= nth) - 1;
        let mut bits = leaf.bits[word];
        for _ in 0..nth - leaf.ranks[word] {
            bits &= bits - 1;
        }
        let bit = word * 64 + bits.trailing_zeros() as usize;
        Block {
            id,
            start: leaf.key << LEAF_BITS | bit << 3,
        }
    }

    /// Whether a block that `is_wanted` starts in a range of addresses.
    pub(super) fn any_in(
        &self,
        start: usize,
        end: usize,
        is_wanted: impl FnMut(usize) -> bool,
    ) -> bool {
        self.starts_in(start, end).any(is_wanted)
    }

    /// The first block that starts in a range of addresses.
    pub(super) fn first_in(&self, start: usize, end: usize) -> Option<usize> {
        self.starts_in(start, end).next()
    }

    /// The blocks that start in a range of addresses, in ascending order.
    fn starts_in(&self, start: usize, end: usize) -> impl Iterator<Item = usize> {
        let leaves = self.leaves.as_slice();
        let from = leaves.partition_point(|l| l.key < start >> LEAF_BITS);
        let leaves = leaves[from..].iter();
        let leaves = leaves.take_while(move |l| l.key << LEAF_BITS < end);
        leaves
            .flat_map(Leaf::starts)
            .filter(move |at| (start..end).contains(at))
    }

    /// Whether an address is in a block.
    pub(super) fn contains(&self, address: usize, size: impl Fn(usize) -> usize) -> bool {
        let block = self.find(address, &size);
        block.is_some_and(|block| address - block.start < size(block.start))
    }
}

/// The bit of an address in the bitmap of its leaf.
fn bit_of(address: usize) -> usize {
    address >> 3 & ((1 << (LEAF_BITS - 3)) - 1)
}

impl Leaf {
    /// The addresses at which blocks start, in ascending order.
    fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        let base = self.key << LEAF_BITS;
        let words = self.bits.iter().enumerate();
        words.flat_map(move |(i, &bits)| {
            let next = |&bits: &u64| Some(bits & bits.wrapping_sub(1)).filter(|&left| left != 0);
            let left = core::iter::successors(Some(bits).filter(|&bits| bits != 0), next);
            left.map(move |bits| base | (i * 64 + bits.trailing_zeros() as usize) << 3)
        })
    }

    /// The block of the highest bit in `bits`, a subset of the bitmap's word number `word`.
    fn last_block(&self, word: usize, bits: u64) -> Block {
        let bit = 63 - bits.leading_zeros() as usize;
        let below = self.bits[word] & ((1_u64 << bit) - 1);
        Block {
            id: self.first + u32::from(self.ranks[word]) + below.count_ones(),
            start: self.key << LEAF_BITS | (word * 64 + bit) << 3,
        }
    }
}

/// Functions that report the size of the block at an address. Tests use their own.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Bytes of the block.
    pub(super) usable: fn(usize) -> usize,
    /// Bytes of the block in which an interior pointer counts.
    pub(super) pointable: fn(usize) -> usize,
}

impl Sizes {
    /// The functions for the measured heap.
    pub(super) const OF_HEAP: Self = Self {
        usable: usable_bytes,
        pointable: pointable_bytes,
    };
}

/// Usable bytes of the block at an address. If the allocator does not report them, 8, the least
/// that any block has.
pub(super) fn usable_bytes(at: usize) -> usize {
    heap::usable_bytes(at).unwrap_or(8).max(8)
}

/// A pointer may be one past the end of its block, as that of a buffer which was read to its end: no other
/// block of any allocator starts there.
///
/// glibc links free chunks by the addresses of their headers (`malloc/malloc.c`, "bins"), and stale links
/// remain in blocks that are not fully overwritten. A header overlaps the last 8 bytes of the block before it,
/// so that a lost block may seem to be held by such a link. That is better than to call a block lost to whose
/// end a program points.
fn pointable_bytes(at: usize) -> usize {
    usable_bytes(at) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    fn index(blocks: &BTreeMap<usize, usize>) -> Index {
        let each = |visit: &mut dyn FnMut(usize)| blocks.keys().for_each(|&at| visit(at));
        Index::new(each, |at| blocks[&at]).unwrap()
    }

    #[test]
    fn every_word_finds_the_block_that_an_ordered_map_finds() {
        let mut random = Random::new(9);
        for round in 0..40 {
            let mut blocks = BTreeMap::new();
            let mut at = 0x7000_0000_0000 + random.index(1 << 20) * 8;
            for _ in 0..300 {
                let size = match random.below(10) {
                    0 => 8 + random.index(3 << 20),
                    1..4 => 8 + random.index(5000),
                    _ => 8 + random.index(100),
                };
                blocks.insert(at, size);
                let gap = if random.below(4) == 0 {
                    random.index(400_000)
                } else {
                    0
                };
                at = (at + size + gap).next_multiple_of(8);
            }
            let index = index(&blocks);
            let numbers: BTreeMap<usize, u32> = blocks.keys().copied().zip(0..).collect();
            assert_eq!(index.count() as usize, blocks.len());
            let (low, high) = (*blocks.keys().next().unwrap(), at);
            let any = (0..3000).map(|_| low - 1000 + random.index(high - low + 2000));
            let edges = blocks
                .iter()
                .flat_map(|(&at, &size)| [at - 1, at, at + 1, at + 7, at + size - 1, at + size]);
            for word in any.chain(edges).collect::<Vec<_>>() {
                let below = blocks.range(..=word).next_back();
                let truth = below.filter(|&(&at, &size)| word & !7 == at || word < at + size);
                let truth = truth.map(|(&start, _)| Block {
                    id: numbers[&start],
                    start,
                });
                assert_eq!(
                    index.find(word, |at| blocks[&at]),
                    truth,
                    "{round}: {word:#x}"
                );
            }
            for (&start, &id) in &numbers {
                assert_eq!(index.get(id), Block { id, start });
            }
            for _ in 0..300 {
                let start = low + random.index(high - low);
                let end = start + 1 + random.index(100_000);
                let truth = blocks.range(start..end).next().is_some();
                assert_eq!(
                    index.any_in(start, end, |_| true),
                    truth,
                    "{start:#x} {end:#x}"
                );
            }
        }
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        let empty = index(&BTreeMap::new());
        assert_eq!(empty.find(0x1000, |_| 8), None);
        assert!(!empty.any_in(0, usize::MAX, |_| true));
    }
}
