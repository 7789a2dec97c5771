//! Counting the ledger at a boundary: live bytes and blocks for each stack, birth cycle and phase.
//!
//! Runs in the measured process and lives in mappings of its own. What it hands on is the
//! difference to the boundary before, because most survivors stay as they are.

use crate::model::block::CensusEntry;
use crate::model::block::StackId;
use crate::recorder::heap::{self, MappedVec, NoMemory};

/// An open-addressing table from (stack, birth) to bytes and blocks.
struct Table {
    slots: MappedVec<CensusEntry>,
    used: usize,
}

/// A free slot of the table.
const FREE: CensusEntry = CensusEntry {
    stack_id: 0,
    birth: 0,
    phase: 0,
    bytes: 0,
    blocks: 0,
};

const FIRST_SLOTS: usize = 1024;

impl Table {
    const fn new() -> Self {
        Self {
            slots: MappedVec::new(),
            used: 0,
        }
    }

    fn clear(&mut self) -> Result<(), NoMemory> {
        let len = self.slots.as_slice().len().max(FIRST_SLOTS);
        self.used = 0;
        self.slots.reset(len, FREE)
    }

    /// The slot of a key, or the free one where it belongs.
    fn slot(&self, stack_id: StackId, birth: u32, phase: u8) -> usize {
        let slots = self.slots.as_slice();
        let key = u64::from(stack_id) << 32 | u64::from(birth) << 3 | u64::from(phase);
        let mask = slots.len() - 1;
        let mut i = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & mask;
        loop {
            let e = &slots[i];
            if e.blocks == 0 || (e.stack_id, e.birth, e.phase) == (stack_id, birth, phase) {
                return i;
            }
            i = (i + 1) & mask;
        }
    }

    fn add(&mut self, entry: &CensusEntry) -> Result<(), NoMemory> {
        if (self.used + 1) * 2 > self.slots.as_slice().len() {
            self.grow()?;
        }
        let i = self.slot(entry.stack_id, entry.birth, entry.phase);
        let slot = &mut self.slots.as_mut_slice()[i];
        if slot.blocks == 0 {
            self.used += 1;
            *slot = *entry;
        } else {
            slot.bytes += entry.bytes;
            slot.blocks += entry.blocks;
        }
        Ok(())
    }

    fn grow(&mut self) -> Result<(), NoMemory> {
        let mut grown = Self::new();
        let len = (self.slots.as_slice().len() * 2).max(FIRST_SLOTS);
        grown.slots.reset(len, FREE)?;
        for entry in self.entries() {
            grown.add(entry)?;
        }
        *self = grown;
        Ok(())
    }

    fn entries(&self) -> impl Iterator<Item = &CensusEntry> {
        self.slots.as_slice().iter().filter(|e| e.blocks > 0)
    }

    fn get(&self, entry: &CensusEntry) -> CensusEntry {
        if self.slots.as_slice().is_empty() {
            return FREE;
        }
        self.slots.as_slice()[self.slot(entry.stack_id, entry.birth, entry.phase)]
    }
}

/// The census of one boundary after the other.
pub(crate) struct Census {
    now: Table,
    before: Table,
    changes: MappedVec<CensusEntry>,
    setup: (u64, u64),
    chunks: u64,
}

impl Census {
    pub(crate) const fn new() -> Self {
        Self {
            now: Table::new(),
            before: Table::new(),
            changes: MappedVec::new(),
            setup: (0, 0),
            chunks: 0,
        }
    }

    /// Counts the heap's ledger.
    ///
    /// # Errors
    /// If the system gives no memory for the table.
    pub(crate) fn take(&mut self) -> Result<(), NoMemory> {
        let mut result = Ok(());
        self.begin()?;
        self.chunks = heap::totals().chunks;
        heap::for_each_live(|entry| {
            if result.is_ok() {
                result = self.count(&entry);
            }
        });
        result?;
        self.compare()
    }

    fn begin(&mut self) -> Result<(), NoMemory> {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear()?;
        self.setup = (0, 0);
        Ok(())
    }

    fn count(&mut self, entry: &CensusEntry) -> Result<(), NoMemory> {
        if entry.birth == 0 {
            self.setup.0 += entry.bytes;
            self.setup.1 += entry.blocks;
            return Ok(());
        }
        self.now.add(entry)
    }

    fn compare(&mut self) -> Result<(), NoMemory> {
        self.changes.clear();
        for entry in self.now.entries() {
            if self.before.get(entry) != *entry {
                self.changes.push(*entry)?;
            }
        }
        for entry in self.before.entries() {
            if self.now.get(entry).blocks == 0 {
                self.changes.push(CensusEntry {
                    bytes: 0,
                    blocks: 0,
                    ..*entry
                })?;
            }
        }
        Ok(())
    }

    /// Whether anything that was born in a cycle is live.
    pub(crate) fn has_survivors(&self) -> bool {
        self.now.entries().next().is_some()
    }

    /// Entries that differ from the census before; a entry without blocks is gone.
    pub(crate) fn changes(&self) -> &[CensusEntry] {
        self.changes.as_slice()
    }

    /// Bytes that the blocks would take in the C library's heap, rounding included.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Bytes and blocks born before the first cycle, which no entry counts.
    pub(crate) fn setup(&self) -> (u64, u64) {
        self.setup
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn block(stack_id: StackId, cycle: u32, size: u64) -> CensusEntry {
        CensusEntry {
            stack_id,
            birth: cycle,
            phase: 2,
            bytes: size,
            blocks: 1,
        }
    }

    fn take(census: &mut Census, blocks: &[CensusEntry]) -> Vec<(u32, u32, u64, u64)> {
        census.begin().unwrap();
        for b in blocks {
            census.count(b).unwrap();
        }
        census.compare().unwrap();
        let mut changes: Vec<_> = census
            .changes()
            .iter()
            .map(|r| (r.stack_id, r.birth, r.bytes, r.blocks))
            .collect();
        changes.sort_unstable();
        changes
    }

    #[test]
    fn only_what_changed_is_handed_on() {
        let mut census = Census::new();
        let first = [block(1, 1, 10), block(1, 1, 20), block(2, 0, 99)];
        assert_eq!(take(&mut census, &first), [(1, 1, 30, 2)]);
        assert_eq!(census.setup(), (99, 1));
        assert_eq!(take(&mut census, &first), []);
        let second = [block(1, 1, 10), block(1, 2, 5)];
        assert_eq!(take(&mut census, &second), [(1, 1, 10, 1), (1, 2, 5, 1)]);
        assert_eq!(take(&mut census, &[]), [(1, 1, 0, 0), (1, 2, 0, 0)]);
    }

    #[test]
    fn a_zero_sized_record_is_still_a_block() {
        let mut census = Census::new();
        assert_eq!(take(&mut census, &[block(1, 1, 0)]), [(1, 1, 0, 1)]);
    }

    #[test]
    fn many_rows_add_up_over_many_boundaries() {
        let mut census = Census::new();
        let mut state: BTreeMap<(u32, u32), (u64, u64)> = BTreeMap::new();
        for boundary in 1..30_u32 {
            let blocks: Vec<CensusEntry> = (0..4000_u32)
                .map(|i| {
                    block(
                        i % 700 + 1,
                        boundary - i % boundary,
                        u64::from(i * boundary) % 97,
                    )
                })
                .collect();
            for (stack_id, birth, bytes, n) in take(&mut census, &blocks) {
                if n == 0 {
                    state.remove(&(stack_id, birth));
                } else {
                    state.insert((stack_id, birth), (bytes, n));
                }
            }
            let mut truth: BTreeMap<(u32, u32), (u64, u64)> = BTreeMap::new();
            for b in &blocks {
                let e = truth.entry((b.stack_id, b.birth)).or_default();
                e.0 += b.bytes;
                e.1 += 1;
            }
            assert_eq!(state, truth, "boundary {boundary}");
        }
    }
}
