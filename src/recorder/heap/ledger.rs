//! All live blocks, exactly: the number of a counter row by the address of each block, and the
//! counts in the rows.
//!
//! The size of a block is in no table: the caller of a free passes the block's
//! [`Layout`](core::alloc::Layout). C's `free` does not: the bits of an entry above the row's number
//! are a note of the hooks of C's functions, from which they know the size (`c_sizes.rs`).

use super::amount::Amount;
use super::block_table::BlockTable;
use super::counter_row::{NO_ROW, OwnedRow, ROW_BITS, ROW_MASK, RowId};
use super::counter_rows::CounterRows;
use super::state;
use super::thread_counters::{ThreadCounters, Totals};
use super::thread_record::ThreadRecords;
use crate::model::block::{Birth, CensusEntry, StackId};

/// The ledger of this process.
pub(super) static LEDGER: Ledger = Ledger::new();

/// What is kept of a block beside its row: 0 for a block of Rust's allocator.
pub(super) type Note = u8;

/// The entry of a block in the block table.
#[inline(always)]
fn noted(row: RowId, note: Note) -> u32 {
    row | u32::from(note) << ROW_BITS
}

pub(super) struct Ledger {
    blocks: BlockTable,
    pub(super) rows: CounterRows,
    pub(super) threads: ThreadRecords,
}

impl Ledger {
    pub(super) const fn new() -> Self {
        Self {
            blocks: BlockTable::new(),
            rows: CounterRows::new(),
            threads: ThreadRecords::new(),
        }
    }

    /// Records a block, which adds `amount` to its row. Returns false if there is no room for it.
    #[inline(always)]
    pub(super) fn insert(
        &'static self,
        thread: &ThreadCounters,
        row: OwnedRow,
        address: usize,
        amount: Amount,
    ) -> bool {
        self.insert_noted(thread, row, address, amount, 0)
    }

    /// As [`Ledger::insert`], with a note.
    #[inline(always)]
    pub(super) fn insert_noted(
        &'static self,
        thread: &ThreadCounters,
        row: OwnedRow,
        address: usize,
        amount: Amount,
        note: Note,
    ) -> bool {
        match self.blocks.insert(address, noted(row.id(), note)) {
            Some(old) => {
                if old != NO_ROW {
                    self.subtract_replaced(old & ROW_MASK, amount.blocks, amount.chunk);
                }
                thread.add(row, amount);
                true
            }
            None => {
                thread.refuse(amount);
                false
            }
        }
    }

    /// Subtracts a block whose free was not seen: another block has its address now. Its size is
    /// unknown, so the mean of its row is taken.
    #[cold]
    #[inline(never)]
    fn subtract_replaced(&'static self, row: RowId, blocks: i32, chunk: i64) {
        let bytes = self.rows.mean_size(row) * i64::from(blocks);
        let amount = Amount {
            blocks,
            bytes,
            chunk,
        };
        self.rows.subtract_stray(row, amount);
    }

    /// Removes the block at an address and returns its row, in which it still counts; [`NO_ROW`] if
    /// the block is not in the ledger. Takes no lock.
    #[inline(always)]
    pub(super) fn remove(&self, address: usize) -> RowId {
        self.remove_noted(address).0
    }

    /// As [`Ledger::remove`], with the note of the block.
    #[inline(always)]
    pub(super) fn remove_noted(&self, address: usize) -> (RowId, Note) {
        let entry = self.blocks.remove(address);
        (entry & ROW_MASK, (entry >> ROW_BITS) as Note)
    }

    /// The note of the live block at an address; 0 if there is none.
    pub(super) fn note(&self, address: usize) -> Note {
        (self.blocks.get(address) >> ROW_BITS) as Note
    }

    /// Puts back a block that [`Ledger::remove`] has removed.
    #[inline]
    pub(super) fn put_back(&self, address: usize, row: RowId) {
        self.put_back_noted(address, row, 0);
    }

    /// As [`Ledger::put_back`], with a note.
    #[inline]
    pub(super) fn put_back_noted(&self, address: usize, row: RowId, note: Note) {
        if row != NO_ROW {
            // The levels that lead to it exist, so that this cannot fail.
            let _ = self.blocks.insert(address, noted(row, note));
        }
    }

    /// Subtracts a removed block from its row.
    #[inline(always)]
    pub(super) fn subtract(&self, thread: &ThreadCounters, row: RowId, amount: Amount) {
        match row {
            NO_ROW => thread.add_unknown_free(),
            row => self.rows.subtract(thread, row, amount),
        }
    }

    /// Subtracts a removed block from its row, in a signal handler or in the recorder's own work.
    #[inline(always)]
    pub(super) fn subtract_stray(&self, row: RowId, amount: Amount) {
        if row != NO_ROW {
            self.rows.subtract_stray(row, amount);
        }
    }

    /// Calls `visit` with the address of every live block, in ascending order.
    pub(super) fn for_each_block(&self, mut visit: impl FnMut(usize)) {
        self.blocks.for_each(|address, _| visit(address));
    }

    /// The stack and birth of the block at an address.
    pub(super) fn origin(&'static self, address: usize) -> Option<(StackId, Birth)> {
        match self.blocks.get(address) & ROW_MASK {
            NO_ROW => None,
            row => {
                let (stack_id, birth) = self.rows.stack_and_birth(row)?;
                Some((stack_id, state::own(birth)))
            }
        }
    }

    /// Whether no thread holds a lock of it.
    #[cfg(feature = "preload")]
    pub(super) fn is_unlocked(&self) -> bool {
        self.blocks.is_unlocked() && self.threads.is_unlocked()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals::sum(self.threads.counters(), self.rows.stray_frees())
    }

    /// Calls `visit` with the live blocks of each stack and birth, in parts that add up. Other
    /// threads may allocate meanwhile: each row is seen at one instant, not all at the same.
    pub(super) fn for_each(&'static self, mut visit: impl FnMut(CensusEntry)) {
        self.rows.for_each(|stack_id, birth, bytes, blocks| {
            let birth = state::own(birth);
            visit(CensusEntry {
                stack_id,
                birth: birth.cycle,
                phase: birth.phase,
                bytes,
                blocks,
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_whose_free_was_not_seen_counts_once() {
        static LEDGER: Ledger = Ledger::new();
        let thread = &LEDGER.threads.take().unwrap().counters;
        let row = LEDGER.rows.of_stack(thread, 1);
        LEDGER.insert(thread, row, 0x1000, Amount::of_block(40, 48));
        LEDGER.insert(thread, row, 0x1000, Amount::of_block(40, 48));
        let mut seen = Vec::new();
        LEDGER.for_each(|entry| seen.push((entry.bytes, entry.blocks)));
        assert_eq!(seen, [(40, 1)]);
        assert_eq!(LEDGER.totals().live_blocks, 1);
        let removed = LEDGER.remove(0x1000);
        LEDGER.put_back(0x1000, removed);
        LEDGER.subtract(thread, LEDGER.remove(0x1000), Amount::of_block(40, 48));
        assert_eq!(LEDGER.totals().live_bytes, 0);
        LEDGER.subtract(thread, LEDGER.remove(0x1000), Amount::of_block(40, 48));
        assert_eq!(LEDGER.totals().unknown_frees, 1);
    }

    #[test]
    fn a_record_passes_to_the_next_thread_with_its_counts() {
        static LEDGER: Ledger = Ledger::new();
        let first = LEDGER.threads.take().unwrap();
        let row = LEDGER.rows.of_stack(&first.counters, 1);
        first.counters.add(row, Amount::of_block(100, 0));
        LEDGER.threads.give_back(first);
        let second = LEDGER.threads.take().unwrap();
        assert!(std::ptr::eq(first, second));
        let amount = Amount::of_block(100, 0);
        LEDGER.rows.subtract(&second.counters, row.id(), amount);
        assert_eq!(LEDGER.totals().live_blocks, 0);
        assert!(!std::ptr::eq(second, LEDGER.threads.take().unwrap()));
    }
}
