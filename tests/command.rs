//! A command of one's own, as a test target of a user's crate (`harness = false`). With `COMMAND`
//! in the environment this is such a target; without, it starts itself so, and looks.

use std::process::{Command, ExitCode, Output};

use afterdrop::workloads::{Entry, Settings};
use afterdrop::{Error, Failure, Model, Prediction, Workload};
use libtest_mimic::{Arguments, Trial};

#[global_allocator]
static HEAP: afterdrop::Heap = afterdrop::Heap::new();

/// Loads so many bytes, and leaks so many of them.
struct Mine {
    leaked: usize,
}

struct Weights(Vec<f32>);

impl Workload for Mine {
    fn load(&mut self) -> Result<Box<dyn Model>, Failure> {
        std::mem::forget(Vec::<u8>::with_capacity(self.leaked));
        Ok(Box::new(Weights(vec![1.0; 256])))
    }
}

impl Model for Weights {
    fn infer(&mut self) -> Result<Prediction, Failure> {
        Ok(vec![self.0.iter().sum()])
    }
}

fn mine(leaked: usize) -> impl Fn(&Settings) -> Result<Box<dyn Workload>, Error> {
    move |_| Ok(Box::new(Mine { leaked }))
}

fn command() -> ExitCode {
    afterdrop::main(vec![
        Entry::new("tidy", "gives everything back", mine(0)),
        Entry::new("leaky", "leaks 64 bytes a load", mine(64)),
    ])
}

fn run(args: &[&str]) -> (Output, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(args).env("COMMAND", "1").output().unwrap();
    let text = [&*output.stdout, &output.stderr].concat();
    (output, String::from_utf8(text).unwrap())
}

#[track_caller]
fn expect(args: &[&str], code: i32, says: &[&str]) {
    let (output, text) = run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for said in says {
        assert!(
            text.contains(said),
            "{args:?} does not say {said:?}: {text}"
        );
    }
}

fn every_workload_is_a_test() {
    let says = [
        "running 2 workloads",
        "test tidy ... ok",
        "test leaky ... FAILED",
        "leaky leaks 64 B per cycle",
        "tests/command.rs:",
        "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
    ];
    expect(&[], 1, &says);
    expect(&["--bench"], 1, &says);
}

fn tests_are_filtered_as_libtest_filters_them() {
    let one = "1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out";
    expect(&["tidy", "--exact", "--nocapture"], 0, &[one]);
    expect(&["tid"], 0, &[one]);
    expect(&["--skip", "leak"], 0, &[one]);
    expect(&["tid", "--exact"], 0, &["0 passed; 0 failed"]);
    expect(&["--ignored"], 0, &["0 passed; 0 failed"]);
}

fn tests_are_listed_as_nextest_asks_for_them() {
    let (_, listed) = run(&["--list", "--format", "terse"]);
    assert_eq!(listed, "tidy: test\nleaky: test\n");
    let (_, ignored) = run(&["--list", "--format", "terse", "--ignored"]);
    assert_eq!(ignored, "");
}

fn a_subcommand_makes_it_the_command() {
    expect(&["list"], 0, &["leaky  leaks 64 bytes a load"]);
    expect(
        &["run", "nothing", "--bench"],
        2,
        &["no workload `nothing`"],
    );
    expect(&["--help"], 0, &["<COMMAND>"]);
    let out = std::env::temp_dir().join(format!("afterdrop-command-{}", std::process::id()));
    let folder = out.to_str().unwrap();
    let args = ["run", "leaky", "--cycles", "20", "--out", folder, "--bench"];
    expect(&args, 1, &["LEAK", "64 B"]);
    std::fs::remove_dir_all(out).unwrap();
}

fn an_unknown_argument_is_one_line() {
    let (output, text) = run(&["--wrong"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text.lines().count(), 1, "{text}");
}

fn main() -> ExitCode {
    if std::env::var_os("COMMAND").is_some() {
        return command();
    }
    let tests: [(&str, fn()); 5] = [
        ("every_workload_is_a_test", every_workload_is_a_test),
        (
            "tests_are_filtered_as_libtest_filters_them",
            tests_are_filtered_as_libtest_filters_them,
        ),
        (
            "tests_are_listed_as_nextest_asks_for_them",
            tests_are_listed_as_nextest_asks_for_them,
        ),
        (
            "a_subcommand_makes_it_the_command",
            a_subcommand_makes_it_the_command,
        ),
        (
            "an_unknown_argument_is_one_line",
            an_unknown_argument_is_one_line,
        ),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || {
            std::panic::catch_unwind(test).map_err(|_| "the test panicked".into())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
