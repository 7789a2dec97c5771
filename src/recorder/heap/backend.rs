//! The calls to the allocator that the hooks wrap.
//!
//! Invariant: a block goes back to the allocator that it came from, because the backend of a process
//! never changes (`state.rs`). The exceptions are blocks of [`Backend::SystemUnderDhat`] and of
//! dhat, which both come from the system's allocator.

use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;

#[cfg(feature = "dhat")]
use super::dhat;
#[cfg(feature = "jemalloc")]
use super::jemalloc;
#[cfg(feature = "jemalloc")]
use super::state;
use super::state::{Backend, State};

/// Allocates from the backend of a state.
///
/// # Safety
/// That of [`GlobalAlloc::alloc`].
#[inline(always)]
pub(super) unsafe fn alloc<A: GlobalAlloc + 'static, const ZEROED: bool>(
    inner: &A,
    state: State,
    layout: Layout,
) -> *mut u8 {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc` for `layout`, which is passed on
    // unchanged (tests/hostile.rs: `every_layout_is_served`).
    unsafe {
        match (state.backend(), ZEROED) {
            #[cfg(feature = "jemalloc")]
            (Backend::Jemalloc, false) => jemalloc::ALLOCATOR.alloc(layout),
            #[cfg(feature = "jemalloc")]
            (Backend::Jemalloc, true) => jemalloc::ALLOCATOR.alloc_zeroed(layout),
            #[cfg(feature = "dhat")]
            (Backend::Dhat, false) => dhat::ALLOCATOR.alloc(layout),
            #[cfg(feature = "dhat")]
            (Backend::Dhat, true) => dhat::ALLOCATOR.alloc_zeroed(layout),
            (Backend::SystemUnderDhat, false) => System.alloc(layout),
            (Backend::SystemUnderDhat, true) => System.alloc_zeroed(layout),
            (_, false) => inner.alloc(layout),
            (_, true) => inner.alloc_zeroed(layout),
        }
    }
}

/// Frees a block of the backend of a state.
///
/// # Safety
/// That of [`GlobalAlloc::dealloc`], for a block of this backend.
#[inline(always)]
pub(super) unsafe fn dealloc<A: GlobalAlloc + 'static>(
    inner: &A,
    state: State,
    at: *mut u8,
    layout: Layout,
) {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and `at` and `layout` are
    // passed on unchanged to the allocator that the block came from (the invariant of this module;
    // tests/hostile.rs: `every_layout_is_served`).
    unsafe {
        match state.backend() {
            #[cfg(feature = "jemalloc")]
            Backend::Jemalloc => jemalloc::ALLOCATOR.dealloc(at, layout),
            #[cfg(feature = "dhat")]
            Backend::Dhat => dhat::ALLOCATOR.dealloc(at, layout),
            Backend::SystemUnderDhat => System.dealloc(at, layout),
            _ => inner.dealloc(at, layout),
        }
    }
}

/// Reallocates a block of the backend of a state.
///
/// # Safety
/// That of [`GlobalAlloc::realloc`], for a block of this backend.
#[inline]
pub(super) unsafe fn realloc<A: GlobalAlloc + 'static>(
    inner: &A,
    state: State,
    at: *mut u8,
    layout: Layout,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, and all arguments are passed
    // on unchanged to the allocator that the block came from (the invariant of this module;
    // tests/hostile.rs: `every_layout_is_served`).
    unsafe {
        match state.backend() {
            #[cfg(feature = "jemalloc")]
            Backend::Jemalloc => jemalloc::ALLOCATOR.realloc(at, layout, new_size),
            #[cfg(feature = "dhat")]
            Backend::Dhat => dhat::ALLOCATOR.realloc(at, layout, new_size),
            Backend::SystemUnderDhat => System.realloc(at, layout, new_size),
            _ => inner.realloc(at, layout, new_size),
        }
    }
}

/// Allocates where the recorder is skipped: in a process that is not measured, and for all blocks
/// but the sampled ones.
///
/// # Safety
/// That of [`GlobalAlloc::alloc`], after [`try_skip`](super::sampler::try_skip) returned true.
#[inline(always)]
pub(super) unsafe fn skipped_alloc<A: GlobalAlloc + 'static, const ZEROED: bool>(
    inner: &A,
    layout: Layout,
) -> *mut u8 {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc` for `layout`, which is passed on
    // unchanged (tests/hostile.rs: `every_layout_is_served`).
    unsafe {
        match (skips_to_jemalloc(inner), ZEROED) {
            #[cfg(feature = "jemalloc")]
            (true, false) => jemalloc::ALLOCATOR.alloc(layout),
            #[cfg(feature = "jemalloc")]
            (true, true) => jemalloc::ALLOCATOR.alloc_zeroed(layout),
            (_, false) => inner.alloc(layout),
            (_, true) => inner.alloc_zeroed(layout),
        }
    }
}

/// Frees a block where the recorder is skipped.
///
/// # Safety
/// That of [`GlobalAlloc::dealloc`], for a block for which
/// [`may_be_recorded`](super::sampler::may_be_recorded) returned false.
#[inline(always)]
pub(super) unsafe fn skipped_dealloc<A: GlobalAlloc + 'static>(
    inner: &A,
    at: *mut u8,
    layout: Layout,
) {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`. A block that may not have
    // been recorded has the layout that the caller knows, and came from the allocator of this
    // process (heap/tests.rs: `a_block_is_freed_with_its_layout_whether_it_was_sampled_or_not`).
    unsafe {
        match skips_to_jemalloc(inner) {
            #[cfg(feature = "jemalloc")]
            true => jemalloc::ALLOCATOR.dealloc(at, layout),
            _ => inner.dealloc(at, layout),
        }
    }
}

/// Reallocates a block where the recorder is skipped.
///
/// # Safety
/// That of [`GlobalAlloc::realloc`], where both [`skipped_alloc`] and [`skipped_dealloc`] may be
/// called.
#[inline(always)]
pub(super) unsafe fn skipped_realloc<A: GlobalAlloc + 'static>(
    inner: &A,
    at: *mut u8,
    layout: Layout,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`. A block that may not have
    // been recorded has the layout that the caller knows, and came from the allocator of this
    // process (heap/tests.rs: `a_block_is_freed_with_its_layout_whether_it_was_sampled_or_not`).
    unsafe {
        match skips_to_jemalloc(inner) {
            #[cfg(feature = "jemalloc")]
            true => jemalloc::ALLOCATOR.realloc(at, layout, new_size),
            _ => inner.realloc(at, layout, new_size),
        }
    }
}

/// Whether calls that skip the recorder go to jemalloc and not to the backing allocator. A constant
/// where the backing allocator is jemalloc itself, whose calls are the same.
#[inline(always)]
fn skips_to_jemalloc<A>(_inner: &A) -> bool {
    #[cfg(feature = "jemalloc")]
    if core::any::type_name::<A>() != core::any::type_name_of_val(&jemalloc::ALLOCATOR) {
        return state::get().backend() == Backend::Jemalloc;
    }
    false
}
