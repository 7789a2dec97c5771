//! A real program with many stacks: a formatter of Rust code. It parses every file of this library
//! by recursive descent and prints it again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::time::thread_time;

/// Processor time for formatting all files: the lowest of several rounds.
///
/// # Panics
/// If a file cannot be read or parsed.
pub fn lowest_time() -> Duration {
    let mut sources = Vec::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut sources,
    );
    (0..5).map(|_| time(&sources)).min().unwrap_or_default()
}

fn read(folder: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|e| e == "rs") {
            sources.push(fs::read_to_string(path).expect("a file of sources"));
        }
    }
}

fn time(sources: &[String]) -> Duration {
    let start = thread_time();
    for source in sources {
        let file = syn::parse_file(source).expect("valid Rust");
        std::hint::black_box(prettyplease::unparse(&file));
    }
    thread_time() - start
}
