//! Waiting until other threads are done: a thread's destructors run a little after it was joined
//! by a scope, a pool frees its scratch when it likes, and a test harness has a thread of its own.

use std::time::{Duration, Instant};

use crate::recorder::heap;
use crate::recorder::proc;

/// Longest wait for the heap to come to rest.
const BOUND: Duration = Duration::from_millis(100);

/// Longest wait for a thread to end that was not there at the last boundary.
const THREAD_BOUND: Duration = Duration::from_millis(20);

/// Longest wait for other threads to fall asleep. One that never does is no reason to doubt a
/// boundary, if it allocates nothing.
const SLEEP_BOUND: Duration = Duration::from_millis(5);

/// How long nothing may happen before the heap counts as at rest.
const REST: Duration = Duration::from_micros(200);

/// How the wait ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    /// Nothing was allocated or freed any more.
    pub(super) reached: bool,
    /// Threads of the process at the end.
    pub(super) threads: u64,
}

/// Before the first cycle: waits until all other threads sleep, so that what they do to start up
/// is not taken for a cycle's.
pub(super) fn wait_for_start() -> u64 {
    until(BOUND, others_sleep);
    proc::threads()
}

/// Waits for other threads, with a bound. Returns at once in a process of one thread.
pub(super) fn wait(threads_before: u64) -> Quiet {
    let start = Instant::now();
    if proc::threads() <= 1 {
        return Quiet {
            reached: true,
            threads: 1,
        };
    }
    until(THREAD_BOUND, || proc::threads() <= threads_before);
    until(SLEEP_BOUND, others_sleep);
    let mut seen = activity();
    loop {
        std::thread::sleep(REST);
        let now = activity();
        let reached = now == seen;
        if reached || start.elapsed() >= BOUND {
            let threads = proc::threads();
            return Quiet { reached, threads };
        }
        seen = now;
    }
}

/// Looks again and again until it is so, or the time is up.
fn until(bound: Duration, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() && start.elapsed() < bound {
        std::thread::sleep(REST);
    }
}

fn others_sleep() -> bool {
    proc::others_sleep(&heap::pause())
}

/// Changes with every allocation and with every free.
fn activity() -> (u64, u64) {
    let totals = heap::totals();
    (totals.allocations, totals.live_blocks)
}
