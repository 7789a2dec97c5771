//! The order of the checks in one test. Parent and child run through the same checks, and so give them
//! the same keys. The child reads the reports of earlier checks instead of measuring again.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::error::Error;
use crate::base::files::write_bytes;
use crate::base::vec_map::VecMap;
use crate::recorder::heap;

/// A file in the folder of a check: the folders of the earlier checks of its test, by key.
const EARLIER: &str = "earlier.json";

/// The checks that this process has run, by test.
static TESTS: Mutex<VecMap<String, Sequence>> = Mutex::new(VecMap::new());

#[derive(Default)]
struct Sequence {
    /// Number of checks with a name.
    names: VecMap<String, u32>,
    /// The key and the folder of each check.
    folders: Vec<(String, PathBuf)>,
}

fn tests() -> MutexGuard<'static, VecMap<String, Sequence>> {
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of the next check: its name, made unique among the checks of its test by a number.
pub(super) fn key(test: &str, name: &str) -> String {
    // In the child, what is allocated here is not a part of the program.
    let _paused = heap::pause();
    let mut tests = tests();
    let names = &mut tests.get_or_default(test.into()).names;
    let count = names.get_or_default(name.into());
    *count += 1;
    match *count {
        1 => name.into(),
        n => format!("{name} ({n})"),
    }
}

/// Writes the folders of the earlier checks to the folder of this one, where the child reads them, and
/// adds this one to the sequence.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn add(test: &str, key: &str, folder: &Path) -> Result<(), Error> {
    let mut tests = tests();
    let folders = &mut tests.get_or_default(test.into()).folders;
    // Serializing a list of strings cannot fail.
    let earlier = serde_json::to_vec(&*folders).unwrap_or_default();
    folders.push((key.into(), folder.into()));
    write_bytes(&folder.join(EARLIER), &earlier)
}

/// In the child: the folder of the earlier check with this key; `None` if there was none.
pub(super) fn earlier_folder(folder: &Path, key: &str) -> Option<PathBuf> {
    let text = std::fs::read(folder.join(EARLIER)).ok()?;
    let folders: Vec<(String, PathBuf)> = serde_json::from_slice(&text).ok()?;
    let mut folders = folders.into_iter();
    folders.find(|(k, _)| k == key).map(|(_, folder)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_name_gets_a_number_within_its_test() {
        assert_eq!(key("a test", "x"), "x");
        assert_eq!(key("a test", "x"), "x (2)");
        assert_eq!(key("another test", "x"), "x");
    }
}
