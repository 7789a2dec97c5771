//! The frozen copy: a fork of the process, made while all its other threads are suspended. The copy
//! has only the forking thread, so that its memory does not change while it is searched.
//!
//! The process forks with a bare `clone`. The C library's `fork` would wait for the locks of its
//! allocator, and a suspended thread may hold one. For the same reason, code in the copy must not
//! allocate.

use std::time::{Duration, Instant};

use super::coverage;
use super::python::{self, Layout};
use super::signals::Choice;
use super::suspend::{Suspension, ThreadState, suspended_threads};
use super::tls::{self, TlsModule, thread_pointer};
use super::unreadable;
use crate::recorder::heap::{self, MappedVec, NoMemory, Paused};
use crate::recorder::proc;

/// Facts about the process that are collected before the fork, because collecting them allocates.
pub(super) struct ProcessInfo {
    /// The process id.
    pub(super) id: i32,
    /// The ids of all threads.
    threads: Vec<i32>,
    pub(super) modules: Vec<TlsModule>,
    /// Bytes that the allocator has mapped; `None` if that is not known.
    pub(super) allocator_bytes: Option<u64>,
    /// Blocks that were allocated inside of a hook.
    pub(super) unknown_blocks: u64,
    pub(super) python: Option<Layout>,
}

impl ProcessInfo {
    pub(super) fn collect(paused: &Paused) -> Self {
        let threads = proc::thread_names(paused).into_iter();
        Self {
            id: std::process::id() as i32,
            threads: threads.map(|(id, _)| id as i32).collect(),
            modules: tls::modules(paused),
            allocator_bytes: heap::allocator_bytes(),
            unknown_blocks: heap::own_cost().unseen,
            python: python::layout(),
        }
    }
}

/// The threads of the process at the time of the fork.
pub(super) struct Threads {
    /// The suspended threads, and last the forking thread.
    pub(super) states: MappedVec<ThreadState>,
    /// Number of threads that could not be suspended: their stacks and registers are not known.
    pub(super) missed: usize,
    /// Bytes of mappings that the copy does not have; `None` if that is not known.
    pub(super) not_copied: Option<u64>,
}

/// A copy in which a search runs.
pub(super) struct FrozenCopy {
    process: libc::pid_t,
    /// For how long the threads were suspended.
    pub(super) pause: Duration,
}

/// Why no copy could be made.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The program handles all real-time signals itself, so that none is free for suspending
    /// threads.
    NoFreeSignal,
    /// The kernel refused to clone the process.
    Clone(std::io::Error),
}

/// Suspends all other threads, forks, and resumes them. `search` runs in the copy.
///
/// `search` must neither allocate nor take a lock; its result is the copy's exit code.
// Not inlined: `registers` marks the lower end of the stack that is searched. It must not lie in
// the frame of a caller.
#[inline(never)]
pub(super) fn copy_process(
    paused: &Paused,
    info: &ProcessInfo,
    search: impl FnOnce(Result<Threads, NoMemory>) -> u8,
) -> Result<FrozenCopy, CopyError> {
    let mut registers = [0_usize; 10];
    save_registers(&mut registers);
    let low = std::hint::black_box(&registers).as_ptr().addr();
    // SAFETY: `gettid` takes no argument and writes no memory.
    let own_id = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    let own = ThreadState {
        id: own_id,
        low,
        stack_pointer: low,
        frame_pointer: heap::frame_pointer(),
        program_counter: 0,
        thread_pointer: thread_pointer(),
    };
    let mut maps = Maps::new();
    let others = info.threads.iter().copied().filter(|&id| id != own_id);
    // Just before the signals are sent, because threads block and unblock signals.
    let Choice { signal, threads } = Choice::new(paused, others).ok_or(CopyError::NoFreeSignal)?;
    let start = Instant::now();
    let suspension = Suspension::begin(signal, info.id, &threads).ok_or(CopyError::NoFreeSignal)?;
    // Includes threads that have started since the list was made: they are not suspended.
    let count = proc::threads().saturating_sub(1) as usize;
    maps.read_in_process();
    // SAFETY: `clone` without flags and without a new stack copies the process as `fork` does, and
    // the exit of the copy sends no signal. The copy runs only `search`, whose caller ensures that
    // it takes no lock, and then exits (tests/holders.rs:
    // `has_its_holder_under_jemalloc`).
    let process = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if process == 0 {
        // First, because a new mapping of the copy may take the place of one that was not copied.
        let not_copied = maps.not_copied();
        heap::stop_recording_in_copy();
        unreadable::survive();
        let code = search(thread_states(own, count, not_copied));
        // SAFETY: ends the copy at once, without running exit handlers that the program has
        // registered.
        unsafe { libc::_exit(i32::from(code)) };
    }
    let error = std::io::Error::last_os_error();
    drop(suspension);
    let pause = start.elapsed();
    match process {
        -1 => Err(CopyError::Clone(error)),
        process => Ok(FrozenCopy {
            process: process as libc::pid_t,
            pause,
        }),
    }
}

/// The states of all threads but the forking one, of which there should be `others`, and last
/// `own`.
fn thread_states(
    own: ThreadState,
    others: usize,
    not_copied: Option<u64>,
) -> Result<Threads, NoMemory> {
    let mut states = suspended_threads()?;
    let missed = others.saturating_sub(states.as_slice().len());
    states.push(own)?;
    Ok(Threads {
        states,
        missed,
        not_copied,
    })
}

/// The mappings of the process and of its copy, as in `/proc/self/maps`.
struct Maps {
    process: MappedVec<u8>,
    copy: MappedVec<u8>,
    /// Whether those of the process were read.
    is_known: bool,
}

impl Maps {
    const FILE: &str = "/proc/self/maps";

    /// Reads both once, and makes room for texts twice as long, so that the next reads map no memory: a mapping that
    /// moved while its line was read would be missing in the copy.
    fn new() -> Self {
        let mut maps = Self {
            process: MappedVec::new(),
            copy: MappedVec::new(),
            is_known: false,
        };
        for text in [&mut maps.process, &mut maps.copy] {
            let _ = proc::read_whole(Self::FILE, text);
            let _ = text.reset(2 * text.as_slice().len(), 0);
            text.clear();
        }
        maps
    }

    fn read_in_process(&mut self) {
        self.is_known = proc::read_whole(Self::FILE, &mut self.process).is_some();
    }

    /// Bytes of mappings that this copy of the process does not have; `None` if that is not known.
    fn not_copied(&mut self) -> Option<u64> {
        proc::read_whole(Self::FILE, &mut self.copy).filter(|()| self.is_known)?;
        Some(coverage::not_copied(
            self.process.as_slice(),
            self.copy.as_slice(),
        ))
    }
}

/// Stores the callee-saved registers, each of which may have the only pointer to a block.
#[inline(always)]
fn save_registers(to: &mut [usize; 10]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: stores six words into an array of ten that is borrowed for writing; changes neither
    // registers, stack nor flags (tests/holders.rs: the case `held:only_in_register`).
    unsafe {
        core::arch::asm!(
            "mov [{0}], rbx",
            "mov [{0} + 8], r12",
            "mov [{0} + 16], r13",
            "mov [{0} + 24], r14",
            "mov [{0} + 32], r15",
            "mov [{0} + 40], rbp",
            in(reg) to.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: stores ten words into an array of ten that is borrowed for writing; changes neither
    // registers, stack nor flags (tests/holders.rs: the case `held:only_in_register`).
    unsafe {
        core::arch::asm!(
            "stp x19, x20, [{0}]",
            "stp x21, x22, [{0}, 16]",
            "stp x23, x24, [{0}, 32]",
            "stp x25, x26, [{0}, 48]",
            "stp x27, x28, [{0}, 64]",
            in(reg) to.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
}

/// Time between two checks whether the copy has ended.
const POLL: Duration = Duration::from_millis(1);

impl FrozenCopy {
    /// Waits for the copy to end, and returns its exit code. Kills it after `timeout`.
    ///
    /// # Errors
    /// Why there is no exit code.
    pub(super) fn wait(self, timeout: Duration) -> Result<u8, String> {
        let start = Instant::now();
        let mut status = 0;
        loop {
            // SAFETY: writes `status`, a local. `__WALL`, because the copy sends no signal when it
            // ends.
            let waited =
                unsafe { libc::waitpid(self.process, &mut status, libc::__WALL | libc::WNOHANG) };
            match waited {
                0 if start.elapsed() < timeout => std::thread::sleep(POLL),
                0 => {
                    // SAFETY: the copy has not been waited for, so that its process id cannot have
                    // been reused, and no other process is killed; `status` is a local.
                    unsafe {
                        libc::kill(self.process, libc::SIGKILL);
                        libc::waitpid(self.process, &mut status, libc::__WALL);
                    }
                    return Err(format!("it took longer than {} s", timeout.as_secs()));
                }
                // The program itself waits for all its children, and has received the exit code.
                -1 if start.elapsed() < timeout => {
                    // SAFETY: signal 0 is not delivered; the call only checks whether the process
                    // exists.
                    if unsafe { libc::kill(self.process, 0) } != 0 {
                        // The last record in the file tells whether the search was complete.
                        return Ok(0);
                    }
                    std::thread::sleep(POLL);
                }
                -1 => return Err("the program itself waits for all its children".into()),
                _ if libc::WIFEXITED(status) => return Ok(libc::WEXITSTATUS(status) as u8),
                _ => return Err(format!("signal {} killed it", libc::WTERMSIG(status))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_mappings_are_read_without_mapping_memory() {
        let mut maps = Maps::new();
        let mut now = MappedVec::new();
        proc::read_whole(Maps::FILE, &mut now).unwrap();
        // Other tests map memory meanwhile.
        let longer = now.as_slice().len() * 7 / 4;
        for text in [&mut maps.process, &mut maps.copy] {
            text.push(1).unwrap();
            let before = text.as_slice().as_ptr();
            for _ in 0..longer {
                text.push(1).unwrap();
                assert_eq!(text.as_slice().as_ptr(), before);
            }
        }
    }
}
