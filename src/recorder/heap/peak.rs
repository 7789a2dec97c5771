//! The highest number of live bytes, over all threads.
//!
//! A thread adds its live bytes to those of the process in steps, so that threads do not contend
//! for one cache line. The peak is exact to [`STEP`] for each running thread. What is live then is
//! copied by `peak_snapshot.rs`.

use core::cell::Cell;

use super::peak_snapshot;
use crate::recorder::primitive::{AtomicI64, Ordering::Relaxed};

const STEP: i64 = 4096;

/// Live bytes of all threads, and their highest value.
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// What a thread has allocated less what it has freed, since it last published that.
pub(super) struct UnpublishedBytes(Cell<i64>);

impl UnpublishedBytes {
    pub(super) const fn new() -> Self {
        Self(Cell::new(0))
    }

    /// Adds allocated bytes, and publishes if a step is reached.
    #[inline(always)]
    pub(super) fn add(&self, bytes: i64) {
        let sum = self.0.get() + bytes;
        self.0.set(sum);
        if sum >= STEP {
            self.publish();
        }
    }

    /// Subtracts freed bytes. Returns whether [`UnpublishedBytes::publish`] is to be called.
    #[inline(always)]
    #[must_use]
    pub(super) fn subtract(&self, bytes: i64) -> bool {
        let sum = self.0.get() - bytes;
        self.0.set(sum);
        sum <= -STEP
    }

    /// Adds the bytes to those of the process.
    #[inline(never)]
    pub(super) fn publish(&self) {
        let bytes = self.0.replace(0);
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        if bytes > 0 && live > PEAK.load(Relaxed) {
            PEAK.fetch_max(live, Relaxed);
            if peak_snapshot::is_due(live) {
                peak_snapshot::take(live);
            }
        }
    }

    fn discard(&self) {
        self.0.set(0);
    }
}

/// Highest live bytes since [`restart`].
pub(super) fn bytes() -> u64 {
    PEAK.load(Relaxed).max(0) as u64
}

/// Starts a new peak from `live_bytes`, the exact live bytes of now. `own` are those of the running
/// thread, which are part of them.
pub(super) fn restart(live_bytes: u64, own: &UnpublishedBytes) {
    own.discard();
    LIVE.store(live_bytes as i64, Relaxed);
    PEAK.store(live_bytes as i64, Relaxed);
}
