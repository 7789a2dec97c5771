//! A command with workloads of its own, as the test target of a user's crate (`harness = false`).
//! With `COMMAND` in its environment this executable is such a target. Without, it runs the tests,
//! which start it with `COMMAND`.

mod common;

use std::process::{Command, ExitCode};

use afterdrop::workloads::{Entry, Settings};
use afterdrop::{Failure, Model, Prediction, Workload};
use common::{Folder, Ran, finish, trials};
use libtest_mimic::Arguments;

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

/// Leaks this many bytes in each load.
struct Leaking {
    bytes: usize,
}

struct Weights(Vec<f32>);

impl Workload for Leaking {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        std::mem::forget(Vec::<u8>::with_capacity(self.bytes));
        Ok(Box::new(Weights(vec![1.0; 256])))
    }
}

impl Model for Weights {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        Ok(vec![self.0.iter().sum()])
    }
}

/// Fails in the first load.
struct Failing;

impl Workload for Failing {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        Err("no such model".into())
    }
}

fn leaking(bytes: usize) -> impl Fn(&Settings) -> Result<Box<dyn Workload>, Failure> {
    move |_| Ok(Box::new(Leaking { bytes }))
}

fn command() -> ExitCode {
    afterdrop::main(vec![
        Entry::new("tidy", "frees everything", leaking(0)),
        Entry::new("leaky", "leaks 64 bytes a load", leaking(64)),
        Entry::new("failing", "cannot load", |_| Ok(Box::new(Failing))),
    ])
}

/// Runs this executable as a command.
fn run(args: &[&str]) -> Ran {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).env("COMMAND", "1");
    finish(command, Folder::new())
}

#[track_caller]
fn prints(args: &[&str], code: i32, expected: &[&str]) {
    let ran = run(args).exits(code);
    let text = ran.out + &ran.err;
    for part in expected {
        assert!(text.contains(part), "{args:?} lacks {part:?}: {text}");
    }
}

fn each_workload_is_a_test() {
    let expected = [
        "running 3 tests",
        "test tidy    ... ok",
        "test leaky   ... FAILED",
        "test failing ... FAILED",
        "---- leaky ----\nLEAK        leaky leaks 64 B per cycle",
        "tests/command.rs:",
        "---- failing ----\nafterdrop: ",
        "cycle 1, load: no such model",
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
    ];
    prints(&[], 1, &expected);
    prints(&["--bench"], 1, &expected);
    prints(&["--test-threads", "3"], 1, &expected);
}

fn the_exit_code_is_that_of_the_worst_outcome() {
    prints(&["tidy"], 0, &["test result: ok. 1 passed; 0 failed"]);
    prints(&["tidy", "failing"], 3, &["1 passed; 1 failed"]);
    prints(&["failing", "leaky"], 1, &["0 passed; 2 failed"]);
}

fn tests_are_selected_as_libtest_selects_them() {
    let one = "1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out";
    let none = "0 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out";
    prints(&["tidy", "--exact", "--nocapture"], 0, &[one]);
    prints(&["tid"], 0, &[one]);
    prints(&["--skip", "leak", "--skip", "fail"], 0, &[one]);
    prints(&["tid", "--exact"], 0, &[none]);
    prints(&["--ignored"], 0, &[none]);
    prints(&["tid", "absent"], 0, &[one]);
    prints(&["tidy", "leak", "--exact"], 0, &[one]);
    prints(&["tidy", "leaky", "--skip", "leak"], 0, &[one]);
    prints(&["absent", "missing"], 0, &[none]);
}

fn tests_are_listed_as_nextest_asks_for_them() {
    let listed = run(&["--list", "--format", "terse"]).exits(0);
    assert_eq!(listed.out, "tidy: test\nleaky: test\nfailing: test\n");
    let ignored = run(&["--list", "--format", "terse", "--ignored"]).exits(0);
    assert_eq!(ignored.out, "");
    let selected = run(&["--list", "leaky", "tidy"]).exits(0);
    assert_eq!(selected.out, "tidy: test\nleaky: test\n");
}

fn a_subcommand_makes_it_the_command() {
    prints(&["list"], 0, &["leaky    leaks 64 bytes a load"]);
    prints(
        &["run", "absent", "--bench"],
        2,
        &["unknown workload `absent`"],
    );
    prints(&["--help"], 0, &["<COMMAND>"]);
    let out = Folder::new();
    let folder = out.join("out").display().to_string();
    let args = [
        "run", "leaky", "--cycles", "20", "--out", &folder, "--bench",
    ];
    prints(&args, 1, &["LEAK", "64 B"]);
}

fn an_unknown_argument_is_one_line() {
    let ran = run(&["--wrong"]).exits(2);
    assert!(ran.error().contains("--wrong"), "{}", ran.err);
}

fn a_stack_that_is_too_small_is_named() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -s 64; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .arg("list")
        .env("COMMAND", "1");
    let ran = finish(command, Folder::new()).exits(2);
    assert!(
        ran.error().contains("the stack is limited to 65.5 kB"),
        "{}",
        ran.err
    );
}

fn main() -> ExitCode {
    if std::env::var_os("COMMAND").is_some() {
        return command();
    }
    let trials = trials![
        each_workload_is_a_test
        the_exit_code_is_that_of_the_worst_outcome
        tests_are_selected_as_libtest_selects_them
        tests_are_listed_as_nextest_asks_for_them
        a_subcommand_makes_it_the_command
        an_unknown_argument_is_one_line
        a_stack_that_is_too_small_is_named
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
