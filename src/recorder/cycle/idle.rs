//! Waits until the other threads of the process are idle, so that a boundary does not count work in
//! progress.
//!
//! A thread runs its destructors after a scope has joined it, a thread pool may free its scratch
//! memory at any time, and a test harness has a thread of its own.

use std::time::{Duration, Instant};

use crate::recorder::heap;
use crate::recorder::proc;

/// Longest wait until no thread allocates or frees. A program as it is waits for nobody: its threads go on
/// with their work.
const MAX_HEAP_WAIT: Duration = match cfg!(feature = "preload") {
    false => Duration::from_millis(100),
    true => Duration::from_millis(5),
};

/// Longest wait for threads that were started since the last boundary to end.
const MAX_EXIT_WAIT: Duration = Duration::from_millis(20);

/// Longest wait until all other threads sleep. Short, because a thread that runs without allocating
/// does not affect the census.
const MAX_SLEEP_WAIT: Duration = Duration::from_millis(5);

/// Time between two samples. If nothing was allocated or freed in between, the heap is idle.
const INTERVAL: Duration = Duration::from_micros(200);

/// How a wait has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    /// Whether the heap became idle. If not, the wait has timed out.
    pub(super) reached: bool,
    /// Threads of the process after the wait.
    pub(super) threads: u64,
}

/// Waits before the first cycle until all other threads sleep, so that what they allocate while they
/// start is not counted as part of a cycle. Returns the number of threads.
pub(super) fn wait_before_first_cycle() -> u64 {
    wait_until(MAX_HEAP_WAIT, others_sleep);
    proc::threads()
}

/// Waits at a boundary until the heap is idle, or a limit is reached. Returns at once if the process
/// has only one thread.
pub(super) fn wait(threads_before: u64) -> Idle {
    let start = Instant::now();
    if proc::threads() <= 1 {
        return Idle {
            reached: true,
            threads: 1,
        };
    }
    wait_until(MAX_EXIT_WAIT, || proc::threads() <= threads_before);
    wait_until(MAX_SLEEP_WAIT, others_sleep);
    let mut before = activity();
    loop {
        std::thread::sleep(INTERVAL);
        let now = activity();
        let reached = now == before;
        if reached || start.elapsed() >= MAX_HEAP_WAIT {
            let threads = proc::threads();
            return Idle { reached, threads };
        }
        before = now;
    }
}

/// Polls the condition until it holds, or the time has passed.
fn wait_until(limit: Duration, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() && start.elapsed() < limit {
        std::thread::sleep(INTERVAL);
    }
}

fn others_sleep() -> bool {
    proc::others_sleep(&heap::pause())
}

/// Two counters. Every allocation and every free changes at least one of them.
fn activity() -> (u64, u64) {
    let totals = heap::totals();
    (totals.allocations, totals.live_blocks)
}
