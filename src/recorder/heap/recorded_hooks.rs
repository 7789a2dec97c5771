//! The hooks of a process that records every block, over any backend and for any alignment.
//!
//! Each takes the steps of the module docs of [`heap`](super): a block is removed from the ledger
//! *before* it is freed. Once it is freed, another thread may get its address and record it, and a
//! late removal would remove that thread's block.

use core::alloc::{GlobalAlloc, Layout};

use super::backend;
use super::counter_row::RowId;
use super::ledger::LEDGER;
use super::recording::{amount_of, count_unrecorded, record_free, record_here};
use super::state::State;
use super::thread::{self, NotRecorded};
use super::witness;

/// Allocates and records a block, for the stack of the function that this is inlined into.
///
/// # Safety
/// That of [`GlobalAlloc::alloc`].
#[inline(always)]
pub(super) unsafe fn alloc<A: GlobalAlloc + 'static, const ZEROED: bool>(
    inner: &A,
    state: State,
    layout: Layout,
) -> *mut u8 {
    let call = match thread::enter() {
        Ok(call) => call,
        Err(reason) => {
            // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc` for `layout`.
            return unsafe { alloc_unrecorded::<A, ZEROED>(inner, reason, state, layout) };
        }
    };
    // Inside the hook, because dhat allocates for itself.
    // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc` for `layout`
    // (tests/hostile.rs: `every_layout_is_served`).
    let at = unsafe { backend::alloc::<A, ZEROED>(inner, state, layout) };
    if !at.is_null() {
        let size = layout.size();
        record_here(call, state, at as usize, size, amount_of(state, size));
    }
    call.leave();
    at
}

/// # Safety
/// That of [`GlobalAlloc::alloc`].
#[cold]
#[inline(never)]
unsafe fn alloc_unrecorded<A: GlobalAlloc + 'static, const ZEROED: bool>(
    inner: &A,
    reason: NotRecorded,
    state: State,
    layout: Layout,
) -> *mut u8 {
    count_unrecorded(state, reason);
    // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc` for `layout`. The block may be
    // freed through the backend of the state (backend.rs, the invariant; tests/hostile.rs:
    // `every_layout_is_served`).
    unsafe { backend::alloc::<A, ZEROED>(inner, state.for_own_blocks(), layout) }
}

/// Frees a block.
///
/// # Safety
/// That of [`GlobalAlloc::dealloc`].
#[inline(always)]
pub(super) unsafe fn dealloc<A: GlobalAlloc + 'static>(
    inner: &A,
    state: State,
    at: *mut u8,
    layout: Layout,
) {
    let row = LEDGER.remove(at as usize);
    let Ok(call) = thread::enter() else {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc` for `at` and `layout`.
        return unsafe { dealloc_stray(inner, row, state, at, layout) };
    };
    witness::remove(state, at as usize);
    record_free(call, row, amount_of(state, layout.size()));
    // Inside the hook, because dhat allocates and frees for itself.
    // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc` for `at` and `layout`
    // (tests/hostile.rs: `every_layout_is_served`).
    unsafe { backend::dealloc(inner, state, at, layout) };
    call.leave();
}

/// # Safety
/// That of [`GlobalAlloc::dealloc`].
#[cold]
#[inline(never)]
unsafe fn dealloc_stray<A: GlobalAlloc + 'static>(
    inner: &A,
    row: RowId,
    state: State,
    at: *mut u8,
    layout: Layout,
) {
    LEDGER.subtract_stray(row, amount_of(state, layout.size()));
    // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc` for `at` and `layout`
    // (heap/tests.rs: `the_ledger_equals_a_plain_model_after_any_calls`).
    unsafe { backend::dealloc(inner, state, at, layout) }
}

/// Reallocates a block, and records the new one for the stack of the function that this is inlined
/// into.
///
/// # Safety
/// That of [`GlobalAlloc::realloc`].
#[inline(always)]
pub(super) unsafe fn realloc<A: GlobalAlloc + 'static>(
    inner: &A,
    state: State,
    at: *mut u8,
    layout: Layout,
    new_size: usize,
) -> *mut u8 {
    // The block still counts in its row until it is known to have moved.
    let row = LEDGER.remove(at as usize);
    let call = match thread::enter() {
        Ok(call) => call,
        Err(reason) => {
            // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`.
            return unsafe { realloc_unrecorded(inner, reason, row, state, at, layout, new_size) };
        }
    };
    let removed = witness::remove(state, at as usize);
    // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc` (tests/hostile.rs:
    // `every_layout_is_served`).
    let new = unsafe { backend::realloc(inner, state, at, layout, new_size) };
    if new.is_null() {
        // It failed, and the block lives on as it was.
        LEDGER.put_back(at as usize, row);
        witness::put_back(removed);
    } else {
        record_free(call, row, amount_of(state, layout.size()));
        let amount = amount_of(state, new_size);
        record_here(call, state, new as usize, new_size, amount);
        witness::keep_origin(removed, new as usize);
    }
    call.leave();
    new
}

/// # Safety
/// That of [`GlobalAlloc::realloc`].
#[cold]
#[inline(never)]
unsafe fn realloc_unrecorded<A: GlobalAlloc + 'static>(
    inner: &A,
    reason: NotRecorded,
    row: RowId,
    state: State,
    at: *mut u8,
    layout: Layout,
    new_size: usize,
) -> *mut u8 {
    count_unrecorded(state, reason);
    // Allocates, copies and frees, because dhat's `realloc` would count the new block.
    // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`: `new_size` is not 0 and is
    // valid for the alignment, and `at` is a block of `layout`. The new block overlaps no live one
    // and is at least as large as what is copied (heap/tests.rs:
    // `the_ledger_equals_a_plain_model_after_any_calls`).
    unsafe {
        let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
        let new = backend::alloc::<A, false>(inner, state.for_own_blocks(), new_layout);
        if new.is_null() {
            LEDGER.put_back(at as usize, row);
        } else {
            core::ptr::copy_nonoverlapping(at, new, layout.size().min(new_size));
            LEDGER.subtract_stray(row, amount_of(state, layout.size()));
            backend::dealloc(inner, state, at, layout);
        }
        new
    }
}
