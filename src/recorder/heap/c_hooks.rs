//! The hooks of C's allocator: they record what [`c_symbols`](super::c_symbols) is asked for.
//!
//! They take the steps of the module docs of [`heap`](super), with these differences:
//! 1. The size of a block that is freed is known by its note in the ledger (`c_sizes.rs`).
//! 2. A call inside another hook is passed through: an allocator of Rust's that takes its memory from
//!    C's is recorded there. Signal handlers may not call C's allocator.
//! 3. A block that is not in the ledger was allocated before recording began, and its free is counted
//!    nowhere.
//!
//! A process decides once whether it records (`c_mode.rs`). A forked copy stops.

use libc::c_void;

use super::amount::Amount;
use super::c_allocator::{self, MIN_ALIGN};
use super::c_heap;
#[cfg(feature = "preload")]
use super::c_mode::UNDECIDED;
use super::c_mode::{EVERY, MODE, OFF, SAMPLED};
use super::c_sizes::{note_of, take_size};
use super::counter_row::{NO_ROW, RowId};
use super::ledger::{LEDGER, Note};
use super::recording::record_free;
use super::sampler;
use super::stack_lookup::row_here;
use super::thread::{self, RecordedCall};
use crate::recorder::primitive::Ordering::Relaxed;

/// Blocks that a recorded sample is aligned to (`sampler.rs`).
const PAGE: usize = 4096;

/// What to do with a call.
#[inline(always)]
fn mode() -> u8 {
    let mode = MODE.load(Relaxed);
    #[cfg(feature = "preload")]
    if mode == UNDECIDED {
        return begin();
    }
    mode
}

/// Begins to record every block, at the first allocation of the process.
#[cfg(feature = "preload")]
#[cold]
#[inline(never)]
fn begin() -> u8 {
    // What follows may allocate for itself.
    MODE.store(OFF, Relaxed);
    super::startup::begin_preloaded();
    MODE.store(EVERY, Relaxed);
    EVERY
}

/// Allocates a block, for the stack of the function that this is inlined into.
///
/// # Safety
/// `align` is a power of two, or is not above [`MIN_ALIGN`].
#[inline(always)]
pub(super) unsafe fn alloc<const ZEROED: bool>(align: usize, size: usize) -> *mut c_void {
    // SAFETY: the contract of this function, which the page's alignment keeps too
    // (tests/exec.rs: `sizes_are_those_that_were_asked_for`).
    unsafe {
        let mode = mode();
        if mode == OFF || mode == SAMPLED && sampler::try_skip(size) {
            return c_allocator::alloc::<ZEROED>(align, size);
        }
        let Ok(call) = thread::enter() else {
            uncount(mode, size);
            return c_allocator::alloc::<ZEROED>(align, size);
        };
        let is_recorded = mode == EVERY || sampler::take_sample();
        let align = match mode == SAMPLED && is_recorded {
            true => align.max(PAGE),
            false => align,
        };
        let at = c_allocator::alloc::<ZEROED>(align, size);
        if is_recorded && !at.is_null() {
            record_here(call, mode, at, size);
        }
        call.leave();
        at
    }
}

/// Takes back the bytes that were counted until the next sample, for a block that is not the program's.
#[cold]
fn uncount(mode: u8, size: usize) {
    if mode == SAMPLED {
        sampler::uncount(size);
    }
}

/// Frees a block.
///
/// # Safety
/// `at` is null or a live block of glibc's, which is not used any more.
#[inline(always)]
pub(super) unsafe fn free(at: *mut c_void) {
    // SAFETY: the contract of this function. A block is removed from the ledger before it is freed:
    // see `recorded_hooks.rs`.
    unsafe {
        let mode = mode();
        if mode == OFF || mode == SAMPLED && !sampler::may_be_recorded(at.cast()) {
            return c_allocator::free(at);
        }
        match thread::enter() {
            Ok(call) => {
                let (row, note) = LEDGER.remove_noted(at as usize);
                if row != NO_ROW {
                    let amount = amount_of_removed(mode, at, row, note);
                    record_free(call, row, amount);
                }
                c_allocator::free(at);
                call.leave();
            }
            Err(_) => free_stray(mode, at),
        }
    }
}

/// Frees a block where the thread is inside a hook, or the recorder works for itself.
///
/// # Safety
/// That of [`free`].
#[cold]
#[inline(never)]
unsafe fn free_stray(mode: u8, at: *mut c_void) {
    // SAFETY: the contract of `free`.
    unsafe {
        remove_stray(mode, at);
        c_allocator::free(at);
    }
}

/// # Safety
/// `at` is null or a live block of glibc's.
unsafe fn remove_stray(mode: u8, at: *mut c_void) {
    let (row, note) = LEDGER.remove_noted(at as usize);
    if row != NO_ROW {
        // SAFETY: the contract of this function; a block in the ledger is not null.
        let amount = unsafe { amount_of_removed(mode, at, row, note) };
        LEDGER.subtract_stray(row, amount);
    }
}

/// Reallocates a block, for the stack of the function that this is inlined into.
///
/// # Safety
/// `at` is a live block of glibc's, and `new_size` is not 0.
#[inline(always)]
pub(super) unsafe fn realloc(at: *mut c_void, new_size: usize) -> *mut c_void {
    // SAFETY: the contract of this function (tests/exec.rs: `sizes_are_those_that_were_asked_for`).
    unsafe {
        let mode = mode();
        let is_skipped = mode == SAMPLED && sampler::try_skip(new_size);
        if mode == OFF || is_skipped && !sampler::may_be_recorded(at.cast()) {
            return c_allocator::realloc(at, new_size);
        }
        let Ok(call) = thread::enter() else {
            if !is_skipped {
                uncount(mode, new_size);
            }
            return realloc_stray(mode, at, new_size);
        };
        let (row, note) = LEDGER.remove_noted(at as usize);
        let old_size = match row {
            NO_ROW => 0,
            row => size_of_removed(at, row, note),
        };
        let is_recorded = mode == EVERY || !is_skipped && sampler::take_sample();
        let new = match mode == SAMPLED && is_recorded {
            true => move_to_page(at, new_size),
            false => c_allocator::realloc(at, new_size),
        };
        if new.is_null() {
            if row != NO_ROW {
                // It failed, and the block lives on as it was.
                LEDGER.put_back_noted(at as usize, row, note_of(at, old_size));
            }
        } else {
            if row != NO_ROW {
                record_free(call, row, amount_of(mode, at, old_size));
            }
            if is_recorded {
                record_here(call, mode, new, new_size);
            }
        }
        call.leave();
        new
    }
}

/// Reallocates a block where the thread is inside a hook, or the recorder works for itself.
///
/// # Safety
/// That of [`realloc`].
#[cold]
#[inline(never)]
unsafe fn realloc_stray(mode: u8, at: *mut c_void, new_size: usize) -> *mut c_void {
    // SAFETY: the contract of `realloc`. The block is moved by hand, because its old size is not
    // known any more once it was reallocated, and its entry must be removed before its free. A new
    // block overlaps no live one, and both are at least as large as what is copied.
    unsafe {
        if LEDGER.note(at as usize) == 0 {
            return c_allocator::realloc(at, new_size);
        }
        let new = c_allocator::alloc::<false>(MIN_ALIGN, new_size);
        if !new.is_null() {
            let copied = c_allocator::usable_bytes(at).min(new_size);
            core::ptr::copy_nonoverlapping(at.cast::<u8>(), new.cast(), copied);
            free_stray(mode, at);
        }
        new
    }
}

/// Moves a block to the begin of a page; null if there is no memory.
///
/// # Safety
/// `at` is a live block of glibc's, and is not used any more if this does not return null.
unsafe fn move_to_page(at: *mut c_void, new_size: usize) -> *mut c_void {
    // SAFETY: the contract of this function. A new block overlaps no live one, and both are at least
    // as large as what is copied.
    unsafe {
        let new = c_allocator::alloc::<false>(PAGE, new_size);
        if !new.is_null() {
            let copied = c_allocator::usable_bytes(at).min(new_size);
            core::ptr::copy_nonoverlapping(at.cast::<u8>(), new.cast(), copied);
            c_allocator::free(at);
        }
        new
    }
}

/// Records a block for the stack of the function that this is inlined into.
///
/// # Safety
/// `at` is a live block of glibc's, for which `size` was asked.
#[inline(always)]
unsafe fn record_here(call: RecordedCall, mode: u8, at: *mut c_void, size: usize) {
    let amount = amount_of(mode, at, size);
    let counters = &call.record.counters;
    let Some(row) = row_here(call, None) else {
        counters.refuse(amount);
        return;
    };
    // SAFETY: the contract of this function.
    let note = unsafe { note_of(at, size) };
    LEDGER.insert_noted(counters, row, at as usize, amount, note);
    call.thread.live.add(amount.bytes);
}

/// What a recorded block counts.
#[inline(always)]
fn amount_of(mode: u8, at: *mut c_void, size: usize) -> Amount {
    let chunk = c_heap::chunk(size);
    match mode {
        SAMPLED => sampler::weighted(at.cast(), size, chunk),
        _ => Amount::of_block(size, chunk),
    }
}

/// What a block counts that was removed from the ledger.
///
/// # Safety
/// `at` is a live block of glibc's, removed with this row and note.
#[inline(always)]
unsafe fn amount_of_removed(mode: u8, at: *mut c_void, row: RowId, note: Note) -> Amount {
    // SAFETY: the contract of this function.
    let size = unsafe { size_of_removed(at, row, note) };
    amount_of(mode, at, size)
}

/// The size of a block that was removed from the ledger. Of one that Rust's allocator has recorded and
/// C code frees, the mean of its row: no such size is known.
///
/// # Safety
/// `at` is a live block of glibc's, removed with this row and note.
#[inline(always)]
unsafe fn size_of_removed(at: *mut c_void, row: RowId, note: Note) -> usize {
    match note {
        0 => LEDGER.rows.mean_size(row) as usize,
        // SAFETY: the contract of this function.
        note => unsafe { take_size(at, note) },
    }
}
