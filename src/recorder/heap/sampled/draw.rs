//! Which blocks are recorded where not all of them are, and for how many each of them stands.
//!
//! Of all bytes that are allocated, one in so many is drawn, and the block that it lies in is
//! recorded: a Poisson process over bytes, as in jemalloc's profiler (`PROFILING_INTERNALS.md`,
//! "Sampling") and in TCMalloc's. So a block of `size` bytes is recorded with the probability
//! `1 - exp(-size / every)`, and stands for the inverse of it: the sums over what is recorded are
//! unbiased (D. G. Horvitz, D. J. Thompson (1952), "A Generalization of Sampling Without Replacement
//! From a Finite Universe", JASA 47).
//!
//! A recorded block begins at a page's beginning, so that a free need only look at its address to
//! know almost every other block.

use core::alloc::Layout;
use core::cell::Cell;
use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use crate::base::random::Random;
use crate::recorder::heap::row::Amount;

const PAGE: usize = 4096;

/// Environment variable with the bytes of which one is drawn.
pub(crate) const ENV_SAMPLE: &core::ffi::CStr = c"AFTERDROP_SAMPLE";

/// Bytes of which one is drawn; 0 if none is.
static EVERY: AtomicU64 = AtomicU64::new(0);

/// Draws of one thread, before it comes to those of the next.
const DRAWS_BITS: u32 = 40;

/// Threads that have drawn: the next one's numbers begin elsewhere.
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Bytes that this thread may still allocate before the one that is drawn; 0 where every block is looked
    /// at.
    static LEFT: Cell<i64> = const { Cell::new(0) };
    /// Bits of an address, of which one at least is set where a free need not be looked at.
    static PASSING: Cell<usize> = const { Cell::new(0) };
    /// Number of its last draw, which says where it goes; 0 if it has not drawn yet.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Sets of how many bytes one is drawn; 0 stops drawing.
pub(crate) fn set_every(bytes: u64) {
    EVERY.store(bytes, Relaxed);
}

/// Bytes of which one is drawn; `None` if all blocks are recorded.
pub(crate) fn every() -> Option<u64> {
    Some(EVERY.load(Relaxed)).filter(|&every| every > 0)
}

/// From now on only those of this thread's frees are looked at whose block begins a page.
pub(crate) fn pass_frees() {
    PASSING.set(PAGE - 1);
}

/// Counts the bytes of a block that is allocated; false if one of them may have been drawn, or all are.
#[inline(always)]
pub(crate) fn passes(size: usize) -> bool {
    LEFT.with(|left| {
        let rest = left.get().wrapping_sub(size as i64);
        left.set(rest);
        rest >= 0
    })
}

/// After [`passes`] said no: whether one of the block's bytes was drawn. Then the next is.
pub(super) fn is_drawn() -> bool {
    let every = EVERY.load(Relaxed);
    if every == 0 {
        pass_all();
        return false;
    }
    if RANDOM.get() == 0 {
        RANDOM.set((THREADS.fetch_add(1, Relaxed) + 1) << DRAWS_BITS);
        LEFT.set(LEFT.get().saturating_add(distance(every)));
        if LEFT.get() >= 0 {
            return false;
        }
    }
    LEFT.set(distance(every));
    true
}

/// After [`passes`] said no, where nothing is drawn.
pub(crate) fn pass_all() {
    LEFT.set(i64::MAX);
    pass_frees();
}

/// After [`passes`] said no: the block is not the workload's, or there is none, or every block is looked at.
/// Then this stays 0, from which no size leads around to above 0.
#[inline(always)]
pub(crate) fn take_back(size: usize) {
    // The compiler is not to keep for this what was left: so one instruction counts in `passes`.
    compiler_fence(SeqCst);
    // Not by `set`, which may be a call.
    LEFT.with(|left| left.set(left.get().wrapping_add(size as i64)));
}

/// Bytes to the next that is drawn.
fn distance(every: u64) -> i64 {
    RANDOM.set(RANDOM.get() + 1);
    // `1 - unit` is never 0.
    (-(1.0 - Random::new(RANDOM.get()).unit()).ln() * every as f64) as i64
}

/// How a block that is recorded is laid out; `None` if it is too large for that.
pub(super) fn paged(layout: Layout) -> Option<Layout> {
    layout.align_to(PAGE).ok()
}

/// Whether a block may have been recorded.
#[inline(always)]
pub(crate) fn may_be_recorded(at: *mut u8) -> bool {
    at.addr() & PASSING.get() == 0
}

/// For what a recorded block stands: so many blocks of its size, a whole number. Which of the two
/// next to the inverse of its probability is chosen by its address, so that it is the same when it is
/// freed, and right in the mean.
pub(super) fn stands_for(at: *mut u8, size: usize, chunk: u64) -> Amount {
    let every = EVERY.load(Relaxed).max(1);
    let times = 1.0 / -(-(size.max(1) as f64) / every as f64).exp_m1();
    let part = Random::new(at.addr() as u64).unit();
    let blocks = times.floor() as u64 + u64::from(times.fract() > part);
    Amount {
        blocks: blocks as i32,
        bytes: (blocks * size as u64) as i64,
        chunk: (blocks * chunk) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One thread's draws over blocks of these sizes, and what they stand for in all.
    fn drawn(sizes: impl Iterator<Item = usize>) -> (u64, Amount) {
        let mut draws = 0;
        let mut sum = Amount::default();
        let mut address = 0x5000_0000_usize;
        for size in sizes {
            if passes(size) || !is_drawn() {
                continue;
            }
            draws += 1;
            address += PAGE;
            let at = core::ptr::without_provenance_mut(address);
            let amount = stands_for(at, size, 16);
            sum.blocks += amount.blocks;
            sum.bytes += amount.bytes;
            sum.chunk += amount.chunk;
        }
        (draws, sum)
    }

    #[test]
    fn sums_are_right_in_the_mean_for_blocks_of_any_size() {
        let _alone = crate::recorder::heap::tests::ALONE.lock().unwrap();
        const EVERY: u64 = 64 << 10;
        const BLOCKS: usize = 20_000;
        set_every(EVERY);
        for size in [24, 1000, 30_000, 64 << 10, 300_000] {
            // Enough for some thousand draws.
            let blocks = BLOCKS.max(2_000 * EVERY as usize / size);
            let (draws, sum) = drawn(std::iter::repeat_n(size, blocks));
            let truth = blocks as f64;
            let error = f64::from(sum.blocks) / truth - 1.0;
            // Five standard deviations: of a sum of independent draws, each 1/p with probability p.
            let p = -(-(size as f64) / EVERY as f64).exp_m1();
            let deviation = ((1.0 - p) / p / truth).sqrt().max(1.0 / truth);
            assert!(
                error.abs() < 5.0 * deviation,
                "{size}: {error} of {deviation}"
            );
            assert_eq!(sum.bytes, i64::from(sum.blocks) * size as i64);
            assert_eq!(sum.chunk, i64::from(sum.blocks) * 16);
            assert!(draws > 1000, "{size}: {draws}");
        }
        // Each thread begins elsewhere.
        let firsts: Vec<u64> = (0..8)
            .map(|_| {
                let first = || (0..).position(|_| !passes(64) && is_drawn()).unwrap() as u64;
                std::thread::spawn(first).join().unwrap()
            })
            .collect();
        assert!(firsts.windows(2).any(|w| w[0] != w[1]), "{firsts:?}");
        set_every(0);
        assert!((0..1000).all(|_| passes(1 << 30) || !is_drawn()));
    }

    #[test]
    fn what_is_not_the_workloads_leaves_no_trace() {
        let before = LEFT.get();
        passes(100);
        take_back(100);
        assert_eq!(LEFT.get(), before);
    }

    #[test]
    fn a_size_that_cannot_be_does_not_turn_the_count_around() {
        LEFT.set(0);
        for size in [100, isize::MAX as usize, 1, isize::MAX as usize] {
            assert!(!passes(size));
            take_back(size);
            assert_eq!(LEFT.get(), 0);
        }
    }

    #[test]
    fn a_recorded_block_begins_a_page() {
        let layout = Layout::from_size_align(24, 8).unwrap();
        assert_eq!(paged(layout).unwrap().align(), PAGE);
        let wide = Layout::from_size_align(24, 2 * PAGE).unwrap();
        assert_eq!(paged(wide).unwrap().align(), 2 * PAGE);
        let huge = Layout::from_size_align(isize::MAX as usize, 1).unwrap();
        assert_eq!(paged(huge), None);
    }
}
