//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::base::error::Error;

/// Writes a file under a temporary name beside it and renames it, so that no half of it is ever
/// found. One that was there keeps who may read it.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary(path);
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
        // What is left of it is of no use to anyone.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A name beside the file that nobody else has.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

/// Whether a page can still be written in the folder.
///
/// # Errors
/// If it cannot: the disk is full, or the folder may not be written.
pub(crate) fn check_room(folder: &Path) -> Result<(), Error> {
    let probe = folder.join(".room");
    let written = std::fs::write(&probe, [1; 4096]);
    let _ = std::fs::remove_file(&probe);
    written.map_err(|e| Error::io("write in", folder, e))
}

/// The user's home folder, by the environment or else by the system's list of users; `None` if there is
/// none, or it is everything.
pub(crate) fn home() -> Option<String> {
    let home = std::env::home_dir()?;
    let home = home.to_str()?.trim_end_matches('/');
    (home.len() > 1).then(|| home.to_owned())
}

/// Writes a file whole or not at all.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_whole(path, |to| to.write_all(bytes)).map_err(|e| Error::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_could_not_be_finished_is_not_there() {
        let path = std::env::temp_dir().join(format!("afterdrop-files-{}.x", std::process::id()));
        let broken = write_whole(&path, |to| {
            to.write_all(b"half")?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(broken.is_err() && !path.exists() && !temporary(&path).exists());
        write_whole(&path, |to| to.write_all(b"whole")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write_whole(&path, |to| to.write_all(b"anew")).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "who may not read it still may not");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn where_nothing_can_be_written_there_is_no_room() {
        let folder = std::env::temp_dir();
        check_room(&folder).unwrap();
        assert!(!folder.join(".room").exists());
        let nowhere = folder.join("afterdrop-files-nowhere");
        let refused = check_room(&nowhere).unwrap_err().to_string();
        assert!(refused.contains("afterdrop-files-nowhere"), "{refused}");
    }
}
