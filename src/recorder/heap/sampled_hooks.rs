//! The hooks of a process that records sampled blocks only, for the calls that do not skip the
//! recorder (`sampler.rs`).
//!
//! Invariants:
//! 1. A block is in the ledger if and only if it was allocated with a page-aligned layout
//!    ([`sampler::page_aligned`]). So a free knows the layout with which the block was allocated.
//! 2. What a block stands for depends on its address, its size and the interval only, so that its
//!    free subtracts what its allocation added.

use core::alloc::{GlobalAlloc, Layout};

use super::backend;
use super::counter_row::{NO_ROW, RowId};
use super::ledger::LEDGER;
use super::recording::{chunk_of, record_free, record_here};
use super::sampler;
use super::state::State;
use super::thread::{self, RecordedCall};

/// Allocates a block, and records it if a sample lies in it.
///
/// # Safety
/// That of [`GlobalAlloc::alloc`].
// Not inlined: the walk starts at this function's frame.
#[cold]
#[inline(never)]
pub(super) unsafe fn alloc<A: GlobalAlloc + 'static, const ZEROED: bool>(
    inner: &A,
    state: State,
    layout: Layout,
) -> *mut u8 {
    let Ok(call) = thread::enter() else {
        sampler::uncount(layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc` for `layout`.
        return unsafe { backend::alloc::<A, ZEROED>(inner, state, layout) };
    };
    let paged = sampler::page_aligned(layout).filter(|_| sampler::take_sample());
    // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc` for `layout`; the page-aligned
    // one has the same size and at least the same alignment (heap/tests.rs:
    // `a_block_is_freed_with_its_layout_whether_it_was_sampled_or_not`).
    let mut at = unsafe { backend::alloc::<A, ZEROED>(inner, state, paged.unwrap_or(layout)) };
    if at.is_null() {
        sampler::uncount(layout.size());
    } else if let Some(paged) = paged {
        let size = layout.size();
        let amount = sampler::weighted(at, size, chunk_of(state, size));
        if !record_here(call, state, at as usize, size, amount) {
            // A block that is not in the ledger is freed with the caller's layout.
            // SAFETY: `at` was allocated with `paged` above and is not used by anyone yet; the
            // caller keeps the contract of `GlobalAlloc::alloc` for `layout`.
            at = unsafe {
                backend::dealloc(inner, state, at, paged);
                backend::alloc::<A, ZEROED>(inner, state, layout)
            };
        }
    }
    call.leave();
    at
}

/// Frees a block that is aligned to a page, recorded or not.
///
/// # Safety
/// That of [`GlobalAlloc::dealloc`].
#[inline(never)]
pub(super) unsafe fn dealloc<A: GlobalAlloc + 'static>(
    inner: &A,
    state: State,
    at: *mut u8,
    layout: Layout,
) {
    let row = LEDGER.remove(at as usize);
    if row == NO_ROW {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and a block that is not
        // in the ledger was allocated with the caller's layout (invariant 1).
        return unsafe { backend::dealloc(inner, state, at, layout) };
    }
    let call = thread::enter().ok();
    record_sampled_free(call, row, state, at, layout.size());
    if let Some(call) = call {
        call.leave();
    }
    let paged = sampler::page_aligned(layout).unwrap_or(layout);
    // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and a block that is in the
    // ledger was allocated with the page-aligned layout (invariant 1; heap/tests.rs:
    // `a_block_is_freed_with_its_layout_whether_it_was_sampled_or_not`).
    unsafe { backend::dealloc(inner, state, at, paged) }
}

/// Reallocates a block, and records the new one if a sample lies in it. `skipped` is what
/// [`sampler::try_skip`] returned for that.
///
/// # Safety
/// That of [`GlobalAlloc::realloc`].
#[inline(never)]
pub(super) unsafe fn realloc<A: GlobalAlloc + 'static>(
    inner: &A,
    state: State,
    at: *mut u8,
    layout: Layout,
    new_size: usize,
    skipped: bool,
) -> *mut u8 {
    let row = LEDGER.remove(at as usize);
    let call = thread::enter().ok();
    // SAFETY: the contract of `GlobalAlloc::realloc` says that the new size is valid for this
    // alignment.
    let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
    let new_paged = match call {
        Some(_) if !skipped => sampler::page_aligned(new_layout).filter(|_| sampler::take_sample()),
        Some(_) => None,
        None => {
            sampler::uncount(new_size);
            None
        }
    };
    // The layout with which the block was allocated (invariant 1).
    let old = match row {
        NO_ROW => layout,
        _ => sampler::page_aligned(layout).unwrap_or(layout),
    };
    // SAFETY: `at` was allocated with `old`, and the new layout has the new size, which is not 0,
    // and at least the caller's alignment (heap/tests.rs:
    // `a_block_is_freed_with_its_layout_whether_it_was_sampled_or_not`).
    let mut new = unsafe { move_block(inner, state, at, old, new_paged.unwrap_or(new_layout)) };
    if new.is_null() {
        // It failed, and the block lives on as it was.
        LEDGER.put_back(at as usize, row);
        if call.is_some() {
            sampler::uncount(new_size);
        }
    } else {
        record_sampled_free(call, row, state, at, layout.size());
        if let (Some(call), Some(paged)) = (call, new_paged) {
            let amount = sampler::weighted(new, new_size, chunk_of(state, new_size));
            if !record_here(call, state, new as usize, new_size, amount) {
                // A block that is not in the ledger is freed with the caller's layout.
                // SAFETY: `new` was allocated with `paged` above and is not used by anyone yet.
                let moved = unsafe { move_block(inner, state, new, paged, new_layout) };
                new = if moved.is_null() { new } else { moved };
            }
        }
    }
    if let Some(call) = call {
        call.leave();
    }
    new
}

/// Moves a block to another layout. Returns null if there is no memory, and then leaves the block as
/// it was.
///
/// # Safety
/// `at` was allocated with `old` from this backend, and `new` has a size other than 0.
unsafe fn move_block<A: GlobalAlloc + 'static>(
    inner: &A,
    state: State,
    at: *mut u8,
    old: Layout,
    new: Layout,
) -> *mut u8 {
    // SAFETY: the contract of this function. A block that was just allocated overlaps no live one,
    // and both are at least as large as what is copied (heap/tests.rs:
    // `a_block_is_freed_with_its_layout_whether_it_was_sampled_or_not`).
    unsafe {
        if old.align() == new.align() {
            return backend::realloc(inner, state, at, old, new.size());
        }
        let moved = backend::alloc::<A, false>(inner, state, new);
        if !moved.is_null() {
            core::ptr::copy_nonoverlapping(at, moved, old.size().min(new.size()));
            backend::dealloc(inner, state, at, old);
        }
        moved
    }
}

/// Counts the free of a block that was removed from the ledger; of [`NO_ROW`], it was not recorded.
fn record_sampled_free(
    call: Option<RecordedCall>,
    row: RowId,
    state: State,
    at: *mut u8,
    size: usize,
) {
    // In a forked copy nothing is counted: sampling is off there.
    if row == NO_ROW || sampler::interval().is_none() {
        return;
    }
    let amount = sampler::weighted(at, size, chunk_of(state, size));
    match call {
        Some(call) => record_free(call, row, amount),
        None => LEDGER.subtract_stray(row, amount),
    }
}
