//! The measured program: one alloc and free of 64 bytes from one of eight call sites, at a given
//! depth of the stack. The programs of `benches/peers` share it.
//!
//! It is compiled in several copies, of which the lowest figure counts: the alignment of the code
//! changes a loop of ten nanoseconds by up to 5 %, which must not favour one tool.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::time::Instant;

/// Rounds; the lowest figure of all rounds counts.
pub const ROUNDS: usize = 7;

/// Copies of the program.
pub const COPIES: usize = 8;

/// One alloc and free of 64 bytes through `heap`, from one of eight call sites.
#[inline(always)]
fn pair<A: GlobalAlloc, const COPY: usize>(heap: &A, site: usize) {
    #[inline(never)]
    fn leaf<A: GlobalAlloc, const COPY: usize, const SITE: usize>(heap: &A) {
        let layout = Layout::from_size_align(64, 8).expect("a valid layout");
        // SAFETY: not of size zero, and freed at once with the same layout.
        unsafe {
            let at = black_box(heap.alloc(layout));
            heap.dealloc(at, layout);
        }
        black_box(SITE + 8 * COPY);
    }
    match site % 8 {
        0 => leaf::<A, COPY, 0>(heap),
        1 => leaf::<A, COPY, 1>(heap),
        2 => leaf::<A, COPY, 2>(heap),
        3 => leaf::<A, COPY, 3>(heap),
        4 => leaf::<A, COPY, 4>(heap),
        5 => leaf::<A, COPY, 5>(heap),
        6 => leaf::<A, COPY, 6>(heap),
        _ => leaf::<A, COPY, 7>(heap),
    }
}

/// Calls `work` with this many more frames on the stack.
#[inline(never)]
pub fn at_depth(depth: u32, work: &dyn Fn() -> f64) -> f64 {
    if depth == 0 {
        return work();
    }
    black_box(at_depth(depth - 1, work))
}

/// Nanoseconds of one pair: the lowest of several rounds of each copy. With several threads, a round
/// is as long as that of the slowest.
pub fn nanos<A: GlobalAlloc + Sync>(
    heap: &'static A,
    depth: u32,
    threads: usize,
    pairs: u32,
) -> f64 {
    type Copy<A> = fn(&'static A, u32, usize, u32) -> f64;
    let copies: [Copy<A>; COPIES] = [
        copy::<A, 0>,
        copy::<A, 1>,
        copy::<A, 2>,
        copy::<A, 3>,
        copy::<A, 4>,
        copy::<A, 5>,
        copy::<A, 6>,
        copy::<A, 7>,
    ];
    copies
        .into_iter()
        .map(|copy| copy(heap, depth, threads, pairs))
        .fold(f64::INFINITY, f64::min)
}

/// Nanoseconds of one pair in one copy of the program.
fn copy<A: GlobalAlloc + Sync, const COPY: usize>(
    heap: &'static A,
    depth: u32,
    threads: usize,
    pairs: u32,
) -> f64 {
    let run = move || {
        // One block is live already, as in any heap in use: the first block of an allocator's page
        // is aligned to the page, which other blocks are not.
        let layout = Layout::from_size_align(64, 8).expect("a valid layout");
        // SAFETY: not of size zero.
        let first = unsafe { heap.alloc(layout) };
        let nanos = at_depth(depth, &|| {
            let start = Instant::now();
            let mut site = 0_usize;
            for _ in 0..pairs {
                // A cheap sequence that visits the call sites in no simple order.
                site = site.wrapping_mul(5).wrapping_add(3) ^ (site >> 3);
                pair::<A, COPY>(heap, site);
            }
            start.elapsed().as_nanos() as f64 / f64::from(pairs)
        });
        // SAFETY: allocated above, with this layout.
        unsafe { heap.dealloc(first, layout) };
        nanos
    };
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let slowest = std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            let times = all.into_iter().map(|t| t.join().expect("no panic"));
            times.fold(0.0, f64::max)
        });
        best = best.min(slowest);
    }
    best
}
