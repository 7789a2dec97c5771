//! What the runner asks: sums, live blocks, stacks, and what the recorder itself costs.

use super::ledger::LEDGER;
use super::mapped_vec::MappedVec;
use super::mapping::mapped_bytes;
use super::stack_interner::STACKS;
use super::state::{self, Backend, Mode, State};
use super::thread::{self, pause};
use super::thread_counters::Totals;
use super::{call_timing, peak, peak_snapshot, recording};
use crate::model::block::{Birth, CensusEntry, StackId};
use crate::recorder::primitive::Ordering::Relaxed;

/// The backend if the ledger records, or one that this build does not have; `None` in a process that
/// is not measured.
pub(crate) fn backend() -> Option<Backend> {
    let state = state::get();
    let backend = state.backend();
    (state.mode() != Mode::Off || backend == Backend::Missing).then_some(backend)
}

/// Whether this process runs a chosen allocator without the ledger, for a comparison.
pub(crate) fn is_bare() -> bool {
    state::get() == State::new(Backend::Jemalloc, Mode::Off)
}

/// Sums over all live blocks and all calls so far.
pub(crate) fn totals() -> Totals {
    // A lock is taken: a signal handler on this thread must not wait for it.
    let _paused = pause();
    let mut totals = LEDGER.totals();
    totals.refused += recording::allocations_without_record();
    totals
}

/// Calls `visit` with the live blocks of each stack and birth, in parts that add up. Other threads
/// may allocate meanwhile: each part is seen at one instant, not all at the same.
pub(crate) fn for_each_live(visit: impl FnMut(CensusEntry)) {
    LEDGER.for_each(visit);
}

/// Calls `visit` with the address of every live block, in ascending order.
pub(crate) fn for_each_block(visit: impl FnMut(usize)) {
    LEDGER.for_each_block(visit);
}

/// The stack and birth of the live block at an address.
pub(crate) fn origin(address: usize) -> Option<(StackId, Birth)> {
    LEDGER.origin(address)
}

/// Bytes that the allocator has reserved for the live block at an address, at least those asked for;
/// `None` if the allocator does not say. Takes no lock.
pub(crate) fn usable_bytes(address: usize) -> Option<usize> {
    let at = core::ptr::with_exposed_provenance_mut::<libc::c_void>(address);
    if is_of_c(address) {
        // SAFETY: a live block of glibc's, whose size is stored in front of it.
        return Some(unsafe { libc::malloc_usable_size(at) });
    }
    match state::get().backend() {
        #[cfg(feature = "jemalloc")]
        // SAFETY: a live block of jemalloc's. jemalloc looks its size up in a tree that is read
        // without a lock (`emap_alloc_ctx_lookup`).
        Backend::Jemalloc => Some(unsafe { tikv_jemalloc_sys::sallocx(at, 0) }),
        #[cfg(target_env = "gnu")]
        Backend::Inner if state::INNER_IS_SYSTEM.load(Relaxed) => {
            // SAFETY: a live block of glibc's, whose size is stored in front of it.
            Some(unsafe { libc::malloc_usable_size(at) })
        }
        _ => None,
    }
}

/// Whether the live block at an address was allocated by one of C's functions.
pub(crate) fn is_of_c(address: usize) -> bool {
    cfg!(feature = "c-heap") && LEDGER.note(address) != 0
}

/// Whether all memory outside of the measured heap can be told from it: another allocator has it, or
/// every block of C's allocator is recorded.
pub(crate) fn is_apart() -> bool {
    cfg!(feature = "preload") || is_separate_from_c()
}

/// Whether [`usable_bytes`] returns sizes in this process.
pub(crate) fn knows_sizes() -> bool {
    match state::get().backend() {
        Backend::Jemalloc => true,
        Backend::Inner => cfg!(target_env = "gnu") && state::INNER_IS_SYSTEM.load(Relaxed),
        _ => false,
    }
}

/// Whether Rust's blocks are in another heap than those of C code.
pub(crate) fn is_separate_from_c() -> bool {
    state::get().backend() == Backend::Jemalloc
}

/// Bytes that the measured allocator has mapped; `None` if that is not known.
pub(crate) fn allocator_bytes() -> Option<u64> {
    #[cfg(feature = "jemalloc")]
    if is_separate_from_c() {
        return super::jemalloc::mapped_bytes();
    }
    None
}

/// Copies the return addresses of a stack, innermost first, into `to`. Returns whether the stack was
/// truncated.
pub(crate) fn stack_frames(stack_id: StackId, to: &mut MappedVec<usize>) -> bool {
    let _paused = pause();
    STACKS.read(stack_id, to)
}

/// What the recorder costs, and what it could not record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnCost {
    /// Nanoseconds inside the hooks, the allocator included, estimated from the timed calls.
    pub(crate) hook_nanos: u64,
    pub(crate) timed_calls: u64,
    /// Bytes of the recorder's mappings.
    pub(crate) mapped_bytes: u64,
    /// Distinct stacks.
    pub(crate) stacks: u64,
    /// Stacks for which there was no room.
    pub(crate) refused_stacks: u64,
    /// Allocations made while their thread was inside a hook, and therefore not recorded.
    pub(crate) unseen: u64,
}

pub(crate) fn own_cost() -> OwnCost {
    let _paused = pause();
    OwnCost {
        hook_nanos: call_timing::estimated_nanos(),
        timed_calls: call_timing::timed_calls(),
        mapped_bytes: mapped_bytes() as u64,
        stacks: u64::from(STACKS.count()),
        refused_stacks: STACKS.refused(),
        unseen: recording::reentrant_allocations(),
    }
}

/// Highest live bytes since [`restart_peak`], exact to 4 KiB for each running thread.
pub(crate) fn peak_bytes() -> u64 {
    peak::bytes()
}

/// The first cycle begins: from now on, what is live at the peak is copied.
pub(crate) fn begin_peaks() {
    restart_peak();
    peak_snapshot::begin(totals().live_bytes);
}

/// Starts a new peak from the bytes that are live now.
pub(crate) fn restart_peak() {
    thread::restart_peak(totals().live_bytes);
}
