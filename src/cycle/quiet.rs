//! Waiting until other threads are done: a thread's destructors run a little after it was joined
//! by a scope, and a pool frees its scratch when it likes.

use std::time::{Duration, Instant};

use crate::heap;
use crate::proc;

/// Longest wait for the heap to come to rest.
const BOUND: Duration = Duration::from_millis(100);

/// Longest wait for a thread to end that was not there at the last boundary.
const THREAD_BOUND: Duration = Duration::from_millis(20);

/// How long nothing may happen before the heap counts as at rest.
const REST: Duration = Duration::from_micros(200);

/// How the wait ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    /// Nothing was allocated or freed any more, and no new thread was left.
    pub(super) reached: bool,
    /// Threads of the process at the end.
    pub(super) threads: u64,
}

/// Waits for other threads, with a bound. Returns at once in a process of one thread.
pub(super) fn wait(threads_before: u64) -> Quiet {
    let start = Instant::now();
    let mut threads = proc::threads();
    if threads <= 1 {
        return Quiet {
            reached: true,
            threads,
        };
    }
    while threads > threads_before && start.elapsed() < THREAD_BOUND {
        std::thread::sleep(REST);
        threads = proc::threads();
    }
    let mut seen = activity();
    loop {
        std::thread::sleep(REST);
        let now = activity();
        if now == seen {
            return Quiet {
                reached: true,
                threads: proc::threads(),
            };
        }
        if start.elapsed() >= BOUND {
            return Quiet {
                reached: false,
                threads: proc::threads(),
            };
        }
        seen = now;
    }
}

/// Changes with every allocation and with every free.
fn activity() -> (u64, u64) {
    let totals = heap::totals();
    (totals.allocations, totals.live_blocks)
}
