//! The ledger at scale: many sites, many live blocks, and their census.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::program::at_depth;

/// Sites of the widest program: eight calls at each of six levels.
const SITES: u32 = 1 << 18;

/// Numbers of sites that are compared.
pub const FEW: u32 = 100;
pub const MANY: u32 = 200_000;

/// The child: prints `name number 0 figure`, a line each.
pub fn measure<A: GlobalAlloc, B: GlobalAlloc>(bare: &A, ledger: &B) {
    const BLOCKS: usize = 10_000_000;
    afterdrop::bench::begin_cycle(1);
    // Of few sites first: of many, the sites are new as well.
    for sites in [8, MANY] {
        let live = live_blocks(ledger, BLOCKS, sites);
        println!("live-bytes {sites} 0 {}", live.bytes_per_block);
        println!("live-pause {sites} 0 {}", live.pause.as_secs_f64() * 1e3);
        println!("live-census {sites} 0 {}", live.census.as_secs_f64() * 1e3);
    }
    let pause = live_blocks(bare, BLOCKS, 8).pause;
    println!("bare-pause 8 0 {}", pause.as_secs_f64() * 1e3);
    for sites in [FEW, MANY] {
        for (order, name) in [(Order::Again, "again"), (Order::None, "none")] {
            println!("bare-{name} {sites} 0 {}", at_sites(bare, sites, order));
            println!("ledger-{name} {sites} 0 {}", at_sites(ledger, sites, order));
        }
    }
}

/// Shows what the children have measured.
pub fn print(of: impl Fn(&str, u32, usize) -> f64) {
    println!("10,000,000 live blocks of 64 bytes at 8 sites, and at {MANY}:");
    println!(
        "  ledger memory for each  {:>8.1} bytes",
        of("live-bytes", 8, 0)
    );
    for (name, what) in [
        ("live-pause", "longest allocation"),
        ("live-census", "census"),
    ] {
        let [few, many] = [8, MANY].map(|sites| of(name, sites, 0));
        println!("  {what:<22} {few:>8.2} {many:>8.2} ms");
    }
    println!(
        "  the same, bare         {:>8.2} ms",
        of("bare-pause", 8, 0)
    );
    println!("ns for one alloc + free at {FEW} sites and at {MANY}, bare and with the ledger:");
    for (order, what) in [
        ("again", "in the same order again"),
        ("none", "in no order"),
    ] {
        let [few, many] = [FEW, MANY]
            .map(|sites| ["bare", "ledger"].map(|heap| of(&format!("{heap}-{order}"), sites, 0)));
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

/// A level of the program: eight calls, of which the next three bits of a path choose one.
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

/// Allocates 64 bytes at the site of this number, below [`SITES`].
fn allocate<A: GlobalAlloc>(heap: &A, site: u32) -> *mut u8 {
    // Neighbours differ at every level, so that few sites are as hard to foresee as many.
    let path = site.wrapping_mul(0x2_C3B5) % SITES;
    Program::allocate::<A, 0>(heap, path, layout())
}

/// In which order a program comes to its sites.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same in every round, as in the cycles of a model.
    Again,
    None,
}

/// Nanoseconds for one alloc and free from one of so many sites, the lowest of several rounds.
pub fn at_sites<A: GlobalAlloc>(heap: &A, sites: u32, order: Order) -> f64 {
    const PAIRS: usize = 1 << 20;
    let mut random = afterdrop::bench::Random::new(5);
    let mut any = || random.index(sites as usize) as u32;
    let visits: Vec<u32> = match order {
        Order::None => (0..PAIRS).map(|_| any()).collect(),
        Order::Again => {
            let mut round: Vec<u32> = (0..sites).collect();
            (1..sites).for_each(|i| round.swap(i as usize, any() as usize % (i as usize + 1)));
            round.into_iter().cycle().take(PAIRS).collect()
        }
    };
    let round = || {
        let start = Instant::now();
        for &site in &visits {
            // SAFETY: allocated here, with this layout.
            unsafe { heap.dealloc(allocate(heap, site), layout()) };
        }
        start.elapsed().as_nanos() as f64 / PAIRS as f64
    };
    // The first visit of a site is not what is measured.
    let work = || (0..12).map(|_| round()).fold(f64::INFINITY, f64::min);
    at_depth(9, &work)
}

/// What so many live blocks cost.
pub struct Live {
    /// Bytes of the ledger for each.
    pub bytes_per_block: f64,
    /// The longest that one allocation took this thread.
    pub pause: Duration,
    /// The census of all of them.
    pub census: Duration,
}

/// Allocates so many blocks, from sites in turn, and keeps them until they are counted.
pub fn live_blocks<A: GlobalAlloc>(heap: &A, blocks: usize, sites: u32) -> Live {
    let mut held: Vec<*mut u8> = Vec::with_capacity(blocks);
    // Touched, so that its own page faults are not taken for the heap's.
    held.resize(blocks, std::ptr::null_mut());
    let before = afterdrop::bench::ledger_bytes();
    let mut pause = Duration::ZERO;
    let mut last = thread_time();
    for (slot, site) in held.iter_mut().zip((0..sites).cycle()) {
        *slot = allocate(heap, site);
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

/// Processor time of this thread: what other processes take is no pause of the heap's.
fn thread_time() -> Duration {
    // SAFETY: fills a local.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
