//! The time that hooks take, the allocator included, estimated from one call in [`INTERVAL`].

use core::cell::Cell;

use crate::recorder::primitive::{AtomicU64, Ordering::Relaxed};

/// One call in this many is timed. An odd number, so that where allocations and frees alternate,
/// both are timed.
pub(super) const INTERVAL: u32 = 255;

/// Timed calls, and their nanoseconds except those of [`OUTLIER_NANOS`] and more.
static CALLS: AtomicU64 = AtomicU64::new(0);
static NANOS: AtomicU64 = AtomicU64::new(0);

/// A call that takes this long was interrupted, by another process or by the kernel. It counts once
/// and not for all calls in the interval.
const OUTLIER_NANOS: u64 = 1_000_000;
static OUTLIERS: AtomicU64 = AtomicU64::new(0);

/// The time to read the clock, which is part of a timed call and of no other.
static CLOCK_NANOS: AtomicU64 = AtomicU64::new(0);

/// Measures the time to read the clock, before calls are timed.
pub(super) fn calibrate() {
    const READINGS: usize = 100;
    let reading = |_| {
        let start = now_nanos();
        now_nanos() - start
    };
    let shortest = (0..READINGS).map(reading).min();
    CLOCK_NANOS.store(shortest.unwrap_or(0), Relaxed);
}

/// The start of the call that a thread times.
pub(super) struct CallTimer(Cell<u64>);

impl CallTimer {
    pub(super) const fn new() -> Self {
        Self(Cell::new(0))
    }

    pub(super) fn start(&self) {
        self.0.set(now_nanos());
    }

    pub(super) fn stop(&self) {
        let nanos = now_nanos().saturating_sub(self.0.get());
        let nanos = nanos.saturating_sub(CLOCK_NANOS.load(Relaxed));
        let sum = match nanos < OUTLIER_NANOS {
            true => &NANOS,
            false => &OUTLIERS,
        };
        sum.fetch_add(nanos, Relaxed);
        CALLS.fetch_add(1, Relaxed);
    }
}

#[cold]
fn now_nanos() -> u64 {
    // SAFETY: `timespec` is valid if all its bytes are zero.
    let mut time: libc::timespec = unsafe { core::mem::zeroed() };
    // SAFETY: fills a local variable. Reading the monotonic clock takes no lock and does not
    // allocate.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Number of timed calls.
pub(super) fn timed_calls() -> u64 {
    CALLS.load(Relaxed)
}

/// Nanoseconds that all threads have spent in hooks.
pub(super) fn estimated_nanos() -> u64 {
    NANOS.load(Relaxed) * u64::from(INTERVAL) + OUTLIERS.load(Relaxed)
}
