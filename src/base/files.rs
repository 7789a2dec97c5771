//! Atomic writes of files, and the home folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::base::error::Error;
use crate::base::new_file::NewFile;

/// Writes a file that gets its name once it is whole, so that readers see either all of it or none. A
/// file that is replaced keeps its permissions.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let before = fs::metadata(path).map(|m| m.permissions());
    let new = NewFile::beside(path)?;
    if let Ok(before) = before {
        new.file().set_permissions(before)?;
    }
    let mut file = BufWriter::new(Limited::new(new.file().try_clone()?));
    write(&mut file)?;
    file.flush()?;
    new.name(path)
}

/// A file that is not written beyond the process's limit on the size of files (`ulimit -f`): the kernel
/// would send a signal that ends the process.
#[derive(Debug)]
pub(crate) struct Limited {
    file: File,
    /// Bytes that may still be written.
    left: u64,
}

impl Limited {
    pub(crate) fn new(file: File) -> Self {
        let left = file_size_limit().unwrap_or(u64::MAX);
        Self { file, left }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Goes on with another open file of the same content. Returns the one so far.
    pub(crate) fn replace(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The limit on the size of files that this process writes, in bytes; `None` if there is none.
fn file_size_limit() -> Option<u64> {
    limit("Max file size")
}

/// The limit on the stack of the main thread, in bytes; `None` if there is none.
#[cfg(feature = "cli")]
pub(crate) fn stack_limit() -> Option<u64> {
    limit("Max stack size")
}

/// A limit of this process, by its name in `/proc/self/limits`.
fn limit(name: &str) -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let mut lines = limits.lines();
    let soft = lines.find_map(|line| line.strip_prefix(name))?;
    soft.split_whitespace().next()?.parse().ok()
}

/// Checks that a page can be written in a folder.
///
/// # Errors
/// If it cannot, because the disk is full or the folder is read-only.
pub(crate) fn check_writable(folder: &Path) -> Result<(), Error> {
    let probe = || {
        let new = NewFile::beside(&folder.join("probe"))?;
        Limited::new(new.file().try_clone()?).write_all(&[1; 4096])
    };
    probe().map_err(|e| Error::io("write to the folder", folder, e))
}

/// The user's home folder; `None` if there is none, or it is the root folder.
pub(crate) fn home_folder() -> Option<String> {
    let home = std::env::home_dir()?;
    let home = home.to_str()?.trim_end_matches('/');
    (home.len() > 1).then(|| home.to_owned())
}

/// Writes a file atomically, in pieces: see [`write_atomically`].
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_with(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    write_atomically(path, write).map_err(|e| Error::io("write", path, e))
}

/// The same for content that is in memory.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_with(path, |to| to.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// A new folder, and a file in it that does not exist.
    fn new_file(name: &str) -> (PathBuf, PathBuf) {
        let name = format!("afterdrop-files-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let file = folder.join("x");
        (folder, file)
    }

    #[test]
    fn a_file_whose_writing_fails_does_not_exist() {
        let (folder, path) = new_file("fails");
        let broken = write_atomically(&path, |to| {
            to.write_all(b"half")?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(broken.is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_replaced_keeps_its_permissions() {
        let (folder, path) = new_file("replaced");
        write_atomically(&path, |to| to.write_all(b"whole")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write_atomically(&path, |to| to.write_all(b"anew")).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_does_not_exist_is_not_writable() {
        let (folder, nowhere) = new_file("nowhere");
        check_writable(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        let error = check_writable(&nowhere).unwrap_err().to_string();
        assert!(error.contains("afterdrop-files-nowhere"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
