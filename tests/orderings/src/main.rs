//! Shows that each ordering of the recorder's shared data is needed: there is a model that holds with
//! it, and fails without it.
//!
//! Finds all orderings stronger than `Relaxed` in the sources of the recorder. Runs all models, which
//! have to hold and to execute each ordering. Then runs them in child processes with one ordering
//! weakened to `Relaxed`: a model has to fail. Prints a table, and exits with 1 if an ordering has no
//! such model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

mod model;
mod recorder;
mod sources;

use recorder::heap::models::{self, Model};
use recorder::primitive::sites::{Site, take_executed, weaken};

/// Why an ordering has no model; `None` if it needs one.
fn reason_without_model(site: &Site, line: &str) -> Option<&'static str> {
    if line.contains("compiler_fence") {
        return Some("orders a thread with its own signal handlers, which loom does not run");
    }
    match &site.file[..] {
        "heap/python/interpreter.rs" => {
            Some("the address is stored once, before other threads record")
        }
        "heap/cfi.rs" | "heap/cfi_modules.rs" => {
            Some("the rules come from sections that the loader has mapped")
        }
        "holders/suspend.rs" => Some("the other side is a signal handler, which loom does not run"),
        _ => None,
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => run(),
        [model, site] => {
            run_weakened(model, site);
            ExitCode::SUCCESS
        }
        _ => panic!("no arguments are needed"),
    }
}

fn run() -> ExitCode {
    let executed = run_all();
    let recorder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/recorder");
    let mut is_covered = true;
    println!("\n| ordering | line | fails with `Relaxed` |\n| --- | --- | --- |");
    for (site, line) in sources::orderings(&recorder) {
        let result = match reason_without_model(&site, &line) {
            Some(reason) => format!("no model: {reason}"),
            None => match failing_model(&site, &executed) {
                Some(failure) => failure,
                None => {
                    is_covered = false;
                    "**no model fails**".to_owned()
                }
            },
        };
        println!("| {site} | `{line}` | {result} |");
    }
    match is_covered {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs all models, and returns the orderings that each has executed.
fn run_all() -> Vec<(Model, BTreeSet<Site>)> {
    let run = |model: Model| {
        let start = Instant::now();
        let executions = models::check(model.1);
        let seconds = start.elapsed().as_secs_f64();
        println!("{executions:8} executions, {seconds:5.1} s: {}", model.0);
        (model, take_executed())
    };
    models::all().into_iter().map(run).collect()
}

/// The first model that fails with a weakened ordering, and its message.
fn failing_model(site: &Site, executed: &[(Model, BTreeSet<Site>)]) -> Option<String> {
    let with_site = executed.iter().filter(|(_, sites)| sites.contains(site));
    with_site.into_iter().find_map(|((name, _), _)| {
        let this = std::env::current_exe().expect("this program has a file");
        let output = Command::new(this)
            .args([name, &site.to_string()[..]])
            .output();
        let output = output.expect("the child starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let message = match said.trim() {
            "" => output.status.to_string(),
            message => message.to_owned(),
        };
        (!output.status.success()).then(|| format!("{name}: {message}"))
    })
}

/// Runs one model with a weakened ordering. If it fails, prints the first line of its message.
fn run_weakened(name: &str, site: &str) {
    weaken(site.parse().expect("a site"));
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("panic");
        println!("{}", message.lines().next().unwrap_or_default());
        std::process::exit(101);
    }));
    let models: BTreeMap<&str, fn()> = models::all().into_iter().collect();
    models::check(models[name]);
}
