//! The checks of fuzzing, on files that are in the repository anyway, and on what fuzzing has found.

#[path = "../fuzz/checks/journal.rs"]
mod journal;
#[path = "../fuzz/checks/report.rs"]
mod report;

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::Folder;

/// The files in these folders and in those within them whose name ends so.
fn files(folders: &[&str], end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = open.pop() {
        // Until something is found, a target has no folder of its own.
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_stored_report_is_shown_safely_in_every_way() {
    let mut seeds = files(&["reports/samples"], "/report.json");
    seeds.extend(files(&["reports/samples"], "/strategies.json"));
    assert!(seeds.len() > 5, "{seeds:?}");
    seeds.extend(files(&["fuzz/seeds/report"], ""));
    for path in seeds {
        eprintln!("{}", path.display());
        report::check(&path);
    }
}

#[test]
fn a_report_is_made_of_every_stored_journal() {
    let mut seeds = files(&["reports/samples"], "/journal.jsonl");
    assert!(!seeds.is_empty());
    seeds.push(Path::new("fixtures/journal.jsonl").to_owned());
    seeds.extend(files(&["fuzz/seeds/journal"], ""));
    for path in seeds {
        eprintln!("{}", path.display());
        let folder = Folder::new();
        fs::copy(&path, folder.join("journal.jsonl")).unwrap();
        journal::check(folder.path());
    }
}
