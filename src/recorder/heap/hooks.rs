//! [`Heap`], the global allocator: decides for each call which hooks handle it.

use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;

#[cfg(feature = "jemalloc")]
use super::jemalloc_hooks;
use super::state::{self, Backend, Mode, State};
use super::{backend, recorded_hooks, sampled_hooks, sampler, startup};

/// The global allocator that can be measured.
///
/// Install it once, in the executable or the test:
///
/// ```
/// #[global_allocator]
/// static HEAP: afterdrop::Heap = afterdrop::Heap::new();
/// # fn main() { let _ = vec![1]; }
/// ```
///
/// In a process that afterdrop did not start for measuring, every call is passed to the wrapped
/// allocator, at the cost of a subtraction or a test of the address, and a branch. In the measured
/// process, environment variables choose the allocator before the first allocation: the wrapped one,
/// or jemalloc or dhat where those features are on. A *ledger* records every block: its address,
/// size, birth cycle and phase, and the interned backtrace of its allocation. If sampling is on, it
/// records sampled blocks only.
///
/// # What is recorded, and what is not
/// 1. Every successful `alloc`, `alloc_zeroed` and `realloc` of any thread. A `realloc` ends the old
///    block and begins a new one, born now, at the call site that reallocated it, even if the address
///    stays the same.
/// 2. Not recorded, but counted and reported: allocations made while the same thread is already
///    inside a hook, by a signal handler. Their frees are seen.
/// 3. Not seen at all: memory mapped directly, and C code's `malloc` without the feature `c-heap`.
/// 4. A process that is forked off does not record.
#[derive(Debug)]
pub struct Heap<A = System> {
    pub(super) inner: A,
    /// Whether the process records by itself, for a service that is judged while it runs.
    live: bool,
}

impl Heap {
    /// Wraps the system's allocator.
    pub const fn new() -> Self {
        Self::over(System)
    }

    /// Wraps the system's allocator, and records samples in every process from its first allocation
    /// on, for [`Live`](crate::live::Live): about one block in each 512 KiB that are allocated.
    ///
    /// With the feature `jemalloc`, jemalloc serves the blocks. `AFTERDROP_LIVE` sets another number
    /// of bytes, or is `off`.
    ///
    /// ```
    /// #[global_allocator]
    /// static HEAP: afterdrop::Heap = afterdrop::Heap::live();
    /// # fn main() {}
    /// ```
    #[cfg(feature = "live")]
    pub const fn live() -> Self {
        Self::live_over(System)
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Heap<A> {
    /// Wraps the allocator that the program already uses, such as mimalloc.
    ///
    /// ```
    /// use std::alloc::System;
    /// #[global_allocator]
    /// static HEAP: afterdrop::Heap<System> = afterdrop::Heap::over(System);
    /// # fn main() {}
    /// ```
    pub const fn over(inner: A) -> Self {
        Self { inner, live: false }
    }

    /// As [`Heap::live`], over the allocator that the program already uses. It serves sampled blocks
    /// at addresses that are aligned to a page.
    #[cfg(feature = "live")]
    pub const fn live_over(inner: A) -> Self {
        Self { inner, live: true }
    }
}

// SAFETY: every method passes its layout to one allocator and returns what that returned. A block
// goes back to the allocator and with the layout that it was allocated with (backend.rs,
// sampled_hooks.rs). The recorder neither unwinds nor allocates through itself (tests/hostile.rs:
// `every_layout_is_served`, over a backing allocator that aborts if it is re-entered).
unsafe impl<A: GlobalAlloc + 'static> GlobalAlloc for Heap<A> {
    // Always inlined: skipping the recorder takes a cycle, and a call would take another.
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of both.
        unsafe {
            if sampler::try_skip(layout.size()) {
                return backend::skipped_alloc::<A, false>(&self.inner, layout);
            }
            cold_path();
            self.measured_alloc::<false>(state::get(), layout)
        }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`, which is that of
        // both.
        unsafe {
            if sampler::try_skip(layout.size()) {
                return backend::skipped_alloc::<A, true>(&self.inner, layout);
            }
            cold_path();
            self.measured_alloc::<true>(state::get(), layout)
        }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, which is that of both.
        unsafe {
            if !sampler::may_be_recorded(at) {
                return backend::skipped_dealloc(&self.inner, at, layout);
            }
            cold_path();
            self.measured_dealloc(state::get(), at, layout);
        }
    }

    #[inline(always)]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let skipped = sampler::try_skip(new_size);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, which is that of both.
        unsafe {
            if skipped && !sampler::may_be_recorded(at) {
                return backend::skipped_realloc(&self.inner, at, layout, new_size);
            }
            cold_path();
            self.measured_realloc(state::get(), at, layout, new_size, skipped)
        }
    }
}

/// Marks the branch that calls it as the less likely one.
#[cold]
#[inline]
fn cold_path() {}

impl<A: GlobalAlloc + 'static> Heap<A> {
    /// # Safety
    /// That of [`GlobalAlloc::alloc`].
    #[inline(always)]
    pub(super) unsafe fn measured_alloc<const ZEROED: bool>(
        &self,
        state: State,
        layout: Layout,
    ) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of both.
        unsafe {
            #[cfg(feature = "jemalloc")]
            if jemalloc_hooks::apply(state, layout.align(), layout.size()) {
                sampler::uncount(layout.size());
                return jemalloc_hooks::alloc::<ZEROED>(state, layout.size());
            }
            self.other_alloc::<ZEROED>(state, layout)
        }
    }

    /// Allocates in any other state than those of `jemalloc_hooks.rs`.
    ///
    /// # Safety
    /// That of [`GlobalAlloc::alloc`].
    // Not inlined: the walk starts at this function's frame.
    #[inline(never)]
    unsafe fn other_alloc<const ZEROED: bool>(&self, state: State, layout: Layout) -> *mut u8 {
        let state = startup::decided::<A>(state, self.live);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of all.
        unsafe {
            match state.mode() {
                Mode::Every => {
                    sampler::uncount(layout.size());
                    recorded_hooks::alloc::<A, ZEROED>(&self.inner, state, layout)
                }
                Mode::Off => {
                    sampler::uncount(layout.size());
                    skip_recorder(state);
                    backend::alloc::<A, ZEROED>(&self.inner, state, layout)
                }
                Mode::Sampled => sampled_hooks::alloc::<A, ZEROED>(&self.inner, state, layout),
            }
        }
    }

    /// # Safety
    /// That of [`GlobalAlloc::dealloc`].
    #[inline(always)]
    pub(super) unsafe fn measured_dealloc(&self, state: State, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, which is that of both.
        unsafe {
            #[cfg(feature = "jemalloc")]
            if jemalloc_hooks::apply(state, layout.align(), layout.size()) {
                return jemalloc_hooks::dealloc(at, layout.size());
            }
            self.other_dealloc(state, at, layout);
        }
    }

    /// Frees in any other state than those of `jemalloc_hooks.rs`.
    ///
    /// # Safety
    /// That of [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn other_dealloc(&self, state: State, at: *mut u8, layout: Layout) {
        let state = startup::decided::<A>(state, self.live);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, which is that of all.
        unsafe {
            match state.mode() {
                Mode::Every => recorded_hooks::dealloc(&self.inner, state, at, layout),
                Mode::Off => {
                    skip_recorder(state);
                    backend::dealloc(&self.inner, state, at, layout);
                }
                Mode::Sampled => {
                    sampler::skip_unaligned_frees();
                    sampled_hooks::dealloc(&self.inner, state, at, layout);
                }
            }
        }
    }

    /// # Safety
    /// That of [`GlobalAlloc::realloc`].
    #[inline(always)]
    pub(super) unsafe fn measured_realloc(
        &self,
        state: State,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
        skipped: bool,
    ) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, which is that of both.
        unsafe {
            #[cfg(feature = "jemalloc")]
            if jemalloc_hooks::apply(state, layout.align(), layout.size().min(new_size)) {
                sampler::uncount(new_size);
                return jemalloc_hooks::realloc(state, at, layout.size(), new_size);
            }
            self.other_realloc(state, at, layout, new_size, skipped)
        }
    }

    /// Reallocates in any other state than those of `jemalloc_hooks.rs`.
    ///
    /// # Safety
    /// That of [`GlobalAlloc::realloc`].
    // Not inlined: the walk starts at this function's frame.
    #[inline(never)]
    unsafe fn other_realloc(
        &self,
        state: State,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
        skipped: bool,
    ) -> *mut u8 {
        let state = startup::decided::<A>(state, self.live);
        let inner = &self.inner;
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, which is that of all.
        unsafe {
            match state.mode() {
                Mode::Every => {
                    sampler::uncount(new_size);
                    recorded_hooks::realloc(inner, state, at, layout, new_size)
                }
                Mode::Off => {
                    sampler::uncount(new_size);
                    skip_recorder(state);
                    backend::realloc(inner, state, at, layout, new_size)
                }
                Mode::Sampled => {
                    sampled_hooks::realloc(inner, state, at, layout, new_size, skipped)
                }
            }
        }
    }
}

/// Where nothing is recorded: lets the further calls of this thread skip the recorder, unless the
/// backend is one that only [`backend::alloc`] knows.
fn skip_recorder(state: State) {
    if let Backend::Inner | Backend::Jemalloc = state.backend() {
        sampler::skip_all();
    }
}
