//! What a thread keeps for its hooks: a guard against re-entry, its stack's bounds, its last
//! stack, and the sites it met lately.
//!
//! All of it is constant-initialised and has no destructor, so that it needs no allocation and
//! works in a thread's first instructions as well as in its last TLS destructor.

use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

use super::sites::{NO_SITE, SiteId, Sites};
use super::stacks;
use super::unwind::{Bounds, Registers, Remembered, Unwinder, unwinder};

/// Entries of a thread's site cache; a power of two.
const MEMO: usize = 128;

/// A thread's live bytes are added to the process's in steps of this many bytes, so that threads
/// do not fight over one counter. The peak is exact to this much for each running thread.
const PEAK_STEP: i64 = 4096;

/// One call in so many is timed.
const TIMED_EVERY: u32 = 256;

/// Live bytes of all threads and their highest value, both to [`PEAK_STEP`].
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Nanoseconds of the timed calls, and how many they were.
static TIMED_NANOS: AtomicU64 = AtomicU64::new(0);
static TIMED_CALLS: AtomicU64 = AtomicU64::new(0);

/// Whether the thread's calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    No,
    /// It is inside a hook: a signal handler that allocates, or an allocator beneath that
    /// allocates through itself.
    InHook,
    /// The tool works for itself.
    Paused,
}

pub(super) struct Thread {
    busy: Cell<Busy>,
    bounds: Cell<Bounds>,
    live_step: Cell<i64>,
    calls: Cell<u32>,
    stack: UnsafeCell<Remembered>,
    memo: UnsafeCell<[(u64, SiteId); MEMO]>,
}

thread_local! {
    static THREAD: Thread = const {
        Thread {
            busy: Cell::new(Busy::No),
            bounds: Cell::new(Bounds::UNKNOWN),
            live_step: Cell::new(0),
            calls: Cell::new(0),
            stack: UnsafeCell::new(Remembered::new()),
            memo: UnsafeCell::new([(0, NO_SITE); MEMO]),
        }
    };
}

/// Runs `f` unless this thread's calls are not to be recorded now; then says why not.
#[inline]
pub(super) fn enter<R>(f: impl FnOnce(&Thread) -> R) -> Result<R, Busy> {
    THREAD.with(|thread| {
        let busy = thread.busy.get();
        if busy != Busy::No {
            return Err(busy);
        }
        thread.busy.set(Busy::InHook);
        // A handler on this thread must see the flag before anything that follows is half done.
        compiler_fence(SeqCst);
        let result = f(thread);
        compiler_fence(SeqCst);
        thread.busy.set(Busy::No);
        Ok(result)
    })
}

/// Keeps this thread's allocations out of the ledger until dropped: for the tool's own work in
/// the measured process.
pub(crate) struct Paused(Busy);

pub(crate) fn pause() -> Paused {
    Paused(THREAD.with(|thread| thread.busy.replace(Busy::Paused)))
}

impl Drop for Paused {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.busy.set(self.0));
    }
}

impl Thread {
    /// The site of the stack on top of which the registers were read.
    pub(super) fn site(&self, sites: &Sites, here: Registers) -> SiteId {
        if self.bounds.get() == Bounds::UNKNOWN {
            let bounds = Bounds::of_this_thread();
            self.bounds.set(bounds);
            stacks::remember(bounds);
        }
        // SAFETY: a thread's state is reached only by that thread and, because of `busy`, by one
        // hook at a time (tests: `a_hook_is_not_entered_twice`).
        let (stack, memo) = unsafe { (&mut *self.stack.get(), &mut *self.memo.get()) };
        let bounds = self.bounds.get();
        let walk = match unwinder() {
            Unwinder::FramePointers => stack.walk(here.bp, bounds.reader(here.bp)),
            Unwinder::Cfi => stack.walk_by_cfi(here, bounds.reader(here.sp)),
        };
        if walk.hash == 0 {
            return NO_SITE;
        }
        let slot = &mut memo[walk.hash as usize % MEMO];
        if slot.0 == walk.hash {
            return slot.1;
        }
        let site = match sites.find(walk.hash) {
            Some(site) => site,
            None => sites.intern(walk.hash, walk.cut, stack.stack()),
        };
        *slot = (walk.hash, site);
        site
    }

    /// Adds to the live bytes that the peak is taken from.
    #[inline]
    pub(super) fn live(&self, bytes: i64) {
        let step = self.live_step.get() + bytes;
        if step.abs() < PEAK_STEP {
            self.live_step.set(step);
            return;
        }
        self.live_step.set(0);
        let live = LIVE.fetch_add(step, Relaxed) + step;
        if step > 0 && live > PEAK.load(Relaxed) {
            PEAK.fetch_max(live, Relaxed);
        }
    }

    /// Starts a clock at one call in [`TIMED_EVERY`].
    #[inline]
    pub(super) fn clock(&self) -> Option<u64> {
        let calls = self.calls.get().wrapping_add(1);
        self.calls.set(calls);
        calls.is_multiple_of(TIMED_EVERY).then(now_nanos)
    }
}

/// Ends the clock of [`Thread::clock`].
#[inline]
pub(super) fn stop_clock(started: Option<u64>) {
    if let Some(started) = started {
        let nanos = now_nanos().saturating_sub(started);
        TIMED_NANOS.fetch_add(nanos, Relaxed);
        TIMED_CALLS.fetch_add(1, Relaxed);
    }
}

fn now_nanos() -> u64 {
    // SAFETY: fills a local; the monotonic clock needs no lock and no allocation.
    let mut time: libc::timespec = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Calls that were timed, and the nanoseconds that all threads have spent inside the hooks,
/// allocator included, estimated from them.
pub(super) fn timed() -> (u64, u64) {
    let nanos = TIMED_NANOS.load(Relaxed) * u64::from(TIMED_EVERY);
    (TIMED_CALLS.load(Relaxed), nanos)
}

/// Highest live bytes since [`restart_peak`], to [`PEAK_STEP`] for each running thread.
pub(super) fn peak_bytes() -> u64 {
    PEAK.load(Relaxed).max(0) as u64
}

/// Starts a new peak from `live_bytes`, the exact live bytes of now.
pub(super) fn restart_peak(live_bytes: u64) {
    THREAD.with(|thread| thread.live_step.set(0));
    LIVE.store(live_bytes as i64, Relaxed);
    PEAK.store(live_bytes as i64, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_not_entered_twice() {
        let inner = enter(|_| enter(|_| 1));
        assert_eq!(inner, Ok(Err(Busy::InHook)));
        assert_eq!(enter(|_| 2), Ok(2));
    }

    #[test]
    fn a_pause_ends_where_it_was_begun() {
        let outer = pause();
        drop(pause());
        assert_eq!(enter(|_| ()), Err(Busy::Paused));
        drop(outer);
        assert_eq!(enter(|_| ()), Ok(()));
    }

    #[test]
    fn the_same_place_is_the_same_site() {
        static SITES: Sites = Sites::new();
        #[inline(never)]
        fn here() -> SiteId {
            enter(|t| t.site(&SITES, crate::heap::unwind::registers())).unwrap()
        }
        let ids: Vec<_> = (0..3).map(|_| here()).collect();
        assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[0] != NO_SITE);
        assert_ne!(ids[0], here());
    }
}
