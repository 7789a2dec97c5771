//! The census at a boundary: live bytes and blocks of each stack, birth cycle and phase.
//!
//! Runs in the measured process, and keeps its data in mappings. The result is the difference from
//! the census before, because most survivors do not change.

use crate::model::block::{CensusEntry, StackId};
use crate::recorder::heap::{self, MappedTable, MappedVec, NoMemory, TableSlot};

impl TableSlot for CensusEntry {
    /// Stack, birth cycle and phase.
    type Key = (StackId, u32, u8);

    const FREE: Self = Self {
        stack_id: 0,
        birth: 0,
        phase: 0,
        bytes: 0,
        blocks: 0,
    };

    #[inline]
    fn key(&self) -> Option<Self::Key> {
        (self.blocks != 0).then_some((self.stack_id, self.birth, self.phase))
    }

    #[inline]
    fn hash((stack_id, birth, phase): Self::Key) -> u64 {
        // Stacks in the low bits: the table spreads consecutive numbers evenly.
        u64::from(birth) << 27 | u64::from(phase) << 24 | u64::from(stack_id)
    }
}

/// The censuses of a run: that of the last boundary, and the one before.
pub(crate) struct Census {
    now: MappedTable<CensusEntry>,
    before: MappedTable<CensusEntry>,
    changes: MappedVec<CensusEntry>,
    /// Bytes and blocks born before the first cycle.
    setup: (u64, u64),
    chunks: u64,
    /// Live bytes of the blocks in the C library's allocator.
    c_bytes: u64,
}

impl Census {
    pub(crate) const fn new() -> Self {
        Self {
            now: MappedTable::new(),
            before: MappedTable::new(),
            changes: MappedVec::new(),
            setup: (0, 0),
            chunks: 0,
            c_bytes: 0,
        }
    }

    /// Takes a census of the heap's ledger.
    ///
    /// # Errors
    /// If the system refuses memory for it.
    pub(crate) fn take(&mut self) -> Result<(), NoMemory> {
        let mut result = Ok(());
        self.begin();
        let totals = heap::totals();
        (self.chunks, self.c_bytes) = (totals.chunks, totals.c_bytes);
        heap::for_each_live(|entry| {
            if result.is_ok() {
                result = self.count(&entry);
            }
        });
        result?;
        self.compare()
    }

    fn begin(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        self.setup = (0, 0);
    }

    fn count(&mut self, entry: &CensusEntry) -> Result<(), NoMemory> {
        if entry.birth == 0 {
            self.setup.0 += entry.bytes;
            self.setup.1 += entry.blocks;
            return Ok(());
        }
        let add = |sum: &mut CensusEntry| {
            sum.bytes += entry.bytes;
            sum.blocks += entry.blocks;
        };
        self.now.insert_or(*entry, add).map(drop)
    }

    fn compare(&mut self) -> Result<(), NoMemory> {
        self.changes.clear();
        let (now, before) = (&self.now, &self.before);
        for entry in now.iter() {
            if entry.key().and_then(|key| before.get(key)) != Some(entry) {
                self.changes.push(*entry)?;
            }
        }
        for entry in before.iter() {
            if entry.key().and_then(|key| now.get(key)).is_none() {
                self.changes.push(CensusEntry {
                    bytes: 0,
                    blocks: 0,
                    ..*entry
                })?;
            }
        }
        Ok(())
    }

    /// Whether any block that was born in a cycle is live.
    pub(crate) fn has_survivors(&self) -> bool {
        self.now.len() > 0
    }

    /// Entries that differ from the census before. One without blocks is no longer live.
    pub(crate) fn changes(&self) -> &[CensusEntry] {
        self.changes.as_slice()
    }

    /// What was live of an entry at the census before; `None` if nothing was.
    #[cfg(feature = "live")]
    pub(crate) fn before(&self, entry: &CensusEntry) -> Option<&CensusEntry> {
        self.before.get((entry.stack_id, entry.birth, entry.phase))
    }

    /// Bytes that the live blocks take in the C library's heap, as far as they are there, rounding
    /// included.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Live bytes of these blocks.
    pub(crate) fn c_bytes(&self) -> u64 {
        self.c_bytes
    }

    /// Bytes and blocks born before the first cycle, which are in no entry.
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
        census.begin();
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
    fn only_changes_are_reported() {
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
    fn a_block_of_size_zero_is_counted() {
        let mut census = Census::new();
        assert_eq!(take(&mut census, &[block(1, 1, 0)]), [(1, 1, 0, 1)]);
    }

    #[test]
    fn changes_add_up_over_many_boundaries() {
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
