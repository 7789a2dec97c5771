//! Any bytes as `report.json` or `strategies.json`.
#![no_main]

#[path = "../checks/report.rs"]
mod report;

mod input;
mod mutate;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|bytes: &[u8]| {
    let path = input::folder().join("input.json");
    std::fs::write(&path, bytes).expect("a temporary file");
    report::check(&path);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed)
});
