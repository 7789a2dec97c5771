//! Live blocks, exact: the number of its row at each block's address, and the counts in the row.
//!
//! The size of a block is in no table: whoever frees it says it ([`core::alloc::Layout`]).

use super::row::Amount;
use super::rows::{Book, NO_ROW, OwnRow, RowId, Rows, Totals};
use super::table::Table;
use crate::model::block::Birth;
use crate::model::block::CensusEntry;
use crate::model::block::StackId;

pub(super) struct Ledger {
    table: Table,
    pub(super) rows: Rows,
}

impl Ledger {
    pub(super) const fn new() -> Self {
        Self {
            table: Table::new(),
            rows: Rows::new(),
        }
    }

    /// Records a block, which counts for so much; false if there is no room for it.
    #[inline(always)]
    pub(super) fn insert(
        &'static self,
        book: &Book,
        row: OwnRow,
        address: usize,
        amount: Amount,
    ) -> bool {
        match self.table.put(address, row.id()) {
            Some(old) => {
                if old != NO_ROW {
                    self.end_unseen(old, amount.blocks, amount.chunk);
                }
                row.count(book, amount);
                true
            }
            None => {
                book.refuse(amount);
                false
            }
        }
    }

    /// Ends a block that was freed by nobody that was seen, for one that takes its place and as much.
    #[cold]
    #[inline(never)]
    fn end_unseen(&'static self, row: RowId, blocks: i32, chunk: i64) {
        let bytes = self.rows.mean_size(row) * i64::from(blocks);
        let amount = Amount {
            blocks,
            bytes,
            chunk,
        };
        self.rows.discount_stray(row, amount);
    }

    /// Takes the row of the block at an address out, which stays counted; [`NO_ROW`] if the block
    /// is not in the ledger. Takes no lock.
    #[inline(always)]
    pub(super) fn take(&self, address: usize) -> RowId {
        self.table.take(address)
    }

    /// Puts back what [`Ledger::take`] took out.
    #[inline]
    pub(super) fn put_back(&self, address: usize, row: RowId) {
        if row != NO_ROW {
            // There was room before.
            let _ = self.table.put(address, row);
        }
    }

    /// Ends a block that was taken out.
    #[inline(always)]
    pub(super) fn end(&self, book: &Book, row: RowId, amount: Amount) {
        match row {
            NO_ROW => book.unknown_free(),
            row => self.rows.discount(book, row, amount),
        }
    }

    /// The same inside a signal handler, or in the tool's own work.
    #[inline(always)]
    pub(super) fn end_stray(&self, row: RowId, amount: Amount) {
        if row != NO_ROW {
            self.rows.discount_stray(row, amount);
        }
    }

    /// Visits every live block by address.
    pub(super) fn for_each_block(&self, mut visit: impl FnMut(usize)) {
        self.table.for_each(|address, _| visit(address));
    }

    /// Where and when the block at an address was allocated.
    pub(super) fn origin(&'static self, address: usize) -> Option<(StackId, Birth)> {
        match self.table.get(address) {
            NO_ROW => None,
            row => {
                let (stack_id, birth) = self.rows.key(row)?;
                Some((stack_id, Birth::unpacked(birth)))
            }
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.rows.totals()
    }

    /// Calls `visit` with all live blocks, by stack and birth, in parts. Other threads may allocate
    /// meanwhile: each row is seen at one instant, not all of them at the same.
    pub(super) fn for_each(&'static self, mut visit: impl FnMut(CensusEntry)) {
        self.rows.for_each(|stack_id, birth, bytes, blocks| {
            let birth = Birth::unpacked(birth);
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
    fn what_was_freed_unseen_does_not_count_twice() {
        static LEDGER: Ledger = Ledger::new();
        let book = LEDGER.rows.open().unwrap();
        let row = LEDGER.rows.of_stack(book, 1);
        LEDGER.insert(book, row, 0x1000, Amount::of_block(40, 48));
        LEDGER.insert(book, row, 0x1000, Amount::of_block(40, 48));
        let mut seen = Vec::new();
        LEDGER.for_each(|lived| seen.push((lived.bytes, lived.blocks)));
        assert_eq!(seen, [(40, 1)]);
        assert_eq!(LEDGER.totals().live_blocks, 1);
        let taken = LEDGER.take(0x1000);
        LEDGER.put_back(0x1000, taken);
        LEDGER.end(book, LEDGER.take(0x1000), Amount::of_block(40, 48));
        assert_eq!(LEDGER.totals().live_bytes, 0);
        LEDGER.end(book, LEDGER.take(0x1000), Amount::of_block(40, 48));
        assert_eq!(LEDGER.totals().unknown_frees, 1);
    }
}
