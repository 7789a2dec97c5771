//! The second record of live blocks, which is compared with dhat's: with the backend dhat, the hooks
//! keep every block in both. With another backend, or without the feature `dhat`, nothing is kept.

use super::counter_row::RowId;
use super::state::State;

#[cfg(feature = "dhat")]
use super::{dhat, ledger::LEDGER, state::Backend};

/// What [`remove`] has removed.
pub(super) struct Removed {
    #[cfg(feature = "dhat")]
    block: Option<dhat::RemovedBlock>,
}

#[cfg(feature = "dhat")]
#[inline]
fn is_kept(state: State) -> bool {
    state.backend() == Backend::Dhat
}

/// Keeps a block that the ledger has recorded in a row.
#[inline(always)]
pub(super) fn insert(state: State, address: usize, size: usize, row: RowId) {
    #[cfg(feature = "dhat")]
    if is_kept(state) {
        let (stack_id, birth) = LEDGER.rows.stack_and_birth(row).unwrap_or_default();
        dhat::insert(address, size, stack_id, birth);
    }
    #[cfg(not(feature = "dhat"))]
    let _ = (state, address, size, row);
}

/// Removes a block that is about to be freed or reallocated.
#[inline(always)]
pub(super) fn remove(state: State, address: usize) -> Removed {
    #[cfg(not(feature = "dhat"))]
    let _ = (state, address);
    Removed {
        #[cfg(feature = "dhat")]
        block: match is_kept(state) {
            true => dhat::remove(address),
            false => None,
        },
    }
}

/// Puts back what [`remove`] has removed, after a `realloc` that failed.
#[inline(always)]
pub(super) fn put_back(removed: Removed) {
    #[cfg(feature = "dhat")]
    if let Some(block) = removed.block {
        dhat::put_back(block);
    }
    #[cfg(not(feature = "dhat"))]
    let Removed {} = removed;
}

/// Keeps the first stack of a block that was reallocated.
#[inline(always)]
pub(super) fn keep_origin(removed: Removed, new_address: usize) {
    #[cfg(feature = "dhat")]
    if let Some(block) = removed.block {
        dhat::keep_origin(block, new_address);
    }
    #[cfg(not(feature = "dhat"))]
    let (Removed {}, _) = (removed, new_address);
}
