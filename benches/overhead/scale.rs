//! The ledger at scale: many stacks, many live blocks, and their census.

use std::alloc::GlobalAlloc;
use std::time::Duration;

use crate::stacks::{MANY, Order, allocate, at_stacks, layout};
use crate::time::thread_time;

/// The small number of stacks that is compared with [`MANY`].
const FEW: u32 = 100;

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
