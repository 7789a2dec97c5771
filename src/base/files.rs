//! Atomic writes of files, and the home folder.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::base::error::Error;

/// Writes a file under a temporary name in the same folder, and renames it, so that readers see either
/// all of it or none. A file that is replaced keeps its permissions.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_path(path);
    let before = fs::metadata(path).map(|m| m.permissions());
    let written = File::create(&temporary).and_then(|file| {
        if let Ok(before) = before {
            file.set_permissions(before)?;
        }
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.flush()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        // The file may not exist; if it does, it is incomplete.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A name in the same folder that no other process uses.
fn temporary_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

/// Checks that a page can be written in a folder.
///
/// # Errors
/// If it cannot, because the disk is full or the folder is read-only.
pub(crate) fn check_writable(folder: &Path) -> Result<(), Error> {
    let probe = folder.join(".afterdrop-probe");
    let written = std::fs::write(&probe, [1; 4096]);
    let _ = std::fs::remove_file(&probe);
    written.map_err(|e| Error::io("write in", folder, e))
}

/// The user's home folder; `None` if there is none, or it is the root folder.
pub(crate) fn home_folder() -> Option<String> {
    let home = std::env::home_dir()?;
    let home = home.to_str()?.trim_end_matches('/');
    (home.len() > 1).then(|| home.to_owned())
}

/// Writes a file atomically: see [`write_atomically`].
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_atomically(path, |to| to.write_all(bytes)).map_err(|e| Error::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_whose_writing_fails_does_not_exist() {
        let path = std::env::temp_dir().join(format!("afterdrop-files-{}.x", std::process::id()));
        let broken = write_atomically(&path, |to| {
            to.write_all(b"half")?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(broken.is_err() && !path.exists() && !temporary_path(&path).exists());
        write_atomically(&path, |to| to.write_all(b"whole")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write_atomically(&path, |to| to.write_all(b"anew")).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the permissions are kept");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_folder_that_does_not_exist_is_not_writable() {
        let folder = std::env::temp_dir();
        check_writable(&folder).unwrap();
        assert!(!folder.join(".afterdrop-probe").exists());
        let nowhere = folder.join("afterdrop-files-nowhere");
        let error = check_writable(&nowhere).unwrap_err().to_string();
        assert!(error.contains("afterdrop-files-nowhere"), "{error}");
    }
}
