//! Files that get their name once they are whole, so that a process that is killed leaves neither half
//! of a file nor a temporary one.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::private_folder;

/// How often the temporary name of a file is tried.
const MAX_TRIES: u32 = 1000;

/// A new file, for writing. If it is dropped before it was named, it is gone.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    /// The name that it has meanwhile, if it has one.
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// Creates a file in the folder of `path`. It has no name (`O_TMPFILE`, open(2)); where the file
    /// system has no such files, it has a temporary one.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        match create_unnamed(path) {
            Some(file) => Ok(Self {
                file,
                temporary: None,
            }),
            None => Self::with_name_beside(path),
        }
    }

    fn with_name_beside(path: &Path) -> io::Result<Self> {
        let (file, temporary) = private_folder::create_beside(path)?;
        Ok(Self {
            file,
            temporary: Some(temporary),
        })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name. A file that has it is replaced: readers see the one or the other.
    ///
    /// # Errors
    /// If it cannot be named.
    pub(crate) fn name(mut self, path: &Path) -> io::Result<()> {
        if self.temporary.is_none() {
            match link(&self.file, path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.link_beside(path)?,
                linked => return linked,
            }
        }
        let Some(temporary) = &self.temporary else {
            return Ok(());
        };
        match fs::rename(temporary, path) {
            // Another process has taken it for a leftover, and writes the file now.
            Err(e) if e.kind() == io::ErrorKind::NotFound && path.exists() => {}
            renamed => renamed?,
        }
        self.temporary = None;
        Ok(())
    }

    /// Gives the file a temporary name, always the same: the leftover of a process that was killed
    /// before it renamed its file is removed.
    fn link_beside(&mut self, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.part"));
        for _ in 0..MAX_TRIES {
            match link(&self.file, &temporary) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                linked => {
                    linked?;
                    self.temporary = Some(temporary);
                    return Ok(());
                }
            }
            match fs::remove_file(&temporary) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// A file without a name in the folder of `path`; `None` if it cannot be created, or not be named later.
fn create_unnamed(path: &Path) -> Option<File> {
    let folder = match path.parent()? {
        here if here.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(folder)
        .ok()?;
    Path::new(&descriptor_path(&file)).exists().then_some(file)
}

/// The path by which a file is linked that has no name (linkat(2)).
fn descriptor_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Gives a name to a file that has none.
fn link(file: &File, to: &Path) -> io::Result<()> {
    let from = CString::new(descriptor_path(file))?;
    let to = CString::new(to.as_os_str().as_bytes())?;
    // SAFETY: both paths end in a null byte and live until the call returns, which only reads them
    // (test: `a_file_has_no_name_until_it_is_whole`).
    let result = unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The names in a folder, in the order of the alphabet.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Calls a test with a new folder, and removes that.
    fn in_folder(test: impl FnOnce(&Path)) {
        let folder = private_folder::unpredictable_path();
        fs::create_dir(&folder).unwrap();
        test(&folder);
        fs::remove_dir_all(folder).unwrap();
    }

    fn write(mut new: NewFile, path: &Path, text: &str) {
        write!(new.file, "{text}").unwrap();
        new.name(path).unwrap();
    }

    #[test]
    fn a_file_has_no_name_until_it_is_whole() {
        in_folder(|folder| {
            let path = folder.join("x");
            let new = NewFile::beside(&path).unwrap();
            assert!(names(folder).is_empty());
            write(new, &path, "whole");
            assert_eq!(names(folder), ["x"]);
            assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        });
    }

    #[test]
    fn a_file_that_is_replaced_is_there_until_the_new_one_is_whole() {
        in_folder(|folder| {
            let path = folder.join("x");
            fs::write(&path, "old").unwrap();
            let new = NewFile::beside(&path).unwrap();
            assert_eq!(names(folder), ["x"]);
            write(new, &path, "new");
            assert_eq!(names(folder), ["x"]);
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        });
    }

    #[test]
    fn what_a_process_left_that_was_killed_is_removed() {
        in_folder(|folder| {
            let path = folder.join("x");
            fs::write(&path, "old").unwrap();
            fs::write(folder.join(".x.part"), "left").unwrap();
            write(NewFile::beside(&path).unwrap(), &path, "new");
            assert_eq!(names(folder), ["x"]);
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        });
    }

    #[test]
    fn a_folder_is_not_replaced() {
        in_folder(|folder| {
            let path = folder.join("x");
            fs::create_dir(&path).unwrap();
            let new = NewFile::beside(&path).unwrap();
            assert!(new.name(&path).is_err());
            assert_eq!(names(folder), ["x"]);
        });
    }

    #[test]
    fn a_file_with_a_temporary_name_is_renamed_or_gone() {
        in_folder(|folder| {
            let path = folder.join("x");
            let new = NewFile::with_name_beside(&path).unwrap();
            assert_eq!(names(folder).len(), 1);
            drop(new);
            assert!(names(folder).is_empty());
            write(NewFile::with_name_beside(&path).unwrap(), &path, "whole");
            assert_eq!(names(folder), ["x"]);
        });
    }
}
