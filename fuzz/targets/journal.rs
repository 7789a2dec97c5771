//! Any bytes as the journal of a run without a report.
#![no_main]

#[path = "../checks/journal.rs"]
mod journal;
#[path = "../checks/report.rs"]
#[expect(dead_code, reason = "reports are read by another target")]
mod report;

mod input;
mod mutate;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|bytes: &[u8]| {
    let folder = input::folder();
    std::fs::write(folder.join("journal.jsonl"), bytes).expect("a temporary file");
    journal::check(folder);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed)
});
