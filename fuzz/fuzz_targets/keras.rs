//! Any bytes as a Keras file: read as HDF5 and as an archive, the run planned, the model built, and
//! run where it is small.
//!
//! ```console
//! $ fuzz/run keras          # seeds from the fixtures, then cargo +nightly fuzz
//! ```
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::{Corpus, fuzz_target};

/// Larger files only make each round slow.
const MOST: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.len() > MOST {
        return Corpus::Reject;
    }
    // The first bytes say which of the two it is.
    let ending = if bytes.starts_with(b"PK") { "keras" } else { "h5" };
    let name = format!("afterdrop-fuzz-{}.{ending}", std::process::id());
    // Memory where the machine has a file system of it, so that a disk is spared.
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a temporary file");
    let _ = afterdrop::bench::read_keras(&path);
    let _ = std::fs::remove_file(&path);
    Corpus::Keep
});
