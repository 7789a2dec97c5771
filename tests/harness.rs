//! Leak assertions under a harness that does not name its threads after tests, as libtest does.

mod common;

use std::process::ExitCode;

use afterdrop::Check;
use common::trial;
use libtest_mimic::Arguments;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

fn check(name: &str) -> Check {
    Check::new(name).cycles(20)
}

fn tidy() {
    drop(vec![1_u8; 100]);
}

/// The check names its test.
fn a_named_test_is_found() {
    check("named").test("a_named_test_is_found").run(|_| tidy());
}

/// The test has the name of its function.
fn a_test_named_after_its_function_is_found() {
    check("same name").run(|_| tidy());
}

/// The test has another name than its function. The check finds it only if the process runs this
/// test alone, as under nextest.
fn another() {
    let report = check("lost").run_report(|_| tidy());
    let is_alone = std::env::args().any(|arg| arg == "--exact");
    assert_eq!(report.is_ok(), is_alone);
    let Err(error) = report else { return };
    let error = error.to_string();
    assert!(
        error.contains("--exact another") && error.contains(".test(\"...\")"),
        "{error}"
    );
}

fn main() -> ExitCode {
    let trials = vec![
        trial("a_named_test_is_found", a_named_test_is_found),
        trial(
            "a_test_named_after_its_function_is_found",
            a_test_named_after_its_function_is_found,
        ),
        trial("a_test_that_is_not_found_is_an_error_with_a_hint", another),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
