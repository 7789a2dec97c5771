//! An open-addressing hash table in a mapping of its own.
//!
//! The capacity is a power of two, and a key is looked for from its home slot on, slot by slot
//! (linear probing). The home slot is the highest bits of the key's hash times the golden ratio
//! (Fibonacci hashing; D. E. Knuth, "The Art of Computer Programming", 6.4), so that hashes need not
//! be random in any of their bits. A removal moves later entries back (Knuth, 6.4, algorithm R), so
//! that there are no tombstones.
//!
//! Invariants:
//! 1. Between the home slot of an entry and its own slot no slot is free.
//! 2. At least one slot is free, so that every search ends.
//!
//! The table is for one thread at a time: it has no atomics. Tables that are read without a lock are
//! the stack index of `stack_interner.rs` and the rule cache of `cfi.rs`.

use super::mapped_vec::MappedVec;
use super::mapping::NoMemory;

/// A slot of a [`MappedTable`], which is free or has an entry.
pub(crate) trait TableSlot: Copy {
    type Key: Copy + PartialEq;

    const FREE: Self;

    /// The table grows when more than this part of its slots would have entries. Below 100.
    const MAX_LOAD_PERCENT: usize = 50;

    /// The key of the entry; `None` if the slot is free.
    fn key(&self) -> Option<Self::Key>;

    /// Equal keys have equal hashes. The table mixes the bits.
    fn hash(key: Self::Key) -> u64;
}

pub(crate) struct MappedTable<S: TableSlot> {
    slots: MappedVec<S>,
    used: usize,
}

/// Slots of the first mapping: one page or more.
const FIRST_CAPACITY: usize = 256;

impl<S: TableSlot> MappedTable<S> {
    /// An empty table, which has no mapping yet.
    pub(crate) const fn new() -> Self {
        Self {
            slots: MappedVec::new(),
            used: 0,
        }
    }

    /// An empty table with room for this many entries before it grows.
    pub(crate) fn with_capacity(entries: usize) -> Result<Self, NoMemory> {
        let slots = (entries * 100).div_ceil(S::MAX_LOAD_PERCENT) + 1;
        let mut table = Self::new();
        table
            .slots
            .reset(slots.next_power_of_two().max(FIRST_CAPACITY), S::FREE)?;
        Ok(table)
    }

    /// Removes all entries. The mapping stays.
    pub(crate) fn clear(&mut self) {
        self.slots.as_mut_slice().fill(S::FREE);
        self.used = 0;
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Number of slots, free or not.
    pub(crate) fn capacity(&self) -> usize {
        self.slots.as_slice().len()
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.slots.as_slice().iter().filter(|s| s.key().is_some())
    }

    /// The entry of a key.
    #[inline]
    pub(crate) fn get(&self, key: S::Key) -> Option<&S> {
        if self.used == 0 {
            return None;
        }
        let slot = &self.slots.as_slice()[self.slot_of(key)];
        slot.key().is_some().then_some(slot)
    }

    /// Adds an entry. If there is one with this key, calls `merge` with it in place of that, which
    /// must not change its key. Returns whether the entry was added.
    ///
    /// # Errors
    /// If the table is full and the system refuses memory for a larger one.
    #[inline]
    pub(crate) fn insert_or(
        &mut self,
        entry: S,
        merge: impl FnOnce(&mut S),
    ) -> Result<bool, NoMemory> {
        let Some(key) = entry.key() else {
            return Ok(false);
        };
        if (self.used + 1) * 100 > self.capacity() * S::MAX_LOAD_PERCENT {
            self.grow()?;
        }
        let index = self.slot_of(key);
        let slot = &mut self.slots.as_mut_slice()[index];
        if slot.key().is_some() {
            merge(slot);
            return Ok(false);
        }
        *slot = entry;
        self.used += 1;
        Ok(true)
    }

    /// Removes the entry of a key and returns it.
    #[cfg(any(feature = "c-heap", feature = "dhat", test))]
    pub(crate) fn remove(&mut self, key: S::Key) -> Option<S> {
        let removed = *self.get(key)?;
        let mask = self.capacity() - 1;
        let mut hole = self.slot_of(key);
        let mut i = hole;
        loop {
            i = (i + 1) & mask;
            let slot = self.slots.as_slice()[i];
            let Some(key) = slot.key() else { break };
            // The entry may move to the hole if that is not before its home slot.
            let from_home = i.wrapping_sub(self.home(key)) & mask;
            let from_hole = i.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.slots.as_mut_slice()[hole] = slot;
                hole = i;
            }
        }
        self.slots.as_mut_slice()[hole] = S::FREE;
        self.used -= 1;
        Some(removed)
    }

    /// The slot where the search for a key starts.
    #[inline]
    fn home(&self, key: S::Key) -> usize {
        let bits = self.capacity().trailing_zeros();
        (S::hash(key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - bits)) as usize
    }

    /// The slot of a key, or the free one where it belongs. The table must have slots.
    #[inline]
    fn slot_of(&self, key: S::Key) -> usize {
        let slots = self.slots.as_slice();
        let mask = slots.len() - 1;
        let mut i = self.home(key);
        while let Some(found) = slots[i].key()
            && found != key
        {
            i = (i + 1) & mask;
        }
        i
    }

    /// Doubles the capacity. If the system refuses memory, the table may be filled up to one free
    /// slot.
    #[cold]
    fn grow(&mut self) -> Result<(), NoMemory> {
        let mut grown = match Self::with_capacity(self.used + 1) {
            Ok(grown) => grown,
            Err(NoMemory) if self.used + 1 < self.capacity() => return Ok(()),
            Err(NoMemory) => return Err(NoMemory),
        };
        for entry in self.iter() {
            if let Some(key) = entry.key() {
                let index = grown.slot_of(key);
                grown.slots.as_mut_slice()[index] = *entry;
            }
        }
        grown.used = self.used;
        *self = grown;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::HashMap;

    /// An entry with its key in the upper half and a value in the lower one.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Entry<const LOAD: usize>(u64);

    impl<const LOAD: usize> TableSlot for Entry<LOAD> {
        type Key = u32;
        const FREE: Self = Self(0);
        const MAX_LOAD_PERCENT: usize = LOAD;

        fn key(&self) -> Option<u32> {
            Some((self.0 >> 32) as u32).filter(|&key| key != 0)
        }

        fn hash(key: u32) -> u64 {
            // Few distinct hashes: long probe sequences.
            u64::from(key / 4)
        }
    }

    fn check_against_plain_map<const LOAD: usize>() {
        for seed in 0..20 {
            let mut table = MappedTable::<Entry<LOAD>>::new();
            let mut plain: HashMap<u32, u64> = HashMap::new();
            let mut random = Random::new(seed);
            for step in 0..20_000_u64 {
                let key = 1 + random.below(3000) as u32;
                match random.below(5) {
                    0..3 => {
                        let entry = Entry(u64::from(key) << 32 | step);
                        let is_new = table.insert_or(entry, |old| *old = entry);
                        let old = plain.insert(key, entry.0);
                        assert_eq!(is_new, Ok(old.is_none()), "seed {seed}");
                    }
                    3 => {
                        let removed = table.remove(key).map(|e| e.0);
                        assert_eq!(removed, plain.remove(&key), "seed {seed}");
                    }
                    _ => {
                        let found = table.get(key).map(|e| e.0);
                        assert_eq!(found, plain.get(&key).copied(), "seed {seed}");
                    }
                }
                assert_eq!(table.len(), plain.len());
            }
            let all: HashMap<u32, u64> = table
                .iter()
                .map(|entry| (entry.key().unwrap(), entry.0))
                .collect();
            assert_eq!(all, plain);
            table.clear();
            assert!(table.iter().next().is_none() && table.get(1).is_none());
        }
    }

    #[test]
    fn the_table_equals_a_plain_map_after_any_sequence() {
        check_against_plain_map::<50>();
        check_against_plain_map::<75>();
    }

    #[test]
    fn a_table_with_capacity_does_not_grow() {
        for entries in [0, 1, 127, 128, 129, 5000] {
            let mut table = MappedTable::<Entry<50>>::with_capacity(entries).unwrap();
            let capacity = table.capacity();
            for key in 1..=entries as u64 {
                assert_eq!(table.insert_or(Entry(key << 32), |_| ()), Ok(true));
            }
            assert_eq!(table.capacity(), capacity);
        }
    }

    #[test]
    fn an_entry_with_a_known_key_is_merged() {
        let mut table = MappedTable::<Entry<50>>::new();
        assert!(table.get(1).is_none() && table.remove(1).is_none());
        assert_eq!(table.insert_or(Entry(1 << 32 | 5), |_| ()), Ok(true));
        let merged = table.insert_or(Entry(1 << 32 | 2), |old| old.0 += 2);
        assert_eq!(merged, Ok(false));
        assert_eq!(table.get(1), Some(&Entry(1 << 32 | 7)));
        assert_eq!(table.len(), 1);
    }
}
