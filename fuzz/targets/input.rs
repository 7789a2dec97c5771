//! The folder of the file that is read.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A folder of this process. `fuzz/run` has it in memory, and removes it.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("input-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    })
}
