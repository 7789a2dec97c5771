//! The counters of one thread: the rows that it owns, and the sums over all that it has done.

use super::amount::{Amount, add_unshared};
use super::counter_row::OwnedRow;
use super::row_segments::OwnSegments;
use crate::recorder::primitive::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Written by its thread only, read by any. Valid if all its bytes are zero.
// Hot fields last, so that they are not at the start of a page: avoids 4 KiB aliasing with the row
// segments, which begin there.
#[repr(C)]
pub(super) struct ThreadCounters {
    pub(super) segments: OwnSegments,
    allocations: AtomicU64,
    allocated_bytes: AtomicU64,
    frees: AtomicU64,
    freed_bytes: AtomicU64,
    chunks: AtomicI64,
    c_bytes: AtomicI64,
    unknown_frees: AtomicU64,
    refused: AtomicU64,
}

impl ThreadCounters {
    /// Counts allocated blocks in a row of this thread and in its sums.
    #[inline(always)]
    pub(super) fn add(&self, row: OwnedRow, amount: Amount) {
        row.add(amount);
        add_unshared!(self.allocations, amount.blocks as u64);
        add_unshared!(self.allocated_bytes, amount.bytes as u64);
        if amount.chunk != 0 {
            add_unshared!(self.chunks, amount.chunk);
            add_unshared!(self.c_bytes, amount.bytes);
        }
    }

    /// Counts freed blocks in the sums.
    #[inline(always)]
    pub(super) fn add_freed(&self, amount: Amount) {
        add_unshared!(self.frees, amount.blocks as u64);
        add_unshared!(self.freed_bytes, amount.bytes as u64);
        if amount.chunk != 0 {
            add_unshared!(self.chunks, -amount.chunk);
            add_unshared!(self.c_bytes, -amount.bytes);
        }
    }

    /// Counts the free of a block that is not in the ledger.
    #[inline]
    pub(super) fn add_unknown_free(&self) {
        add_unshared!(self.unknown_frees, 1);
    }

    /// Counts blocks that could not be recorded.
    #[inline(always)]
    pub(super) fn refuse(&self, amount: Amount) {
        // By its fields: an amount passed by reference would be kept in memory on the fast path too.
        self.refuse_fields(amount.blocks as u64, amount.bytes as u64);
    }

    #[cold]
    #[inline(never)]
    fn refuse_fields(&self, blocks: u64, bytes: u64) {
        add_unshared!(self.allocations, blocks);
        add_unshared!(self.allocated_bytes, bytes);
        // As far as the ledger knows they are not live.
        add_unshared!(self.frees, blocks);
        add_unshared!(self.freed_bytes, bytes);
        add_unshared!(self.refused, blocks);
    }
}

/// Sums over all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) live_bytes: u64,
    pub(crate) live_blocks: u64,
    /// Blocks ever recorded. A `realloc` records its block again.
    pub(crate) allocations: u64,
    /// Bytes ever recorded.
    pub(crate) allocated_bytes: u64,
    /// Bytes that the live blocks take in the C library's heap, as far as they are there, rounding
    /// included.
    pub(crate) chunks: u64,
    /// Live bytes of these blocks.
    pub(crate) c_bytes: u64,
    /// Frees of blocks that were not in the ledger: allocated before recording began, or not
    /// recorded.
    pub(crate) unknown_frees: u64,
    /// Blocks that could not be recorded because the system refused memory to the ledger.
    pub(crate) refused: u64,
}

/// Frees that no thread has counted; see [`CounterRows::subtract_stray`].
///
/// [`CounterRows::subtract_stray`]: super::counter_rows::CounterRows::subtract_stray
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StrayFrees {
    pub(super) blocks: i64,
    pub(super) bytes: i64,
    pub(super) chunks: i64,
    pub(super) c_bytes: i64,
}

impl Totals {
    /// The sums over the counters of these threads and over stray frees. Other threads may count
    /// meanwhile, so that a sum of live blocks or bytes may be off by what they do.
    pub(super) fn sum<'a>(
        threads: impl Iterator<Item = &'a ThreadCounters>,
        stray: StrayFrees,
    ) -> Self {
        let mut sum = Self::default();
        let (mut live_blocks, mut live_bytes) = (-stray.blocks, -stray.bytes);
        let (mut chunks, mut c_bytes) = (-stray.chunks, -stray.c_bytes);
        for thread in threads {
            let [allocations, allocated_bytes, frees, freed_bytes] = [
                &thread.allocations,
                &thread.allocated_bytes,
                &thread.frees,
                &thread.freed_bytes,
            ]
            .map(|counter| counter.load(Relaxed));
            live_blocks += allocations.wrapping_sub(frees) as i64;
            live_bytes += allocated_bytes.wrapping_sub(freed_bytes) as i64;
            chunks += thread.chunks.load(Relaxed);
            c_bytes += thread.c_bytes.load(Relaxed);
            sum.allocations += allocations;
            sum.allocated_bytes += allocated_bytes;
            sum.unknown_frees += thread.unknown_frees.load(Relaxed);
            sum.refused += thread.refused.load(Relaxed);
        }
        let not_negative = |n: i64| u64::try_from(n).unwrap_or(0);
        sum.live_blocks = not_negative(live_blocks);
        sum.live_bytes = not_negative(live_bytes);
        sum.chunks = not_negative(chunks);
        sum.c_bytes = not_negative(c_bytes);
        sum
    }
}

#[cfg(test)]
impl ThreadCounters {
    /// Counters of a thread that no other has.
    pub(super) fn leaked() -> &'static Self {
        static THREADS: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(1);
        let at = std::alloc::Layout::new::<Self>();
        // SAFETY: counters are valid if all their bytes are zero, and the block is never freed.
        let counters = unsafe { &*std::alloc::alloc_zeroed(at).cast::<Self>() };
        let owner = THREADS.fetch_add(1, Relaxed);
        counters.segments.owner.store(owner, Relaxed);
        counters
    }
}
