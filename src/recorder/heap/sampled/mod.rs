//! The hooks of a process that records one block in so many bytes: almost every call is a subtraction
//! or a look at an address more than the bare allocator's.

use core::alloc::{GlobalAlloc, Layout};
#[cfg(feature = "jemalloc")]
use core::sync::atomic::Ordering::Relaxed;

#[cfg(feature = "jemalloc")]
use super::jemalloc;
use super::rows::{NO_ROW, RowId};
use super::thread::{self, Hook};
#[cfg(feature = "jemalloc")]
use super::{Backend, STATE};
use super::{Heap, LEDGER, chunk, end, record_here};

mod draw;

pub(crate) use draw::{
    ENV_SAMPLE, every, may_be_recorded, pass_all, pass_frees, passes, set_every, take_back,
};

impl<A: GlobalAlloc> Heap<A> {
    /// What need not be looked at: where nothing is recorded, and where almost nothing is.
    ///
    /// # Safety
    /// As [`GlobalAlloc::alloc`], after [`passes`] said yes.
    #[inline(always)]
    pub(super) unsafe fn passed_alloc<const ZEROED: bool>(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match (goes_to_jemalloc::<A>(), ZEROED) {
                #[cfg(feature = "jemalloc")]
                (true, false) => jemalloc::ALLOCATOR.alloc(layout),
                #[cfg(feature = "jemalloc")]
                (true, true) => jemalloc::ALLOCATOR.alloc_zeroed(layout),
                (_, false) => self.inner.alloc(layout),
                (_, true) => self.inner.alloc_zeroed(layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`], of a block that [`may_be_recorded`] said no of.
    #[inline(always)]
    pub(super) unsafe fn passed_dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match goes_to_jemalloc::<A>() {
                #[cfg(feature = "jemalloc")]
                true => jemalloc::ALLOCATOR.dealloc(at, layout),
                _ => self.inner.dealloc(at, layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`], and as both above.
    #[inline(always)]
    pub(super) unsafe fn passed_realloc(
        &self,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match goes_to_jemalloc::<A>() {
                #[cfg(feature = "jemalloc")]
                true => jemalloc::ALLOCATOR.realloc(at, layout, new_size),
                _ => self.inner.realloc(at, layout, new_size),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    // Not inlined: the walk starts at this function's frame, which must be one of its own.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn drawn_alloc<const ZEROED: bool>(
        &self,
        state: u8,
        layout: Layout,
    ) -> *mut u8 {
        let Ok(hook) = thread::enter() else {
            draw::take_back(layout.size());
            // SAFETY: the caller's promise, passed on.
            return unsafe { self.backend_alloc::<ZEROED>(state, layout) };
        };
        let paged = draw::paged(layout).filter(|_| draw::is_drawn());
        // SAFETY: of the same size as the caller's, and aligned to more than that asks for.
        let mut at = unsafe { self.backend_alloc::<ZEROED>(state, paged.unwrap_or(layout)) };
        if at.is_null() {
            draw::take_back(layout.size());
        } else if let Some(paged) = paged {
            let size = layout.size();
            let amount = draw::stands_for(at, size, chunk(state, size));
            if !record_here(hook, state, at as usize, size, amount) {
                // What is not in the ledger will be freed as the caller asked for it.
                // SAFETY: allocated above, and given to nobody.
                at = unsafe {
                    self.backend_dealloc(state, at, paged);
                    self.backend_alloc::<ZEROED>(state, layout)
                };
            }
        }
        hook.leave();
        at
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(never)]
    pub(super) unsafe fn paged_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        let row = LEDGER.take(at as usize);
        if row == NO_ROW {
            // SAFETY: the caller's promise, passed on.
            return unsafe { self.backend_dealloc(state, at, layout) };
        }
        let hook = thread::enter().ok();
        end_drawn(hook, row, state, at, layout.size());
        if let Some(hook) = hook {
            hook.leave();
        }
        let paged = draw::paged(layout).unwrap_or(layout);
        // SAFETY: what is in the ledger was allocated with this layout (heap/tests.rs:
        // `a_block_goes_back_as_it_was_allocated_whether_it_was_drawn_or_not`).
        unsafe { self.backend_dealloc(state, at, paged) }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(never)]
    pub(super) unsafe fn drawn_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
        passes: bool,
    ) -> *mut u8 {
        let row = LEDGER.take(at as usize);
        let hook = thread::enter().ok();
        // SAFETY: the caller promises that this is a layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        let new_paged = match hook {
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
        // SAFETY: `old` is how the block was allocated, and what it is to become is aligned to no less
        // than the caller's asks for.
        let mut new = unsafe { self.move_to(state, at, old, new_paged.unwrap_or(new_layout)) };
        if new.is_null() {
            // It failed, and the old block lives on as it was.
            LEDGER.put_back(at as usize, row);
            if hook.is_some() {
                draw::take_back(new_size);
            }
        } else {
            end_drawn(hook, row, state, at, layout.size());
            if let (Some(hook), Some(paged)) = (hook, new_paged) {
                let amount = draw::stands_for(new, new_size, chunk(state, new_size));
                if !record_here(hook, state, new as usize, new_size, amount) {
                    // As where one is drawn that is new.
                    // SAFETY: it was moved to that layout above, and given to nobody.
                    let moved = unsafe { self.move_to(state, new, paged, new_layout) };
                    new = if moved.is_null() { new } else { moved };
                }
            }
        }
        if let Some(hook) = hook {
            hook.leave();
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

/// Whether what passes goes to jemalloc and not to the allocator that the heap was laid over. Known to the
/// compiler where that is jemalloc itself, whose calls are the same.
#[inline(always)]
fn goes_to_jemalloc<A>() -> bool {
    #[cfg(feature = "jemalloc")]
    if core::any::type_name::<A>() != core::any::type_name_of_val(&jemalloc::ALLOCATOR) {
        return Backend::of_state(STATE.load(Relaxed)) == Backend::Jemalloc;
    }
    false
}

/// Ends a block of a row; of [`NO_ROW`], it was not recorded.
fn end_drawn(hook: Option<Hook>, row: RowId, state: u8, at: *mut u8, size: usize) {
    // In a forked copy nothing is counted: to open a book takes a lock that may be held for ever.
    if row == NO_ROW || every().is_none() {
        return;
    }
    let amount = draw::stands_for(at, size, chunk(state, size));
    match hook {
        Some(hook) => end(hook, row, amount),
        None => LEDGER.end_stray(row, amount),
    }
}
