//! The hooks of a process that records every block over jemalloc, for blocks of the usual alignment:
//! the fast path.
//!
//! They differ from `recorded_hooks.rs` in three ways. What depends on the state is decided at
//! compile time. They are not generic over the backing allocator, so that they are compiled with this
//! crate, where everything that they call can be inlined. And they are compiled a second time for
//! processors with AES.
//!
//! Rare cases go on in functions of their own, so that these keep few registers across calls.

use core::alloc::{GlobalAlloc, Layout};

use super::amount::Amount;
use super::counter_row::NO_ROW;
use super::jemalloc::ALLOCATOR;
use super::layout_cache;
use super::ledger::LEDGER;
use super::recording::{count_unrecorded, record, record_free};
use super::registers::{Registers, frame_pointer, registers};
use super::stack_lookup::{row_from, row_here};
use super::state::State;
use super::thread::{self, RecordedCall};

/// The alignment of every jemalloc block that is at least this large.
const MIN_ALIGN: usize = 16;

/// Whether these hooks may be used for a block of this alignment and at least this size.
#[inline(always)]
pub(super) fn apply(state: State, align: usize, size: usize) -> bool {
    matches!(state, State::JEMALLOC_AES | State::JEMALLOC) && align <= MIN_ALIGN && align <= size
}

/// Allocates and records a block.
///
/// # Safety
/// That of [`GlobalAlloc::alloc`], and [`apply`] returned true.
#[inline(always)]
pub(super) unsafe fn alloc<const ZEROED: bool>(state: State, size: usize) -> *mut u8 {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, and the state has AES only if
    // the processor does (startup.rs; heap/tests.rs: `the_ledger_equals_a_plain_model_over_jemalloc`).
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if state == State::JEMALLOC_AES {
            return match ZEROED {
                false => alloc_aes(size),
                true => alloc_zeroed_aes(size),
            };
        }
        let _ = state;
        match ZEROED {
            false => alloc_plain(size),
            true => alloc_zeroed_plain(size),
        }
    }
}

/// Reallocates a block, and records the new one.
///
/// # Safety
/// That of [`GlobalAlloc::realloc`], and [`apply`] returned true for the smaller of both sizes.
#[inline(always)]
pub(super) unsafe fn realloc(state: State, at: *mut u8, size: usize, new_size: usize) -> *mut u8 {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, and the state has AES only if
    // the processor does (startup.rs; heap/tests.rs: `the_ledger_equals_a_plain_model_over_jemalloc`).
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if state == State::JEMALLOC_AES {
            return realloc_aes(at, size, new_size);
        }
        let _ = state;
        realloc_plain(at, size, new_size)
    }
}

/// Hooks with these names, compiled with or without AES.
macro_rules! hooks {
    ($aes:literal, $alloc:ident, $alloc_zeroed:ident, $realloc:ident, $(#[$features:meta])?) => {
        /// # Safety
        /// That of [`alloc`], on a processor with the features of this function.
        // Not inlined: the walk starts at this function's frame.
        $(#[$features])?
        #[inline(never)]
        unsafe fn $alloc(size: usize) -> *mut u8 {
            // SAFETY: the contract of this function is that of `recorded_alloc`.
            unsafe { recorded_alloc::<false, $aes>(size) }
        }

        /// # Safety
        /// That of [`alloc`], on a processor with the features of this function.
        $(#[$features])?
        #[inline(never)]
        unsafe fn $alloc_zeroed(size: usize) -> *mut u8 {
            // SAFETY: the contract of this function is that of `recorded_alloc`.
            unsafe { recorded_alloc::<true, $aes>(size) }
        }

        /// # Safety
        /// That of [`realloc`], on a processor with the features of this function.
        $(#[$features])?
        #[inline(never)]
        unsafe fn $realloc(at: *mut u8, size: usize, new_size: usize) -> *mut u8 {
            // SAFETY: the contract of this function is that of `recorded_realloc`.
            unsafe { recorded_realloc::<$aes>(at, size, new_size) }
        }
    };
}

hooks!(false, alloc_plain, alloc_zeroed_plain, realloc_plain,);

#[cfg(target_arch = "x86_64")]
hooks!(true, alloc_aes, alloc_zeroed_aes, realloc_aes, #[target_feature(enable = "aes,avx")]);

/// What a block counts: nothing of it is in the C library's heap.
#[inline(always)]
fn amount_of(size: usize) -> Amount {
    Amount::of_block(size, 0)
}

/// The layout with which jemalloc is called: the alignment of a block is no concern, because
/// jemalloc aligns any block of its size enough.
///
/// # Safety
/// The size is that of a valid layout, and is not 0: it is at least the block's alignment
/// ([`apply`]).
#[inline(always)]
unsafe fn layout(size: usize) -> Layout {
    // SAFETY: the contract of this function; a size that is valid with a larger alignment is valid
    // with 1.
    unsafe {
        core::hint::assert_unchecked(size > 0);
        Layout::from_size_align_unchecked(size, 1)
    }
}

/// # Safety
/// That of [`alloc`].
#[inline(always)]
unsafe fn jemalloc_alloc<const ZEROED: bool>(size: usize) -> *mut u8 {
    // SAFETY: the contract of `alloc`: the size is that of a valid layout and not 0
    // (tests/hostile.rs: `every_layout_is_served`).
    unsafe {
        match ZEROED {
            false => ALLOCATOR.alloc(layout(size)),
            true => ALLOCATOR.alloc_zeroed(layout(size)),
        }
    }
}

/// # Safety
/// That of [`alloc`]; with `AES`, keys are computed by AES in this process.
#[inline(always)]
unsafe fn recorded_alloc<const ZEROED: bool, const AES: bool>(size: usize) -> *mut u8 {
    // SAFETY: the contract of this function covers `aes_slot`, `alloc_slow` and `jemalloc_alloc`
    // (heap/tests.rs: `the_ledger_equals_a_plain_model_over_jemalloc`).
    unsafe {
        // First, so that the words that it reads from memory are there when they are needed.
        let aes_slot = aes_slot::<AES>();
        let Some(call) = thread::enter_fast() else {
            let at = alloc_slow::<ZEROED>(size, registers());
            prevent_tail_call();
            return at;
        };
        let at = jemalloc_alloc::<ZEROED>(size);
        if !at.is_null() {
            let row = row_here(call, aes_slot);
            let amount = amount_of(size);
            record(call, row, State::JEMALLOC, at as usize, size, amount);
        }
        call.leave_untimed();
        at
    }
}

/// The slot of the running function's stack in the layout cache, if the caller is compiled for AES.
///
/// # Safety
/// With `AES`, keys are computed by AES in this process.
#[inline(always)]
unsafe fn aes_slot<const AES: bool>() -> Option<usize> {
    // Not a closure, which would have a frame of its own in a build without optimization.
    if AES {
        // SAFETY: where keys are computed, the build has frame pointers, so that the running
        // function's frame is at its frame pointer (unwinder.rs; heap/tests.rs:
        // `the_ledger_equals_a_plain_model_over_jemalloc`).
        return Some(unsafe { layout_cache::slot_of(frame_pointer()) });
    }
    None
}

/// Keeps the call before it from being a tail call, so that the frame of the running function is
/// live while that call runs.
#[inline(always)]
fn prevent_tail_call() {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: no instructions.
    unsafe {
        core::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// Allocates a block where the thread is busy or new, or the call is timed. `start` is in the frame
/// of the hook, with which the recorded stack begins.
///
/// # Safety
/// That of [`alloc`].
#[cold]
#[inline(never)]
unsafe fn alloc_slow<const ZEROED: bool>(size: usize, start: Registers) -> *mut u8 {
    let call = thread::enter();
    // SAFETY: the contract of `alloc`: the size is that of a valid layout and not 0.
    let at = unsafe { jemalloc_alloc::<ZEROED>(size) };
    match call {
        Ok(call) => {
            if !at.is_null() {
                let row = row_from(call, start);
                let amount = amount_of(size);
                record(call, row, State::JEMALLOC, at as usize, size, amount);
            }
            call.leave();
        }
        Err(reason) => count_unrecorded(State::JEMALLOC, reason),
    }
    at
}

/// Frees a block.
///
/// # Safety
/// That of [`GlobalAlloc::dealloc`], and [`apply`] returned true.
#[inline(never)]
pub(super) unsafe fn dealloc(at: *mut u8, size: usize) {
    // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and jemalloc frees a block
    // with the size that it was allocated with (heap/tests.rs:
    // `the_ledger_equals_a_plain_model_over_jemalloc`).
    unsafe {
        let Some(call) = thread::enter_fast() else {
            return dealloc_slow(at, size);
        };
        // Removed before it is freed: see `recorded_hooks.rs`.
        let row = LEDGER.remove(at as usize);
        LEDGER.subtract(&call.record.counters, row, amount_of(size));
        if row != NO_ROW && call.thread.live.subtract(size as i64) {
            return dealloc_and_publish(call, at, size);
        }
        call.leave_untimed();
        ALLOCATOR.dealloc(at, layout(size));
    }
}

/// Frees a block where the thread is busy or new, or the call is timed.
///
/// # Safety
/// That of [`dealloc`].
#[cold]
#[inline(never)]
unsafe fn dealloc_slow(at: *mut u8, size: usize) {
    let row = LEDGER.remove(at as usize);
    let call = thread::enter();
    match call {
        Ok(call) => record_free(call, row, amount_of(size)),
        Err(_) => LEDGER.subtract_stray(row, amount_of(size)),
    }
    // SAFETY: the contract of `dealloc`: `at` is a live block of jemalloc's of this size.
    unsafe { ALLOCATOR.dealloc(at, layout(size)) };
    if let Ok(call) = call {
        call.leave();
    }
}

/// Frees a block where the thread publishes its live bytes.
///
/// # Safety
/// That of [`dealloc`].
#[inline(never)]
unsafe fn dealloc_and_publish(call: RecordedCall, at: *mut u8, size: usize) {
    call.thread.live.publish();
    call.leave_untimed();
    // SAFETY: the contract of `dealloc`: `at` is a live block of jemalloc's of this size.
    unsafe { ALLOCATOR.dealloc(at, layout(size)) };
}

/// # Safety
/// That of [`realloc`]; with `AES`, keys are computed by AES in this process.
#[inline(always)]
unsafe fn recorded_realloc<const AES: bool>(at: *mut u8, size: usize, new_size: usize) -> *mut u8 {
    // SAFETY: the contract of this function for `AES`.
    let aes_slot = unsafe { aes_slot::<AES>() };
    // Removed before it is freed: see `recorded_hooks.rs`. It still counts in its row until it is
    // known to have moved.
    let row = LEDGER.remove(at as usize);
    let call = thread::enter();
    // SAFETY: the contract of `realloc`: `at` is a live block of jemalloc's of this size, and the new
    // size is that of a valid layout and not 0.
    let new = unsafe { ALLOCATOR.realloc(at, layout(size), new_size) };
    if new.is_null() {
        // It failed, and the block lives on as it was.
        LEDGER.put_back(at as usize, row);
    }
    let (old, amount) = (amount_of(size), amount_of(new_size));
    match call {
        Ok(call) => {
            if !new.is_null() {
                record_free(call, row, old);
                let row = row_here(call, aes_slot);
                record(call, row, State::JEMALLOC, new as usize, new_size, amount);
            }
            call.leave();
        }
        Err(reason) => {
            count_unrecorded(State::JEMALLOC, reason);
            if !new.is_null() {
                LEDGER.subtract_stray(row, old);
            }
        }
    }
    new
}
