//! What runs inside `alloc` and `free` of the measured process.
//!
//! Nothing here knows what a cycle means: the runner sets the [`Birth`] that new blocks get, and
//! reads the ledger back at a boundary. Nothing here allocates from the heap that it counts.
//!
//! The way of an allocation: the hooks are here, those of the usual case in `over_jemalloc`. They enter the
//! state of their thread (`thread`). Its stack has a key (`shapes`) that was met before (`trail`, `met`); or it
//! is walked (`unwind`; `steps` and `cfi` where there are no frame pointers) and has a stack (`stacks`, `frames`).
//! The block counts in a row of the stack (`row`, `rows`), whose number is kept by its address (`table`), and both are
//! the `ledger`. Where one block in so many is recorded, `sampled` draws it first.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::alloc::System;

#[cfg(feature = "dhat")]
mod address_map;
pub(crate) mod c_heap;
#[cfg(target_arch = "x86_64")]
mod cfi;
#[cfg(feature = "dhat")]
pub(crate) mod dhat;
mod frames;
#[cfg(feature = "jemalloc")]
pub(crate) mod jemalloc;
mod layout_cache;
mod ledger;
mod mapped_ring;
mod mapped_vec;
mod mapping;
#[cfg(feature = "jemalloc")]
mod over_jemalloc;
mod prefetch;
mod row;
mod rows;
mod sampled;
mod spin_lock;
mod stack_cache;
mod stacks;
#[cfg(target_arch = "x86_64")]
mod steps;
mod table;
#[cfg(test)]
mod tests;
mod thread;
mod thread_stacks;
mod unwind;

pub(crate) use mapped_vec::MappedVec;
pub(crate) use mapping::{NoMemory, mapped_bytes};
pub(crate) use rows::Totals;
pub(crate) use sampled::{ENV_SAMPLE, every as sampled_every};
pub(crate) use thread::pause;
pub(crate) use thread_stacks::each as thread_stacks;

use crate::model::block::{Birth, CensusEntry, StackId};
use ledger::Ledger;
use row::Amount;
use rows::{OwnRow, RowId};
use stacks::Stacks;
use thread::{Busy, Hook};
#[cfg(feature = "jemalloc")]
use unwind::Registers;
pub(crate) use unwind::{Unwinder, frame};

/// Environment variable that turns recording on: the measured child has it, no other process.
pub(crate) const ENV_HEAP: &core::ffi::CStr = c"AFTERDROP_HEAP";

static LEDGER: Ledger = Ledger::new();
static STACKS: Stacks = Stacks::new();

/// The running cycle and phase: `cycle << 3 | phase`.
static NOW: AtomicU32 = AtomicU32::new(0);

/// Allocations made while their thread was inside a hook.
static UNSEEN: AtomicU64 = AtomicU64::new(0);

/// What [`Heap`] does, decided at the first allocation: the low bits are the [`Backend`], the high
/// ones say whether the ledger records, and what.
static STATE: AtomicU8 = AtomicU8::new(UNDECIDED);
const UNDECIDED: u8 = 0;
const RECORDING: u8 = 0x80;
/// With [`RECORDING`]: one block in so many bytes is recorded, not every one.
const SAMPLED: u8 = 0x40;
const PASS_THROUGH: u8 = Backend::Inner as u8;
/// The processor has AES, and the build has frame pointers: stacks have keys that are made by it.
const WITH_AES: u8 = 0x10;
/// The usual ones of a measured process, which have hooks of their own.
const OVER_JEMALLOC: u8 = RECORDING | Backend::Jemalloc as u8;
const OVER_JEMALLOC_WITH_AES: u8 = OVER_JEMALLOC | WITH_AES;

/// Which allocator is beneath the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Backend {
    /// The allocator that the [`Heap`] was laid over: the system's, if none was named.
    Inner = 1,
    /// jemalloc, prefixed.
    Jemalloc = 2,
    /// dhat, over the system's.
    Dhat = 3,
    /// One that this build does not have: the runner refuses to measure.
    Missing = 4,
    /// What dhat allocates from, for blocks that it is not to know. Never this process's state;
    /// such a block may be freed through dhat, which frees what it does not know there, too.
    BeneathDhat = 5,
}

impl Backend {
    fn of_state(state: u8) -> Self {
        match state & !(RECORDING | SAMPLED | WITH_AES) {
            2 => Self::Jemalloc,
            3 => Self::Dhat,
            4 => Self::Missing,
            5 => Self::BeneathDhat,
            _ => Self::Inner,
        }
    }
}

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
/// In a process that afterdrop did not start to be measured it passes every call straight through
/// to the allocator it was laid over, at the cost of a subtraction or a look at the address, and a branch. In
/// the measured child, the environment chooses, before the first allocation, what is beneath (that
/// allocator, or jemalloc or dhat where the features are on), and the *ledger* records every
/// block: address, size, birth cycle and phase, and the interned backtrace of its allocation; or, where
/// that is asked for, one block in so many bytes.
///
/// # What is recorded, and what is not
/// 1. Every successful `alloc`, `alloc_zeroed` and `realloc` of any thread. A `realloc` ends the
///    old block and begins a new one, born now, at the place that grew it, also if the address
///    stays the same.
/// 2. Not recorded, but counted and reported: allocations made while the same thread is already
///    inside a hook (by a signal handler). Frees are seen there, too.
/// 3. Not seen at all: C code's `malloc`, and memory mapped by hand.
/// 4. After `fork`, the copy does not record.
#[derive(Debug)]
pub struct Heap<A = System> {
    inner: A,
}

impl Heap {
    /// Over the system's allocator.
    pub const fn new() -> Self {
        Self { inner: System }
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Heap<A> {
    /// Over the allocator that the program uses already, such as mimalloc.
    ///
    /// ```
    /// use std::alloc::System;
    /// #[global_allocator]
    /// static HEAP: afterdrop::Heap<System> = afterdrop::Heap::over(System);
    /// # fn main() {}
    /// ```
    pub const fn over(inner: A) -> Self {
        Self { inner }
    }
}

// SAFETY: every method hands `layout` on unchanged and returns what the backend returned, and a
// block always goes back to the backend it came from, because the backend is chosen before the
// first allocation and never changes. The bookkeeping neither unwinds nor allocates through
// itself (tests/hostile.rs: `every_layout_is_served`, over an inner
// allocator that aborts if it is entered twice).
unsafe impl<A: GlobalAlloc> GlobalAlloc for Heap<A> {
    // Always inlined: passing on takes a cycle, and a call as much again.
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            if sampled::passes(layout.size()) {
                return self.passed_alloc::<false>(layout);
            }
            core::hint::cold_path();
            self.measured_alloc::<false>(STATE.load(Relaxed), layout)
        }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            if sampled::passes(layout.size()) {
                return self.passed_alloc::<true>(layout);
            }
            core::hint::cold_path();
            self.measured_alloc::<true>(STATE.load(Relaxed), layout)
        }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            if !sampled::may_be_recorded(at) {
                return self.passed_dealloc(at, layout);
            }
            core::hint::cold_path();
            self.measured_dealloc(STATE.load(Relaxed), at, layout);
        }
    }

    #[inline(always)]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let passes = sampled::passes(new_size);
        // SAFETY: the caller's promise, passed on.
        unsafe {
            if passes && !sampled::may_be_recorded(at) {
                return self.passed_realloc(at, layout, new_size);
            }
            core::hint::cold_path();
            self.measured_realloc(STATE.load(Relaxed), at, layout, new_size, passes)
        }
    }
}

impl<A: GlobalAlloc> Heap<A> {
    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[inline(always)]
    unsafe fn measured_alloc<const ZEROED: bool>(&self, state: u8, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            #[cfg(feature = "jemalloc")]
            if over_jemalloc::takes(state, layout.align(), layout.size()) {
                sampled::take_back(layout.size());
                return over_jemalloc::alloc::<ZEROED>(state, layout.size());
            }
            self.other_alloc::<ZEROED>(state, layout)
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[inline(always)]
    unsafe fn recorded_alloc<const ZEROED: bool>(&self, state: u8, layout: Layout) -> *mut u8 {
        let hook = match thread::enter() {
            Ok(hook) => hook,
            // SAFETY: the caller's promise, passed on.
            Err(busy) => return unsafe { self.unseen_alloc::<ZEROED>(busy, state, layout) },
        };
        // SAFETY: the caller's promise, passed on. Inside the guard, because dhat allocates for itself.
        let at = unsafe { self.backend_alloc::<ZEROED>(state, layout) };
        if !at.is_null() {
            let size = layout.size();
            record_here(hook, state, at as usize, size, of_block(state, size));
        }
        hook.leave();
        at
    }

    /// Over another allocator, or where it is not decided yet, or the ledger does not record.
    ///
    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    // Not inlined: the walk starts at this function's frame, which must be one of its own.
    #[inline(never)]
    unsafe fn other_alloc<const ZEROED: bool>(&self, state: u8, layout: Layout) -> *mut u8 {
        let state = decided::<A>(state);
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match state & (RECORDING | SAMPLED) {
                RECORDING => {
                    sampled::take_back(layout.size());
                    self.recorded_alloc::<ZEROED>(state, layout)
                }
                0 => {
                    sampled::take_back(layout.size());
                    pass_all(state);
                    self.backend_alloc::<ZEROED>(state, layout)
                }
                _ => self.drawn_alloc::<ZEROED>(state, layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[cold]
    #[inline(never)]
    unsafe fn unseen_alloc<const ZEROED: bool>(
        &self,
        busy: Busy,
        state: u8,
        layout: Layout,
    ) -> *mut u8 {
        count_unseen(state, busy);
        // SAFETY: the caller's promise, passed on.
        unsafe { self.backend_alloc::<ZEROED>(beneath(state), layout) }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(always)]
    unsafe fn measured_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            #[cfg(feature = "jemalloc")]
            if over_jemalloc::takes(state, layout.align(), layout.size()) {
                return over_jemalloc::dealloc(at, layout.size());
            }
            self.other_dealloc(state, at, layout);
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(always)]
    unsafe fn recorded_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        // Forget first: once freed, another thread may get this address and record it, and a
        // late forget would erase that thread's block.
        let row = LEDGER.take(at as usize);
        let Ok(hook) = thread::enter() else {
            // SAFETY: the caller's promise, passed on.
            return unsafe { self.stray_dealloc(row, state, at, layout) };
        };
        #[cfg(feature = "dhat")]
        dhat::take(state, at as usize);
        end(hook, row, of_block(state, layout.size()));
        // SAFETY: the caller's promise, passed on. Inside the guard, because dhat
        // allocates and frees for itself.
        unsafe { self.backend_dealloc(state, at, layout) };
        hook.leave();
    }

    /// Over another allocator, or where it is not decided yet, or the ledger does not record.
    ///
    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(never)]
    unsafe fn other_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        let state = decided::<A>(state);
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match state & (RECORDING | SAMPLED) {
                RECORDING => self.recorded_dealloc(state, at, layout),
                0 => {
                    pass_all(state);
                    self.backend_dealloc(state, at, layout);
                }
                _ => {
                    sampled::pass_frees();
                    self.paged_dealloc(state, at, layout);
                }
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[cold]
    #[inline(never)]
    unsafe fn stray_dealloc(&self, row: RowId, state: u8, at: *mut u8, layout: Layout) {
        LEDGER.end_stray(row, of_block(state, layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { self.backend_dealloc(state, at, layout) }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(always)]
    unsafe fn measured_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
        passes: bool,
    ) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            #[cfg(feature = "jemalloc")]
            if over_jemalloc::takes(state, layout.align(), layout.size().min(new_size)) {
                sampled::take_back(new_size);
                return over_jemalloc::realloc(state, at, layout.size(), new_size);
            }
            self.other_realloc(state, at, layout, new_size, passes)
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(always)]
    unsafe fn recorded_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        // Forget first, as in `recorded_dealloc`; it is counted until it is known to have ended.
        let row = LEDGER.take(at as usize);
        let hook = match thread::enter() {
            Ok(hook) => hook,
            Err(busy) => {
                // SAFETY: the caller's promise, passed on.
                return unsafe { self.unseen_realloc(busy, row, state, at, layout, new_size) };
            }
        };
        #[cfg(feature = "dhat")]
        let known = dhat::take(state, at as usize);
        // SAFETY: the caller's promise, passed on.
        let new = unsafe { self.backend_realloc(state, at, layout, new_size) };
        if new.is_null() {
            // It failed, and the old block lives on as it was.
            LEDGER.put_back(at as usize, row);
            #[cfg(feature = "dhat")]
            dhat::put_back(known);
        } else {
            end(hook, row, of_block(state, layout.size()));
            let amount = of_block(state, new_size);
            record_here(hook, state, new as usize, new_size, amount);
            #[cfg(feature = "dhat")]
            dhat::keep_origin(known, new as usize);
        }
        hook.leave();
        new
    }

    /// Over another allocator, or where it is not decided yet, or the ledger does not record.
    ///
    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline(never)]
    unsafe fn other_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
        passes: bool,
    ) -> *mut u8 {
        let state = decided::<A>(state);
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match state & (RECORDING | SAMPLED) {
                RECORDING => {
                    sampled::take_back(new_size);
                    self.recorded_realloc(state, at, layout, new_size)
                }
                0 => {
                    sampled::take_back(new_size);
                    pass_all(state);
                    self.backend_realloc(state, at, layout, new_size)
                }
                _ => self.drawn_realloc(state, at, layout, new_size, passes),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[cold]
    #[inline(never)]
    unsafe fn unseen_realloc(
        &self,
        busy: Busy,
        row: RowId,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        count_unseen(state, busy);
        // SAFETY: the caller's promise, passed on. By hand, because dhat's `realloc` would
        // take the block for the workload's.
        unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            let new = self.backend_alloc::<false>(beneath(state), new_layout);
            if new.is_null() {
                LEDGER.put_back(at as usize, row);
            } else {
                core::ptr::copy_nonoverlapping(at, new, layout.size().min(new_size));
                LEDGER.end_stray(row, of_block(state, layout.size()));
                self.backend_dealloc(state, at, layout);
            }
            new
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::alloc`].
    #[inline(always)]
    unsafe fn backend_alloc<const ZEROED: bool>(&self, state: u8, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on to the one backend of this process.
        unsafe {
            match (Backend::of_state(state), ZEROED) {
                #[cfg(feature = "jemalloc")]
                (Backend::Jemalloc, false) => jemalloc::ALLOCATOR.alloc(layout),
                #[cfg(feature = "jemalloc")]
                (Backend::Jemalloc, true) => jemalloc::ALLOCATOR.alloc_zeroed(layout),
                #[cfg(feature = "dhat")]
                (Backend::Dhat, false) => dhat::ALLOCATOR.alloc(layout),
                #[cfg(feature = "dhat")]
                (Backend::Dhat, true) => dhat::ALLOCATOR.alloc_zeroed(layout),
                (Backend::BeneathDhat, false) => System.alloc(layout),
                (Backend::BeneathDhat, true) => System.alloc_zeroed(layout),
                (_, false) => self.inner.alloc(layout),
                (_, true) => self.inner.alloc_zeroed(layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::dealloc`].
    #[inline(always)]
    unsafe fn backend_dealloc(&self, state: u8, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on to the one backend of this process.
        unsafe {
            match Backend::of_state(state) {
                #[cfg(feature = "jemalloc")]
                Backend::Jemalloc => jemalloc::ALLOCATOR.dealloc(at, layout),
                #[cfg(feature = "dhat")]
                Backend::Dhat => dhat::ALLOCATOR.dealloc(at, layout),
                Backend::BeneathDhat => System.dealloc(at, layout),
                _ => self.inner.dealloc(at, layout),
            }
        }
    }

    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    #[inline]
    unsafe fn backend_realloc(
        &self,
        state: u8,
        at: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        // SAFETY: the caller's promise, passed on to the one backend of this process.
        unsafe {
            match Backend::of_state(state) {
                #[cfg(feature = "jemalloc")]
                Backend::Jemalloc => jemalloc::ALLOCATOR.realloc(at, layout, new_size),
                #[cfg(feature = "dhat")]
                Backend::Dhat => dhat::ALLOCATOR.realloc(at, layout, new_size),
                Backend::BeneathDhat => System.realloc(at, layout, new_size),
                _ => self.inner.realloc(at, layout, new_size),
            }
        }
    }
}

/// Where nothing is recorded: nor need this thread's calls be looked at, unless the allocator is one that
/// only [`Heap::backend_alloc`] knows.
fn pass_all(state: u8) {
    if let Backend::Inner | Backend::Jemalloc = Backend::of_state(state) {
        sampled::pass_all();
    }
}

/// Counts a block that was allocated, for so much; false if there is no room for it. Inlined into the hook,
/// whose frame its stack begins with.
#[inline(always)]
fn record_here(hook: Hook, state: u8, address: usize, size: usize, amount: Amount) -> bool {
    let row = row(hook, None);
    record(hook, row, state, address, size, amount)
}

/// The row of the stack of the function that this is inlined into, which is kept at a place.
#[inline(always)]
fn row(hook: Hook, place: Option<usize>) -> Option<OwnRow> {
    let Hook { thread, book } = hook;
    let birth = NOW.load(Relaxed);
    match thread.row(book, birth, unwind::frame(), place) {
        Ok(row) => Some(row),
        // A walk begins with the registers of this function.
        Err(key) => thread.row_anew(&LEDGER, book, &STACKS, birth, key, unwind::registers()),
    }
}

/// The row of the stack that begins there.
#[cfg(feature = "jemalloc")]
fn row_from(hook: Hook, there: Registers) -> Option<OwnRow> {
    let Hook { thread, book } = hook;
    let birth = NOW.load(Relaxed);
    match thread.row(book, birth, there.bp, None) {
        Ok(row) => Some(row),
        Err(key) => thread.row_anew(&LEDGER, book, &STACKS, birth, key, there),
    }
}

/// Counts a block that was allocated, for so much, in its row; false if there is no room for it.
#[cfg_attr(
    not(feature = "dhat"),
    expect(unused_variables, reason = "for dhat's own table")
)]
#[inline(always)]
fn record(
    hook: Hook,
    row: Option<OwnRow>,
    state: u8,
    address: usize,
    size: usize,
    amount: Amount,
) -> bool {
    let Some(row) = row else {
        hook.book.refuse(amount);
        return false;
    };
    let is_kept = LEDGER.insert(hook.book, row, address, amount);
    #[cfg(feature = "dhat")]
    dhat::record(state, address, size, || {
        LEDGER.rows.key(row.id()).unwrap_or_default()
    });
    hook.thread.grow(amount.bytes);
    is_kept
}

/// Counts a block that was freed, for so much.
#[inline(always)]
fn end(hook: Hook, row: RowId, amount: Amount) {
    LEDGER.end(hook.book, row, amount);
    if row != rows::NO_ROW && hook.thread.shrink(amount.bytes) {
        hook.thread.take_step();
    }
}

/// For what a block counts where all are recorded.
#[inline(always)]
fn of_block(state: u8, size: usize) -> Amount {
    Amount::of_block(size, chunk(state, size))
}

/// What a block takes in the C library's heap, if it is there.
#[inline]
fn chunk(state: u8, size: usize) -> u64 {
    match Backend::of_state(state) {
        Backend::Jemalloc => 0,
        _ => c_heap::chunk(size),
    }
}

/// Blocks of threads for which there was no book.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Counts a block that is not recorded, for this reason.
#[cold]
#[inline(never)]
fn count_unseen(state: u8, busy: Busy) {
    match busy {
        // dhat allocates for itself inside every call: that is its cost, not the workload's.
        Busy::InHook if Backend::of_state(state) != Backend::Dhat => &UNSEEN,
        Busy::NoBook => &REFUSED,
        _ => return,
    }
    .fetch_add(1, Relaxed);
}

/// Where a block goes that is not the workload's: dhat must not count what the tool allocates.
fn beneath(state: u8) -> u8 {
    match Backend::of_state(state) {
        Backend::Dhat => Backend::BeneathDhat as u8,
        backend => backend as u8,
    }
}

/// Whether the allocator that the [`Heap`] was laid over is the system's.
static INNER_IS_SYSTEM: AtomicBool = AtomicBool::new(false);

#[inline]
fn decided<A>(state: u8) -> u8 {
    if state != UNDECIDED {
        return state;
    }
    let is_system = core::any::type_name::<A>() == core::any::type_name::<System>();
    INNER_IS_SYSTEM.store(is_system, Relaxed);
    decide()
}

/// Reads the environment and settles what this process does. Safe to run in two threads at once:
/// both come to the same answer.
#[cold]
fn decide() -> u8 {
    let state = match variable(ENV_HEAP) {
        b"" => PASS_THROUGH,
        b"system" => Backend::Inner as u8 | RECORDING,
        b"jemalloc" if cfg!(feature = "jemalloc") => Backend::Jemalloc as u8 | RECORDING,
        b"dhat" if cfg!(feature = "dhat") => Backend::Dhat as u8 | RECORDING,
        // Bare: the same allocator without the ledger, for comparisons.
        b"jemalloc-bare" if cfg!(feature = "jemalloc") => Backend::Jemalloc as u8,
        _ => Backend::Missing as u8,
    };
    let state = match (state & RECORDING, sampling()) {
        (RECORDING, Some(Ok(every))) if state != Backend::Dhat as u8 | RECORDING => {
            sampled::set_every(every);
            state | SAMPLED
        }
        (RECORDING, Some(_)) => Backend::Missing as u8,
        _ => state,
    };
    if state & RECORDING != 0 {
        // SAFETY: the handler is a plain function that only stores to atomics.
        unsafe { libc::pthread_atfork(None, None, Some(stop_recording_after_fork)) };
        // Before another thread sees that it records, and opens a book.
        thread::close_books_of_threads_that_end();
        thread::time_the_clock();
    }
    STATE.store(with_keys(state), Relaxed);
    state
}

/// A variable of the environment; empty if it is not there.
fn variable(name: &core::ffi::CStr) -> &'static [u8] {
    // SAFETY: the C library's environment is set up before any Rust code runs, and a name that is
    // not there gives null. Nothing in this process has called `setenv` before its first
    // allocation, and this is read before it.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if value.is_null() {
            return b"";
        }
        core::ffi::CStr::from_ptr(value).to_bytes()
    }
}

/// Of how many bytes one is drawn, if not all blocks are to be recorded; an error if that is no
/// number that can be.
fn sampling() -> Option<Result<u64, ()>> {
    let value = variable(ENV_SAMPLE);
    if value.is_empty() {
        return None;
    }
    let number = core::str::from_utf8(value)
        .ok()
        .and_then(|v| v.parse().ok());
    Some(number.filter(|&every| every > 0).ok_or(()))
}

/// Whether this process is a copy of one that was measured.
static IS_COPY: AtomicBool = AtomicBool::new(false);

/// In a forked copy another thread's lock may be held for ever, so the copy never takes one.
extern "C" fn stop_recording_after_fork() {
    IS_COPY.store(true, Relaxed);
    let backend = match Backend::of_state(STATE.load(Relaxed)) {
        // dhat's lock may be held too. Its blocks are the system's, and so can be freed there.
        Backend::Dhat => Backend::BeneathDhat,
        backend => backend,
    };
    if STATE.load(Relaxed) & SAMPLED != 0 {
        // What was recorded must still be freed as it was allocated; nothing more is drawn.
        sampled::set_every(0);
        return;
    }
    STATE.store(backend as u8, Relaxed);
}

/// Sets the birth of the blocks allocated from now on, by any thread.
pub(crate) fn set_now(birth: Birth) {
    NOW.store(birth.packed(), Relaxed);
}

/// Whether a [`Heap`] is this process's global allocator, found out by allocating once.
pub(crate) fn is_installed() -> bool {
    drop(std::hint::black_box(Box::new(0_u8)));
    STATE.load(Relaxed) != UNDECIDED
}

/// The allocator beneath, if the ledger records; `None` in a process that is not measured.
pub(crate) fn backend() -> Option<Backend> {
    let state = STATE.load(Relaxed);
    let backend = Backend::of_state(state);
    (state & RECORDING != 0 || backend == Backend::Missing).then_some(backend)
}

/// Whether this process runs a chosen allocator without the ledger, for a comparison.
pub(crate) fn is_bare() -> bool {
    STATE.load(Relaxed) == Backend::Jemalloc as u8
}

/// Environment variable that makes the child walk by call frame information in any build.
const ENV_UNWIND: &str = "AFTERDROP_UNWIND";

/// Settles how stacks are walked: by frame pointers where this build has them. Stacks recorded
/// before are those of set-up.
pub(crate) fn choose_unwinder() -> Unwinder {
    let chosen = unwind::choose(std::env::var_os(ENV_UNWIND).is_some_and(|how| how == "cfi"));
    STATE.store(with_keys(STATE.load(Relaxed)), Relaxed);
    chosen
}

/// The state, once it is known whether stacks have keys.
fn with_keys(state: u8) -> u8 {
    match state {
        OVER_JEMALLOC if layout_cache::are_by_aes() => OVER_JEMALLOC_WITH_AES,
        _ => state,
    }
}

/// Where the tool takes a lock outside a hook: a signal handler on this thread must not want it.
fn not_in_a_handler() -> thread::Paused {
    pause()
}

/// Sums over all live blocks and all calls so far.
pub(crate) fn totals() -> Totals {
    let _paused = not_in_a_handler();
    let mut totals = LEDGER.totals();
    totals.refused += REFUSED.load(Relaxed);
    totals
}

/// Visits all live blocks by stack and birth; see [`Ledger::for_each`].
pub(crate) fn for_each_live(visit: impl FnMut(CensusEntry)) {
    LEDGER.for_each(visit);
}

/// Visits the address of every live block, in order.
pub(crate) fn for_each_block(visit: impl FnMut(usize)) {
    LEDGER.for_each_block(visit);
}

/// Where and when the live block at an address was allocated.
pub(crate) fn origin(address: usize) -> Option<(StackId, Birth)> {
    LEDGER.origin(address)
}

/// Bytes that the allocator has for the live block at an address, at least those asked for; `None`
/// if it does not tell. Takes no lock.
pub(crate) fn usable_bytes(address: usize) -> Option<usize> {
    let at = core::ptr::with_exposed_provenance_mut::<libc::c_void>(address);
    match Backend::of_state(STATE.load(Relaxed)) {
        #[cfg(feature = "jemalloc")]
        // SAFETY: a live block of jemalloc's. It looks the size up in a tree that is read without a
        // lock (jemalloc's `emap_alloc_ctx_lookup`).
        Backend::Jemalloc => Some(unsafe { tikv_jemalloc_sys::sallocx(at, 0) }),
        #[cfg(target_env = "gnu")]
        Backend::Inner if INNER_IS_SYSTEM.load(Relaxed) => {
            // SAFETY: a live block of glibc's, whose size is in front of it.
            Some(unsafe { libc::malloc_usable_size(at) })
        }
        _ => None,
    }
}

/// Whether [`usable_bytes`] is known.
pub(crate) fn knows_sizes() -> bool {
    match Backend::of_state(STATE.load(Relaxed)) {
        Backend::Jemalloc => true,
        Backend::Inner => cfg!(target_env = "gnu") && INNER_IS_SYSTEM.load(Relaxed),
        _ => false,
    }
}

/// Whether the allocator beneath is one whose memory C code does not share.
pub(crate) fn is_apart_from_c() -> bool {
    Backend::of_state(STATE.load(Relaxed)) == Backend::Jemalloc
}

/// In a copy of the process that was made without the C library's knowledge: nothing is recorded.
pub(crate) fn be_a_copy() {
    stop_recording_after_fork();
}

/// Copies the return addresses of a stack, innermost first; true if the stack was cut.
pub(crate) fn stack_frames(stack_id: StackId, to: &mut MappedVec<usize>) -> bool {
    let _paused = not_in_a_handler();
    STACKS.stack(stack_id, to)
}

/// What the ledger itself did and could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnCost {
    /// Nanoseconds inside the hooks, the allocator's own time included: estimated from the calls
    /// that were timed.
    pub(crate) hook_nanos: u64,
    pub(crate) timed_calls: u64,
    /// Bytes of the tool's own mappings.
    pub(crate) mapped_bytes: u64,
    /// Distinct stacks.
    pub(crate) stacks: u64,
    /// Stacks for which there was no room.
    pub(crate) refused_stacks: u64,
    /// Allocations made while their thread was inside a hook, and therefore not recorded.
    pub(crate) unseen: u64,
}

pub(crate) fn own_cost() -> OwnCost {
    let _paused = not_in_a_handler();
    let (timed_calls, hook_nanos) = thread::timed();
    OwnCost {
        hook_nanos,
        timed_calls,
        mapped_bytes: mapped_bytes() as u64,
        stacks: u64::from(STACKS.count()),
        refused_stacks: STACKS.refused(),
        unseen: UNSEEN.load(Relaxed),
    }
}

/// Highest live bytes since [`restart_peak`], exact to 4 KiB for each running thread.
pub(crate) fn peak_bytes() -> u64 {
    thread::peak_bytes()
}

/// Starts a new peak from what is live now.
pub(crate) fn restart_peak() {
    thread::restart_peak(totals().live_bytes);
}
