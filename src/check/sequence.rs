//! The checks of one test in the order in which it makes them. Parent and child pass the same
//! checks, and so come to the same keys; what an earlier one found, the parent tells the child.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::error::Error;
use crate::base::files::write_bytes;

/// In the folder of a check: where the earlier checks of its test have written.
const EARLIER: &str = "earlier.json";

/// What is known of the tests of this process, by test.
static TESTS: Mutex<BTreeMap<String, Sequence>> = Mutex::new(BTreeMap::new());

#[derive(Default)]
struct Sequence {
    /// How many checks had a name.
    names: HashMap<String, u32>,
    /// The folder of each check, by key.
    folders: BTreeMap<String, PathBuf>,
}

fn tests() -> MutexGuard<'static, BTreeMap<String, Sequence>> {
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a check, made unique among those of its test.
pub(super) fn key(test: &str, name: &str) -> String {
    let mut tests = tests();
    let names = &mut tests.entry(test.into()).or_default().names;
    let count = names.entry(name.into()).or_default();
    *count += 1;
    match *count {
        1 => name.into(),
        n => format!("{name} ({n})"),
    }
}

/// Writes down for the child where earlier checks of the test have written, and keeps in mind
/// where this one does.
///
/// # Errors
/// If it cannot be written.
pub(super) fn tell(test: &str, key: &str, folder: &Path) -> Result<(), Error> {
    let mut tests = tests();
    let folders = &mut tests.entry(test.into()).or_default().folders;
    // Strings only: this cannot fail.
    let earlier = serde_json::to_vec(&*folders).unwrap_or_default();
    folders.insert(key.into(), folder.into());
    write_bytes(&folder.join(EARLIER), &earlier)
}

/// In the child: where the earlier check of this key has written; `None` if there was none.
pub(super) fn earlier(folder: &Path, key: &str) -> Option<PathBuf> {
    let text = std::fs::read(folder.join(EARLIER)).ok()?;
    let mut folders: BTreeMap<String, PathBuf> = serde_json::from_slice(&text).ok()?;
    folders.remove(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_for_each_test() {
        assert_eq!(key("a test", "x"), "x");
        assert_eq!(key("a test", "x"), "x (2)");
        assert_eq!(key("another test", "x"), "x");
    }
}
