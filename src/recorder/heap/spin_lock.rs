//! A spin lock that neither allocates nor calls into the threading library.
//!
//! Invariants:
//! 1. It is held for some tens of instructions, and never across a call into an allocator. A lock that
//!    is held for longer is only tried.
//! 2. A signal handler never finds it held by its own thread: allocations inside a hook are not
//!    recorded (`thread.rs`), and locks outside of hooks are taken under [`pause`](super::pause).
//! 3. A forked child takes it only if nothing held it at the fork: otherwise recording is off there
//!    (`startup.rs`).
//!
//! Memory ordering: locking is an acquire operation and unlocking a release operation, so that
//! the holder sees everything that the last holder wrote.

use core::ops::{Deref, DerefMut};

use crate::recorder::primitive::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
    UnsafeCell, spin_loop, yield_now,
};

/// Attempts before the thread yields its processor: the holder may have been preempted.
const SPINS: u32 = 64;

pub(super) struct SpinLock<T> {
    is_held: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a `SpinGuard`, and there is one guard at a time
// (tests: `one_thread_at_a_time_holds_the_lock`).
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(super) const fn new(value: T) -> Self {
        Self {
            is_held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> SpinGuard<'_, T> {
        self.try_lock().unwrap_or_else(|| {
            self.lock_contended();
            SpinGuard { lock: self }
        })
    }

    /// Locks it if nothing holds it.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let taken = self.is_held.compare_exchange(false, true, Acquire, Relaxed);
        taken.is_ok().then(|| SpinGuard { lock: self })
    }

    /// Whether nothing holds it.
    #[cfg(feature = "preload")]
    pub(super) fn is_unlocked(&self) -> bool {
        !self.is_held.load(Relaxed)
    }

    #[cold]
    fn lock_contended(&self) {
        loop {
            for _ in 0..SPINS {
                if !self.is_held.load(Relaxed)
                    && self
                        .is_held
                        .compare_exchange_weak(false, true, Acquire, Relaxed)
                        .is_ok()
                {
                    return;
                }
                spin_loop();
            }
            yield_now();
        }
    }
}

/// Unlocks when it is dropped.
pub(super) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one, so that no thread writes while it is borrowed
        // (tests: `one_thread_at_a_time_holds_the_lock`).
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one, and it is borrowed mutably
        // (tests: `one_thread_at_a_time_holds_the_lock`).
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.is_held.store(false, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_holds_the_lock() {
        static SUM: SpinLock<u64> = SpinLock::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        *SUM.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*SUM.lock(), 40_000);
    }
}
