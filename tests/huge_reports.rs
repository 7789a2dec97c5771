//! Reports that are very large, or large in one place: they are shown or refused, and take memory in
//! proportion to their size.

#[path = "../benches/reports/generate.rs"]
mod generate;

mod common;

use std::process::Command;

use common::{Folder, Ran, afterdrop, finish};
use generate::KINDS;

/// Bytes of a report.
const SIZE: u64 = 6_000_000;

/// KiB of private memory with which a command reads a small report, and some room.
const SMALL: u64 = 40_000;

/// Runs a command that gets private memory for four times the bytes of a report: for three to read it,
/// and one for the page.
fn run_within(args: &[&str]) -> Ran {
    let most = SMALL + 4 * SIZE / 1024;
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -d {most} && exec \"$0\" \"$@\"")])
        .arg(afterdrop())
        .args(args);
    finish(command, Folder::new())
}

#[test]
fn a_large_report_takes_memory_in_proportion_to_its_size() {
    let folder = Folder::new();
    let path = folder.join("report.json");
    let file = path.to_str().unwrap();
    for kind in KINDS {
        kind.write(SIZE, &path).unwrap();
        let ran = run_within(&["report", file, "--as", "html"]);
        let is_answered = match ran.code {
            Some(2) => !kind.is_plausible && ran.err.starts_with("afterdrop: "),
            code => code == Some(0),
        };
        assert!(is_answered, "{}: {}", kind.name, ran.err);
    }
}

#[test]
fn a_report_with_very_many_texts_is_refused_before_they_are_read() {
    let folder = Folder::new();
    let path = folder.join("report.json");
    let kind = KINDS.iter().find(|kind| kind.name == "texts").unwrap();
    kind.write(SIZE, &path).unwrap();
    let ran = run_within(&["report", path.to_str().unwrap()]).exits(2);
    let says = ran.error();
    assert!(says.contains("more than 10,000 texts"), "{says}");
}

#[test]
fn a_report_that_takes_far_more_memory_than_its_size_is_refused() {
    let folder = Folder::new();
    let path = folder.join("report.json");
    let kind = KINDS
        .iter()
        .find(|kind| kind.name == "dense zeros")
        .unwrap();
    kind.write(SIZE, &path).unwrap();
    let ran = run_within(&["report", path.to_str().unwrap()]).exits(2);
    let says = ran.error();
    assert!(says.contains("of at most 3 times its size of 6."), "{says}");
    assert!(says.contains("hint: "), "{says}");
}
