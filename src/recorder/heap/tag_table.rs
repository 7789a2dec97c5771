//! A hash table from stack keys to row numbers that stores four bytes for each key.
//!
//! A slot holds the number of a row and a few bits of the key, its *tag*. Whether a slot is that of
//! a key is decided by the caller, who looks into the row. Slots are grouped into buckets of a cache
//! line each. A key may be in [`PROBED`] buckets from its own on, up to the first that is not full;
//! where all of them are full, a new key evicts another from its own bucket.

use super::counter_row::{OwnedRow, ROW_BITS, RowId};
use super::mapped_ring::MappedRing;
use super::mapping::NoMemory;

/// A row's number in the low [`ROW_BITS`], the tag above; 0 is an empty slot.
type Slot = u32;

/// Slots of a bucket, which is a cache line.
pub(super) const BUCKET_SLOTS: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket([Slot; BUCKET_SLOTS]);

const _: () = assert!(size_of::<Bucket>() == 64);

/// Buckets that a key may be in.
const PROBED: usize = 4;

/// A table of at most this many buckets is scanned slot by slot, and a larger one by a comparison
/// of all tags at once.
///
/// A program with few stacks reaches them in a repeating order: the branches of a scan, which depend
/// on the position in a bucket, tell the branch predictor where the program is. With many stacks the
/// predictor only mispredicts.
pub(super) const MAX_SCANNED_BUCKETS: usize = 64;

/// The tag of a key: other bits than those that choose the bucket, and one that is set in no empty
/// slot.
#[inline]
fn tag(key: u64) -> u32 {
    ((key >> (u64::BITS - Slot::BITS)) as u32 | 1 << (Slot::BITS - 1)) >> ROW_BITS
}

#[inline]
fn slot(key: u64, row: OwnedRow) -> Slot {
    tag(key) << ROW_BITS | row.id()
}

#[inline]
fn row_of(slot: Slot) -> RowId {
    slot & ((1 << ROW_BITS) - 1)
}

impl Bucket {
    /// A bit for each slot that has a tag.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn matches(&self, tag: u32) -> u32 {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16,
            _mm_packs_epi32, _mm_set1_epi32, _mm_srli_epi32,
        };
        // SAFETY: a bucket is four vectors long and aligned to more than one, and every x86-64
        // processor has SSE2 (tests: `a_bucket_finds_its_tags`).
        unsafe {
            let start: *const __m128i = (&raw const self.0).cast();
            let tag = _mm_set1_epi32(tag as i32);
            let four = |i| {
                let slots = _mm_load_si128(start.add(i));
                _mm_cmpeq_epi32(_mm_srli_epi32::<{ ROW_BITS as i32 }>(slots), tag)
            };
            let eight = |i| _mm_packs_epi32(four(i), four(i + 1));
            _mm_movemask_epi8(_mm_packs_epi16(eight(0), eight(2))) as u32
        }
    }

    /// A bit for each slot that has a tag.
    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    fn matches(&self, tag: u32) -> u32 {
        let bit = |(i, slot): (usize, &Slot)| u32::from(slot >> ROW_BITS == tag) << i;
        self.0.iter().enumerate().map(bit).sum()
    }

    /// The first result of `is` for a slot that has a tag, by a comparison of all tags at once.
    #[inline]
    fn find_at_once<T>(&mut self, tag: u32, is: impl Fn(&mut Slot) -> Option<T>) -> Option<T> {
        let mut matches = self.matches(tag);
        while matches != 0 {
            let found = is(&mut self.0[matches.trailing_zeros() as usize]);
            if found.is_some() {
                return found;
            }
            matches &= matches - 1;
        }
        None
    }

    /// The first result of `is` for a slot that has a tag, slot by slot.
    #[inline]
    fn find_by_scan<T>(&mut self, tag: u32, is: impl Fn(&mut Slot) -> Option<T>) -> Option<T> {
        let mut with_tag = self.0.iter_mut().filter(|slot| **slot >> ROW_BITS == tag);
        with_tag.find_map(is)
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.0[BUCKET_SLOTS - 1] != 0
    }
}

/// Valid if all its bytes are zero: then it has no buckets, and nothing is found.
pub(super) struct TagTable(MappedRing<Bucket>);

impl TagTable {
    /// An empty table of a power of two of buckets.
    pub(super) fn new(buckets: usize) -> Result<Self, NoMemory> {
        MappedRing::new(buckets).map(Self)
    }

    #[inline]
    pub(super) fn buckets(&self) -> usize {
        self.0.len()
    }

    /// The bucket of a key, or one of the next.
    #[inline]
    fn bucket(&mut self, key: u64, probe: usize) -> Option<&mut Bucket> {
        // Without the lowest bit, which is set in most keys so that they are not 0.
        self.0.get((key as usize >> 1).wrapping_add(probe))
    }

    /// The first result of `is` for the row of a slot that may be that of a key.
    #[inline]
    pub(super) fn find<T>(&mut self, key: u64, is: impl Fn(RowId) -> Option<T>) -> Option<T> {
        self.find_slot(key, |slot| is(row_of(*slot)))
    }

    /// Replaces the row of the first slot that may be that of a key and for which `replacement` has
    /// another row. Returns that row.
    pub(super) fn replace(
        &mut self,
        key: u64,
        replacement: impl Fn(RowId) -> Option<OwnedRow>,
    ) -> Option<OwnedRow> {
        self.find_slot(key, |slot| {
            let row = replacement(row_of(*slot))?;
            *slot = self::slot(key, row);
            Some(row)
        })
    }

    #[inline]
    fn find_slot<T>(&mut self, key: u64, is: impl Fn(&mut Slot) -> Option<T>) -> Option<T> {
        let tag = tag(key);
        let is_scanned = self.buckets() <= MAX_SCANNED_BUCKETS;
        for probe in 0..PROBED {
            let bucket = self.bucket(key, probe)?;
            let found = match is_scanned {
                true => bucket.find_by_scan(tag, &is),
                false => bucket.find_at_once(tag, &is),
            };
            if found.is_some() || !bucket.is_full() {
                return found;
            }
        }
        None
    }

    /// Adds a key that is not in the table. Where its buckets are full, it evicts a slot of its own
    /// bucket, a different one for each value of `evictions`. Returns the evicted row; an error if
    /// the table has no buckets.
    pub(super) fn insert(
        &mut self,
        key: u64,
        row: OwnedRow,
        evictions: usize,
    ) -> Result<Option<RowId>, NoMemory> {
        let has_room = |probe: &usize| self.bucket(key, *probe).is_some_and(|b| !b.is_full());
        let probe = (0..PROBED).find(has_room).unwrap_or(0);
        let bucket = self.bucket(key, probe).ok_or(NoMemory)?;
        let empty = bucket.0.iter().position(|&slot| slot == 0);
        let chosen = &mut bucket.0[empty.unwrap_or(evictions % BUCKET_SLOTS)];
        let old = core::mem::replace(chosen, slot(key, row));
        Ok(Some(row_of(old)).filter(|_| old != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    #[test]
    fn a_bucket_finds_its_tags() {
        let mut random = Random::new(8);
        for _ in 0..2000 {
            let mut bucket = Bucket([0; BUCKET_SLOTS]);
            let filled = random.index(BUCKET_SLOTS + 1);
            for slot in &mut bucket.0[..filled] {
                *slot = tag(random.below(4) << 56) << ROW_BITS | random.below(1 << ROW_BITS) as u32;
            }
            let tag = tag(random.below(4) << 56);
            let with_tag = |(i, slot): (usize, &Slot)| u32::from(slot >> ROW_BITS == tag) << i;
            let truth: u32 = bucket.0.iter().enumerate().map(with_tag).sum();
            assert_eq!(bucket.matches(tag), truth);
            assert_eq!(bucket.is_full(), filled == BUCKET_SLOTS);
            let wanted = bucket.0[random.index(BUCKET_SLOTS)];
            let is = |slot: &mut Slot| (*slot == wanted).then_some(*slot);
            let expected = (wanted >> ROW_BITS == tag).then_some(wanted);
            assert_eq!(bucket.find_at_once(tag, is), expected);
            assert_eq!(bucket.find_by_scan(tag, is), expected);
        }
    }
}
