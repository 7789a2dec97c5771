//! Any bytes as a `.npy` or `.npz` file.
#![no_main]

#[path = "../../targets/input.rs"]
mod input;
#[path = "../../checks/npy.rs"]
mod npy;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = input::folder().join("input.npy");
    std::fs::write(&path, bytes).expect("a temporary file");
    npy::check(&path);
});
