//! Leak assertions in parametrized tests and in helpers: the name of the test is not that of the
//! function with the closure.

use std::process::Command;

use afterdrop::Check;
use afterdrop::report::RunVerdict;
use rstest::rstest;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

#[rstest]
#[case::nothing(0, RunVerdict::Clean)]
#[case::a_block(64, RunVerdict::Growing)]
fn each_case_is_measured_separately(#[case] bytes: usize, #[case] verdict: RunVerdict) {
    let check = Check::new("case").cycles(20);
    let report = check.run_report(|_| std::mem::forget(Vec::<u8>::with_capacity(bytes)));
    assert_eq!(report.unwrap().verdict, verdict);
}

/// A helper of several tests: the path of its closure names none of them.
fn tidy(bytes: usize) {
    Check::new("helped").cycles(20).run(move |_| {
        drop(vec![1_u8; bytes]);
    });
}

mod nested {
    #[test]
    fn one_test_with_the_helper() {
        super::tidy(10);
    }

    #[test]
    fn another_test_with_the_helper() {
        super::tidy(20);
    }
}

/// With one test thread libtest runs the tests on the main thread, which has no test's name.
#[rstest]
#[case::of_a_case("each_case_is_measured_separately")]
#[case::with_a_helper("test_with_the_helper")]
fn tests_on_the_main_thread_are_found(#[case] tests: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([tests, "--test-threads=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("2 passed; 0 failed"), "{said}");
}
