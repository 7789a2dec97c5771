//! Decides what this process does: at its first allocation, before its first cycle, and in a forked
//! copy.

use core::any::TypeId;
use std::alloc::System;

#[cfg(feature = "c-heap")]
use super::c_mode;
use super::state::{self, Backend, Mode, State};
use super::unwinder::{self, Unwinder};
use super::{call_timing, layout_cache, sampler, thread};
#[cfg(feature = "preload")]
use super::{ledger::LEDGER, peak_snapshot, python, stack_interner::STACKS};
#[cfg(feature = "live")]
use crate::model::block::Birth;
#[cfg(feature = "live")]
use crate::model::run::Phase;
#[cfg(feature = "live")]
use crate::recorder::primitive::AtomicBool;
use crate::recorder::primitive::Ordering::Relaxed;
use crate::recorder::privileges;

/// Environment variable that turns recording on and names the backend. Only the measured child has
/// it.
pub(crate) const ENV_HEAP: &core::ffi::CStr = c"AFTERDROP_HEAP";

/// Environment variable that makes the child walk stacks by call frame information in any build.
const ENV_UNWIND: &str = "AFTERDROP_UNWIND";

/// Environment variable for a heap that is recorded while the service runs: the mean number of bytes between
/// two samples, or `off`.
#[cfg(feature = "live")]
pub(crate) const ENV_LIVE: &core::ffi::CStr = c"AFTERDROP_LIVE";

/// Mean number of bytes between two samples of a service.
#[cfg(feature = "live")]
const LIVE_INTERVAL: u64 = 512 << 10;

/// The given state, or the one that is decided now if there is none yet. `live` is whether the heap
/// records in a process that is not measured, too.
#[inline]
pub(super) fn decided<A: 'static>(state: State, live: bool) -> State {
    if state != State::UNDECIDED {
        return state;
    }
    let is_system = TypeId::of::<A>() == TypeId::of::<System>();
    state::INNER_IS_SYSTEM.store(is_system, Relaxed);
    decide(live)
}

/// Reads the environment and decides the state. Two threads may do so at once: both decide the same.
#[cold]
fn decide(live: bool) -> State {
    let state = match variable(ENV_HEAP) {
        #[cfg(feature = "live")]
        b"" if live => live_state(),
        b"" => State::new(Backend::Inner, Mode::Off),
        b"system" => State::new(Backend::Inner, Mode::Every),
        b"jemalloc" if cfg!(feature = "jemalloc") => State::new(Backend::Jemalloc, Mode::Every),
        b"dhat" if cfg!(feature = "dhat") => State::new(Backend::Dhat, Mode::Every),
        // The same allocator without the ledger, for comparisons.
        b"jemalloc-bare" if cfg!(feature = "jemalloc") => State::new(Backend::Jemalloc, Mode::Off),
        _ => State::new(Backend::Missing, Mode::Off),
    };
    let _ = live;
    let state = match (state.mode(), sample_interval()) {
        (Mode::Off | Mode::Sampled, _) | (_, None) => state,
        (_, Some(Ok(interval))) if state.backend() != Backend::Dhat => {
            sampler::set_interval(interval);
            State::new(state.backend(), Mode::Sampled)
        }
        (_, Some(_)) => State::new(Backend::Missing, Mode::Off),
    };
    if state.mode() != Mode::Off {
        // SAFETY: the handler is a function that only stores to atomics.
        unsafe { libc::pthread_atfork(None, None, Some(stop_recording_after_fork)) };
        // Before another thread sees that the process records, and takes a record.
        thread::give_back_records_at_exit();
        call_timing::calibrate();
    }
    #[cfg(feature = "c-heap")]
    if state.mode() != Mode::Off && state.backend() != Backend::Dhat {
        // dhat, with whose counts those of the ledger are compared, sees Rust's blocks only.
        c_mode::record(state.mode());
    }
    state::set(with_keys(state));
    state
}

/// The state of a service that is judged while it runs. A value of the variable that means nothing turns
/// recording off, and [`Live::start`](crate::live::Live::start) says so.
#[cfg(feature = "live")]
fn live_state() -> State {
    let backend = match state::INNER_IS_SYSTEM.load(Relaxed) {
        true if cfg!(feature = "jemalloc") => Backend::Jemalloc,
        _ => Backend::Inner,
    };
    let interval = match variable(ENV_LIVE) {
        b"" => Some(LIVE_INTERVAL),
        value => positive(value),
    };
    IS_LIVE.store(true, Relaxed);
    let Some(interval) = interval else {
        return State::new(backend, Mode::Off);
    };
    sampler::set_interval(interval);
    // The first window. What is allocated before `Live::start` belongs to it.
    state::set_now(Birth {
        cycle: 1,
        phase: Phase::Cycle as u8,
    });
    State::new(backend, Mode::Sampled)
}

/// Whether the global allocator is one that records while a service runs, and no run measures this process.
#[cfg(feature = "live")]
static IS_LIVE: AtomicBool = AtomicBool::new(false);

/// Whether the global allocator is one that records while a service runs, and no run measures this process.
#[cfg(feature = "live")]
pub(crate) fn is_live() -> bool {
    is_installed() && IS_LIVE.load(Relaxed)
}

/// Decides the state of a process that has this library preloaded: the C library's allocator is recorded.
/// Runs at the first allocation.
#[cfg(feature = "preload")]
pub(super) fn begin_preloaded() {
    state::INNER_IS_SYSTEM.store(true, Relaxed);
    // SAFETY: the handler is a function that neither allocates nor waits for a lock.
    unsafe { libc::pthread_atfork(None, None, Some(go_on_after_fork)) };
    thread::give_back_records_at_exit();
    call_timing::calibrate();
    state::set(State::new(Backend::Inner, Mode::Every));
}

/// Stops recording, in a process that has nothing to do with the run.
#[cfg(feature = "preload")]
pub(crate) fn stop_recording() {
    c_mode::record(Mode::Off);
    state::set(State::new(Backend::Inner, Mode::Off));
}

/// Records samples from now on, one for every `interval` bytes. What is in the ledger stays live for
/// ever, as far as it knows, which is set-up.
#[cfg(feature = "preload")]
pub(crate) fn record_samples(interval: u64) {
    sampler::set_interval(interval);
    c_mode::record(Mode::Sampled);
    state::set(State::new(Backend::Inner, Mode::Sampled));
}

/// The value of an environment variable; empty if it is not set, or cannot be trusted.
fn variable(name: &core::ffi::CStr) -> &'static [u8] {
    if privileges::were_gained() {
        return b"";
    }
    // SAFETY: the C library's environment is set up before any Rust code runs, and the value of a
    // variable stays valid until someone changes the environment. This runs at the first
    // allocation, before anything can have called `setenv`.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if value.is_null() {
            return b"";
        }
        core::ffi::CStr::from_ptr(value).to_bytes()
    }
}

/// The mean number of bytes between two samples, if the environment has one; an error if it is not
/// a positive integer.
fn sample_interval() -> Option<Result<u64, ()>> {
    let value = variable(sampler::ENV_SAMPLE);
    if value.is_empty() {
        return None;
    }
    Some(positive(value).ok_or(()))
}

/// The positive integer that a text is; `None` if it is none.
fn positive(text: &[u8]) -> Option<u64> {
    let number = core::str::from_utf8(text).ok()?.parse().ok()?;
    Some(number).filter(|&number| number > 0)
}

/// Runs in a forked copy. A thread that the copy does not have may have held a lock at the fork, so
/// that the copy must not take one.
extern "C" fn stop_recording_after_fork() {
    state::IS_FORKED_COPY.store(true, Relaxed);
    #[cfg(feature = "c-heap")]
    c_mode::record(Mode::Off);
    let state = state::get();
    if state.mode() == Mode::Sampled {
        // Recorded blocks must still be freed with the layout that they were allocated with. No
        // more samples are taken.
        sampler::set_interval(0);
        return;
    }
    // dhat's lock may be held too. Its blocks are the system's and can be freed there.
    state::set(state.for_own_blocks());
}

/// Runs in a forked copy of a process that has this library preloaded, which goes on as a process of its own:
/// a server forks its workers. It cannot if a thread that it does not have held a lock at the fork.
#[cfg(feature = "preload")]
extern "C" fn go_on_after_fork() {
    let is_unlocked = LEDGER.is_unlocked()
        && STACKS.is_unlocked()
        && peak_snapshot::is_unlocked()
        && python::is_unlocked();
    match is_unlocked && !thread::is_paused() {
        true => state::begin_copy(),
        false => stop_recording_after_fork(),
    }
}

/// Stops recording in a copy of the process that was made without the C library's knowledge.
pub(crate) fn stop_recording_in_copy() {
    stop_recording_after_fork();
}

/// Chooses how stacks are walked from now on: by frame pointers where this build has them.
pub(crate) fn choose_unwinder() -> Unwinder {
    #[cfg(feature = "preload")]
    return match std::env::var_os(ENV_UNWIND).is_some_and(|how| how == "frame-pointers") {
        true => Unwinder::FramePointers,
        false => Unwinder::Cfi,
    };
    #[cfg(not(feature = "preload"))]
    choose_by_stack()
}

#[cfg(not(feature = "preload"))]
fn choose_by_stack() -> Unwinder {
    let force_cfi = std::env::var_os(ENV_UNWIND).is_some_and(|how| how == "cfi");
    let chosen = unwinder::choose(force_cfi);
    state::set(with_keys(state::get()));
    chosen
}

/// The state after the unwinder was chosen, and with it how keys of stacks are computed.
pub(super) fn with_keys(state: State) -> State {
    match state {
        State::JEMALLOC if layout_cache::uses_aes() => State::JEMALLOC_AES,
        _ => state,
    }
}

/// Whether a [`Heap`](super::Heap) is this process's global allocator, found out by allocating once.
pub(crate) fn is_installed() -> bool {
    drop(std::hint::black_box(Box::new(0_u8)));
    state::get() != State::UNDECIDED
}
