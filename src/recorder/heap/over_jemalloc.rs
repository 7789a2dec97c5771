//! The hooks of a measured process over jemalloc, for blocks that are aligned as any are: the usual ones.
//! What depends on the state is settled, they are compiled with this crate, where all that they need is near,
//! and once more for processors that have AES.
//!
//! What is seldom goes on in functions of its own, so that these have little to keep across a call.

use core::alloc::{GlobalAlloc, Layout};

use super::jemalloc::ALLOCATOR;
use super::layout_cache;
use super::row::Amount;
use super::rows::NO_ROW;
use super::thread::{self, Hook};
use super::unwind::{Registers, frame, registers};
use super::{
    LEDGER, OVER_JEMALLOC, OVER_JEMALLOC_WITH_AES, count_unseen, end, record, row, row_from,
};

/// Alignment that jemalloc gives any block that is not smaller.
const ANY: usize = 16;

/// Whether these are the hooks for a block of this alignment, and at least this size.
#[inline(always)]
pub(super) fn takes(state: u8, align: usize, size: usize) -> bool {
    matches!(state, OVER_JEMALLOC_WITH_AES | OVER_JEMALLOC) && align <= ANY && align <= size
}

/// # Safety
/// As [`GlobalAlloc::alloc`], or `alloc_zeroed`; and [`takes`].
#[inline(always)]
pub(super) unsafe fn alloc<const ZEROED: bool>(state: u8, size: usize) -> *mut u8 {
    // SAFETY: the caller's promise, passed on; what needs AES is called where it was found.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if state == OVER_JEMALLOC_WITH_AES {
            return match ZEROED {
                false => with_aes::alloc(size),
                true => with_aes::alloc_zeroed(size),
            };
        }
        let _ = state;
        match ZEROED {
            false => plain::alloc(size),
            true => plain::alloc_zeroed(size),
        }
    }
}

/// # Safety
/// As [`GlobalAlloc::realloc`]; and [`takes`].
#[inline(always)]
pub(super) unsafe fn realloc(state: u8, at: *mut u8, size: usize, new_size: usize) -> *mut u8 {
    // SAFETY: as above.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if state == OVER_JEMALLOC_WITH_AES {
            return with_aes::realloc(at, size, new_size);
        }
        let _ = state;
        plain::realloc(at, size, new_size)
    }
}

/// Hooks that may use these features of the processor.
macro_rules! hooks {
    ($by_aes:literal, $(#[$features:meta])?) => {
        use super::*;

        /// # Safety
        /// As [`super::alloc`], on a processor that has what is asked for.
        // Not inlined: the walk starts at this function's frame, which must be one of its own.
        $(#[$features])?
        #[inline(never)]
        pub(super) unsafe fn alloc(size: usize) -> *mut u8 {
            // SAFETY: the caller's promise, passed on.
            unsafe { recorded_alloc::<false, $by_aes>(size) }
        }

        /// # Safety
        /// As [`super::alloc`], on a processor that has what is asked for.
        $(#[$features])?
        #[inline(never)]
        pub(super) unsafe fn alloc_zeroed(size: usize) -> *mut u8 {
            // SAFETY: the caller's promise, passed on.
            unsafe { recorded_alloc::<true, $by_aes>(size) }
        }

        /// # Safety
        /// As [`super::realloc`], on a processor that has what is asked for.
        $(#[$features])?
        #[inline(never)]
        pub(super) unsafe fn realloc(at: *mut u8, size: usize, new_size: usize) -> *mut u8 {
            // SAFETY: the caller's promise, passed on.
            unsafe { recorded_realloc::<$by_aes>(at, size, new_size) }
        }
    };
}

/// On any processor.
mod plain {
    hooks!(false,);
}

#[cfg(target_arch = "x86_64")]
mod with_aes {
    hooks!(true, #[target_feature(enable = "aes,avx")]);
}

/// For what a block counts: nothing of it is in the C library's heap.
#[inline(always)]
fn of_block(size: usize) -> Amount {
    Amount::of_block(size, 0)
}

/// # Safety
/// The size is not 0: it is at least the block's alignment ([`takes`]).
#[inline(always)]
unsafe fn layout(size: usize) -> Layout {
    // SAFETY: the caller's promise; such a size with another alignment was a layout before.
    unsafe {
        core::hint::assert_unchecked(size > 0);
        Layout::from_size_align_unchecked(size, 1)
    }
}

/// # Safety
/// As [`alloc`].
#[inline(always)]
unsafe fn jemalloc<const ZEROED: bool>(size: usize) -> *mut u8 {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match ZEROED {
            false => ALLOCATOR.alloc(layout(size)),
            true => ALLOCATOR.alloc_zeroed(layout(size)),
        }
    }
}

/// # Safety
/// As [`alloc`].
#[inline(always)]
unsafe fn recorded_alloc<const ZEROED: bool, const BY_AES: bool>(size: usize) -> *mut u8 {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        // Before all else, so that what it takes from memory is there when it is needed.
        let place = place::<BY_AES>();
        let Some(hook) = thread::enter_at_once() else {
            let at = alloc_anew::<ZEROED>(size, registers());
            keep_frame();
            return at;
        };
        let at = jemalloc::<ZEROED>(size);
        if !at.is_null() {
            let row = row(hook, place);
            record(hook, row, OVER_JEMALLOC, at as usize, size, of_block(size));
        }
        hook.leave_untimed();
        at
    }
}

/// Where the shape of the running function's stack is kept, where AES makes the keys.
///
/// # Safety
/// It does, if `BY_AES`.
#[inline(always)]
unsafe fn place<const BY_AES: bool>() -> Option<usize> {
    // No closure: it would have a frame of its own where nothing is optimized.
    if BY_AES {
        // SAFETY: where stacks have keys, the build has frame pointers.
        return Some(unsafe { layout_cache::place(frame()) });
    }
    None
}

/// A call before it is not the last thing in its function, whose frame therefore lives on in it.
#[inline(always)]
fn keep_frame() {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: it does nothing.
    unsafe {
        core::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// Where the thread is busy, or new, or the call is timed. `here` is in the hook, where its stack begins.
///
/// # Safety
/// As [`alloc`].
#[cold]
#[inline(never)]
unsafe fn alloc_anew<const ZEROED: bool>(size: usize, here: Registers) -> *mut u8 {
    let hook = thread::enter();
    // SAFETY: the caller's promise, passed on.
    let at = unsafe { jemalloc::<ZEROED>(size) };
    match hook {
        Ok(hook) => {
            if !at.is_null() {
                let row = row_from(hook, here);
                record(hook, row, OVER_JEMALLOC, at as usize, size, of_block(size));
            }
            hook.leave();
        }
        Err(busy) => count_unseen(OVER_JEMALLOC, busy),
    }
    at
}

/// # Safety
/// As [`GlobalAlloc::dealloc`]; and [`takes`].
#[inline(never)]
pub(super) unsafe fn dealloc(at: *mut u8, size: usize) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let Some(hook) = thread::enter_at_once() else {
            return dealloc_anew(at, size);
        };
        // Forget first: once freed, another thread may get this address and record it, and a late
        // forget would erase that thread's block.
        let row = LEDGER.take(at as usize);
        LEDGER.end(hook.book, row, of_block(size));
        if row != NO_ROW && hook.thread.shrink(size as i64) {
            return dealloc_and_step(hook, at, size);
        }
        hook.leave_untimed();
        ALLOCATOR.dealloc(at, layout(size));
    }
}

/// Where the thread is busy, or new, or the call is timed.
///
/// # Safety
/// As [`dealloc`].
#[cold]
#[inline(never)]
unsafe fn dealloc_anew(at: *mut u8, size: usize) {
    let row = LEDGER.take(at as usize);
    let hook = thread::enter();
    match hook {
        Ok(hook) => end(hook, row, of_block(size)),
        Err(_) => LEDGER.end_stray(row, of_block(size)),
    }
    // SAFETY: the caller's promise, passed on.
    unsafe { ALLOCATOR.dealloc(at, layout(size)) };
    if let Ok(hook) = hook {
        hook.leave();
    }
}

/// Where the process is told what the thread's live bytes have changed by.
///
/// # Safety
/// As [`dealloc`].
#[inline(never)]
unsafe fn dealloc_and_step(hook: Hook, at: *mut u8, size: usize) {
    hook.thread.take_step();
    hook.leave_untimed();
    // SAFETY: the caller's promise, passed on.
    unsafe { ALLOCATOR.dealloc(at, layout(size)) };
}

/// # Safety
/// As [`realloc`].
#[inline(always)]
unsafe fn recorded_realloc<const BY_AES: bool>(
    at: *mut u8,
    size: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: `BY_AES` is passed on.
    let place = unsafe { place::<BY_AES>() };
    // Forget first, as in `dealloc`; it is counted until it is known to have ended.
    let row = LEDGER.take(at as usize);
    let hook = thread::enter();
    // SAFETY: the caller's promise, passed on.
    let new = unsafe { ALLOCATOR.realloc(at, layout(size), new_size) };
    if new.is_null() {
        // It failed, and the old block lives on as it was.
        LEDGER.put_back(at as usize, row);
    }
    let (old, amount) = (of_block(size), of_block(new_size));
    match hook {
        Ok(hook) => {
            if !new.is_null() {
                end(hook, row, old);
                let row = super::row(hook, place);
                record(hook, row, OVER_JEMALLOC, new as usize, new_size, amount);
            }
            hook.leave();
        }
        Err(busy) => {
            count_unseen(OVER_JEMALLOC, busy);
            if !new.is_null() {
                LEDGER.end_stray(row, old);
            }
        }
    }
    new
}
