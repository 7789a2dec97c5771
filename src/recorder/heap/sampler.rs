//! Which blocks are recorded where not all of them are, and how many blocks each of them stands for.
//!
//! A Poisson process over allocated bytes: each byte is a sample with the same probability, and a
//! block is recorded if a sample lies in it. jemalloc's profiler (`PROFILING_INTERNALS.md`,
//! "Sampling") and TCMalloc's do the same. A block of `size` bytes is recorded with the probability
//! `1 - exp(-size / interval)`, and stands for the inverse of that number of blocks, so that the sums
//! over recorded blocks are unbiased (D. G. Horvitz, D. J. Thompson (1952), "A Generalization of
//! Sampling Without Replacement From a Finite Universe", JASA 47).
//!
//! A recorded block is aligned to a page. So a free decides by the address alone that almost every
//! other block was not recorded.
//!
//! Whether a call skips the recorder is decided by two thread-local numbers, which also serve the
//! other modes:
//!
//! | mode | bytes until the next sample | address bits that skip a free |
//! | --- | --- | --- |
//! | nothing is recorded | the largest number | those below a page |
//! | sampling | counts down | those below a page |
//! | every block is recorded | 0 | none |

use core::alloc::Layout;
use core::cell::Cell;

use super::amount::Amount;
use crate::base::random::Random;
use crate::recorder::primitive::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

const PAGE: usize = 4096;

/// Environment variable with the mean number of bytes between two samples.
pub(crate) const ENV_SAMPLE: &core::ffi::CStr = c"AFTERDROP_SAMPLE";

/// Mean number of bytes between two samples; 0 if none are taken.
static INTERVAL: AtomicU64 = AtomicU64::new(0);

/// Samples of a thread before its random numbers would become those of the next thread.
const SAMPLES_BITS: u32 = 40;

/// Threads that have taken samples. Each has random numbers of its own.
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Bytes that this thread may still allocate before the next sample.
    static BYTES_UNTIL_SAMPLE: Cell<i64> = const { Cell::new(0) };
    /// Bits of an address: a free skips the recorder if any of them is set.
    static SKIP_MASK: Cell<usize> = const { Cell::new(0) };
    /// Number of the last sample, the seed of the distance to the next; 0 before the first.
    static SAMPLE_NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Sets the mean number of bytes between two samples; 0 stops sampling.
pub(super) fn set_interval(bytes: u64) {
    INTERVAL.store(bytes, Relaxed);
}

/// Mean number of bytes between two samples; `None` if no samples are taken.
pub(crate) fn interval() -> Option<u64> {
    Some(INTERVAL.load(Relaxed)).filter(|&bytes| bytes > 0)
}

/// Counts the bytes of an allocation. Returns whether it skips the recorder: no byte of it is a
/// sample.
#[inline(always)]
pub(super) fn try_skip(size: usize) -> bool {
    BYTES_UNTIL_SAMPLE.with(|bytes| {
        let left = bytes.get().wrapping_sub(size as i64);
        bytes.set(left);
        left >= 0 && !cfg!(without = "skip")
    })
}

/// Whether a block may have been recorded, so that its free must not skip the recorder.
#[inline(always)]
pub(super) fn may_be_recorded(at: *mut u8) -> bool {
    at.addr() & SKIP_MASK.get() == 0
}

/// After [`try_skip`] returned false: whether a byte of the block is a sample. If so, chooses the
/// next sample.
pub(super) fn take_sample() -> bool {
    let interval = INTERVAL.load(Relaxed);
    if interval == 0 {
        skip_all();
        return false;
    }
    if cfg!(without = "skip") && BYTES_UNTIL_SAMPLE.get() >= 0 {
        return false;
    }
    if SAMPLE_NUMBER.get() == 0 {
        // The first allocation of this thread: no sample was chosen yet.
        SAMPLE_NUMBER.set((THREADS.fetch_add(1, Relaxed) + 1) << SAMPLES_BITS);
        let left = BYTES_UNTIL_SAMPLE.get();
        BYTES_UNTIL_SAMPLE.set(left.saturating_add(next_distance(interval)));
        if BYTES_UNTIL_SAMPLE.get() >= 0 {
            return false;
        }
    }
    BYTES_UNTIL_SAMPLE.set(next_distance(interval));
    true
}

/// After [`try_skip`] returned false, where nothing is recorded: lets all calls of this thread skip
/// the recorder.
pub(super) fn skip_all() {
    BYTES_UNTIL_SAMPLE.set(i64::MAX);
    skip_unaligned_frees();
}

/// Lets the frees of this thread skip the recorder, except for blocks that are aligned to a page.
pub(super) fn skip_unaligned_frees() {
    SKIP_MASK.set(PAGE - 1);
}

/// After [`try_skip`] returned false: takes back the bytes that it counted, because the block is
/// not the workload's, or was not allocated, or every block is recorded. In that mode the count stays
/// 0, which no size turns into a positive number.
#[inline(always)]
pub(super) fn uncount(size: usize) {
    // Keeps the compiler from saving the old count for this, so that `try_skip` is one instruction.
    compiler_fence(SeqCst);
    // Not `Cell::set` of the key, which may be a call.
    BYTES_UNTIL_SAMPLE.with(|bytes| bytes.set(bytes.get().wrapping_add(size as i64)));
}

/// Lets all calls of this thread skip the recorder while it works for itself: what it allocates must not bring
/// the next sample nearer. Returns what [`resume`] needs; `None` if no samples are taken.
pub(super) fn suspend() -> Option<i64> {
    interval().map(|_| BYTES_UNTIL_SAMPLE.replace(i64::MAX))
}

/// Ends what [`suspend`] has begun.
pub(super) fn resume(bytes_until_sample: Option<i64>) {
    if let Some(bytes) = bytes_until_sample {
        BYTES_UNTIL_SAMPLE.set(bytes);
    }
}

/// Bytes to the next sample, exponentially distributed.
fn next_distance(interval: u64) -> i64 {
    SAMPLE_NUMBER.set(SAMPLE_NUMBER.get() + 1);
    // `1 - unit` is never 0.
    (-(1.0 - Random::new(SAMPLE_NUMBER.get()).unit()).ln() * interval as f64) as i64
}

/// The layout with which a recorded block is allocated; `None` if it would be too large.
pub(super) fn page_aligned(layout: Layout) -> Option<Layout> {
    layout.align_to(PAGE).ok()
}

/// The blocks for which a recorded block stands, a whole number next to the inverse of its
/// probability. Which of the two next ones is chosen by the block's address: so it is the same at
/// the free, and the mean is right.
pub(super) fn weighted(at: *mut u8, size: usize, chunk: u64) -> Amount {
    let interval = INTERVAL.load(Relaxed).max(1);
    let weight = 1.0 / -(-(size.max(1) as f64) / interval as f64).exp_m1();
    let unit = Random::new(at.addr() as u64).unit();
    let blocks = weight.floor() as u64 + u64::from(weight.fract() > unit);
    Amount {
        blocks: blocks as i32,
        bytes: (blocks * size as u64) as i64,
        chunk: (blocks * chunk) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::tests::EXCLUSIVE;

    /// Samples that a thread takes of blocks of these sizes, and what the sampled blocks stand for
    /// together.
    fn sample(sizes: impl Iterator<Item = usize>) -> (u64, Amount) {
        let mut samples = 0;
        let mut sum = Amount::default();
        let mut address = 0x5000_0000_usize;
        for size in sizes {
            if try_skip(size) || !take_sample() {
                continue;
            }
            samples += 1;
            address += PAGE;
            let at = core::ptr::without_provenance_mut(address);
            let amount = weighted(at, size, 16);
            sum.blocks += amount.blocks;
            sum.bytes += amount.bytes;
            sum.chunk += amount.chunk;
        }
        (samples, sum)
    }

    #[test]
    fn sums_are_unbiased_for_blocks_of_any_size() {
        let _exclusive = EXCLUSIVE.lock().unwrap();
        const INTERVAL: u64 = 64 << 10;
        const BLOCKS: usize = 20_000;
        set_interval(INTERVAL);
        for size in [24, 1000, 30_000, 64 << 10, 300_000] {
            // Enough for some thousand samples.
            let blocks = BLOCKS.max(2_000 * INTERVAL as usize / size);
            let (samples, sum) = sample(std::iter::repeat_n(size, blocks));
            let truth = blocks as f64;
            let error = f64::from(sum.blocks) / truth - 1.0;
            // Five standard deviations of a sum of independent terms, each 1/p with probability p.
            let p = -(-(size as f64) / INTERVAL as f64).exp_m1();
            let deviation = ((1.0 - p) / p / truth).sqrt().max(1.0 / truth);
            assert!(
                error.abs() < 5.0 * deviation,
                "{size}: {error} of {deviation}"
            );
            assert_eq!(sum.bytes, i64::from(sum.blocks) * size as i64);
            assert_eq!(sum.chunk, i64::from(sum.blocks) * 16);
            assert!(samples > 1000, "{size}: {samples}");
        }
        // Each thread has random numbers of its own.
        let firsts: Vec<u64> = (0..8)
            .map(|_| {
                let first = || (0..).position(|_| !try_skip(64) && take_sample()).unwrap() as u64;
                std::thread::spawn(first).join().unwrap()
            })
            .collect();
        assert!(firsts.windows(2).any(|w| w[0] != w[1]), "{firsts:?}");
        set_interval(0);
        assert!((0..1000).all(|_| try_skip(1 << 30) || !take_sample()));
    }

    #[test]
    fn uncounted_bytes_leave_no_trace() {
        let before = BYTES_UNTIL_SAMPLE.get();
        try_skip(100);
        uncount(100);
        assert_eq!(BYTES_UNTIL_SAMPLE.get(), before);
    }

    #[test]
    fn an_impossible_size_does_not_wrap_the_count_around() {
        BYTES_UNTIL_SAMPLE.set(0);
        for size in [100, isize::MAX as usize, 1, isize::MAX as usize] {
            assert!(!try_skip(size));
            uncount(size);
            assert_eq!(BYTES_UNTIL_SAMPLE.get(), 0);
        }
    }

    #[test]
    fn a_recorded_block_is_aligned_to_a_page() {
        let layout = Layout::from_size_align(24, 8).unwrap();
        assert_eq!(page_aligned(layout).unwrap().align(), PAGE);
        let wide = Layout::from_size_align(24, 2 * PAGE).unwrap();
        assert_eq!(page_aligned(wide).unwrap().align(), 2 * PAGE);
        let huge = Layout::from_size_align(isize::MAX as usize, 1).unwrap();
        assert_eq!(page_aligned(huge), None);
    }
}
