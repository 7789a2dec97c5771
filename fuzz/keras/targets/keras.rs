//! Any bytes as a Keras file.
#![no_main]

#[path = "../../targets/input.rs"]
mod input;
#[path = "../../checks/keras.rs"]
mod keras;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = input::folder().join("input.keras");
    std::fs::write(&path, bytes).expect("a temporary file");
    let _ = keras::check(&path);
});
