//! What each of the peers' programs does.

use std::alloc::{GlobalAlloc, Layout, alloc, dealloc};

#[path = "../../overhead/program.rs"]
mod program;

/// Depth of the stack at which the peers are compared.
const DEPTH: u32 = 15;

/// The program's global allocator, whichever that is.
pub struct Global;

// SAFETY: all is passed on to one that is.
unsafe impl GlobalAlloc for Global {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on.
        unsafe { alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { dealloc(at, layout) }
    }
}

/// Prints nanoseconds for one alloc and free, on one thread and on two: `<threads> <nanoseconds>`.
///
/// # Panics
/// If the first argument is no number of pairs.
pub fn measure<A: GlobalAlloc + Sync>(heap: &'static A) {
    let pairs = std::env::args().nth(1).and_then(|pairs| pairs.parse().ok());
    let pairs = pairs.expect("the number of pairs");
    for threads in [1, 2] {
        println!("{threads} {}", program::nanos(heap, DEPTH, threads, pairs));
    }
}
