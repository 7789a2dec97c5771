//! Leak assertions under a harness that is not libtest: it does not name its threads after tests.

use std::panic::catch_unwind;

use afterdrop::Check;
use libtest_mimic::{Arguments, Trial};

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

fn check(name: &str) -> Check {
    Check::new(name).cycles(20)
}

fn tidy() {
    drop(vec![1_u8; 100]);
}

/// The check says which test it is in.
fn a_named_test_is_found() {
    check("named").test("a_named_test_is_found").run(|_| tidy());
}

/// It need not, where the test is called as its function is.
fn a_test_called_as_its_function_is_found() {
    check("same name").run(|_| tidy());
}

/// Else the error says what to do, unless the process was asked for this test alone, as nextest does.
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

fn main() {
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || {
            catch_unwind(test).map_err(|_| "the test panicked".into())
        })
    };
    let trials = vec![
        trial("a_named_test_is_found", a_named_test_is_found),
        trial(
            "a_test_called_as_its_function_is_found",
            a_test_called_as_its_function_is_found,
        ),
        trial("an_unknown_test_is_an_error_with_what_to_do", another),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
