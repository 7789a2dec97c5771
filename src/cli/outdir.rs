//! The output folder of a run. Only its owner can enter it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::error::Error;
use crate::base::files;
use crate::base::private_folder;
use crate::measure::folder_with_journal;
use crate::model::journal;

/// The folder for runs without `--out`.
const RUNS: &str = "reports/runs";

/// A folder that was new or empty when the run began. On drop its files are removed, unless
/// [`OutDir::keep`] was called, so that a run without a result leaves no files.
#[derive(Debug)]
pub(super) struct OutDir {
    path: PathBuf,
    /// Whether the folder was created for this run.
    created: bool,
    kept: bool,
}

impl OutDir {
    /// Creates the folder `wanted`, or a numbered one in `reports/runs`.
    ///
    /// # Errors
    /// If it cannot be created or written, or is not empty.
    pub(super) fn create(wanted: Option<&Path>, workload: &str) -> Result<Self, Error> {
        match wanted {
            Some(path) => Self::at(path),
            None => Self::numbered(workload),
        }
    }

    fn at(path: &Path) -> Result<Self, Error> {
        let error = |e| match dangling_link(path) {
            Some(dangling) => dangling,
            None => Error::io("create the folder", path, e).hint("name another folder with --out"),
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(error)?;
        }
        let created = match private_folder::create(path) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let mut entries = fs::read_dir(path).map_err(error)?;
                if entries.next().is_some() {
                    let message =
                        format!("cannot use the folder {}: it is not empty", path.display());
                    return Err(Error::usage(message).hint("name another folder with --out"));
                }
                false
            }
            Err(e) => return Err(error(e)),
        };
        let dir = Self {
            path: path.into(),
            created,
            kept: false,
        };
        files::check_writable(path)?;
        Ok(dir)
    }

    /// Creates the folder with the workload's name and the first free number.
    fn numbered(workload: &str) -> Result<Self, Error> {
        let name: String = workload
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let runs = Path::new(RUNS);
        let error = |e| match dangling_link(runs) {
            Some(dangling) => dangling,
            None => Error::io("create a folder in", runs, e).hint("name a folder with --out"),
        };
        fs::create_dir_all(runs).map_err(error)?;
        for n in 1_u32.. {
            let path = runs.join(format!("{name}-{n:03}"));
            match private_folder::create(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        created: true,
                        kept: false,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(error(e)),
            }
        }
        Err(Error::usage(format!(
            "cannot create a folder in {RUNS}: all numbers are used"
        )))
    }

    /// The absolute path, for a child that may change its current folder.
    pub(super) fn absolute(&self) -> Result<PathBuf, Error> {
        std::path::absolute(&self.path)
            .map_err(|e| Error::io("find the absolute path of", &self.path, e))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder after a run that was measured, and after another one if it has a journal, which may still be of
    /// use to a person. What is there without one, such as on a full disk, is of use to nobody.
    pub(super) fn keep_after<T>(&mut self, measured: &Result<T, Error>) {
        let has_journal = |folder: PathBuf| {
            let file = fs::metadata(folder.join(journal::FILE));
            file.is_ok_and(|file| file.len() > 0)
        };
        self.kept = match measured {
            Ok(_) => true,
            Err(error) if error.is_child() || error.is_usage() => false,
            Err(_) => folder_with_journal(&self.path).is_some_and(has_journal),
        };
    }

    /// The names of the files in it, sorted.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

/// The error if a folder of a path is a symbolic link to nowhere, of which the system says that it exists.
fn dangling_link(path: &Path) -> Option<Error> {
    let is_link = |path: &&Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let mut links = path.ancestors().filter(is_link);
    let link = links.find(|link| !link.exists())?;
    let target = fs::read_link(link).ok()?;
    let message = format!(
        "cannot create the folder {}: {} is a symbolic link to {}, which does not exist",
        path.display(),
        link.display(),
        target.display()
    );
    Some(Error::usage(message).hint("create that folder, or name another one with --out"))
}

impl Drop for OutDir {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Everything in it is from this run, because it was empty before.
        if self.created {
            let _ = fs::remove_dir_all(&self.path);
        } else {
            for name in self.files() {
                let path = self.path.join(name);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }
}
