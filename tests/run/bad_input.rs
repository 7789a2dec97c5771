//! Wrong arguments: one line on standard error, exit code 2, and nothing written.

use std::fs;
use std::process::Command;

use rstest::rstest;

use crate::common::{Folder, Ran, afterdrop, finish, run};

#[rstest]
#[case::a_name_with_a_typing_error(&["planted:registri"], "did you mean `planted:registry`")]
#[case::no_cycles(&["planted:lru", "--cycles", "0"], "at least 8")]
#[case::too_few_cycles(&["planted:lru", "--cycles", "7"], "at least 8")]
#[case::too_few_cycles_for_the_warm_up(
    &["planted:lru", "--cycles", "20", "--warmup", "16"],
    "at least 21"
)]
#[case::too_many_cycles(&["planted:lru", "--cycles", "4000000"], "must be at most 524287")]
#[case::no_horizon(&["planted:lru", "--horizon", "0"], "--horizon must be at least 1")]
#[case::an_option_without_effect(&["planted:lru", "--device", "ndarray"], "takes no --device")]
#[case::a_time_that_is_not_a_number(
    &["planted:lru", "--timeout", "nan"],
    "must be a positive number of seconds"
)]
#[case::no_sampling(&["planted:lru", "--sample=0"], "leave --sample out")]
#[case::sampling_without_jemalloc(
    &["planted:lru", "--sample", "--heap", "system"],
    "use --heap jemalloc"
)]
#[case::a_wrong_strategy(&["planted:lru", "--strategy", "frsh"], "did you mean `fresh`")]
#[case::a_wrong_heap(&["planted:lru", "--heap", "snmallocator"], "jemalloc, dhat, system")]
#[case::cycles_that_are_not_a_number(
    &["planted:lru", "--cycles", "many"],
    "invalid value 'many'"
)]
fn is_refused(#[case] args: &[&str], #[case] expected: &str) {
    let ran = run(args).exits(2);
    assert!(ran.error().contains(expected), "{}", ran.err);
    assert!(!ran.dir().exists());
}

#[rstest]
#[case::negative_cycles(&["planted:lru", "--cycles", "-1"])]
#[case::an_unknown_option(&["planted:lru", "--nonsense"])]
#[case::no_workload(&[])]
fn a_usage_error_ends_with_a_pointer_to_the_help(#[case] args: &[&str]) {
    let ran = run(args).exits(2);
    assert!(ran.error().ends_with("see --help"), "{}", ran.err);
}

/// `run planted:lru` into a path inside of a folder.
fn run_into(folder: Folder, out: &str) -> Ran {
    let mut command = Command::new(afterdrop());
    command
        .args(["run", "planted:lru", "--out"])
        .arg(folder.join(out));
    finish(command, folder)
}

#[test]
fn a_folder_with_files_in_it_is_refused_and_left_unchanged() {
    let folder = Folder::new();
    fs::create_dir(folder.join("out")).unwrap();
    fs::write(folder.join("out/mine"), "precious").unwrap();
    let ran = run_into(folder, "out").exits(2);
    assert!(ran.error().contains("not empty"), "{}", ran.err);
    assert_eq!(fs::read_to_string(ran.file("mine")).unwrap(), "precious");
    assert_eq!(fs::read_dir(ran.dir()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_created_is_named() {
    let folder = Folder::new();
    fs::write(folder.join("file"), "").unwrap();
    let ran = run_into(folder, "file/out").exits(2);
    assert!(
        ran.error().contains("cannot create the folder"),
        "{}",
        ran.err
    );
}

#[test]
fn a_link_to_nowhere_in_place_of_a_folder_is_named() {
    let folder = Folder::new();
    let run = |args: &[&str]| {
        let mut command = Command::new(afterdrop());
        command.args(["run", "planted:lru", "--cycles", "30"]);
        command.args(args).current_dir(folder.path());
        finish(command, Folder::new()).exits(2)
    };
    std::os::unix::fs::symlink("elsewhere/runs", folder.join("reports")).unwrap();
    for args in [&[][..], &["--out", "reports"], &["--out", "reports/mine/x"]] {
        let ran = run(args);
        let says = "reports is a symbolic link to elsewhere/runs, which does not exist";
        assert!(ran.error().contains(says), "{args:?}: {}", ran.err);
    }
}

/// Runs a script of the shell with the command as `$0` and a path in a new folder as `$1`.
fn in_shell(script: &str, name: &str) -> Ran {
    let folder = Folder::new();
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(afterdrop())
        .arg(folder.join(name));
    finish(command, folder)
}

/// A launcher may ignore the signal, and what it starts inherits that.
#[test]
fn an_ignored_sigchld_does_not_hide_how_the_run_has_ended() {
    let run = "trap '' CHLD; exec \"$0\" run planted:registry --cycles 83 --out \"$1\"";
    in_shell(run, "out").exits(1).report();
}

#[test]
fn a_limit_of_the_size_of_files_is_an_error_and_no_signal() {
    let ran = in_shell("ulimit -f 0; exec \"$0\" list >\"$1\"", "list");
    assert!(ran.code.is_some(), "it was killed");
}
