//! Which signal can suspend which threads without harm to the program.
//!
//! A signal that a thread blocks would stay pending, and a call that waits for it would return it: both
//! are seen by the program. Threads that block the chosen signal or wait for it are passed over.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::suspend::is_free;
use crate::recorder::heap::Paused;
use crate::recorder::proc;

/// A set of signals, as the kernel has it: signal 1 is the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signals(u64);

impl Signals {
    const NONE: Self = Self(0);
    const ALL: Self = Self(u64::MAX);

    fn contains(self, signal: libc::c_int) -> bool {
        self.0 >> (signal - 1) & 1 == 1
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A real-time signal, and the threads to which it can be sent.
pub(super) struct Choice {
    pub(super) signal: libc::c_int,
    pub(super) threads: Vec<i32>,
}

impl Choice {
    /// Chooses the signal that the fewest of these threads block or wait for, among those that the
    /// program does not handle; `None` if it handles all. Allocates.
    pub(super) fn new(paused: &Paused, threads: impl Iterator<Item = i32>) -> Option<Self> {
        let threads = threads.map(|id| (id, unavailable(paused, id)));
        let threads: Vec<(i32, Signals)> = threads.collect();
        let signals = (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev();
        let signal = signals.filter(|&signal| is_free(signal)).min_by_key(|&s| {
            let passed_over = threads.iter().filter(|t| t.1.contains(s));
            passed_over.count()
        })?;
        let can_receive = threads.iter().filter(|t| !t.1.contains(signal));
        Some(Self {
            signal,
            threads: can_receive.map(|t| t.0).collect(),
        })
    }
}

/// The signals that a thread blocks or waits for; all, if that is not known.
fn unavailable(_: &Paused, thread: i32) -> Signals {
    let folder = format!("/proc/self/task/{thread}");
    let blocked = || {
        let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
        proc::blocked_signals(&status).map(Signals)
    };
    let waited_for = || {
        let call = std::fs::read_to_string(format!("{folder}/syscall")).ok()?;
        waited_for(&call)
    };
    // While a thread waits for a signal, it does not block it. Blocked signals are read twice,
    // because the thread may begin or end to wait between two reads.
    let sets = [blocked(), waited_for(), blocked()];
    let sets = sets.map(|set| set.unwrap_or(Signals::ALL));
    sets.into_iter().fold(Signals::NONE, Signals::and)
}

/// The signals for which the system call waits that `/proc/self/task/<id>/syscall` names; `None` if
/// they cannot be read.
fn waited_for(call: &str) -> Option<Signals> {
    let mut fields = call.split_whitespace();
    let number = fields.next()?.parse();
    if number != Ok(libc::SYS_rt_sigtimedwait) {
        return Some(Signals::NONE);
    }
    let set = u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    let mut bytes = [0; 8];
    // Read by the kernel: the thread may have returned from the call, and its stack may be gone.
    let memory = File::open("/proc/self/mem").ok()?;
    memory.read_exact_at(&mut bytes, set).ok()?;
    Some(Signals(u64::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::pause;
    use crate::recorder::holders::suspend::{Suspension, handler_of, suspended_threads};
    use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
    use std::sync::{Barrier, Mutex};

    #[test]
    fn a_thread_that_runs_or_waits_for_something_else_waits_for_no_signal() {
        assert_eq!(waited_for("running\n"), Some(Signals::NONE));
        assert_eq!(waited_for("-1 0x7ffc 0x55d0\n"), Some(Signals::NONE));
        assert_eq!(waited_for("0 0x3 0x7f53 0x20 0x0\n"), Some(Signals::NONE));
    }

    #[test]
    fn the_set_that_a_thread_waits_for_is_read_from_its_memory() {
        let set = 5_u64;
        let at = core::ptr::from_ref(&set).addr();
        let number = libc::SYS_rt_sigtimedwait;
        let call = format!("{number} {at:#x} 0x0 0x0 0x8 0x0 0x0 0x7ffc 0x55d0\n");
        let signals = waited_for(&call).unwrap();
        assert_eq!(
            [1, 2, 3, 4].map(|s| signals.contains(s)),
            [true, false, true, false]
        );
        assert_eq!(waited_for(&format!("{number} 0x0 0x0 0x0")), None);
    }

    /// There is one set of slots.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn own_id() -> i32 {
        // SAFETY: takes no argument and writes no memory.
        unsafe { libc::syscall(libc::SYS_gettid) as i32 }
    }

    /// Suspends a thread that has blocked these signals; returns the signal, and the threads that were
    /// suspended.
    fn suspend_thread_blocking(signals: &[libc::c_int]) -> (libc::c_int, Vec<i32>) {
        let guard = ONE_AT_A_TIME.lock().unwrap();
        let id = AtomicI32::new(0);
        let ends = Barrier::new(2);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                block(signals);
                id.store(own_id(), Relaxed);
                ends.wait();
            });
            while id.load(Relaxed) == 0 {
                std::thread::yield_now();
            }
            let choice = Choice::new(&pause(), [id.load(Relaxed)].into_iter()).unwrap();
            let process = std::process::id() as i32;
            let suspension = Suspension::begin(choice.signal, process, &choice.threads).unwrap();
            let states = suspended_threads().unwrap();
            drop(suspension);
            ends.wait();
            let ids = states.as_slice().iter().map(|state| {
                assert_eq!(state.id, id.load(Relaxed));
                state.id
            });
            (choice.signal, ids.collect())
        });
        drop(guard);
        result
    }

    fn block(signals: &[libc::c_int]) {
        // SAFETY: an array of integers is valid if all its bytes are zero; the calls write only `set`.
        unsafe {
            let mut set: libc::sigset_t = core::mem::zeroed();
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, core::ptr::null_mut());
        }
    }

    #[test]
    fn the_handler_is_removed_once_all_threads_were_suspended() {
        let (signal, suspended) = suspend_thread_blocking(&[]);
        assert_eq!(suspended.len(), 1);
        assert_eq!(handler_of(signal), Some(libc::SIG_DFL));
    }

    #[test]
    fn a_signal_that_no_thread_blocks_is_chosen() {
        let last = libc::SIGRTMAX();
        let (signal, suspended) = suspend_thread_blocking(&[last, last - 2]);
        assert_eq!((signal, suspended.len()), (last - 1, 1));
    }

    #[test]
    fn a_thread_that_blocks_all_signals_is_passed_over() {
        let all: Vec<_> = (libc::SIGRTMIN()..=libc::SIGRTMAX()).collect();
        let (_, suspended) = suspend_thread_blocking(&all);
        assert!(suspended.is_empty());
    }
}
