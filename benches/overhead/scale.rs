//! The ledger at scale: many stacks, many live blocks, and their census.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::program::at_depth;

/// Stacks of the largest program: eight calls at each of six levels.
const STACKS: u32 = 1 << 18;

/// Numbers of stacks that are compared.
pub const FEW: u32 = 100;
pub const MANY: u32 = 200_000;

/// The child process: prints lines of `name number 0 figure`.
pub fn measure<A: GlobalAlloc, B: GlobalAlloc>(bare: &A, ledger: &B) {
    const BLOCKS: usize = 10_000_000;
    afterdrop::bench::begin_cycle(1);
    // Few stacks first: the figures of many stacks include that these are new.
    for stacks in [8, MANY] {
        let live = live_blocks(ledger, BLOCKS, stacks);
        println!("live-bytes {stacks} 0 {}", live.bytes_per_block);
        println!("live-pause {stacks} 0 {}", live.pause.as_secs_f64() * 1e3);
        println!("live-census {stacks} 0 {}", live.census.as_secs_f64() * 1e3);
    }
    let pause = live_blocks(bare, BLOCKS, 8).pause;
    println!("bare-pause 8 0 {}", pause.as_secs_f64() * 1e3);
    for stacks in [FEW, MANY] {
        for (order, name) in [(Order::Repeated, "again"), (Order::Random, "none")] {
            println!("bare-{name} {stacks} 0 {}", at_stacks(bare, stacks, order));
            println!(
                "ledger-{name} {stacks} 0 {}",
                at_stacks(ledger, stacks, order)
            );
        }
    }
}

/// Prints what the child processes have measured.
pub fn print(of: impl Fn(&str, u32, usize) -> f64) {
    println!("10,000,000 live blocks of 64 bytes, of 8 stacks and of {MANY}:");
    println!(
        "  ledger memory a block   {:>8.1} bytes",
        of("live-bytes", 8, 0)
    );
    for (name, what) in [
        ("live-pause", "longest allocation"),
        ("live-census", "census"),
    ] {
        let [few, many] = [8, MANY].map(|stacks| of(name, stacks, 0));
        println!("  {what:<22} {few:>8.2} {many:>8.2} ms");
    }
    println!(
        "  the same, bare         {:>8.2} ms",
        of("bare-pause", 8, 0)
    );
    println!("ns for one alloc + free of {FEW} stacks and of {MANY}, bare and with the ledger:");
    for (order, what) in [
        ("again", "in a repeated order"),
        ("none", "in random order"),
    ] {
        let [few, many] = [FEW, MANY]
            .map(|stacks| ["bare", "ledger"].map(|heap| of(&format!("{heap}-{order}"), stacks, 0)));
        println!(
            "  {what:<24} {:>6.1} {:>6.1}   {:>6.1} {:>6.1}   ledger/bare {:.2} and {:.2}, {:.2} times",
            few[0],
            few[1],
            many[0],
            many[1],
            few[1] / few[0],
            many[1] / many[0],
            many[1] / many[0] * few[0] / few[1]
        );
    }
    println!();
}

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

fn layout() -> Layout {
    Layout::from_size_align(64, 8).expect("a valid layout")
}

/// Allocates 64 bytes from the stack of this number, below [`STACKS`].
fn allocate<A: GlobalAlloc>(heap: &A, stack: u32) -> *mut u8 {
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

/// The cost of many live blocks.
pub struct Live {
    /// The ledger's memory for each.
    pub bytes_per_block: f64,
    /// The longest processor time of one allocation.
    pub pause: Duration,
    /// The time of a census of all of them.
    pub census: Duration,
}

/// Allocates this many blocks, from each stack in turn, takes a census, and frees them.
pub fn live_blocks<A: GlobalAlloc>(heap: &A, blocks: usize, stacks: u32) -> Live {
    let mut held: Vec<*mut u8> = Vec::with_capacity(blocks);
    // Written once, so that its own page faults do not count as the heap's.
    held.resize(blocks, std::ptr::null_mut());
    let before = afterdrop::bench::ledger_bytes();
    let mut pause = Duration::ZERO;
    let mut last = thread_time();
    for (slot, stack) in held.iter_mut().zip((0..stacks).cycle()) {
        *slot = allocate(heap, stack);
        let now = thread_time();
        pause = pause.max(now.saturating_sub(last));
        last = now;
    }
    let bytes = afterdrop::bench::ledger_bytes() - before;
    let census = afterdrop::bench::census();
    for at in held {
        // SAFETY: allocated above, with this layout.
        unsafe { heap.dealloc(at, layout()) };
    }
    Live {
        bytes_per_block: bytes as f64 / blocks as f64,
        pause,
        census,
    }
}

/// Processor time of this thread, which does not include that of other processes.
fn thread_time() -> Duration {
    // SAFETY: `timespec` is valid if all its bytes are zero.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: fills a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
