//! The thread-local state of the hooks: the guard against re-entry, the countdown to the next timed
//! call, and the thread's record.
//!
//! All of it is constant-initialised and has no destructor. So it needs no allocation, and works in
//! the first instructions of a thread as well as in its last thread-local destructor.
//!
//! Invariants:
//! 1. A thread is inside at most one hook. A signal handler that interrupts a hook, and an allocator
//!    that allocates through itself, find the flag [`BUSY`] set and are not recorded. So the
//!    counters and caches of the thread's record have one user at a time.
//! 2. A thread has a record from its first recorded call until it ends; then the record is given
//!    back.
//!
//! Memory ordering: only the thread itself and its signal handlers use this state, so that compiler
//! fences are enough: the flag is set before anything else that a hook does, and cleared after it.

use core::cell::Cell;
use core::marker::PhantomData;

use super::call_timing::{self, CallTimer};
use super::ledger::LEDGER;
use super::peak::{self, UnpublishedBytes};
use super::sampler;
use super::stack_memory::StackBounds;
use super::state;
use super::thread_record::ThreadRecord;
use super::thread_stacks;
use crate::recorder::primitive::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
    compiler_fence,
};

/// In [`ThreadState::countdown`]: calls are not recorded now.
const BUSY: u32 = 1 << 31;

/// Why a call is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRecorded {
    /// The thread is inside a hook: a signal handler allocates, or the allocator allocates through
    /// itself.
    Reentrant,
    /// The recorder works for itself.
    Paused,
    /// There was no memory for the thread's record, or there are too many threads.
    NoRecord,
}

pub(super) struct ThreadState {
    /// Calls until one is timed, that one included, and [`BUSY`]: in one word, so that one
    /// comparison finds the usual case and one addition ends it.
    countdown: Cell<u32>,
    /// Why calls are not recorded, while [`BUSY`] is set.
    reason: Cell<NotRecorded>,
    bounds: Cell<StackBounds>,
    pub(super) live: UnpublishedBytes,
    timer: CallTimer,
    record: Cell<Option<&'static ThreadRecord>>,
}

thread_local! {
    static THREAD: ThreadState = const {
        ThreadState {
            countdown: Cell::new(call_timing::INTERVAL),
            reason: Cell::new(NotRecorded::Reentrant),
            bounds: Cell::new(StackBounds::UNKNOWN),
            live: UnpublishedBytes::new(),
            timer: CallTimer::new(),
            record: Cell::new(None),
        }
    };
}

/// A call that is being recorded. Must be ended by [`RecordedCall::leave`].
#[derive(Clone, Copy)]
pub(super) struct RecordedCall {
    pub(super) thread: &'static ThreadState,
    pub(super) record: &'static ThreadRecord,
}

/// Begins a recorded call. Takes no closure, because the stack that is recorded is that of the
/// caller.
#[inline(always)]
pub(super) fn enter() -> Result<RecordedCall, NotRecorded> {
    match enter_fast() {
        Some(call) => Ok(call),
        None => enter_slow(),
    }
}

/// Begins a recorded call in the usual case: the thread is not busy, has a record, and the call is
/// not timed. Otherwise changes nothing and returns `None`.
#[inline(always)]
pub(super) fn enter_fast() -> Option<RecordedCall> {
    let thread = this_thread();
    let countdown = thread.countdown.get();
    // Negative if `BUSY` is set.
    if (countdown as i32) < 2 {
        return None;
    }
    let record = thread.record.get()?;
    thread.countdown.set(countdown | BUSY);
    // A signal handler must see the flag before anything that follows is half done.
    compiler_fence(SeqCst);
    Some(RecordedCall { thread, record })
}

#[cold]
#[inline(never)]
fn enter_slow() -> Result<RecordedCall, NotRecorded> {
    let thread = this_thread();
    let countdown = thread.countdown.get();
    if countdown & BUSY != 0 {
        return Err(thread.reason.get());
    }
    if state::IS_FORKED_COPY.load(Relaxed) {
        return Err(NotRecorded::Paused);
    }
    thread.countdown.set(countdown.max(1) | BUSY);
    compiler_fence(SeqCst);
    let Some(record) = thread.record() else {
        thread.countdown.set(countdown);
        return Err(NotRecorded::NoRecord);
    };
    if countdown < 2 {
        thread.timer.start();
    }
    Ok(RecordedCall { thread, record })
}

#[inline(always)]
fn this_thread() -> &'static ThreadState {
    let thread = THREAD.with(core::ptr::from_ref);
    // SAFETY: a thread-local variable without a destructor lives as long as its thread, which is
    // this one, and no hook passes it to another (tests: `a_hook_is_not_entered_twice`).
    unsafe { &*thread }
}

impl RecordedCall {
    /// Ends a call that [`enter`] has begun.
    #[inline(always)]
    pub(super) fn leave(self) {
        compiler_fence(SeqCst);
        // Clears the flag and subtracts one call.
        let countdown = self.thread.countdown.get().wrapping_add(!BUSY);
        self.thread.countdown.set(countdown);
        if countdown == 0 {
            self.thread.end_timed_call();
        }
    }

    /// Ends a call that [`enter_fast`] has begun, which is not timed.
    #[cfg(feature = "jemalloc")]
    #[inline(always)]
    pub(super) fn leave_untimed(self) {
        compiler_fence(SeqCst);
        let countdown = &self.thread.countdown;
        countdown.set(countdown.get().wrapping_add(!BUSY));
    }
}

impl ThreadState {
    /// The record of this thread, taken at its first recorded call; `None` if there is no memory.
    fn record(&self) -> Option<&'static ThreadRecord> {
        match self.record.get() {
            Some(record) => Some(record),
            None => self.take_record(),
        }
    }

    #[cold]
    fn take_record(&self) -> Option<&'static ThreadRecord> {
        let record = LEDGER.threads.take()?;
        self.record.set(Some(record));
        let key = EXIT_KEY.load(Relaxed);
        if key != NO_KEY {
            let not_null = core::ptr::from_ref(record).cast();
            // SAFETY: `key` was created, and a value other than null makes its destructor run. This
            // may call the C library's allocator, never Rust's.
            unsafe { libc::pthread_setspecific(key, not_null) };
        }
        Some(record)
    }

    /// The bounds of this thread's stack.
    pub(super) fn stack_bounds(&self) -> StackBounds {
        let mut bounds = self.bounds.get();
        if bounds == StackBounds::UNKNOWN {
            bounds = StackBounds::of_this_thread();
            self.bounds.set(bounds);
            thread_stacks::add(bounds);
        }
        bounds
    }

    #[cold]
    #[inline(never)]
    fn end_timed_call(&self) {
        self.countdown.set(call_timing::INTERVAL);
        self.timer.stop();
    }
}

/// The threading library's key whose destructor runs when a thread ends; [`NO_KEY`] if there is
/// none.
static EXIT_KEY: AtomicU32 = AtomicU32::new(NO_KEY);
const NO_KEY: u32 = u32::MAX;

/// Makes threads give back their records when they end. Must be called before the first record is
/// taken.
pub(super) fn give_back_records_at_exit() {
    let mut key = 0;
    // SAFETY: fills a local variable, and the destructor is a function of this crate.
    if unsafe { libc::pthread_key_create(&mut key, Some(give_back_record)) } == 0 {
        EXIT_KEY.store(key, Relaxed);
        // SAFETY: the handler is a function of this crate. In a shared library it runs when the library
        // is closed, while its code is still mapped (test: `a_library_with_a_heap_can_be_closed`).
        unsafe { libc::atexit(forget_exit_key) };
    }
}

/// Runs when the process exits, or when the library that this code is in is closed: the destructor of
/// the key must not run after that.
extern "C" fn forget_exit_key() {
    let key = EXIT_KEY.swap(NO_KEY, Relaxed);
    if key != NO_KEY {
        // SAFETY: the key was created and is deleted once, by the swap. Threads that have loaded it
        // before get an error from `pthread_setspecific`, which changes nothing.
        unsafe { libc::pthread_key_delete(key) };
    }
}

/// Runs when a thread ends. If the thread allocates afterwards, in another destructor, it takes a
/// record again, and this runs again.
unsafe extern "C" fn give_back_record(_: *mut libc::c_void) {
    if state::IS_FORKED_COPY.load(Relaxed) {
        // The lock may be held by a thread that the copy does not have.
        return;
    }
    // As a hook, so that a signal handler on this thread does not wait for the lock that is taken.
    let Ok(call) = enter() else { return };
    call.thread.record.set(None);
    // SAFETY: this thread has the record and is inside a hook, so that nothing else uses its caches
    // (tests: `a_hook_is_not_entered_twice`).
    unsafe { (*call.record.caches.get()).clear_addresses() };
    LEDGER.threads.give_back(call.record);
    call.thread.live.publish();
    call.leave();
}

/// Keeps this thread's allocations out of the ledger until it is dropped: for the recorder's own
/// work in the measured process.
pub(crate) struct Paused {
    /// Why calls were not recorded before, if they were not.
    before: Option<NotRecorded>,
    /// Bytes until the next sample.
    until_sample: Option<i64>,
    /// The pause belongs to this thread.
    not_send: PhantomData<*const ()>,
}

pub(crate) fn pause() -> Paused {
    let thread = this_thread();
    let countdown = thread.countdown.get();
    thread.countdown.set(countdown | BUSY);
    let reason = thread.reason.replace(NotRecorded::Paused);
    Paused {
        before: (countdown & BUSY != 0).then_some(reason),
        until_sample: sampler::suspend(),
        not_send: PhantomData,
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        sampler::resume(self.until_sample);
        let thread = this_thread();
        // A hook sets the flag without the reason, so that this is the reason of all hooks.
        thread
            .reason
            .set(self.before.unwrap_or(NotRecorded::Reentrant));
        if self.before.is_none() {
            thread.countdown.set(thread.countdown.get() & !BUSY);
        }
    }
}

/// The bounds of this thread's stack, which are found once.
#[cfg(feature = "preload")]
pub(super) fn stack_bounds() -> StackBounds {
    this_thread().stack_bounds()
}

/// Whether the recorder works for itself on this thread.
#[cfg(feature = "preload")]
pub(crate) fn is_paused() -> bool {
    this_thread().countdown.get() & BUSY != 0
}

/// Starts a new peak from `live_bytes`, the exact live bytes of now.
pub(super) fn restart_peak(live_bytes: u64) {
    peak::restart(live_bytes, &this_thread().live);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why calls of this thread are not recorded, if they are not.
    fn not_recorded() -> Option<NotRecorded> {
        match enter() {
            Ok(call) => {
                call.leave();
                None
            }
            Err(reason) => Some(reason),
        }
    }

    #[test]
    fn a_hook_is_not_entered_twice() {
        let call = enter().ok().unwrap();
        assert_eq!(enter().err(), Some(NotRecorded::Reentrant));
        call.leave();
        assert_eq!(not_recorded(), None);
    }

    #[test]
    fn one_call_in_an_interval_is_timed() {
        let mut distances = Vec::new();
        let mut last = 0;
        for number in 1..=4 * call_timing::INTERVAL {
            let before = call_timing::timed_calls();
            let call = enter().ok().unwrap();
            call.leave();
            // Other tests' threads may time calls of their own.
            if this_thread().countdown.get() == call_timing::INTERVAL {
                assert!(call_timing::timed_calls() > before);
                distances.push(number - last);
                last = number;
            }
        }
        assert!(distances.len() >= 3, "{distances:?}");
        let is_interval = |&distance: &u32| distance == call_timing::INTERVAL;
        assert!(distances[1..].iter().all(is_interval), "{distances:?}");
    }

    #[test]
    fn a_pause_inside_a_hook_changes_nothing() {
        let call = enter().ok().unwrap();
        let countdown = this_thread().countdown.get();
        drop(pause());
        assert_eq!(this_thread().countdown.get(), countdown);
        assert_eq!(enter().err(), Some(NotRecorded::Reentrant));
        call.leave();
        assert_eq!(not_recorded(), None);
    }

    #[test]
    fn nested_pauses_end_with_the_outermost() {
        let outer = pause();
        drop(pause());
        assert_eq!(not_recorded(), Some(NotRecorded::Paused));
        drop(outer);
        assert_eq!(not_recorded(), None);
    }
}
