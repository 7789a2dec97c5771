//! The allocator of this library itself: glibc, whose blocks are not recorded.

use core::alloc::{GlobalAlloc, Layout};

use crate::recorder::heap::c_allocator::{MIN_ALIGN, alloc, free, realloc};

/// glibc's allocator as one of Rust's.
#[derive(Debug)]
pub(crate) struct CAllocator;

// SAFETY: each method passes its arguments to the function of glibc's with the same contract
// (tests/exec.rs: `sizes_are_those_that_were_asked_for`). An alignment is a power of two.
unsafe impl GlobalAlloc for CAllocator {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the alignment of a layout is a power of two.
        unsafe { alloc::<false>(layout.align(), layout.size()).cast() }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the alignment of a layout is a power of two.
        unsafe { alloc::<true>(layout.align(), layout.size()).cast() }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, at: *mut u8, _: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`: a live block of this
        // allocator.
        unsafe { free(at.cast()) }
    }

    #[inline(always)]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`: a live block of this
        // allocator. A new block overlaps no live one, and both are at least as large as what is
        // copied.
        unsafe {
            if layout.align() <= MIN_ALIGN {
                return realloc(at.cast(), new_size).cast();
            }
            let new = alloc::<false>(layout.align(), new_size).cast::<u8>();
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(at, new, layout.size().min(new_size));
                free(at.cast());
            }
            new
        }
    }
}
