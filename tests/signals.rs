//! Programs that block signals, wait for them or handle them: the signal by which the holder search
//! suspends threads must not be seen by them.
//!
//! This executable is its own `afterdrop` command.

mod common;

use std::ffi::c_int;
use std::process::ExitCode;
use std::ptr::null_mut;

use afterdrop::report::RunVerdict;
use afterdrop::workloads::Entry;
use common::{Ran, trials};
use libtest_mimic::Arguments;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

/// The set of these signals.
fn set_of(signals: impl Iterator<Item = c_int>) -> libc::sigset_t {
    // SAFETY: a set is an array of integers, which are valid if all their bytes are zero; the calls
    // write only the set.
    unsafe {
        let mut set = std::mem::zeroed();
        for signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// All real-time signals.
fn all() -> libc::sigset_t {
    set_of(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

/// The one that a search takes if it can.
fn last() -> libc::sigset_t {
    set_of(std::iter::once(libc::SIGRTMAX()))
}

fn block(set: &libc::sigset_t) {
    // SAFETY: the call reads the set.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set, null_mut()) };
}

/// A thread that blocks these signals, and then waits for them. It ends the process if one arrives.
fn wait_in_thread(set: libc::sigset_t, wait: fn(&libc::sigset_t) -> c_int) {
    let blocked = std::sync::Barrier::new(2);
    let blocked: &'static _ = Box::leak(Box::new(blocked));
    std::thread::spawn(move || {
        block(&set);
        blocked.wait();
        let signal = wait(&set);
        eprintln!("the wait returned {signal}");
        std::process::abort();
    });
    blocked.wait();
}

fn sigwait(set: &libc::sigset_t) -> c_int {
    let mut signal = 0;
    // SAFETY: the call reads the set and writes `signal`.
    unsafe { libc::sigwait(set, &mut signal) };
    signal
}

fn sigtimedwait(set: &libc::sigset_t) -> c_int {
    let hour = libc::timespec {
        tv_sec: 3600,
        tv_nsec: 0,
    };
    // SAFETY: the call reads the set and the time, and writes nothing.
    unsafe { libc::sigtimedwait(set, null_mut(), &hour) }
}

fn signalfd(set: &libc::sigset_t) -> c_int {
    // SAFETY: `read` writes at most the bytes of `info`, which is valid if all its bytes are zero.
    unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let descriptor = libc::signalfd(-1, set, 0);
        let at = std::ptr::from_mut(&mut info).cast();
        libc::read(descriptor, at, size_of_val(&info));
        info.ssi_signo as c_int
    }
}

/// Handles these signals. The handler ends the process.
fn handle(signals: impl Iterator<Item = c_int>) {
    extern "C" fn end(_: c_int) {
        std::process::abort();
    }
    for signal in signals {
        // SAFETY: the action is valid if all its bytes but the handler's are zero, and `abort` may be
        // called in a handler.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = end as *const () as usize;
            assert_eq!(libc::sigaction(signal, &action, null_mut()), 0);
        }
    }
}

/// A thread that the search can suspend.
fn park_in_thread() {
    std::thread::spawn(|| {
        loop {
            std::thread::park();
        }
    });
}

/// A thread that blocks all signals, and has the only pointers to a ring of entries on its stack.
fn keep_ring_in_thread() -> std::sync::mpsc::SyncSender<[u8; 64]> {
    let (entries, received) = std::sync::mpsc::sync_channel::<[u8; 64]>(0);
    std::thread::spawn(move || {
        block(&all());
        let mut ring = [const { None }; 20];
        for (n, entry) in (0..).zip(received) {
            ring[n % 20] = Some(Box::new(entry));
            std::hint::black_box(&mut ring);
        }
    });
    entries
}

/// A workload that does something in its first cycle.
fn entry(name: &str, start: fn()) -> Entry {
    let mut is_first = true;
    Entry::from_fn(name, "", move || {
        if std::mem::take(&mut is_first) {
            start();
        }
        Ok(|| Ok(vec![1.0]))
    })
}

fn workloads() -> Vec<Entry> {
    let mut entries = None;
    vec![
        entry("sigwait", || wait_in_thread(all(), sigwait)),
        entry("sigtimedwait", || wait_in_thread(all(), sigtimedwait)),
        entry("signalfd", || wait_in_thread(all(), signalfd)),
        entry("sigwait-last", || wait_in_thread(last(), sigwait)),
        entry("signalfd-last", || wait_in_thread(last(), signalfd)),
        entry("handles-most", || {
            handle(libc::SIGRTMIN() + 1..=libc::SIGRTMAX());
            park_in_thread();
        }),
        entry("handles-all", || {
            handle(libc::SIGRTMIN()..=libc::SIGRTMAX());
            park_in_thread();
        }),
        Entry::from_fn("ring", "", move || {
            let entries = entries.get_or_insert_with(keep_ring_in_thread);
            entries.send([1; 64])?;
            Ok(|| Ok(vec![1.0; 25_000]))
        }),
    ]
}

/// `run <name>` in this executable.
fn run(name: &str, cycles: &str) -> Ran {
    let program = std::env::current_exe().unwrap();
    common::run_with(&program, [name, "--heap", "jemalloc", "--cycles", cycles])
}

/// The workload runs to its end, with this many threads passed over.
fn is_not_disturbed(name: &str, missed_threads: u32) {
    let ran = run(name, "12").exits(0);
    let report = ran.report();
    assert_eq!(report.cycles_run(), 12, "{}", ran.out);
    let search = report.holder_search.unwrap();
    assert_eq!(search.failure, None, "{}", ran.out);
    assert_eq!(search.missed_threads, missed_threads, "{}", ran.out);
}

fn a_thread_that_waits_for_all_signals_is_passed_over() {
    is_not_disturbed("sigwait", 1);
}

fn a_thread_that_waits_for_all_signals_for_some_time_is_passed_over() {
    is_not_disturbed("sigtimedwait", 1);
}

fn a_thread_that_reads_all_signals_from_a_descriptor_is_passed_over() {
    is_not_disturbed("signalfd", 1);
}

fn a_thread_that_waits_for_one_signal_is_suspended_by_another() {
    is_not_disturbed("sigwait-last", 0);
}

fn a_thread_that_reads_one_signal_from_a_descriptor_is_suspended_by_another() {
    is_not_disturbed("signalfd-last", 0);
}

fn a_handler_of_the_program_is_not_called() {
    is_not_disturbed("handles-most", 0);
}

fn a_program_that_handles_all_signals_is_told_that_holders_are_not_known() {
    let ran = run("handles-all", "12").exits(0);
    let failure = ran.report().holder_search.unwrap().failure.unwrap();
    assert!(
        failure.contains("handles all real-time signals"),
        "{failure}"
    );
}

fn what_a_thread_that_was_passed_over_holds_is_not_called_lost() {
    let ran = run("ring", "18").exits(1);
    assert_eq!(ran.report().verdict, RunVerdict::Growing, "{}", ran.out);
    let says = "the stacks of 1 thread were not searched, because no signal could suspend them";
    assert!(ran.words().contains(says), "{}", ran.out);
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "run")
    {
        return afterdrop::main(workloads());
    }
    let trials = trials![
        a_thread_that_waits_for_all_signals_is_passed_over
        a_thread_that_waits_for_all_signals_for_some_time_is_passed_over
        a_thread_that_reads_all_signals_from_a_descriptor_is_passed_over
        a_thread_that_waits_for_one_signal_is_suspended_by_another
        a_thread_that_reads_one_signal_from_a_descriptor_is_suspended_by_another
        a_handler_of_the_program_is_not_called
        a_program_that_handles_all_signals_is_told_that_holders_are_not_known
        what_a_thread_that_was_passed_over_holds_is_not_called_lost
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
