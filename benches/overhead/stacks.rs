//! A program with up to 262,144 distinct stacks.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::time::Instant;

use crate::program::at_depth;

/// Stacks of the largest program: eight calls at each of six levels.
const STACKS: u32 = 1 << 18;

/// A large number of stacks.
pub const MANY: u32 = 200_000;

/// A level of the program: eight calls, one of which is chosen by the next three bits of a path.
trait Level {
    fn allocate<A: GlobalAlloc, const CALL: usize>(heap: &A, path: u32, layout: Layout) -> *mut u8;
}

struct Leaf;

impl Level for Leaf {
    #[inline(never)]
    fn allocate<A: GlobalAlloc, const CALL: usize>(heap: &A, _: u32, layout: Layout) -> *mut u8 {
        // SAFETY: no layout here is of size zero.
        let at = unsafe { heap.alloc(layout) };
        black_box(CALL);
        at
    }
}

struct Fork<Next>(Next);

impl<Next: Level> Level for Fork<Next> {
    #[inline(never)]
    fn allocate<A: GlobalAlloc, const CALL: usize>(heap: &A, path: u32, layout: Layout) -> *mut u8 {
        let next = path >> 3;
        let at = match path % 8 {
            0 => Next::allocate::<A, 0>(heap, next, layout),
            1 => Next::allocate::<A, 1>(heap, next, layout),
            2 => Next::allocate::<A, 2>(heap, next, layout),
            3 => Next::allocate::<A, 3>(heap, next, layout),
            4 => Next::allocate::<A, 4>(heap, next, layout),
            5 => Next::allocate::<A, 5>(heap, next, layout),
            6 => Next::allocate::<A, 6>(heap, next, layout),
            _ => Next::allocate::<A, 7>(heap, next, layout),
        };
        black_box(CALL);
        at
    }
}

type Program = Fork<Fork<Fork<Fork<Fork<Fork<Leaf>>>>>>;

/// The layout of every block.
pub fn layout() -> Layout {
    Layout::from_size_align(64, 8).expect("a valid layout")
}

/// Allocates 64 bytes from the stack of this number, below [`STACKS`].
pub fn allocate<A: GlobalAlloc>(heap: &A, stack: u32) -> *mut u8 {
    // Neighbours differ at every level, so that few stacks are as hard to predict as many.
    let path = stack.wrapping_mul(0x2_C3B5) % STACKS;
    Program::allocate::<A, 0>(heap, path, layout())
}

/// The order in which a program visits its stacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same in every round, as in the cycles of a model.
    Repeated,
    Random,
}

/// Nanoseconds of one alloc and free from one of this many stacks: the lowest of several rounds.
pub fn at_stacks<A: GlobalAlloc>(heap: &A, stacks: u32, order: Order) -> f64 {
    const PAIRS: usize = 1 << 20;
    let mut random = afterdrop::bench::Random::new(5);
    let mut any = || random.index(stacks as usize) as u32;
    let visits: Vec<u32> = match order {
        Order::Random => (0..PAIRS).map(|_| any()).collect(),
        Order::Repeated => {
            let mut round: Vec<u32> = (0..stacks).collect();
            (1..stacks).for_each(|i| round.swap(i as usize, any() as usize % (i as usize + 1)));
            round.into_iter().cycle().take(PAIRS).collect()
        }
    };
    let round = || {
        let start = Instant::now();
        for &stack in &visits {
            // SAFETY: allocated here, with this layout.
            unsafe { heap.dealloc(allocate(heap, stack), layout()) };
        }
        start.elapsed().as_nanos() as f64 / PAIRS as f64
    };
    // In the first rounds stacks are new. The lowest round does not include that.
    let work = || (0..12).map(|_| round()).fold(f64::INFINITY, f64::min);
    at_depth(9, &work)
}
