//! The output folder of a check.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::error::Error;
use crate::base::names::fnv;
use crate::base::private_folder;
use crate::base::vec_map::VecMap;
use crate::measure::child;

/// Creates the output folder of a check, empty, for this user only: below cargo's target folder if the
/// executable is in one that can be written, else below the system's folder for temporary files. Files
/// of an earlier run are removed.
///
/// # Errors
/// If the folder cannot be created.
pub(crate) fn output_folder(test: &str, key: &str) -> Result<PathBuf, Error> {
    let program = child::this_program()?;
    let executable = program.file_stem().unwrap_or_default().to_string_lossy();
    let create_below = |base: &Path, executable: &str| -> Result<PathBuf, Error> {
        private_folder::create_or_use(base)?;
        let folder = locked_folder(&base.join(slug(executable)), &slug(test))?.join(slug(key));
        let _ = fs::remove_dir_all(&folder);
        private_folder::create_or_use(&folder)?;
        Ok(folder)
    };
    let in_target =
        target_folder(&program).map(|target| create_below(&target.join("afterdrop"), &executable));
    if let Some(Ok(folder)) = in_target {
        return Ok(folder);
    }
    // The folder for temporary files is shared, so that the path needs the user and the project.
    let shared = private_folder::temporary_folder();
    private_folder::check_shared(&shared)?;
    let base = shared.join(format!("afterdrop-{}", private_folder::this_user()));
    let project = std::env::current_dir().unwrap_or_default();
    create_below(&base, &format!("{executable} in {}", project.display()))
        .map_err(|e| e.hint("remove it, or set TMPDIR to a folder that only you can write to"))
}

/// The target folder of cargo that a program is in, which has a file `CACHEDIR.TAG`; `None` if it is in
/// none.
fn target_folder(program: &Path) -> Option<PathBuf> {
    // The deepest path is `target/<triple>/<profile>/deps/<program>`.
    let mut folders = program.ancestors().skip(1).take(4);
    let target = folders.find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.map(Path::to_owned)
}

/// A folder for the checks of a test that no other running process uses. A lock, which is held until
/// this process exits, reserves it; all checks of the test in this process share it.
fn locked_folder(parent: &Path, test: &str) -> Result<PathBuf, Error> {
    static LOCKS: Mutex<VecMap<PathBuf, Lock>> = Mutex::new(VecMap::new());
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let first = parent.join(test);
    if let Some(held) = locks.get(&first) {
        return Ok(held.folder.clone());
    }
    fs::create_dir_all(parent).map_err(|e| Error::io("create the folder", parent, e))?;
    let mut folder = first.clone();
    for n in 2.. {
        let path = folder.with_extension("lock");
        let file =
            private_folder::open_lock(&path).map_err(|e| Error::io("open the lock", &path, e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => folder = parent.join(format!("{test}-{n}")),
            // Without support for locks in the file system the folder is used as it is.
            Ok(()) | Err(TryLockError::Error(_)) => {
                let lock = Lock {
                    folder: folder.clone(),
                    _file: file,
                };
                locks.get_or_insert(first, lock);
                break;
            }
        }
    }
    Ok(folder)
}

/// A folder in use, and the locked file that reserves it.
struct Lock {
    folder: PathBuf,
    _file: File,
}

/// Characters of a name that its file name keeps.
const MAX_SLUG: usize = 60;

/// A name as a valid file name. If characters had to be replaced or cut off, a hash of the name is
/// appended, so that different names have different file names.
fn slug(name: &str) -> String {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    // `a::b` becomes `a--b` without a hash, because nearly all names of tests have a module.
    let plain = name.replace("::", "--");
    let mut slug: String = plain.chars().take(MAX_SLUG).collect();
    if slug.is_empty() || slug != plain || !slug.chars().all(is_valid) {
        slug = slug
            .chars()
            .map(|c| if is_valid(c) { c } else { '-' })
            .collect();
        slug += &format!("-{:08x}", fnv(name.as_bytes()) as u32);
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_a_valid_file_name_and_differs_for_each_name() {
        assert_eq!(slug("a::b_c"), "a--b_c");
        let unusual = [
            "",
            "a b",
            "a-b",
            "a/b",
            "a:b",
            "../d",
            "ä\u{1b}",
            &"x".repeat(300),
        ];
        let mut slugs: Vec<String> = unusual.iter().map(|name| slug(name)).collect();
        assert!(slugs.iter().all(|s| s.len() < 80 && !s.is_empty()));
        assert!(slugs.iter().all(|s| !s.contains(['/', '.', ' ', '\u{1b}'])));
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), unusual.len());
    }
}
