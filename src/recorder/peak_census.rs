//! What is live at the peak by stack and phase, as far as it is large enough to be told.

use crate::model::block::CensusEntry;
use crate::recorder::heap::{MappedTable, MappedVec, NoMemory, PeakSnapshot};

/// The smallest part of the live bytes that is told of a stack: so many make up all.
const PARTS: u64 = 4096;

pub(crate) struct PeakCensus {
    by_stack: MappedTable<CensusEntry>,
    entries: MappedVec<CensusEntry>,
    other_bytes: u64,
}

impl PeakCensus {
    pub(crate) const fn new() -> Self {
        Self {
            by_stack: MappedTable::new(),
            entries: MappedVec::new(),
            other_bytes: 0,
        }
    }

    /// Counts what is in a snapshot.
    ///
    /// # Errors
    /// If the system refuses memory for it.
    pub(crate) fn count(&mut self, snapshot: &PeakSnapshot) -> Result<(), NoMemory> {
        self.by_stack.clear();
        self.entries.clear();
        self.other_bytes = 0;
        let mut total = snapshot.setup;
        for part in snapshot.entries.as_slice() {
            total += part.bytes;
            let of_any_cycle = CensusEntry { birth: 0, ..*part };
            self.by_stack.insert_or(of_any_cycle, |sum| {
                sum.bytes += part.bytes;
                sum.blocks += part.blocks;
            })?;
        }
        for entry in self.by_stack.iter() {
            match entry.bytes >= total.div_ceil(PARTS) {
                true => self.entries.push(*entry)?,
                false => self.other_bytes += entry.bytes,
            }
        }
        Ok(())
    }

    /// The large ones, in no order. Their birth says nothing.
    pub(crate) fn entries(&self) -> &[CensusEntry] {
        self.entries.as_slice()
    }

    /// Bytes born in cycles of which no entry tells.
    pub(crate) fn other_bytes(&self) -> u64 {
        self.other_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::block::Birth;

    fn entry(stack_id: u32, birth: u32, bytes: u64) -> CensusEntry {
        CensusEntry {
            stack_id,
            birth,
            phase: 2,
            bytes,
            blocks: 1,
        }
    }

    #[test]
    fn births_are_added_up_and_what_is_small_is_one_sum() {
        let parts = [
            entry(1, 1, 500_000),
            entry(1, 2, 300_000),
            entry(2, 2, 100_000),
            entry(3, 2, 60),
            entry(4, 1, 70),
        ];
        let snapshot = PeakSnapshot::of(Birth { cycle: 2, phase: 2 }, 100_000, &parts);
        let mut census = PeakCensus::new();
        census.count(&snapshot).unwrap();
        let mut large: Vec<_> = census.entries().to_vec();
        large.sort_by_key(|e| e.stack_id);
        let large: Vec<_> = large
            .iter()
            .map(|e| (e.stack_id, e.bytes, e.blocks))
            .collect();
        assert_eq!(large, [(1, 800_000, 2), (2, 100_000, 1)]);
        assert_eq!(census.other_bytes(), 130);
    }

    #[test]
    fn each_count_starts_anew() {
        let now = Birth { cycle: 1, phase: 2 };
        let mut census = PeakCensus::new();
        for bytes in [10, 20] {
            let snapshot = PeakSnapshot::of(now, 0, &[entry(1, 1, bytes)]);
            census.count(&snapshot).unwrap();
            assert_eq!(census.entries()[0].bytes, bytes);
        }
    }
}
