//! The hooks of a process that records one block in so many bytes: almost every call is a subtraction
//! or a look at an address more than the bare allocator's.

use core::alloc::{GlobalAlloc, Layout};

#[cfg(feature = "jemalloc")]
use super::jemalloc;
use super::rows::{NO_ROW, RowId};
use super::thread::{self, Thread};
use super::{Heap, LEDGER, PASS_THROUGH, chunk, end, record};

mod draw;

pub(crate) use draw::{ENV_SAMPLE, every, set_every};

impl<A: GlobalAlloc> Heap<A> {
    /// With [`STRAIGHT_ON`](super::STRAIGHT_ON): where nothing is recorded, and where almost nothing is.
    ///
    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[inline(always)]
    pub(super) unsafe fn straight_alloc<const ZEROED: bool>(
        &self,
        state: u8,
        layout: Layout,
    ) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match (draw::passes(layout.size()), ZEROED) {
                (false, _) => self.drawn_alloc::<ZEROED>(state, layout),
                #[cfg(feature = "jemalloc")]
                (true, false) if state != PASS_THROUGH => jemalloc::ALLOCATOR.alloc(layout),
                #[cfg(feature = "jemalloc")]
                (true, true) if state != PASS_THROUGH => jemalloc::ALLOCATOR.alloc_zeroed(layout),
                (true, false) => self.inner.alloc(layout),
                (true, true) => self.inner.alloc_zeroed(layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    // Not inlined: the walk starts at this function's frame, which must be one of its own.
    #[cold]
    #[inline(never)]
    unsafe fn drawn_alloc<const ZEROED: bool>(&self, state: u8, layout: Layout) -> *mut u8 {
        if state == PASS_THROUGH {
            draw::pass_all();
            // SAFETY: the caller's promise, passed on.
            return unsafe { self.backend_alloc::<ZEROED>(state, layout) };
        }
        let Ok(thread) = thread::enter() else {
            draw::take_back(layout.size());
            // SAFETY: the caller's promise, passed on.
            return unsafe { self.backend_alloc::<ZEROED>(state, layout) };
        };
        thread.start_clock();
        let paged = draw::paged(layout).filter(|_| draw::is_drawn());
        // SAFETY: of the same size as the caller's, and aligned to more than that asks for.
        let at = unsafe { self.backend_alloc::<ZEROED>(state, paged.unwrap_or(layout)) };
        if paged.is_some() && !at.is_null() {
            let amount = draw::stands_for(at, layout.size(), chunk(state, layout.size()));
            record(thread, state, at as usize, layout.size(), amount);
        }
        thread.stop_clock();
        thread.leave();
        at
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(always)]
    pub(super) unsafe fn straight_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match draw::may_be_recorded(at) {
                true => self.paged_dealloc(state, at, layout),
                #[cfg(feature = "jemalloc")]
                false if state != PASS_THROUGH => jemalloc::ALLOCATOR.dealloc(at, layout),
                false => self.inner.dealloc(at, layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn paged_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        let row = LEDGER.take(at as usize);
        if row == NO_ROW {
            // SAFETY: the caller's promise, passed on.
            return unsafe { self.backend_dealloc(state, at, layout) };
        }
        let thread = thread::enter().ok();
        end_drawn(thread, row, state, at, layout.size());
        if let Some(thread) = thread {
            thread.leave();
        }
        let paged = draw::paged(layout).unwrap_or(layout);
        // SAFETY: what is in the ledger was allocated with this layout (heap/tests.rs:
        // `a_block_goes_back_as_it_was_allocated_whether_it_was_drawn_or_not`).
        unsafe { self.backend_dealloc(state, at, paged) }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(always)]
    pub(super) unsafe fn straight_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        let passes = draw::passes(new_size);
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match passes && !draw::may_be_recorded(at) {
                false => self.drawn_realloc(state, at, layout, new_size, passes),
                #[cfg(feature = "jemalloc")]
                true if state != PASS_THROUGH => jemalloc::ALLOCATOR.realloc(at, layout, new_size),
                true => self.inner.realloc(at, layout, new_size),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(never)]
    unsafe fn drawn_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
        passes: bool,
    ) -> *mut u8 {
        if state == PASS_THROUGH {
            if !passes {
                draw::pass_all();
            }
            // SAFETY: the caller's promise, passed on.
            return unsafe { self.backend_realloc(state, at, layout, new_size) };
        }
        let row = LEDGER.take(at as usize);
        let thread = thread::enter().ok();
        // SAFETY: the caller promises that this is a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let new_paged = match thread {
            Some(_) if !passes => draw::paged(new_layout).filter(|_| draw::is_drawn()),
            Some(_) => None,
            None => {
                draw::take_back(new_size);
                None
            }
        };
        // As it was allocated.
        let old = match row {
            NO_ROW => layout,
            _ => draw::paged(layout).unwrap_or(layout),
        };
        let new_layout = new_paged.unwrap_or(new_layout);
        // SAFETY: `old` is how the block was allocated, and what it is to become is aligned to no less
        // than the caller's asks for.
        let new = unsafe { self.move_to(state, at, old, new_layout) };
        if new.is_null() {
            // It failed, and the old block lives on as it was.
            LEDGER.put_back(at as usize, row);
        } else {
            end_drawn(thread, row, state, at, layout.size());
            if let (Some(thread), Some(_)) = (thread, new_paged) {
                let amount = draw::stands_for(new, new_size, chunk(state, new_size));
                record(thread, state, new as usize, new_size, amount);
            }
        }
        if let Some(thread) = thread {
            thread.leave();
        }
        new
    }

    /// Makes a block one of another size and alignment; null if there is no memory, and then the block
    /// is as it was.
    ///
    /// # Safety
    /// `at` was allocated with `old`, and `new` is a layout of more than 0 bytes.
    unsafe fn move_to(&self, state: u8, at: *mut u8, old: Layout, new: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on; the two blocks are two.
        unsafe {
            if old.align() == new.align() {
                return self.backend_realloc(state, at, old, new.size());
            }
            let moved = self.backend_alloc::<false>(state, new);
            if !moved.is_null() {
                core::ptr::copy_nonoverlapping(at, moved, old.size().min(new.size()));
                self.backend_dealloc(state, at, old);
            }
            moved
        }
    }
}

// Over other allocators than jemalloc, which takes a jump or two more.
impl<A: GlobalAlloc> Heap<A> {
    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    pub(super) unsafe fn sampled_alloc<const ZEROED: bool>(
        &self,
        state: u8,
        layout: Layout,
    ) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match draw::passes(layout.size()) {
                true => self.backend_alloc::<ZEROED>(state, layout),
                false => self.drawn_alloc::<ZEROED>(state, layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    pub(super) unsafe fn sampled_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match draw::may_be_recorded(at) {
                false => self.backend_dealloc(state, at, layout),
                true => self.paged_dealloc(state, at, layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    pub(super) unsafe fn sampled_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        let passes = draw::passes(new_size);
        // SAFETY: the caller's promise, passed on.
        unsafe { self.drawn_realloc(state, at, layout, new_size, passes) }
    }
}

/// Ends a block of a row; of [`NO_ROW`], it was not recorded.
fn end_drawn(thread: Option<&'static Thread>, row: RowId, state: u8, at: *mut u8, size: usize) {
    // In a forked copy nothing is counted: to open a book takes a lock that may be held for ever.
    if row == NO_ROW || every().is_none() {
        return;
    }
    let amount = draw::stands_for(at, size, chunk(state, size));
    match thread {
        Some(thread) => end(thread, row, amount),
        None => LEDGER.end_stray(row, amount),
    }
}
