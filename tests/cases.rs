//! Leak assertions in parametrized tests, whose names are not those of their functions.

use std::process::Command;

use afterdrop::Check;
use afterdrop::report::RunVerdict;
use rstest::rstest;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

#[rstest]
#[case::nothing(0, RunVerdict::Clean)]
#[case::a_block(64, RunVerdict::Growing)]
fn each_case_is_a_run_of_its_own(#[case] bytes: usize, #[case] verdict: RunVerdict) {
    let check = Check::new("case").cycles(20);
    let report = check.run_report(|_| std::mem::forget(Vec::<u8>::with_capacity(bytes)));
    assert_eq!(report.unwrap().verdict, verdict);
}

/// A helper that tests share, so that the closure's path names none of them.
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

#[test]
fn tests_on_the_main_thread_are_found_too() {
    for tests in ["each_case_is_a_run_of_its_own", "test_with_the_helper"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([tests, "--test-threads=1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("2 passed; 0 failed"), "{said}");
    }
}
