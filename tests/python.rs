//! `afterdrop exec` on programs in Python: verdict, line, exact bytes and blocks. What each program does is in
//! `fixtures/python`.
//!
//! The interpreter is `python3`, or the one that the environment variable `AFTERDROP_TEST_PYTHON` names.

mod common;
#[path = "python/holders.rs"]
mod holders;

use std::path::{Path, PathBuf};
use std::process::Command;

use afterdrop::Verdict;
use afterdrop::report::{CallSite, Report, RunVerdict};
use rstest::rstest;

use common::{Folder, Ran, afterdrop, finish};

const CYCLES: u32 = 83;

fn python() -> String {
    std::env::var("AFTERDROP_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/python");
    folder.join(name)
}

/// `afterdrop exec <options> -- python <arguments>` in a new folder.
fn exec(options: &[&str], arguments: &[&str]) -> Ran {
    exec_in(Folder::new(), options, arguments)
}

fn exec_in(folder: Folder, options: &[&str], arguments: &[&str]) -> Ran {
    let mut command = Command::new(afterdrop());
    command
        .current_dir(folder.path())
        .env_remove("PYTHONMALLOC")
        .arg("exec")
        .args(options)
        .arg("--out")
        .arg(folder.join("out"))
        .arg("--")
        .arg(python())
        .args(arguments);
    finish(command, folder)
}

/// Runs a script whose function `step` marks the cycles.
fn stepped(name: &str) -> Ran {
    exec(
        &["--cycle-at", "call:step"],
        &[script(name).to_str().unwrap()],
    )
}

/// The line with the comment `PLANTED`.
fn planted_line(name: &str) -> u32 {
    let text = std::fs::read_to_string(script(name)).unwrap();
    let mut lines = (1..).zip(text.lines());
    lines
        .find(|(_, line)| line.contains("# PLANTED"))
        .unwrap()
        .0
}

/// The call site of the planted line.
#[track_caller]
fn planted<'a>(report: &'a Report, name: &str) -> &'a CallSite {
    let line = Some(planted_line(name));
    let is_there = |s: &&CallSite| {
        s.line == line && s.file.as_deref().is_some_and(|file| file.ends_with(name))
    };
    let site = report.call_sites.iter().find(is_there);
    site.unwrap_or_else(|| panic!("no call site in line {line:?}: {report}"))
}

#[rstest]
#[case("list_in_module.py", "step", 1000)]
#[case("dict_by_key.py", "step", 48)]
#[case("closure.py", "step", 2000)]
#[case("bound_method.py", "Model.__init__", 3000)]
#[case("unbounded_lru_cache.py", "tokenize", 500)]
#[case("thread_local.py", "work", 700)]
#[case("waiting_generator.py", "lines", 900)]
#[case("local_variable.py", "step", 800)]
#[case("attributes.py", "step", 1200)]
#[case("reference_not_dropped.py", "Model.__init__", 3000)]
fn a_leak_has_its_line_and_its_bytes(
    #[case] name: &str,
    #[case] function: &str,
    #[case] bytes: u32,
) {
    let report = stepped(name).exits(1).report();
    assert_eq!(report.verdict, RunVerdict::Leak);
    assert_eq!(report.cycles_run(), CYCLES);
    let site = planted(&report, name);
    assert_eq!(site.verdict, Verdict::Leak, "{report}");
    assert_eq!(site.function, function);
    assert_eq!(site.bytes_per_cycle, Some(f64::from(bytes)));
    assert_eq!(site.blocks_per_cycle, Some(1.0));
}

#[rstest]
#[case("bounded_cache.py")]
#[case("cycle_without_collection.py")]
fn what_is_freed_later_is_no_leak(#[case] name: &str) {
    let report = stepped(name).exits(0).report();
    assert_eq!(report.verdict, RunVerdict::Clean, "{report}");
}

#[rstest]
#[case("list_in_module.py", &["bytes"])]
#[case("dict_by_key.py", &["Session"])]
#[case("bound_method.py", &["Model", "bytes", "method"])]
#[case("waiting_generator.py", &["bytes", "generator"])]
fn each_cycle_leaves_one_object_of_these_types(#[case] name: &str, #[case] types: &[&str]) {
    let report = stepped(name).exits(1).report();
    let growing = report
        .objects
        .iter()
        .filter(|objects| objects.per_cycle > 0.0);
    let growing: Vec<(&str, f64)> = growing
        .map(|objects| (objects.type_name.as_str(), objects.per_cycle))
        .collect();
    let expected: Vec<(&str, f64)> = types.iter().map(|&name| (name, 1.0)).collect();
    assert_eq!(growing, expected);
    let site = planted(&report, name);
    let types = site
        .objects
        .iter()
        .filter(|objects| objects.per_cycle > 0.0);
    assert_eq!(types.count(), 1, "{:?}", site.objects);
}

#[test]
fn the_path_to_a_block_names_the_type_of_the_object() {
    let report = stepped("dict_by_key.py").exits(1).report();
    let holder = planted(&report, "dict_by_key.py").holder.as_ref();
    let path = &holder.expect("a holder").path;
    let last = path.last().and_then(|block| block.what.as_deref());
    assert_eq!(last, Some("Session"));
}

#[test]
fn a_block_of_c_has_the_line_that_has_called_c() {
    let folder = Folder::new();
    let library = folder.join("keep.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-fno-builtin", "-o"])
        .args([library.as_path(), &script("keep.c")])
        .status();
    assert!(compiled.unwrap().success());
    let script = script("c_extension.py");
    let arguments = [script.to_str().unwrap(), library.to_str().unwrap()];
    let ran = exec_in(folder, &["--cycle-at", "call:step"], &arguments);
    let report = ran.exits(1).report();
    let site = planted(&report, "c_extension.py");
    assert_eq!(site.bytes_per_cycle, Some(123.0));
    assert_eq!(site.blocks_per_cycle, Some(1.0));
    let inner = site.stack.first().expect("a stack");
    assert_eq!(inner.function, "keep", "native frames are above: {site:#?}");
}

#[test]
fn an_array_has_the_line_that_keeps_it() {
    let has_numpy = Command::new(python()).args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|ran| ran.status.success()) {
        eprintln!("this Python has no numpy: nothing is tested");
        return;
    }
    let report = stepped("numpy_buffer.py").exits(1).report();
    let site = planted(&report, "numpy_buffer.py");
    let bytes = site.bytes_per_cycle.expect("a rate");
    // The array itself, its shape and its strides.
    assert!((8_000.0..8_300.0).contains(&bytes), "{bytes}");
    assert_eq!(site.verdict, Verdict::Leak);
}

#[rstest]
#[case::of_the_script("step")]
#[case::of_main("__main__.step")]
#[case::decorated_under_a_public_name("Models.load_model")]
#[case::a_class("Model")]
#[case::a_class_method("Model.create")]
#[case::a_method("Model.predict")]
#[case::recursive("nested")]
fn a_call_of_a_function_is_a_mark(#[case] function: &str) {
    let mark = format!("call:{function}");
    let script = script("load_model.py");
    let ran = exec(&["--cycle-at", &mark], &[script.to_str().unwrap()]);
    let report = ran.exits(1).report();
    assert_eq!(report.cycles_run(), CYCLES);
    let site = planted(&report, "load_model.py");
    assert_eq!(site.bytes_per_cycle, Some(1000.0));
}

#[test]
fn a_function_that_is_never_called_is_named() {
    let script = script("load_model.py");
    let ran = exec(&["--cycle-at", "call:nothing"], &[script.to_str().unwrap()]).exits(2);
    let error = ran.error();
    assert!(error.contains("has not called `nothing` twice"), "{error}");
}

/// Otherwise a leak of small objects would be clean.
#[test]
fn without_the_objects_a_program_is_not_called_clean() {
    let script = script("bounded_cache.py");
    let arguments = ["-I", script.to_str().unwrap()];
    let report = exec(&["--cycle-at", "call:step"], &arguments)
        .exits(4)
        .report();
    assert_eq!(report.verdict, RunVerdict::Undecided);
    assert!(
        report.summary.contains("objects were not recorded"),
        "{}",
        report.summary
    );
    assert!(
        report.warnings.iter().any(|w| w.contains("-I")),
        "{:?}",
        report.warnings
    );
}

#[test]
fn the_interpreters_debugging_allocator_does_no_harm() {
    let script = script("list_in_module.py");
    let arguments = ["-X", "dev", "-W", "ignore", script.to_str().unwrap()];
    let report = exec(&["--cycle-at", "call:step"], &arguments)
        .exits(1)
        .report();
    assert_eq!(report.cycles_run(), CYCLES);
}

#[test]
fn what_a_module_does_for_a_name_that_it_lacks_is_not_done() {
    let folder = Folder::new();
    let module = "asked = []\ndef __getattr__(name):\n    asked.append(name)\n    raise AttributeError(name)\n\
                  def load(): return bytes(10)\n";
    std::fs::write(folder.join("lazy.py"), module).unwrap();
    let program = "import lazy\nfor i in range(84): lazy.load()\nprint('asked for', lazy.asked)";
    let ran = exec_in(folder, &["--cycle-at", "call:lazy.load"], &["-c", program]).exits(0);
    assert!(ran.out.contains("asked for []"), "{}", ran.out);
    assert_eq!(ran.report().cycles_run(), CYCLES);
}

#[test]
fn whoever_has_a_function_from_before_calls_the_marked_one() {
    let program = "\
import functools
def load(): return bytes(10)
routes = {'/': load, '/again': functools.partial(load)}
for i in range(42):
    routes['/']()
    routes['/again']()
";
    let report = exec(&["--cycle-at", "call:load"], &["-c", program])
        .exits(0)
        .report();
    assert_eq!(report.cycles_run(), CYCLES);
}

#[test]
fn the_end_of_the_interpreter_belongs_to_no_cycle() {
    // The interpreter frees what is kept, and then takes a second to end.
    let program = "\
import time
class Slow:
    def __del__(self, sleep=time.sleep): sleep(1)
kept = []
slow = Slow()
for i in range(60):
    kept.append([bytes(1000) for j in range(100)])
    time.sleep(0.02)
";
    let report = exec(&["--cycle-at", "every:0.05s"], &["-c", program]).report();
    let live: Vec<u64> = report.boundaries.iter().map(|b| b.live_bytes).collect();
    let highest = live.iter().max().unwrap();
    let after = live.iter().skip_while(|&live| live < highest).skip(1);
    // One may have begun before.
    assert!(after.count() <= 1, "{live:?}");
}

#[rstest]
#[case::shallow(300)]
#[case::deeper_than_is_recorded(3_000)]
fn the_depth_of_a_recursion_does_not_hide_its_line(#[case] depth: u32) {
    let program = format!(
        "import sys, threading\nsys.setrecursionlimit(10000)\nthreading.stack_size(256 << 20)\n\
         kept = [None] * 100\ndef load(i): kept[i] = bytes(967)\n\
         def deep(i, n): return load(i) if n == 0 else deep(i, n - 1)\n\
         def work():\n    for i in range(84): deep(i, {depth})\n\
         thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
    );
    let report = exec(&["--cycle-at", "call:load"], &["-c", &program])
        .exits(1)
        .report();
    let site = &report.call_sites[0];
    assert_eq!((site.line, site.bytes_per_cycle), (Some(5), Some(1000.0)));
}

/// Since 3.13 there is a frame of the interpreter's between a class and its `__init__`.
#[test]
fn what_the_class_of_a_package_allocates_has_the_users_line() {
    let program = "\
import queue
kept = [None] * 100
def step(i):
    kept[i] = queue.Queue()
for i in range(84): step(i)
";
    let report = exec(&["--cycle-at", "call:step"], &["-c", program])
        .exits(1)
        .report();
    let lines = report
        .growing_call_sites()
        .map(|s| (s.file.as_deref(), s.line));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines, [(Some("<string>"), Some(4))], "{report}");
}

#[test]
fn a_report_of_growth_says_how_to_collect_garbage() {
    let hints = |options: &[&str]| {
        let script = script("list_in_module.py");
        let options = [&["--cycle-at", "call:step"], options].concat();
        let report = exec(&options, &[script.to_str().unwrap()])
            .exits(1)
            .report();
        report
            .warnings
            .iter()
            .filter(|w| w.contains("--collect"))
            .count()
    };
    assert_eq!(hints(&[]), 1);
    assert_eq!(hints(&["--collect"]), 0);
}

#[test]
fn the_report_says_which_python_ran_with_which_allocator() {
    let report = stepped("bounded_cache.py").report();
    let has = |start: &str| {
        report
            .options
            .iter()
            .any(|option| option.starts_with(start))
    };
    assert!(
        has("python=3.") && has("PYTHONMALLOC=malloc"),
        "{:?}",
        report.options
    );
}

#[test]
fn code_that_is_typed_is_the_users() {
    let program =
        "kept = [None] * 100\ndef step(i): kept[i] = bytes(967)\nfor i in range(84): step(i)";
    let report = exec(&["--cycle-at", "call:step"], &["-c", program])
        .exits(1)
        .report();
    let site = &report.call_sites[0];
    assert_eq!(site.file.as_deref(), Some("<string>"));
    assert_eq!((site.line, site.bytes_per_cycle), (Some(2), Some(1000.0)));
}

#[test]
fn a_forked_worker_has_lines_too() {
    let program = "\
import os
kept = [None] * 100
def step(i):
    kept[i] = bytes(967)
if os.fork() == 0:
    for i in range(84):
        step(i)
    os._exit(0)
os.wait()
";
    let report = exec(&["--cycle-at", "call:step"], &["-c", program])
        .exits(1)
        .report();
    let site = &report.call_sites[0];
    assert_eq!((site.line, site.bytes_per_cycle), (Some(4), Some(1000.0)));
}
