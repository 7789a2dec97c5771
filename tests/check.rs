//! Leak assertions as a test author writes them, under libtest.

mod common;
#[path = "check/ends.rs"]
mod ends;
#[path = "check/limits.rs"]
mod limits;
#[path = "check/peak.rs"]
mod peak;
#[path = "check/shared_folder.rs"]
mod shared_folder;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use afterdrop::report::RunVerdict;
use afterdrop::{Check, Cycle, Failure, Model, Phase, Prediction, Strategy, Workload};
use common::{Folder, message};
use rstest::rstest;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

/// A cycle without a leak.
fn tidy(_cycle: &mut Cycle<'_>) {
    drop(vec![1_u8; 1000]);
}

#[test]
fn the_closure_may_borrow_from_the_test() {
    let input = [1_u8; 100];
    let mut sum = 0_u64;
    Check::new("borrowing")
        .cycles(20)
        .run(|_| sum += input.iter().map(|&b| u64::from(b)).sum::<u64>());
    assert_eq!(sum, 0, "the cycles run in another process");
}

#[test]
fn a_cycle_that_frees_everything_passes() {
    Check::new("tidy").cycles(20).run(|cycle| {
        let model = cycle.load(|| vec![1_u8; 4096]);
        let sum: u32 = cycle.infer(|| model.iter().map(|&b| u32::from(b)).sum());
        assert_eq!(sum, 4096);
    });
}

#[test]
fn the_message_of_a_leak_has_its_line_bytes_and_phase() {
    let message = message(|| {
        Check::new("leaky").run(|cycle| {
            cycle.load(|| {
                let model = vec![1_u8; 4096]; // LEAKY
                std::mem::forget(model);
            });
        });
    });
    let place = common::marked("tests/check.rs", include_str!("check.rs"), "LEAKY");
    let first = message.lines().next().unwrap();
    assert_eq!(
        first,
        format!("check `leaky`: leaks 4.10 kB per cycle, at {place}")
    );
    assert!(
        message.contains("4,096 B and 1 block per cycle"),
        "{message}"
    );
    assert!(common::words(&message).contains("phase load"), "{message}");
    assert!(
        common::words(&message).contains("beyond the horizon"),
        "{message}"
    );
    assert!(
        !message.contains('\u{1b}'),
        "no colours in the message of a panic"
    );
}

#[test]
fn an_automatic_run_ends_once_each_call_site_has_a_verdict() {
    let clean = Check::new("clean").auto().run_report(tidy).unwrap();
    assert_eq!((clean.verdict, clean.cycles_run()), (RunVerdict::Clean, 19));
    let check = Check::new("leaky").auto();
    let leaky = check.run_report(|_| std::mem::forget(vec![1_u8; 64]));
    let leaky = leaky.unwrap();
    assert_eq!((leaky.verdict, leaky.cycles_run()), (RunVerdict::Leak, 71));
    let check = Check::new("limited").auto().cycles(20);
    let limited = check.run_report(|_| std::mem::forget(vec![1_u8; 64]));
    assert_eq!(limited.unwrap().cycles_run(), 20);
}

#[test]
fn growth_in_a_run_too_short_for_a_leak_fails_as_well() {
    let message = message(|| {
        Check::new("short")
            .cycles(20)
            .run(|_| std::mem::forget(vec![1_u8; 64]));
    });
    assert!(
        message.starts_with("check `short`: grows by 64 B per cycle, at "),
        "{message}"
    );
}

#[test]
fn a_closure_that_marks_no_phase_allocates_in_the_phase_cycle() {
    let report = Check::new("unmarked")
        .run_report(|_| std::mem::forget(vec![1_u8; 64]))
        .unwrap();
    let site = report.growing_call_sites().next().unwrap();
    assert_eq!(
        (site.phase, site.bytes_per_cycle),
        (Phase::Cycle, Some(64.0))
    );
}

#[test]
fn two_checks_in_one_test_are_two_runs() {
    let first = Check::new("same").cycles(20).run_report(tidy).unwrap();
    let second = Check::new("same")
        .cycles(20)
        .run_report(|_| std::mem::forget(vec![1_u8; 8]))
        .unwrap();
    assert_eq!(first.verdict, RunVerdict::Clean);
    assert_eq!(second.verdict, RunVerdict::Growing);
    assert_eq!(
        (first.workload.as_str(), second.workload.as_str()),
        ("same", "same (2)")
    );
}

mod nested {
    pub(super) mod deeper {
        #[test]
        fn a_check_in_a_nested_module_finds_its_test() {
            afterdrop::Check::new("nested")
                .cycles(10)
                .run(super::super::tidy);
        }
    }
}

fn helper(bytes: usize) -> RunVerdict {
    let check = Check::new("helped").cycles(20);
    let report = check.run_report(move |_| std::mem::forget(Vec::<u8>::with_capacity(bytes)));
    report.unwrap().verdict
}

#[test]
fn a_check_in_a_helper_finds_its_test() {
    assert_eq!(helper(10), RunVerdict::Growing);
}

#[test]
fn a_check_in_a_helper_finds_another_test() {
    assert_eq!(helper(0), RunVerdict::Clean);
}

#[test]
fn an_undecided_check_fails() {
    static CACHE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let message = message(|| {
        Check::new("undecided").cycles(20).run(|cycle| {
            let mut cache = CACHE.lock().unwrap();
            cache.reserve(64);
            if cycle.number() < 18 {
                cache.push(vec![1]);
            }
        });
    });
    assert!(message.contains("check `undecided`: "), "{message}");
}

#[rstest]
#[case(20)]
#[case(40)]
#[case(60)]
#[case(83)]
#[case(120)]
fn a_list_that_nobody_empties_is_never_clean(#[case] cycles: u32) {
    assert_ne!(verdict_on_growing_list(cycles), RunVerdict::Clean);
}

#[test]
fn a_list_that_nobody_empties_is_a_leak_in_the_end() {
    assert_eq!(verdict_on_growing_list(150), RunVerdict::Leak);
}

fn verdict_on_growing_list(cycles: u32) -> RunVerdict {
    static LIST: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let check = Check::new("list").cycles(cycles);
    let report = check.run_report(|_| LIST.lock().unwrap().extend([0; 1000]));
    report.unwrap().verdict
}

#[test]
fn names_that_differ_in_punctuation_are_different_checks() {
    for name in ["a b", "a-b", "a/b", "", "\u{1b}[31m"] {
        Check::new(name).cycles(20).run(tidy);
    }
}

#[test]
fn a_program_that_a_cycle_starts_is_not_measured() {
    let this = std::env::current_exe().unwrap();
    Check::new("starts another").cycles(10).run(|_| {
        let output = run_ignored(
            &this,
            "limits::stays_within_its_baseline",
            &[("CHECK_BLOCKS", "1")],
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // It fails because it has no path, and not because it takes itself for the measured child.
        let expected = said.contains("CHECK_BASELINE") || said.contains("NotPresent");
        if expected { Ok(()) } else { Err(said) }
    });
}

struct Registry(&'static Mutex<Vec<u8>>);
struct Loaded(Vec<u8>);

impl Workload for Registry {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        let size = self.0.lock().unwrap().len();
        Ok(Box::new(Loaded(vec![1; size])))
    }
}

impl Model for Loaded {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        Ok(vec![self.0.len() as f32])
    }
}

#[test]
fn a_workload_is_checked_with_a_strategy() {
    static SIZE: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let check = |strategy: Strategy| {
        let check = Check::new(strategy.name()).cycles(20).strategy(strategy);
        check.run_workload(|| {
            SIZE.lock().unwrap().resize(10_000, 0);
            Ok(Box::new(Registry(&SIZE)))
        });
    };
    check(Strategy::Fresh);
    check(Strategy::Swap);
    check(Strategy::Slot);
    let message = message(|| check(Strategy::Keep));
    assert!(
        message.contains("check `keep`: leaks 10.0 kB per cycle"),
        "{message}"
    );
}

#[test]
fn too_few_cycles_say_how_many() {
    let error = Check::new("few").cycles(4).run_report(tidy).unwrap_err();
    assert!(error.to_string().contains("at least 8"), "{error}");
}

#[test]
fn a_wrong_test_name_is_an_error_with_a_hint() {
    let check = Check::new("lost").cycles(10).test("no_such_test");
    let error = check.run_report(tidy).unwrap_err().to_string();
    assert!(
        error.contains("--exact no_such_test") && error.contains(".test("),
        "{error}"
    );
}

#[test]
fn a_check_inside_a_check_is_an_error() {
    let message = message(|| {
        Check::new("outer").cycles(10).run(|_| {
            Check::new("inner").cycles(10).run(tidy);
        });
    });
    assert!(message.contains("inside another check"), "{message}");
}

#[test]
#[should_panic(expected = "grows by 24 B per cycle")]
fn a_failing_check_is_a_failing_test() {
    Check::new("should panic")
        .cycles(20)
        .run(|_| std::mem::forget(vec![1_u8; 24]));
}

/// Runs an ignored test of this executable, or of a copy of it, as a user would.
fn run_ignored(program: &Path, test: &str, more: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command.envs(more.iter().copied());
    loop {
        match command.output() {
            // A process that another test has just forked may still have the new file open.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            output => return output.unwrap(),
        }
    }
}

#[test]
#[ignore = "run by a_deleted_executable_is_an_error, from a copy"]
fn deletes_its_executable() {
    std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    Check::new("gone").cycles(20).run(tidy);
}

#[test]
fn a_deleted_executable_is_an_error() {
    let folder = Folder::new();
    let copy = folder.join("check");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = run_ignored(&copy, "deletes_its_executable", &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("check `gone`: ") && said.contains("deleted or replaced"),
        "{said}"
    );
}
