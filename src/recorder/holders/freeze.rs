//! A frozen copy of this process: its other threads are held up by a signal, so that their registers
//! lie on their stacks, and the process forks; then all go on, and the copy is searched.
//!
//! The copy is made by a bare `clone`, not by the C library's `fork`: that waits for the allocators'
//! locks, which a thread that is held up may have. So the copy must not allocate.

use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::{Duration, Instant};

use crate::recorder::heap::{self, MappedVec};
use crate::recorder::proc;

/// Threads that can be held up at a time.
const MOST: usize = 1024;

/// Longest wait for threads to be held up: one that blocks all signals never is.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a thread was doing when it was held up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thread {
    pub(super) id: i32,
    /// Where its registers were kept, below all that is live on its stack.
    pub(super) low: usize,
    /// Its stack pointer, frame pointer and program counter.
    pub(super) sp: usize,
    pub(super) bp: usize,
    pub(super) pc: usize,
    /// The thread pointer, from which its thread-local memory is counted.
    pub(super) tp: usize,
}

struct Slot {
    id: AtomicI32,
    words: [AtomicUsize; 5],
}

static SLOTS: [Slot; MOST] = [const {
    Slot {
        id: AtomicI32::new(0),
        words: [const { AtomicUsize::new(0) }; 5],
    }
}; MOST];
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static HELD_UP: AtomicUsize = AtomicUsize::new(0);
/// Threads are to wait.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs in each other thread. It stays installed: a thread that had the signal blocked may get it late.
extern "C" fn hold_up(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !STOP.load(Acquire) {
        return;
    }
    // SAFETY: the running thread's own.
    let errno = unsafe { *libc::__errno_location() };
    if let Some(slot) = SLOTS.get(TAKEN.fetch_add(1, Relaxed)) {
        let [sp, bp, pc] = interrupted(context);
        let words = [context.expose_provenance(), sp, bp, pc, thread_pointer()];
        for (to, word) in slot.words.iter().zip(words) {
            to.store(word, Relaxed);
        }
        // SAFETY: a bare system call.
        let id = unsafe { libc::syscall(libc::SYS_gettid) };
        slot.id.store(id as i32, Release);
    }
    HELD_UP.fetch_add(1, Release);
    while STOP.load(Acquire) {
        // SAFETY: a bare system call.
        unsafe { libc::sched_yield() };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// The stack pointer, frame pointer and program counter of what a signal has interrupted.
fn interrupted(context: *mut libc::c_void) -> [usize; 3] {
    let context: *const libc::ucontext_t = context.cast();
    // SAFETY: what the kernel hands to a handler with `SA_SIGINFO`.
    let context = unsafe { &(*context).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    {
        let of = |register: libc::c_int| context.gregs[register as usize] as usize;
        [of(libc::REG_RSP), of(libc::REG_RBP), of(libc::REG_RIP)]
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

/// The running thread's thread pointer.
fn thread_pointer() -> usize {
    let tp: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the first word of a thread's control block is its own address (System V ABI, "ELF
    // Handling for Thread-Local Storage").
    unsafe {
        core::arch::asm!("mov {}, fs:[0]", out(reg) tp, options(nostack, readonly, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) tp, options(nostack, nomem, preserves_flags));
    }
    tp
}

/// A module's thread-local memory, as every thread that was there from the start has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Module {
    /// Where the module is loaded: what its addresses are counted from.
    pub(super) bias: usize,
    /// Of its thread-local memory: where it begins, seen from the thread pointer, and its bytes.
    pub(super) offset: isize,
    pub(super) bytes: usize,
}

/// What is known of the process before the copy is made, because it takes the heap to find out.
pub(super) struct Known {
    /// The process's number.
    pub(super) process: i32,
    pub(super) names: Vec<(u32, String)>,
    pub(super) modules: Vec<Module>,
    /// Of this thread: where it began to search, and its thread pointer.
    pub(super) here: Thread,
}

impl Known {
    /// Finds it out. Allocates: the caller has to keep its calls out of the ledger.
    pub(super) fn now() -> Self {
        Self {
            process: std::process::id() as i32,
            names: proc::thread_names(),
            modules: modules(),
            here: Thread::default(),
        }
    }
}

fn modules() -> Vec<Module> {
    unsafe extern "C" fn add(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        to: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the linker's record of a loaded module, and the list that was handed in.
        let (info, modules) = unsafe { (&*info, &mut *to.cast::<Vec<Module>>()) };
        // SAFETY: as many headers as the record says.
        let headers =
            unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let tls = headers.iter().find(|h| h.p_type == libc::PT_TLS);
        let at = info.dlpi_tls_data.expose_provenance();
        if let Some(tls) = tls.filter(|_| at != 0) {
            modules.push(Module {
                bias: info.dlpi_addr as usize,
                offset: at.wrapping_sub(thread_pointer()) as isize,
                bytes: tls.p_memsz as usize,
            });
        }
        0
    }
    let mut modules: Vec<Module> = Vec::new();
    // SAFETY: the callback is of the type that is asked for, and the list outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(add), core::ptr::from_mut(&mut modules).cast()) };
    // What was loaded later lies elsewhere in each thread.
    modules.retain(|m| m.offset.unsigned_abs() < 1 << 20);
    modules
}

/// The copy, while it is searched.
pub(super) struct Copy {
    id: libc::pid_t,
    /// For how long the process was held up.
    pub(super) pause: Duration,
}

/// What makes a copy impossible.
pub(super) enum Refused {
    /// No signal is free to hold threads up with.
    NoSignal,
    /// The kernel does not make one: why.
    Fork(std::io::Error),
}

/// Holds all other threads up, makes a copy in which `search` runs, and lets them go on. `search` must
/// neither allocate nor take a lock; its result is the copy's exit code.
#[inline(never)]
pub(super) fn copied(
    known: &mut Known,
    search: impl FnOnce(&Known, &[Thread], usize) -> u8,
) -> Result<Copy, Refused> {
    let mut registers = [0_usize; 6];
    save_registers(&mut registers);
    let low = std::hint::black_box(&registers).as_ptr().addr();
    let signal = free_signal().ok_or(Refused::NoSignal)?;
    // SAFETY: a bare system call.
    let own = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    known.here = Thread {
        id: own,
        low,
        sp: low,
        bp: heap::frame_pointer(),
        pc: 0,
        tp: thread_pointer(),
    };
    TAKEN.store(0, Relaxed);
    HELD_UP.store(0, Relaxed);
    let start = Instant::now();
    STOP.store(true, Release);
    let mut sent = 0;
    for &(id, _) in known.names.iter().filter(|(id, _)| *id as i32 != own) {
        // SAFETY: a bare system call; a thread that has ended meanwhile gets nothing.
        let result = unsafe { libc::syscall(libc::SYS_tgkill, known.process, id, signal) };
        sent += usize::from(result == 0);
    }
    while HELD_UP.load(Acquire) < sent && start.elapsed() < PATIENCE {
        // SAFETY: a bare system call.
        unsafe { libc::sched_yield() };
    }
    // Those, too, that have begun meanwhile, and nobody has asked to stop.
    let others = proc::threads().saturating_sub(1) as usize;
    // SAFETY: without a stack and flags it is a fork, which tells nobody when it ends.
    let id = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if id == 0 {
        heap::stop_recording_in_copy();
        let threads = held_up();
        let missed = others.saturating_sub(threads.as_slice().len());
        let code = search(known, threads.as_slice(), missed);
        // SAFETY: ends the copy at once; nothing of the process's is run.
        unsafe { libc::_exit(i32::from(code)) };
    }
    STOP.store(false, Release);
    let pause = start.elapsed();
    match id {
        -1 => Err(Refused::Fork(std::io::Error::last_os_error())),
        id => Ok(Copy {
            id: id as libc::pid_t,
            pause,
        }),
    }
}

/// The threads that are held up, as far as they found a place, and there is memory.
fn held_up() -> MappedVec<Thread> {
    let mut threads = MappedVec::new();
    for slot in &SLOTS[..TAKEN.load(Relaxed).min(MOST)] {
        let id = slot.id.swap(0, Acquire);
        if id == 0 {
            continue;
        }
        let [low, sp, bp, pc, tp] = [0, 1, 2, 3, 4].map(|i| slot.words[i].load(Relaxed));
        let _ = threads.push(Thread {
            id,
            low,
            sp,
            bp,
            pc,
            tp,
        });
    }
    threads
}

/// Puts what functions keep for their callers into memory.
#[inline(always)]
fn save_registers(to: &mut [usize; 6]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: stores six registers into six words.
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
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "stp x19, x20, [{0}]",
            "stp x21, x22, [{0}, 16]",
            "stp x23, x24, [{0}, 32]",
            in(reg) to.as_mut_ptr(),
            options(nostack, preserves_flags)
        );
    }
}

/// A real-time signal that nobody handles, with the handler installed.
fn free_signal() -> Option<libc::c_int> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev().find(|&signal| {
        // SAFETY: zero is a valid `sigaction`; it is filled by the system.
        let mut old: libc::sigaction = unsafe { core::mem::zeroed() };
        // SAFETY: asks only.
        let told = unsafe { libc::sigaction(signal, core::ptr::null(), &mut old) } == 0;
        let ours = hold_up as *const () as usize;
        if told && old.sa_sigaction == ours {
            return true;
        }
        if !told || old.sa_sigaction != libc::SIG_DFL {
            return false;
        }
        // SAFETY: as above.
        let mut new: libc::sigaction = unsafe { core::mem::zeroed() };
        new.sa_sigaction = ours;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // SAFETY: the handler is a plain function that only makes system calls and uses atomics.
        unsafe { libc::sigaction(signal, &new, core::ptr::null_mut()) == 0 }
    })
}

impl Copy {
    /// Waits for its end, at most so long, and gives its exit code; else why it has none.
    pub(super) fn wait(self, bound: Duration) -> Result<u8, String> {
        let start = Instant::now();
        let mut status = 0;
        loop {
            // SAFETY: fills a local; the copy is this process's child.
            match unsafe { libc::waitpid(self.id, &mut status, libc::__WALL | libc::WNOHANG) } {
                0 if start.elapsed() < bound => std::thread::sleep(Duration::from_millis(1)),
                0 => {
                    // SAFETY: the child has not been waited for, so that the number is still its.
                    unsafe {
                        libc::kill(self.id, libc::SIGKILL);
                        libc::waitpid(self.id, &mut status, libc::__WALL);
                    }
                    return Err(format!("it took more than {} s", bound.as_secs()));
                }
                // The program waits for all children, also for those that tell nobody of their end.
                -1 if start.elapsed() < bound => {
                    // SAFETY: asks only whether the process is there.
                    if unsafe { libc::kill(self.id, 0) } != 0 {
                        // What it has written says whether it got to its end.
                        return Ok(0);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                -1 => return Err("somebody else waits for the copy".into()),
                _ if libc::WIFEXITED(status) => return Ok(libc::WEXITSTATUS(status) as u8),
                _ => return Err(format!("signal {} ended it", libc::WTERMSIG(status))),
            }
        }
    }
}
