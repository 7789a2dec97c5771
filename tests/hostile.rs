//! Workloads that misbehave: they fail, panic, abort, hang, are killed, or fork, and they use the
//! allocator in every way that its contract allows.
//!
//! This executable is its own `afterdrop` command.

mod common;
#[path = "hostile/debug_info.rs"]
mod debug_info;
#[path = "hostile/disk.rs"]
mod disk;
#[path = "hostile/workloads.rs"]
mod workloads;

use std::alloc::{GlobalAlloc, Layout};
use std::fs::Permissions;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, ExitCode};

use afterdrop::report::{How, RunVerdict};
use common::{Folder, Ran, is_running, trials, wait_until, with_timeout};
use libtest_mimic::Arguments;
use workloads::{ENV_DAEMON, ENV_TAKEN, NOBODY};

/// The system's allocator, which aborts the process if it is called while it runs: the heap must not
/// allocate inside of a call.
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

// SAFETY: each call goes to the system's allocator with the same arguments, and its result is
// returned unchanged. No call unwinds: a nested one aborts.
unsafe impl GlobalAlloc for Strict {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's `layout` has a size that is not zero, as `System::alloc` requires.
        once(|| unsafe { std::alloc::System.alloc(layout) })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` is a block of this allocator, so of `System`, and was allocated with `layout`.
        once(|| unsafe { std::alloc::System.dealloc(at, layout) })
    }
}

#[global_allocator]
static HEAP: afterdrop::Heap<Strict> = afterdrop::Heap::over(Strict);

/// `run <name> <args>` in this executable.
fn run(name: &str, args: &[&str]) -> Ran {
    let program = std::env::current_exe().unwrap();
    common::run_with(&program, [&[name][..], args].concat())
}

/// The workload ends the run in cycle 7.
fn ends_in_cycle_7(name: &str, how: How, says: &str) {
    let ran = run(name, &["--heap", "system", "--cycles", "20"]);
    ended_in_cycle_7(ran, how, says);
}

fn ended_in_cycle_7(ran: Ran, how: How, says: &str) {
    let ran = ran.exits(3);
    let report = ran.report();
    assert_eq!(report.ended.how, how, "{}", ran.out);
    assert_eq!(report.cycles_run(), 6, "{}", ran.out);
    assert!(ran.out.starts_with("FAILED "), "{}", ran.out);
    assert_eq!(report.verdict, RunVerdict::Undecided, "{}", ran.out);
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

/// The same with about every other block sampled.
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

fn a_failing_load_is_reported_with_its_cycle() {
    ends_in_cycle_7(
        "fails",
        How::Failed,
        "cycle 7, load: the model file is gone",
    );
}

fn a_panic_is_reported_with_its_message_and_its_line() {
    ends_in_cycle_7("panics", How::Failed, "weights do not fit");
    ends_in_cycle_7("panics", How::Failed, "tests/hostile/workloads.rs");
}

fn an_abort_is_reported_with_the_last_line_of_standard_error() {
    ends_in_cycle_7("aborts", How::Killed, "by SIGABRT (out of luck)");
}

fn a_killed_child_is_reported_with_the_signal() {
    ends_in_cycle_7("is-killed", How::Killed, "by SIGKILL");
}

fn an_exit_before_the_last_cycle_is_a_failure() {
    ends_in_cycle_7("exits", How::Failed, "exited before all cycles ran");
}

fn a_run_that_takes_too_long_is_ended_and_still_reported() {
    let run = |timeout: std::time::Duration| {
        let seconds = timeout.as_secs_f64().to_string();
        let args = ["--heap", "system", "--cycles", "20", "--timeout", &seconds];
        run("hangs", &args)
    };
    let ran = with_timeout(run, |ran| ran.words().contains("6 of 20 boundaries"));
    ended_in_cycle_7(ran, How::TimedOut, "hangs timed out");
}

fn the_child_does_not_outlive_its_parent() {
    does_not_outlive_its_parent("hangs");
}

fn a_child_that_has_changed_its_user_does_not_outlive_its_parent() {
    does_not_outlive_its_parent("hangs-as-another-user");
}

fn does_not_outlive_its_parent(name: &str) {
    let folder = Folder::new();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["run", name, "--heap", "system", "--cycles", "20", "--out"])
        .arg(folder.join("out"))
        .spawn()
        .unwrap();
    let journal = folder.join("out").join("journal.jsonl");
    let mut records: Vec<serde_json::Value> = Vec::new();
    wait_until("the child hangs in cycle 7", || {
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
        records = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
        let boundaries = records.iter().filter(|r| r["boundary"].is_object());
        boundaries.count() == 6
    });
    // The first record names the child.
    let child = records[0]["start"]["pid"].as_u64().unwrap().to_string();
    assert!(is_running(&child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("the child ends", || !is_running(&child));
}

fn a_daemon_is_ended_with_the_run() {
    let folder = Folder::new();
    let file = folder.join("daemon");
    let daemon = || {
        let id = std::fs::read_to_string(&file).ok()?;
        Some(id.strip_suffix('\n')?.to_owned())
    };
    let run = |timeout: std::time::Duration| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let out = Folder::new();
        command
            .args(["run", "leaves-a-daemon", "--heap", "system", "--out"])
            .arg(out.join("out"))
            .args(["--timeout", &timeout.as_secs_f64().to_string()])
            .env(ENV_DAEMON, &file);
        common::finish(command, out)
    };
    let ran = with_timeout(run, |_| daemon().is_some()).exits(3);
    assert_eq!(ran.report().ended.how, How::TimedOut, "{}", ran.out);
    let daemon = daemon().unwrap();
    wait_until("the daemon ends", || !is_running(&daemon));
}

fn a_run_that_fails_in_its_first_load_is_one_line_and_writes_nothing() {
    let ran = run("fails-at-once", &["--heap", "system"]).exits(3);
    assert!(
        ran.error().contains("cycle 1, load: no such model"),
        "{}",
        ran.err
    );
    assert!(!ran.dir().exists());
}

fn a_panic_that_the_workload_catches_does_not_end_the_run() {
    is_clean("catches-panics");
}

fn every_layout_is_served() {
    is_clean("layouts");
    is_clean_sampled("layouts");
}

fn threads_may_allocate_until_they_end() {
    is_clean("threads");
    is_clean_sampled("threads");
}

fn a_forked_child_neither_blocks_nor_records() {
    is_clean("forks");
    is_clean_sampled("forks");
}

fn a_forked_copy_that_returns_into_the_loop_ends() {
    is_clean("returns-in-the-copy");
    let ran = run("returns-in-the-copy", &["--heap", "system"]).exits(0);
    assert_eq!(ran.report().cycles_run(), 19, "{}", ran.out);
}

fn no_line_of_the_journal_gets_into_a_file_of_the_program() {
    let (taken, folder) = (Folder::new(), Folder::new());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "run",
            "takes-descriptors",
            "--heap",
            "system",
            "--cycles",
            "20",
            "--out",
        ])
        .arg(folder.join("out"))
        .env(ENV_TAKEN, taken.path());
    let ran = common::finish(command, folder).exits(0);
    assert_eq!(ran.report().cycles_run(), 20, "{}", ran.out);
    let files = std::fs::read_dir(taken.path()).unwrap();
    let sizes: Vec<u64> = files
        .map(|f| f.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes, [0; 16]);
}

fn a_program_that_gives_up_its_rights_is_measured() {
    let heap = if cfg!(feature = "jemalloc") {
        "jemalloc"
    } else {
        "system"
    };
    let ran = run("gives-up-rights", &["--heap", heap, "--cycles", "20"]).exits(0);
    assert_eq!(ran.report().cycles_run(), 20, "{}", ran.out);
    if heap == "jemalloc" {
        let says = "could not be written: the statistics of the allocator at the baseline";
        assert!(ran.words().contains(says), "{}", ran.out);
    }
}

fn a_limit_on_the_size_of_files_is_an_error_and_no_signal() {
    is_too_large_for(8);
}

fn a_limit_below_the_smallest_file_is_an_error_and_no_signal() {
    is_too_large_for(1);
}

/// A run with this limit on the size of files, in units of the shell.
fn is_too_large_for(limit: u32) {
    let folder = Folder::new();
    let program = std::env::current_exe().unwrap();
    let run = "run is-measured --heap system --cycles 40 --out out";
    let script = format!("ulimit -f {limit}; exec \"$0\" {run}");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code().is_some(),
        "{:?} {error}",
        output.status
    );
    assert_ne!(output.status.code(), Some(0), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("too large"), "{error}");
}

fn the_output_of_a_workload_is_kept_in_a_file() {
    let ran = is_clean("prints");
    let output = std::fs::read_to_string(ran.file("output.txt")).unwrap();
    assert!(output.ends_with("cycle 20\n"), "{output}");
    assert!(!ran.out.contains("cycle 20\n"), "{}", ran.out);
}

fn a_stack_with_too_many_frames_is_cut_and_reported_as_cut() {
    let ran = run("deep", &["--heap", "system"]).exits(1);
    let report = ran.report();
    let site = report.growing_call_sites().next().unwrap();
    assert_eq!(site.bytes_per_cycle, Some(77.0), "{}", ran.out);
    assert!(site.stack_cut && site.stack.len() >= 64, "{}", ran.out);
    assert!(site.function.contains("deep"), "{}", site.function);
    assert_eq!(report.attribution.cut_stacks, 1);
}

/// Whether a program can gain privileges here. Only root can make one of another user's, and a sandbox
/// or a mount may forbid it.
fn can_gain_privileges() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let temporary =
        std::ffi::CString::new(std::env::temp_dir().into_os_string().into_vec()).unwrap();
    // SAFETY: `statvfs` is valid if all its bytes are zero; the call fills it, and the path ends in a
    // null byte. `geteuid` has no preconditions.
    let (is_root, mount) = unsafe {
        let mut mount: libc::statvfs = std::mem::zeroed();
        libc::statvfs(temporary.as_ptr(), &mut mount);
        (libc::geteuid() == 0, mount.f_flag)
    };
    is_root && mount & libc::ST_NOSUID == 0 && status.contains("NoNewPrivs:\t0")
}

fn a_program_that_gained_privileges_does_not_measure() {
    let folder = Folder::new();
    let program = folder.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    chown(&program, Some(NOBODY), Some(NOBODY)).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    // Where this user, too, can write.
    let out = folder.join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::set_permissions(&out, Permissions::from_mode(0o777)).unwrap();
    let run = |plan: &str| {
        let output = Command::new(&program)
            .args(["run", "is-measured", "--heap", "system", "--out"])
            .arg(&out)
            .env("AFTERDROP_HEAP", "system")
            .env("AFTERDROP_PARENT", std::process::id().to_string())
            .env("AFTERDROP_PLAN", plan)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.contains("refused to run with privileges that the user does not have"),
            "{error}"
        );
    };
    run("no plan");
    run("");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
}

fn a_heap_that_the_build_does_not_have_is_refused() {
    if cfg!(feature = "dhat") {
        return;
    }
    let ran = run("is-measured", &["--heap", "dhat"]).exits(2);
    assert!(
        ran.error().contains("without the feature `dhat`"),
        "{}",
        ran.err
    );
}

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "run")
    {
        return afterdrop::main(workloads::all());
    }
    let mut trials = trials![
        a_failing_load_is_reported_with_its_cycle
        a_panic_is_reported_with_its_message_and_its_line
        an_abort_is_reported_with_the_last_line_of_standard_error
        a_killed_child_is_reported_with_the_signal
        an_exit_before_the_last_cycle_is_a_failure
        a_run_that_takes_too_long_is_ended_and_still_reported
        the_child_does_not_outlive_its_parent
        a_child_that_has_changed_its_user_does_not_outlive_its_parent
        a_daemon_is_ended_with_the_run
        a_run_that_fails_in_its_first_load_is_one_line_and_writes_nothing
        a_panic_that_the_workload_catches_does_not_end_the_run
        every_layout_is_served
        threads_may_allocate_until_they_end
        a_forked_child_neither_blocks_nor_records
        a_forked_copy_that_returns_into_the_loop_ends
        no_line_of_the_journal_gets_into_a_file_of_the_program
        a_limit_on_the_size_of_files_is_an_error_and_no_signal
        a_limit_below_the_smallest_file_is_an_error_and_no_signal
        the_output_of_a_workload_is_kept_in_a_file
        a_stack_with_too_many_frames_is_cut_and_reported_as_cut
        a_heap_that_the_build_does_not_have_is_refused
    ];
    use debug_info::*;
    trials.extend(trials![
        compressed_debug_sections_are_read
        a_stripped_program_has_the_lines_of_the_file_that_it_refers_to
        a_missing_file_with_debug_information_is_the_reason_for_no_lines
        a_program_without_debug_information_has_no_line_tables
        a_program_below_a_folder_whose_name_is_not_utf_8_has_lines
        a_library_below_a_folder_whose_name_is_not_utf_8_has_lines
        a_limit_on_memory_costs_lines_and_not_the_report
    ]);
    use disk::*;
    trials.extend(trials![
        a_file_beside_the_report_that_cannot_be_written_is_a_note
        a_limit_on_open_files_is_named
    ]);
    let mounts = trials![
        a_full_disk_is_named_as_the_reason
        a_disk_that_is_full_from_the_start_keeps_nothing
    ]
    .into_iter();
    trials.extend(mounts.map(|trial| trial.with_ignored_flag(!can_mount())));
    let privileges = trials![
        a_program_that_gained_privileges_does_not_measure
        a_program_that_gives_up_its_rights_is_measured
    ];
    trials.extend(
        privileges
            .into_iter()
            .map(|trial| trial.with_ignored_flag(!can_gain_privileges())),
    );
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
