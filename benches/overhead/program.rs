//! The program that is measured: one alloc and free of 64 bytes, from one of eight call sites, at a
//! depth of the stack. The same for each tool, and for those that live in a crate of their own.
//!
//! It is there in several copies, of which the lowest figure counts: where the compiler lays a loop of some
//! ten nanoseconds changes it by a twentieth, and no tool is to have that luck.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::time::Instant;

/// Rounds of which the lowest counts.
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

/// Does `work` beneath so many frames.
#[inline(never)]
pub fn at_depth(depth: u32, work: &dyn Fn() -> f64) -> f64 {
    if depth == 0 {
        return work();
    }
    black_box(at_depth(depth - 1, work))
}

/// Nanoseconds for one pair, the lowest of several rounds of each copy; with more threads, of the slowest.
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

/// The same of one copy.
fn copy<A: GlobalAlloc + Sync, const COPY: usize>(
    heap: &'static A,
    depth: u32,
    threads: usize,
    pairs: u32,
) -> f64 {
    let run = move || {
        // One is live already, as in any heap that is in use: the first block of an allocator's page
        // has an address like no other.
        let layout = Layout::from_size_align(64, 8).expect("a valid layout");
        // SAFETY: not of size zero.
        let first = unsafe { heap.alloc(layout) };
        let nanos = at_depth(depth, &|| {
            let start = Instant::now();
            let mut site = 0_usize;
            for _ in 0..pairs {
                // A cheap sequence that visits the sites in no simple order.
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
