//! Suspends all other threads by a signal, whose handler leaves their registers on their stacks.
//!
//! Afterwards the handler is removed, unless a thread has not received the signal in time: it may
//! receive it later.

use std::time::{Duration, Instant};

use super::tls::thread_pointer;
use crate::recorder::heap::{MappedVec, NoMemory};
use crate::recorder::primitive::{
    AtomicBool, AtomicI32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Most threads whose registers can be saved.
const MAX_THREADS: usize = 1024;

/// Longest wait for the threads to enter the handler. A thread that a debugger has stopped, or that
/// waits for a disk, may not do so in time.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Registers of a thread, and where they were saved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThreadState {
    /// The kernel's thread id.
    pub(super) id: i32,
    /// Address of the saved registers. Below it, nothing on the thread's stack is live.
    pub(super) low: usize,
    pub(super) stack_pointer: usize,
    pub(super) frame_pointer: usize,
    pub(super) program_counter: usize,
    /// Base of the offsets of its thread-local memory.
    pub(super) thread_pointer: usize,
}

/// A [`ThreadState`] that a signal handler can write, without a lock and without allocating.
struct Slot {
    /// Written last; 0 while the slot is empty.
    id: AtomicI32,
    words: [AtomicUsize; 5],
}

static SLOTS: [Slot; MAX_THREADS] = [const {
    Slot {
        id: AtomicI32::new(0),
        words: [const { AtomicUsize::new(0) }; 5],
    }
}; MAX_THREADS];
static SLOTS_TAKEN: AtomicUsize = AtomicUsize::new(0);
/// Number of threads that wait in the handler.
static SUSPENDED: AtomicUsize = AtomicUsize::new(0);
/// Whether threads in the handler have to wait.
static STOP: AtomicBool = AtomicBool::new(false);
/// Whether a thread may still receive a signal that was sent to it.
static IS_ONE_LATE: AtomicBool = AtomicBool::new(false);

/// While this value exists, the other threads are suspended.
pub(super) struct Suspension {
    signal: libc::c_int,
}

impl Suspension {
    /// Sends a signal to each of these threads, and waits until they are in the handler. Threads that
    /// are not after [`TIMEOUT`] go on running. `None` if no handler can be installed.
    pub(super) fn begin(signal: libc::c_int, process: i32, threads: &[i32]) -> Option<Self> {
        // Those of an earlier suspension.
        for slot in taken_slots() {
            slot.id.store(0, Relaxed);
        }
        SLOTS_TAKEN.store(0, Relaxed);
        SUSPENDED.store(0, Relaxed);
        if !install_handler(signal) {
            return None;
        }
        let start = Instant::now();
        STOP.store(true, Release);
        let mut signalled = 0;
        for id in threads {
            // SAFETY: `tgkill` takes only numbers. A handler was installed for the signal, so that it
            // kills nothing; for a thread that has ended the call returns an error.
            let result = unsafe { libc::syscall(libc::SYS_tgkill, process, *id, signal) };
            signalled += usize::from(result == 0);
        }
        while SUSPENDED.load(Acquire) < signalled {
            if start.elapsed() >= TIMEOUT {
                IS_ONE_LATE.store(true, Relaxed);
                break;
            }
            // SAFETY: takes no argument and writes no memory.
            unsafe { libc::sched_yield() };
        }
        Some(Self { signal })
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        STOP.store(false, Release);
        if !IS_ONE_LATE.load(Relaxed) {
            remove_handler(self.signal);
        }
    }
}

fn taken_slots() -> &'static [Slot] {
    &SLOTS[..SLOTS_TAKEN.load(Relaxed).min(MAX_THREADS)]
}

/// The suspended threads, at most [`MAX_THREADS`].
pub(super) fn suspended_threads() -> Result<MappedVec<ThreadState>, NoMemory> {
    let mut threads = MappedVec::new();
    for slot in taken_slots() {
        let id = slot.id.load(Acquire);
        if id == 0 {
            continue;
        }
        let [low, sp, fp, pc, tp] = [0, 1, 2, 3, 4].map(|i| slot.words[i].load(Relaxed));
        threads.push(ThreadState {
            id,
            low,
            stack_pointer: sp,
            frame_pointer: fp,
            program_counter: pc,
            thread_pointer: tp,
        })?;
    }
    Ok(threads)
}

/// Whether the program does not handle a signal itself.
pub(super) fn is_free(signal: libc::c_int) -> bool {
    let handler = handler_of(signal);
    handler == Some(libc::SIG_DFL) || handler == Some(own_handler())
}

fn own_handler() -> libc::sighandler_t {
    wait_while_stopped as *const () as usize
}

/// The present handler of a signal; `None` if it is not known.
pub(super) fn handler_of(signal: libc::c_int) -> Option<libc::sighandler_t> {
    // SAFETY: `sigaction` is a C struct of integers, for which zero is a valid value.
    let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: without a new action, the call only writes the present one to `old`, a local of the
    // right type.
    let is_known = unsafe { libc::sigaction(signal, core::ptr::null(), &mut old) } == 0;
    is_known.then_some(old.sa_sigaction)
}

/// Installs the handler; `false` if that failed.
fn install_handler(signal: libc::c_int) -> bool {
    // SAFETY: `sigaction` is a C struct of integers, for which zero is a valid value.
    let mut new: libc::sigaction = unsafe { core::mem::zeroed() };
    new.sa_sigaction = own_handler();
    new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    // SAFETY: the handler has the signature that `SA_SIGINFO` requires. It is async-signal-safe: it
    // only makes system calls, uses atomics, and preserves `errno` (tests/holders.rs: the case
    // `held:detached_thread` has a thread to suspend).
    unsafe { libc::sigaction(signal, &new, core::ptr::null_mut()) == 0 }
}

/// Sets the signal back to what it was, unless the program has installed a handler of its own.
fn remove_handler(signal: libc::c_int) {
    if handler_of(signal) != Some(own_handler()) {
        return;
    }
    // SAFETY: `sigaction` is a C struct of integers, for which zero is a valid value: `SIG_DFL`.
    let default: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: the default action has no handler to call. All threads to which the signal was sent
    // are in its handler or have left it, so that it ends nothing (signals.rs:
    // `the_handler_is_removed_once_all_threads_were_suspended`).
    unsafe { libc::sigaction(signal, &default, core::ptr::null_mut()) };
}

/// The signal handler: saves the thread's registers in a slot, and waits while threads are stopped.
extern "C" fn wait_while_stopped(
    _: libc::c_int,
    _: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    if !STOP.load(Acquire) {
        return;
    }
    // SAFETY: the C library returns the address of the running thread's `errno`, which is valid
    // until the thread ends.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: `errno` is an aligned integer of this thread alone.
    let saved = unsafe { *errno };
    if let Some(slot) = SLOTS.get(SLOTS_TAKEN.fetch_add(1, Relaxed)) {
        let [sp, fp, pc] = interrupted_registers(context);
        // The context is on the stack, below everything that the thread has there.
        let words = [context.expose_provenance(), sp, fp, pc, thread_pointer()];
        for (to, word) in slot.words.iter().zip(words) {
            to.store(word, Relaxed);
        }
        // SAFETY: `gettid` takes no argument and writes no memory.
        let id = unsafe { libc::syscall(libc::SYS_gettid) };
        slot.id.store(id as i32, Release);
    }
    SUSPENDED.fetch_add(1, Release);
    while STOP.load(Acquire) {
        // SAFETY: takes no argument and writes no memory.
        unsafe { libc::sched_yield() };
    }
    // SAFETY: `errno` is an aligned integer of this thread alone, and the thread has not ended.
    unsafe { *errno = saved };
}

/// The stack pointer, frame pointer and program counter of the code that a signal has interrupted.
fn interrupted_registers(context: *mut libc::c_void) -> [usize; 3] {
    let context: *const libc::ucontext_t = context.cast();
    // SAFETY: the kernel passes a valid `ucontext_t` to a handler that was installed with
    // `SA_SIGINFO`, as `install_handler` does; it lives until the handler returns.
    let context = unsafe { &(*context).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    {
        let register = |number: libc::c_int| context.gregs[number as usize] as usize;
        [
            register(libc::REG_RSP),
            register(libc::REG_RBP),
            register(libc::REG_RIP),
        ]
    }
    #[cfg(target_arch = "aarch64")]
    {
        [
            context.sp as usize,
            context.regs[29] as usize,
            context.pc as usize,
        ]
    }
}
