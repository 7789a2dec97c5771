//! Workloads that behave as badly as real ones may: they panic, abort, are killed, fork, and use
//! the allocator in every way that it allows. This executable is its own `afterdrop` command.

mod common;

use std::alloc::{GlobalAlloc, Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;

use afterdrop::report::{How, RunVerdict};
use afterdrop::workloads::Entry;
use afterdrop::{Failure, Model, Prediction, Workload};
use common::Ran;
use libtest_mimic::{Arguments, Trial};

/// Counts nothing and allows nothing that an allocator need not: it aborts if the ledger comes
/// back to it while it is inside a call.
struct Strict;

thread_local! {
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn once<R>(f: impl FnOnce() -> R) -> R {
    if INSIDE.replace(true) {
        std::process::abort();
    }
    let result = f();
    INSIDE.set(false);
    result
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Strict {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        once(|| unsafe { std::alloc::System.alloc(layout) })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        once(|| unsafe { std::alloc::System.dealloc(at, layout) })
    }
}

#[global_allocator]
static HEAP: afterdrop::Heap<Strict> = afterdrop::Heap::over(Strict);

/// A workload made of what a cycle does; the cycle counts from 1.
struct Doing {
    cycle: u32,
    what: fn(u32) -> Result<(), Failure>,
}

struct Nothing;

impl Workload for Doing {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        self.cycle += 1;
        (self.what)(self.cycle)?;
        Ok(Box::new(Nothing))
    }
}

impl Model for Nothing {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        Ok(vec![1.0])
    }
}

fn workloads() -> Vec<Entry> {
    let entry = |name, what: fn(u32) -> Result<(), Failure>| {
        Entry::new(name, "", move |_| Ok(Box::new(Doing { cycle: 0, what })))
    };
    vec![
        entry("fails", |cycle| match cycle {
            7 => Err("the model file is gone".into()),
            _ => Ok(()),
        }),
        entry("fails-at-once", |_| Err("no such model".into())),
        entry("panics", |cycle| {
            assert!(cycle < 7, "weights do not fit");
            Ok(())
        }),
        entry("aborts", |cycle| {
            if cycle == 7 {
                eprintln!("out of luck");
                std::process::abort();
            }
            Ok(())
        }),
        entry("is-killed", |cycle| {
            if cycle == 7 {
                let me = std::process::id().to_string();
                std::process::Command::new("kill")
                    .args(["-KILL", &me])
                    .status()?;
                std::thread::sleep(std::time::Duration::from_secs(60));
            }
            Ok(())
        }),
        entry("exits", |cycle| {
            if cycle == 7 {
                std::process::exit(0);
            }
            Ok(())
        }),
        entry("catches-panics", |_| {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
            Ok(())
        }),
        Entry::new("leaks-in-its-panic-hook", "", |_| {
            std::panic::set_hook(Box::new(|_| {
                std::mem::forget(vec![1_u8; 64]); // LEAKED BY THE HOOK
            }));
            Ok(Box::new(Doing {
                cycle: 0,
                what: |_| {
                    let _ = std::panic::catch_unwind(|| panic!("caught"));
                    Ok(())
                },
            }))
        }),
        entry("layouts", |_| {
            layouts();
            Ok(())
        }),
        entry("threads", |cycle| {
            threads(cycle);
            Ok(())
        }),
        entry("forks", |_| fork()),
        entry("prints", |cycle| {
            println!("cycle {cycle}");
            Ok(())
        }),
        entry("deep", |cycle| {
            deep(cycle, 300);
            Ok(())
        }),
        entry("is-measured", |_| Ok(())),
    ]
}

/// Every kind of call on every kind of layout, with the contents checked.
fn layouts() {
    for size in [1, 7, 8, 16, 100, 4096, 5000, 1 << 20] {
        for align in [1, 2, 8, 16, 64, 4096, 1 << 16] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layout is not of size zero, each block is freed once with the layout
            // that it has at that moment, and is only touched inside.
            unsafe {
                let at = alloc(layout);
                assert!(!at.is_null() && at.addr().is_multiple_of(align));
                at.write_bytes(7, size);
                let grown = realloc(at, layout, size * 3);
                assert!(grown.addr().is_multiple_of(align));
                assert!(
                    std::slice::from_raw_parts(grown, size)
                        .iter()
                        .all(|&b| b == 7)
                );
                let big = Layout::from_size_align(size * 3, align).unwrap();
                // Growth by nothing, then a shrink.
                let same = realloc(grown, big, size * 3);
                let small = realloc(same, big, size.div_ceil(2));
                let rest = std::slice::from_raw_parts(small, size.div_ceil(2));
                assert!(rest.iter().all(|&b| b == 7));
                dealloc(
                    small,
                    Layout::from_size_align(size.div_ceil(2), align).unwrap(),
                );
                let zeroed = alloc_zeroed(layout);
                assert!(
                    std::slice::from_raw_parts(zeroed, size)
                        .iter()
                        .all(|&b| b == 0)
                );
                dealloc(zeroed, layout);
            }
        }
    }
}

/// Allocates where threads start and end, and hands blocks from one to another.
fn threads(cycle: u32) {
    struct Last(Vec<u8>);
    impl Drop for Last {
        fn drop(&mut self) {
            // In a TLS destructor: the last thing that a thread does.
            let more = vec![1_u8; self.0.len()];
            std::hint::black_box(more);
        }
    }
    thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let threads: Vec<_> = (0..4_usize)
        .map(|i| {
            std::thread::Builder::new()
                .name(format!("worker-{i}-{cycle}"))
                .spawn(move || {
                    LAST.with_borrow_mut(|l| *l = Some(Last(vec![0; 100 + i])));
                    (0..500)
                        .map(|n| vec![n as u8; n % 97 + 1])
                        .collect::<Vec<_>>()
                })
                .unwrap()
        })
        .collect();
    for thread in threads {
        // Freed by another thread than the one that allocated.
        drop(thread.join().unwrap());
    }
}

/// A forked copy allocates, frees what it inherited, and exits.
fn fork() -> Result<(), Failure> {
    let inherited = vec![3_u8; 1000];
    // Another thread keeps the locks busy while the copy is made.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&stop);
    let busy = std::thread::spawn(move || {
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::black_box(vec![1_u8; 64]);
        }
    });
    // SAFETY: the copy only allocates, frees and exits, which the C library allows after a fork
    // of a threaded process for its own allocator.
    let status = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            drop(inherited);
            let sum: usize = (0..1000).map(|n| vec![0_u8; n].len()).sum();
            libc::_exit(i32::from(sum != 499_500));
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        status
    };
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.join().unwrap();
    if status == 0 {
        Ok(())
    } else {
        Err(format!("the forked copy ended with {status}").into())
    }
}

/// Leaks at the bottom of a stack deeper than what is kept.
#[inline(never)]
fn deep(cycle: u32, depth: u32) -> u32 {
    if depth == 0 {
        std::mem::forget(vec![0_u8; 77]);
        return cycle;
    }
    std::hint::black_box(deep(cycle, depth - 1)) + 1
}

fn run(name: &str, more: &[&str]) -> Ran {
    let program: PathBuf = std::env::current_exe().unwrap();
    common::run_with(&program, [&[name][..], more].concat())
}

/// The line of a marker in this file.
fn marked(marker: &str) -> String {
    let marker = format!("// {marker}");
    let line = include_str!("hostile.rs")
        .lines()
        .position(|l| l.trim_end().ends_with(&marker))
        .expect("a marked line");
    format!("tests/hostile.rs:{}", line + 1)
}

fn reports_six_boundaries(name: &str, how: How, says: &str) {
    let ran = run(name, &["--heap", "system", "--cycles", "20"]).exits(3);
    let report = ran.report();
    assert_eq!(report.ended.how, how, "{}", ran.out);
    assert_eq!(report.cycles_run(), 6, "{}", ran.out);
    assert!(ran.words().contains(says), "{}", ran.out);
    assert!(
        ran.words().contains("6 of 20 boundaries were reached"),
        "{}",
        ran.out
    );
}

fn is_clean(name: &str) -> Ran {
    is_clean_with(name, &["--heap", "system", "--cycles", "20"])
}

/// The same where every other block is recorded, or so.
fn is_clean_sampled(name: &str) {
    if cfg!(feature = "jemalloc") {
        is_clean_with(name, &["--sample=64", "--cycles", "20"]);
    }
}

fn is_clean_with(name: &str, args: &[&str]) -> Ran {
    let ran = run(name, args).exits(0);
    let report = ran.report();
    assert_eq!(report.verdict, RunVerdict::Clean, "{}", ran.out);
    let a = &report.attribution;
    assert_eq!(a.live_bytes, a.setup_bytes + a.call_site_bytes, "{a:?}");
    assert_eq!(
        (a.unseen_calls, a.unknown_frees, a.refused),
        (0, 0, 0),
        "{a:?}"
    );
    ran
}

fn trials() -> Vec<Trial> {
    let test = |name: &str, f: fn()| {
        Trial::test(name, move || {
            f();
            Ok(())
        })
    };
    vec![
        test("a_failing_load_is_reported_with_its_cycle", || {
            reports_six_boundaries(
                "fails",
                How::Failed,
                "cycle 7, load: the model file is gone",
            );
        }),
        test("a_panic_is_reported_with_its_message_and_place", || {
            reports_six_boundaries("panics", How::Failed, "weights do not fit");
            reports_six_boundaries("panics", How::Failed, "tests/hostile.rs");
        }),
        test("an_abort_is_reported_with_the_last_words", || {
            reports_six_boundaries("aborts", How::Killed, "by SIGABRT (out of luck)");
        }),
        test("a_killed_child_leaves_six_boundaries", || {
            reports_six_boundaries("is-killed", How::Killed, "by SIGKILL");
        }),
        test("an_early_exit_is_not_taken_for_the_end", || {
            reports_six_boundaries("exits", How::Failed, "exited before all cycles ran");
        }),
        test(
            "a_run_that_never_began_is_one_line_and_leaves_nothing",
            || {
                let ran = run("fails-at-once", &["--heap", "system"]).exits(3);
                assert!(
                    ran.error().contains("cycle 1, load: no such model"),
                    "{}",
                    ran.err
                );
                assert!(!ran.dir().exists());
            },
        ),
        test(
            "a_panic_that_the_workload_catches_is_its_own_affair",
            || {
                is_clean("catches-panics");
            },
        ),
        test("a_leak_in_the_panic_hook_of_the_workload_is_found", || {
            let ran = run("leaks-in-its-panic-hook", &["--heap", "system"]).exits(1);
            let report = ran.report();
            let site = report.growing_call_sites().next().unwrap();
            assert_eq!(site.bytes_per_cycle, Some(64.0), "{}", ran.out);
            assert_eq!(site.location(), marked("LEAKED BY THE HOOK"));
        }),
        test("every_layout_is_served", || {
            is_clean("layouts");
        }),
        test("threads_may_allocate_to_their_last_breath", || {
            is_clean("threads");
        }),
        test("a_forked_copy_neither_hangs_nor_records", || {
            is_clean("forks");
        }),
        test(
            "layouts_threads_and_forks_where_not_all_is_recorded",
            || {
                is_clean_sampled("layouts");
                is_clean_sampled("threads");
                is_clean_sampled("forks");
            },
        ),
        test("what_a_workload_prints_is_kept_apart", || {
            let ran = is_clean("prints");
            let output = std::fs::read_to_string(ran.file("output.txt")).unwrap();
            assert!(output.ends_with("cycle 20\n"), "{output}");
            assert!(!ran.out.contains("cycle 20\n"), "{}", ran.out);
        }),
        test("a_stack_deeper_than_what_is_kept_is_cut_and_said", || {
            let ran = run("deep", &["--heap", "system"]).exits(1);
            let report = ran.report();
            let site = report.growing_call_sites().next().unwrap();
            assert_eq!(site.bytes_per_cycle, Some(77.0), "{}", ran.out);
            assert!(site.stack_cut && site.stack.len() >= 64, "{}", ran.out);
            assert!(site.function.contains("deep"), "{}", site.function);
            assert_eq!(report.attribution.cut_stacks, 1);
        }),
        test("a_heap_that_the_build_does_not_have_is_refused", || {
            if cfg!(feature = "dhat") {
                return;
            }
            let ran = run("is-measured", &["--heap", "dhat"]).exits(2);
            assert!(
                ran.error().contains("without the feature `dhat`"),
                "{}",
                ran.err
            );
        }),
    ]
}

fn main() -> ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|command| command == "run")
    {
        return afterdrop::main(workloads());
    }
    libtest_mimic::run(&Arguments::from_args(), trials()).exit_code()
}
