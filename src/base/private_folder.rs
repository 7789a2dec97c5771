//! Folders that only their owner can enter, and temporary files in folders that others can write to.
//!
//! In a shared folder another user can create a name first: as a folder of theirs, or as a symbolic
//! link to a file of ours. So a folder is used only if it is ours and no one else can write to it, and
//! a file is created only if its name is new.

use std::fs::{self, DirBuilder, File, OpenOptions};
#[cfg(any(test, feature = "cli"))]
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::error::Error;

/// Everything for the owner, nothing for others.
const PRIVATE: u32 = 0o700;

/// Permissions that let others change what is in a folder.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// In a folder with this bit, users can remove only what is theirs.
const STICKY: u32 = 0o1000;

/// Names that are tried for a temporary file.
const MAX_NAMES: u32 = 1000;

/// Creates a folder that only this user can enter. Its parent must exist.
///
/// # Errors
/// If it cannot be created, for example because it exists.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(PRIVATE).create(path)
}

/// Creates a folder that only this user can enter, if it does not exist, and its parents with the
/// usual permissions.
///
/// # Errors
/// If it cannot be created, or there is something else at the path: a link, a file, or a folder of
/// another user.
pub(crate) fn create_or_use(path: &Path) -> Result<(), Error> {
    let failed = |e| Error::io("create the folder", path, e);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created.map_err(failed),
    }
    let refused = |why: String| Error::usage(format!("cannot use {}: {why}", path.display()));
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if !found.is_dir() {
        return Err(refused("it is not a folder".into()));
    }
    let user = this_user();
    if found.uid() != user {
        return Err(refused(format!(
            "it belongs to user {}, and this process runs as user {user}",
            found.uid()
        )));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(refused("other users can write to it".into()));
    }
    if found.mode() & !PRIVATE & 0o777 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE)).map_err(failed)?;
    }
    Ok(())
}

/// Checks that other users cannot rename or remove what this user creates in a folder.
///
/// # Errors
/// If they can.
pub(crate) fn check_shared(folder: &Path) -> Result<(), Error> {
    let found = fs::metadata(folder).map_err(|e| Error::io("read the folder", folder, e))?;
    let is_owned = [0, this_user()].contains(&found.uid());
    let is_protected = found.mode() & WRITABLE_BY_OTHERS == 0 || found.mode() & STICKY != 0;
    if is_owned && is_protected {
        return Ok(());
    }
    Err(Error::usage(format!(
        "cannot use the folder {}: other users can rename and remove what is in it",
        folder.display()
    ))
    .hint("set TMPDIR to a folder that only you can write to"))
}

/// A path in the folder for temporary files that nobody can predict. Nothing is created there.
#[cfg(any(test, feature = "cli"))]
pub(crate) fn unpredictable_path() -> PathBuf {
    // The keys of a `RandomState` are random numbers from the system.
    let random = RandomState::new().build_hasher().finish();
    temporary_folder().join(format!("afterdrop-{random:016x}"))
}

/// The folder for temporary files. An empty `TMPDIR` is as good as none: the current folder is not meant.
pub(crate) fn temporary_folder() -> PathBuf {
    let set = std::env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    set.map_or_else(|| "/tmp".into(), PathBuf::from)
}

/// The effective user ID of this process.
pub(crate) fn this_user() -> u32 {
    fs::metadata("/proc/self").map_or(0, |process| process.uid())
}

/// Creates a file beside `path` under a name that no one else has, for writing.
///
/// # Errors
/// If it cannot be created.
pub(crate) fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let process = std::process::id();
    for n in 0..MAX_NAMES {
        let temporary = path.with_file_name(format!(".{name}.{process}-{n}.part"));
        match File::create_new(&temporary) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (file, temporary)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Opens a file for locking, or creates it. What is in it stays.
///
/// # Errors
/// If it cannot be opened, or is a symbolic link.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A new folder, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("afterdrop-private-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn refuses(&self, path: &Path, why: &str) {
            let error = create_or_use(path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn two_unpredictable_paths_differ() {
        assert_ne!(unpredictable_path(), unpredictable_path());
    }

    #[test]
    fn a_new_folder_can_be_entered_by_its_owner_only() {
        let folder = Folder::new("new");
        let path = folder.0.join("a/b");
        create_or_use(&path).unwrap();
        assert_eq!(mode(&path), PRIVATE);
        create_or_use(&path).unwrap();
    }

    #[test]
    fn an_own_folder_that_others_can_read_becomes_private() {
        let folder = Folder::new("read");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
        create_or_use(&folder.0).unwrap();
        assert_eq!(mode(&folder.0), PRIVATE);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = Folder::new("write");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        folder.refuses(&folder.0, "other users can write to it");
    }

    #[test]
    fn a_link_to_a_folder_is_refused() {
        let folder = Folder::new("link");
        let (own, link) = (folder.0.join("own"), folder.0.join("link"));
        create(&own).unwrap();
        symlink(&own, &link).unwrap();
        folder.refuses(&link, "it is not a folder");
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        // Only root can give a folder away; /proc/1 is root's for everyone else.
        let folder = Folder::new("other");
        let other = match this_user() {
            0 => {
                std::os::unix::fs::chown(&folder.0, Some(12_345), None).unwrap();
                folder.0.clone()
            }
            _ => PathBuf::from("/proc/1"),
        };
        folder.refuses(&other, "it belongs to user");
    }

    #[test]
    fn a_shared_folder_needs_the_sticky_bit() {
        let folder = Folder::new("sticky");
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o1777)).unwrap();
        check_shared(&folder.0).unwrap();
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        let error = check_shared(&folder.0).unwrap_err().to_string();
        assert!(error.contains("hint: set TMPDIR"), "{error}");
    }

    #[test]
    fn a_temporary_file_does_not_follow_a_link_that_was_there_first() {
        let folder = Folder::new("part");
        let (victim, path) = (folder.0.join("victim"), folder.0.join("x.html"));
        fs::write(&victim, "mine").unwrap();
        let planted = format!(".x.html.{}-0.part", std::process::id());
        symlink(&victim, folder.0.join(planted)).unwrap();
        let (_, temporary) = create_beside(&path).unwrap();
        assert!(temporary.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
    }

    #[test]
    fn a_lock_does_not_follow_a_link_and_keeps_what_is_in_the_file() {
        let folder = Folder::new("lock");
        let (file, link) = (folder.0.join("file"), folder.0.join("link"));
        fs::write(&file, "mine").unwrap();
        symlink(&file, &link).unwrap();
        assert!(open_lock(&link).is_err());
        open_lock(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    }
}
