//! Runs the command of `examples/workload.rs`, which this executable is if `COMMAND` is in its
//! environment.

mod common;

mod workload {
    include!("../examples/workload.rs");

    pub fn command() -> std::process::ExitCode {
        main()
    }
}

use std::process::{Command, ExitCode};

use afterdrop::report::RunVerdict;
use common::{Folder, Ran, finish, trials};
use libtest_mimic::Arguments;

fn command(args: &[&str]) -> Ran {
    let folder = Folder::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(args)
        .env("COMMAND", "1")
        .current_dir(folder.path());
    finish(command, folder)
}

fn the_workload_is_measured() {
    let ran = command(&["run", "sum", "--out", "out"]).exits(0);
    let report = ran.report();
    assert_eq!(report.verdict, RunVerdict::Clean, "{}", ran.out);
    let loads_weights = report.boundaries.iter().all(|b| b.loaded_bytes >= 4000);
    assert!(loads_weights, "{}", ran.out);
}

fn the_workload_runs_with_each_strategy() {
    let ran = command(&[
        "strategies",
        "sum",
        "--cycles",
        "20",
        "--json",
        "--out",
        "out",
    ]);
    let json: serde_json::Value = serde_json::from_str(&ran.exits(0).out).unwrap();
    let verdicts = json["rows"].as_array().unwrap().iter().map(|row| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("strategy"), text("verdict"))
    });
    for (strategy, verdict) in verdicts {
        let expected = if strategy == "keep" { "leak" } else { "clean" };
        assert_eq!(verdict, expected, "{strategy}");
    }
}

fn main() -> ExitCode {
    if std::env::var_os("COMMAND").is_some() {
        return workload::command();
    }
    let trials = trials![the_workload_is_measured the_workload_runs_with_each_strategy];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
