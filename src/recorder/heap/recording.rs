//! What the hooks do besides calling the allocator: count a block that was allocated or freed.

use super::amount::Amount;
use super::c_heap;
use super::counter_row::{NO_ROW, OwnedRow, RowId};
use super::ledger::LEDGER;
use super::stack_lookup::row_here;
use super::state::{Backend, State};
use super::thread::{NotRecorded, RecordedCall};
use super::witness;
use crate::recorder::primitive::{AtomicU64, Ordering::Relaxed};

/// Allocations that were not recorded, because their thread was inside a hook.
static REENTRANT: AtomicU64 = AtomicU64::new(0);

/// Allocations that were not recorded, because there was no record for their thread.
static WITHOUT_RECORD: AtomicU64 = AtomicU64::new(0);

/// Counts an allocated block for the stack of the function that this is inlined into. Returns false
/// if there is no room for it.
#[inline(always)]
pub(super) fn record_here(
    call: RecordedCall,
    state: State,
    address: usize,
    size: usize,
    amount: Amount,
) -> bool {
    let row = row_here(call, None);
    record(call, row, state, address, size, amount)
}

/// Counts an allocated block in a row. Returns false if there is no room for it.
#[inline(always)]
pub(super) fn record(
    call: RecordedCall,
    row: Option<OwnedRow>,
    state: State,
    address: usize,
    size: usize,
    amount: Amount,
) -> bool {
    let counters = &call.record.counters;
    let Some(row) = row else {
        counters.refuse(amount);
        return false;
    };
    let is_recorded = LEDGER.insert(counters, row, address, amount);
    witness::insert(state, address, size, row.id());
    call.thread.live.add(amount.bytes);
    is_recorded
}

/// Counts a freed block that was removed from the ledger.
#[inline(always)]
pub(super) fn record_free(call: RecordedCall, row: RowId, amount: Amount) {
    LEDGER.subtract(&call.record.counters, row, amount);
    if row != NO_ROW && call.thread.live.subtract(amount.bytes) {
        call.thread.live.publish();
    }
}

/// What a block counts where every block is recorded.
#[inline(always)]
pub(super) fn amount_of(state: State, size: usize) -> Amount {
    Amount::of_block(size, chunk_of(state, size))
}

/// Bytes that a block takes in the C library's heap, if it is there.
#[inline]
pub(super) fn chunk_of(state: State, size: usize) -> u64 {
    match state.backend() {
        Backend::Jemalloc => 0,
        _ => c_heap::chunk(size),
    }
}

/// Counts an allocation that is not recorded.
#[cold]
#[inline(never)]
pub(super) fn count_unrecorded(state: State, reason: NotRecorded) {
    match reason {
        // dhat allocates for itself inside every call. That is its cost, not the workload's.
        NotRecorded::Reentrant if state.backend() != Backend::Dhat => &REENTRANT,
        NotRecorded::NoRecord => &WITHOUT_RECORD,
        _ => return,
    }
    .fetch_add(1, Relaxed);
}

/// Allocations that were not recorded, because their thread was inside a hook.
pub(super) fn reentrant_allocations() -> u64 {
    REENTRANT.load(Relaxed)
}

/// Allocations that were not recorded, because there was no record for their thread.
pub(super) fn allocations_without_record() -> u64 {
    WITHOUT_RECORD.load(Relaxed)
}
