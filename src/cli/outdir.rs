//! The folder of a run: made anew, never one that holds something.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::error::Error;

/// Where runs go that were given no folder.
const RUNS: &str = "reports/runs";

/// A folder made for this run. It is removed again unless [`OutDir::keep`] was called, so that a
/// run that comes to nothing leaves nothing behind.
#[derive(Debug)]
pub(super) struct OutDir {
    path: PathBuf,
    made: bool,
    kept: bool,
}

impl OutDir {
    /// Makes `wanted`, or the next free one under `reports/runs`.
    ///
    /// # Errors
    /// If it cannot be made or written to, or holds something already.
    pub(super) fn create(wanted: Option<&Path>, workload: &str) -> Result<Self, Error> {
        match wanted {
            Some(path) => Self::at(path),
            None => Self::next(workload),
        }
    }

    fn at(path: &Path) -> Result<Self, Error> {
        let error = |e| Error::io("make the folder", path, e).hint("name another with --out");
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(error)?;
        }
        let made = match fs::create_dir(path) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let mut entries = fs::read_dir(path).map_err(error)?;
                if entries.next().is_some() {
                    let message = format!("{} is not empty, and is left as it is", path.display());
                    return Err(Error::usage(message).hint("name another folder with --out"));
                }
                false
            }
            Err(e) => return Err(error(e)),
        };
        let dir = Self {
            path: path.into(),
            made,
            kept: false,
        };
        let probe = path.join("probe.part");
        fs::write(&probe, "").map_err(|e| Error::io("write to", path, e))?;
        let _ = fs::remove_file(probe);
        Ok(dir)
    }

    fn next(workload: &str) -> Result<Self, Error> {
        let name: String = workload
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let runs = Path::new(RUNS);
        let error = |e| Error::io("make a folder under", runs, e).hint("name one with --out");
        fs::create_dir_all(runs).map_err(error)?;
        for n in 1.. {
            let path = runs.join(format!("{name}-{n:03}"));
            match fs::create_dir(&path) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        made: true,
                        kept: false,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(error(e)),
            }
        }
        Err(Error::usage(format!("{RUNS} is full")))
    }

    /// The folder from the root, for a child that may run elsewhere.
    pub(super) fn absolute(&self) -> Result<PathBuf, Error> {
        std::path::absolute(&self.path).map_err(|e| Error::io("find the folder", &self.path, e))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The run has something to show: the folder stays.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// Names of the files in it, sorted.
    pub(super) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

impl Drop for OutDir {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // It was empty when the run began, so that everything in it is the run's.
        if self.made {
            let _ = fs::remove_dir_all(&self.path);
        } else {
            for name in self.files() {
                let path = self.path.join(name);
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }
}
