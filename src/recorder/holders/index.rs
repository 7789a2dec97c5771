//! All live blocks by address, so that any word can be looked up: is it a pointer to one, or into it?
//!
//! Blocks are numbered by address. For each 256 KiB in which one begins there is a *leaf*: a bit for
//! each 8 bytes at which one does, and for each word of bits how many there were before. A leaf is found
//! by a hash table. It takes 2 % of the heap, whatever the size of its blocks.

use crate::recorder::heap::{self, MappedVec, NoMemory};

/// Number of a block, by address.
pub(super) type Block = u32;

const LEAF_BITS: u32 = 18;
const WORDS: usize = 1 << (LEAF_BITS - 3 - 6);

#[derive(Clone, Copy)]
struct Leaf {
    /// Its address, in leaves.
    key: usize,
    /// The first block in it, and the last one before it.
    first: Block,
    bits: [u64; WORDS],
    /// Blocks before each word.
    before: [u16; WORDS],
}

/// What the table has for an address of which no block begins in the leaf: the block that covers it.
const COVERED: u32 = 1 << 31;
const FREE: u64 = 0;

pub(super) struct Index {
    leaves: MappedVec<Leaf>,
    /// `key + 1` and what is there, of each leaf and of what a large block covers.
    table: MappedVec<(u64, u32)>,
    /// Lowest address of a block, and one past the highest of its bytes.
    low: usize,
    high: usize,
    count: u32,
    bytes: u64,
}

/// A block and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) block: Block,
    pub(super) start: usize,
}

impl Index {
    /// Of these blocks, which come in the order of their addresses, each with its size in bytes.
    pub(super) fn of(
        each: impl Fn(&mut dyn FnMut(usize)),
        size: impl Fn(usize) -> usize,
    ) -> Result<Self, NoMemory> {
        let mut index = Self {
            leaves: MappedVec::new(),
            table: MappedVec::new(),
            low: usize::MAX,
            high: 0,
            count: 0,
            bytes: 0,
        };
        let (mut leaves, mut last) = (0_usize, usize::MAX);
        each(&mut |at| {
            let end = at + size(at);
            let (first, last_covered) = (at >> LEAF_BITS, (end - 1) >> LEAF_BITS);
            leaves += usize::from(first != last) + (last_covered - first);
            last = last_covered.max(first);
            (index.low, index.high) = (index.low.min(at), index.high.max(end));
        });
        index
            .table
            .reset((leaves * 2).next_power_of_two().max(16), (FREE, 0))?;
        let mut result = Ok(());
        each(&mut |at| {
            if result.is_ok() {
                result = index.add(at, size(at));
            }
        });
        result?;
        index.sum_up();
        Ok(index)
    }

    fn add(&mut self, at: usize, size: usize) -> Result<(), NoMemory> {
        let key = at >> LEAF_BITS;
        if self.leaves.as_slice().last().is_none_or(|l| l.key != key) {
            self.leaves.push(Leaf {
                key,
                first: self.count,
                bits: [0; WORDS],
                before: [0; WORDS],
            })?;
            // A large block that ends in it may have been there before.
            self.put(key, self.leaves.as_slice().len() as u32 - 1);
        }
        let bit = at >> 3 & ((1 << (LEAF_BITS - 3)) - 1);
        let leaf = self.leaves.as_mut_slice().last_mut().ok_or(NoMemory)?;
        leaf.bits[bit / 64] |= 1 << (bit % 64);
        for covered in key + 1..=(at + size - 1) >> LEAF_BITS {
            self.put(covered, COVERED | self.count);
        }
        self.count += 1;
        self.bytes += size as u64;
        Ok(())
    }

    fn slot(&self, key: usize) -> usize {
        let table = self.table.as_slice();
        let mask = table.len() - 1;
        let mut i = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) & mask;
        while table[i].0 != FREE && table[i].0 != key as u64 + 1 {
            i = (i + 1) & mask;
        }
        i
    }

    fn put(&mut self, key: usize, what: u32) {
        let slot = self.slot(key);
        self.table.as_mut_slice()[slot] = (key as u64 + 1, what);
    }

    fn sum_up(&mut self) {
        for leaf in self.leaves.as_mut_slice() {
            let mut sum = 0;
            for (bits, before) in leaf.bits.iter().zip(&mut leaf.before) {
                *before = sum;
                sum += bits.count_ones() as u16;
            }
        }
    }

    /// How many blocks there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of all blocks together, as the allocator has them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the index itself.
    pub(super) fn own_bytes(&self) -> usize {
        size_of_val(self.leaves.as_slice()) + size_of_val(self.table.as_slice())
    }

    /// The block that a word points to, or into; `size` says how far that goes. Tags in the low three
    /// bits are no matter.
    #[inline]
    pub(super) fn find(&self, word: usize, size: impl Fn(usize) -> usize) -> Option<Found> {
        if word.wrapping_sub(self.low) >= self.high.wrapping_sub(self.low) {
            return None;
        }
        self.look_up(word, size)
    }

    #[inline(never)]
    fn look_up(&self, word: usize, size: impl Fn(usize) -> usize) -> Option<Found> {
        let (key, what) = self.table.as_slice()[self.slot(word >> LEAF_BITS)];
        if key == FREE {
            return None;
        }
        let found = if what & COVERED != 0 {
            self.block(what & !COVERED)
        } else {
            let leaf = &self.leaves.as_slice()[what as usize];
            let bit = word >> 3 & ((1 << (LEAF_BITS - 3)) - 1);
            let upto = leaf.bits[bit / 64] & (u64::MAX >> (63 - bit % 64));
            match (upto, bit / 64) {
                (0, at) => match leaf.bits[..at].iter().rposition(|&bits| bits != 0) {
                    Some(at) => leaf.found(at, leaf.bits[at]),
                    // It begins in an earlier leaf, if at all.
                    None => self.block(leaf.first.checked_sub(1)?),
                },
                (upto, at) => leaf.found(at, upto),
            }
        };
        // A word to the beginning is the usual one, and needs no size.
        let is_inside = || word - found.start < size(found.start);
        (word & !7 == found.start || is_inside()).then_some(found)
    }

    /// The block of a number.
    pub(super) fn block(&self, block: Block) -> Found {
        let leaves = self.leaves.as_slice();
        let leaf = &leaves[leaves.partition_point(|l| l.first <= block) - 1];
        let nth = (block - leaf.first) as u16;
        let word = leaf.before.partition_point(|&before| before <= nth) - 1;
        let mut bits = leaf.bits[word];
        for _ in 0..nth - leaf.before[word] {
            bits &= bits - 1;
        }
        let bit = word * 64 + bits.trailing_zeros() as usize;
        Found {
            block,
            start: leaf.key << LEAF_BITS | bit << 3,
        }
    }

    /// Whether a block begins in a range of addresses.
    pub(super) fn has_in(&self, start: usize, end: usize) -> bool {
        let leaves = self.leaves.as_slice();
        let from = leaves.partition_point(|l| l.key < start >> LEAF_BITS);
        leaves[from..]
            .iter()
            .take_while(|l| l.key << LEAF_BITS < end)
            .any(|l| {
                let base = l.key << LEAF_BITS;
                let mut words = l.bits.iter().enumerate();
                words.any(|(i, &bits)| {
                    let at = |bit: u32| base | (i * 64 + bit as usize) << 3;
                    bits != 0
                        && at(63 - bits.leading_zeros()) >= start
                        && at(bits.trailing_zeros()) < end
                })
            })
    }
}

impl Leaf {
    /// The last block of these bits of a word.
    fn found(&self, word: usize, bits: u64) -> Found {
        let bit = 63 - bits.leading_zeros() as usize;
        let until = (bits & (u64::MAX >> (63 - bit))).count_ones() - 1;
        let below = self.bits[word] & ((1_u64 << bit) - 1);
        debug_assert_eq!(below.count_ones(), until);
        Found {
            block: self.first + u32::from(self.before[word]) + below.count_ones(),
            start: self.key << LEAF_BITS | (word * 64 + bit) << 3,
        }
    }
}

/// The size that the allocator has for a block; 8, which every block has, if it does not tell.
pub(super) fn size(at: usize) -> usize {
    heap::usable_bytes(at).unwrap_or(8).max(8)
}

/// How far into a block a word must point to be taken for a pointer to it. glibc keeps in free memory the
/// addresses of headers of other free memory (`malloc/malloc.c`, "bins"), which come to lie in blocks that
/// are not written full; and a header begins in the last 8 bytes of the block before it.
pub(super) fn reach(at: usize) -> usize {
    let size = size(at);
    match heap::is_separate_from_c() {
        true => size,
        false => size.saturating_sub(8).max(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    fn index(blocks: &BTreeMap<usize, usize>) -> Index {
        let each = |visit: &mut dyn FnMut(usize)| blocks.keys().for_each(|&at| visit(at));
        Index::of(each, |at| blocks[&at]).unwrap()
    }

    #[test]
    fn any_word_is_found_as_a_plain_map_finds_it() {
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
                let truth = truth.map(|(&start, _)| Found {
                    block: numbers[&start],
                    start,
                });
                assert_eq!(
                    index.find(word, |at| blocks[&at]),
                    truth,
                    "{round}: {word:#x}"
                );
            }
            for (&start, &block) in &numbers {
                assert_eq!(index.block(block), Found { block, start });
            }
            for _ in 0..300 {
                let start = low + random.index(high - low);
                let end = start + 1 + random.index(100_000);
                let truth = blocks.range(start..end).next().is_some();
                assert_eq!(index.has_in(start, end), truth, "{start:#x} {end:#x}");
            }
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let empty = index(&BTreeMap::new());
        assert_eq!(empty.find(0x1000, |_| 8), None);
        assert!(!empty.has_in(0, usize::MAX));
    }
}
