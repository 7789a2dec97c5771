//! The program's debug information is compressed, elsewhere, or missing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{self, Folder, Ran, marked};
use crate::workloads::ENV_LIBRARY;

/// A library that calls back.
const LIBRARY: &str = "\
void call(void (*function)(void)) {
    function();
    __asm__ volatile(\"\");
}
";

/// A copy of this executable, named `program`.
fn copy_to(folder: &Path) -> PathBuf {
    let program = folder.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    program
}

fn done(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}

fn objcopy(folder: &Path, args: &[&str]) {
    done(Command::new("objcopy").args(args).current_dir(folder));
}

/// `run leaks` in a program that leaks.
fn leaks(program: &Path) -> Ran {
    let args = ["leaks", "--heap", "system", "--cycles", "20"];
    common::run_with(program, args).exits(1)
}

/// The file and line of the leak.
fn line(ran: &Ran) -> Option<String> {
    let report = ran.report();
    let site = report.growing_call_sites().next().unwrap();
    Some(format!("{}:{}", site.file.as_ref()?, site.line?))
}

fn marked_line() -> Option<String> {
    let text = include_str!("workloads.rs");
    Some(marked("tests/hostile/workloads.rs", text, "LEAK"))
}

pub fn compressed_debug_sections_are_read() {
    let folder = Folder::new();
    let program = copy_to(folder.path());
    objcopy(
        folder.path(),
        &["--compress-debug-sections=zlib", "program"],
    );
    assert_eq!(line(&leaks(&program)), marked_line());
}

/// A program without debug information, which is in `program.debug`.
fn stripped(folder: &Path) -> PathBuf {
    let program = copy_to(folder);
    objcopy(folder, &["--only-keep-debug", "program", "program.debug"]);
    objcopy(folder, &["--strip-debug", "program"]);
    program
}

fn link(folder: &Path) {
    objcopy(folder, &["--add-gnu-debuglink=program.debug", "program"]);
}

pub fn a_stripped_program_has_the_lines_of_the_file_that_it_refers_to() {
    let folder = Folder::new();
    let program = stripped(folder.path());
    link(folder.path());
    assert_eq!(line(&leaks(&program)), marked_line());
}

const NO_LINE_TABLES: &str = "this build has no line tables";

pub fn a_missing_file_with_debug_information_is_the_reason_for_no_lines() {
    let folder = Folder::new();
    let program = stripped(folder.path());
    link(folder.path());
    std::fs::remove_file(folder.join("program.debug")).unwrap();
    let ran = leaks(&program);
    assert_eq!(line(&ran), None);
    let says = "program was moved to program.debug, which is not found";
    assert!(ran.words().contains(says), "{}", ran.out);
    assert!(!ran.words().contains(NO_LINE_TABLES), "{}", ran.out);
}

pub fn a_program_without_debug_information_has_no_line_tables() {
    let folder = Folder::new();
    let program = stripped(folder.path());
    let ran = leaks(&program);
    assert_eq!(line(&ran), None);
    assert!(ran.words().contains(NO_LINE_TABLES), "{}", ran.out);
}

/// A folder whose name is not UTF-8.
fn not_utf_8(folder: &Folder) -> PathBuf {
    let inside = folder.path().join(OsStr::from_bytes(b"\xff"));
    std::fs::create_dir(&inside).unwrap();
    inside
}

pub fn a_program_below_a_folder_whose_name_is_not_utf_8_has_lines() {
    let folder = Folder::new();
    let program = copy_to(&not_utf_8(&folder));
    assert_eq!(line(&leaks(&program)), marked_line());
}

pub fn a_library_below_a_folder_whose_name_is_not_utf_8_has_lines() {
    let folder = Folder::new();
    let library = not_utf_8(&folder).join("library.so");
    std::fs::write(folder.join("library.c"), LIBRARY).unwrap();
    done(
        Command::new("cc")
            .args(["-g", "-shared", "-fPIC", "-fno-omit-frame-pointer", "-o"])
            .args([&library, &folder.join("library.c")]),
    );
    let ran = Folder::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["run", "leaks-in-a-library", "--heap", "system"])
        .args(["--cycles", "20", "--out"])
        .arg(ran.join("out"))
        .env(ENV_LIBRARY, library);
    let ran = common::finish(command, ran).exits(1);
    let report = ran.report();
    let site = report.growing_call_sites().next().unwrap();
    let called = site.stack.iter().find(|f| f.function == "call").unwrap();
    assert!(called.file.as_ref().unwrap().ends_with("library.c"));
    assert_eq!(called.line, Some(2));
}

/// Kilobytes of address space besides the executable. The smallest one has no room for names.
const LIMITS: [u64; 4] = [18_000, 42_000, 72_000, 122_000];

/// Kilobytes of address space that the executable itself takes: with all features it is much larger.
fn kilobytes_of_program() -> u64 {
    let program = std::env::current_exe().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let of_program = maps
        .lines()
        .filter(|line| line.ends_with(program.to_str().unwrap()));
    let sizes = of_program.map(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        number(end) - number(start)
    });
    sizes.sum::<u64>() / 1024
}

pub fn a_limit_on_memory_costs_lines_and_not_the_report() {
    let program = std::env::current_exe().unwrap();
    for room in LIMITS {
        let limit = kilobytes_of_program() + room;
        let folder = Folder::new();
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -v $0; exec \"$@\"", &limit.to_string()])
            .arg(&program)
            .args([
                "run", "leaks", "--heap", "system", "--cycles", "20", "--out",
            ])
            .arg(folder.join("out"));
        let ran = common::finish(command, folder).exits(1);
        let says = "was not read, because memory is short";
        let notes = ran.words().matches(says).count();
        let has_line = line(&ran) == marked_line();
        assert!(has_line || notes == 1, "{limit}: {}", ran.out);
        assert!(!ran.words().contains(NO_LINE_TABLES), "{}", ran.out);
        assert!(room > LIMITS[0] || !has_line, "the limit is no limit");
    }
}
