//! The options of the command line that workloads read.

use std::path::PathBuf;

#[cfg(feature = "cli")]
use crate::base::error::Error;
use crate::base::json::fields;

/// The options of the command line that a workload may read; `None` or empty if an option was not
/// given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `--device`: the device of a Burn model.
    pub device: Option<String>,
    /// `--format`: the file format that a Burn model is loaded from.
    pub format: Option<String>,
    /// `--model`: a file to load instead of the shipped one.
    pub model: Option<PathBuf>,
    /// `--size`: the width of a Burn model, as a multiple of the shipped one.
    pub size: Option<u32>,
    /// `--precision`: the data type in which the weights are stored.
    pub precision: Option<String>,
    /// `--input`: files with the inputs of a Keras model, one for each option given.
    pub inputs: Vec<PathBuf>,
    /// `--expect`: a file with the expected predictions of a Keras model.
    pub expect: Option<PathBuf>,
    /// `--batch`: the size of a generated batch.
    pub batch: Option<u32>,
    /// A folder for temporary files of the workload. It is removed after the run.
    pub scratch: PathBuf,
}

fields! {
    Settings {
        device: default, format: default, model: (optional_path), size: default, precision: default,
        inputs: (paths), expect: (optional_path), batch: default, scratch: (path),
    }
}

#[cfg(feature = "cli")]
impl Settings {
    /// Checks that none of these options was given.
    ///
    /// # Errors
    /// If one was given: a usage error with its name.
    pub(crate) fn refuse(&self, options: &[(&str, bool)]) -> Result<(), Error> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::usage(format!("this workload takes no {option}"))),
            None => Ok(()),
        }
    }

    /// Checks that no option was given that only Keras files have.
    ///
    /// # Errors
    /// If one was given: a usage error with its name.
    pub(crate) fn refuse_data(&self) -> Result<(), Error> {
        self.refuse(&[
            ("--input", !self.inputs.is_empty()),
            ("--expect", self.expect.is_some()),
            ("--batch", self.batch.is_some()),
        ])
    }

    /// Checks that no option was given.
    ///
    /// # Errors
    /// If one was given: a usage error with its name.
    pub(crate) fn refuse_all(&self) -> Result<(), Error> {
        self.refuse_data()?;
        self.refuse(&[
            ("--device", self.device.is_some()),
            ("--format", self.format.is_some()),
            ("--model", self.model.is_some()),
            ("--size or --sizes", self.size.is_some()),
            ("--precision", self.precision.is_some()),
        ])
    }
}

/// How a path is written as JSON: as a sequence of bytes, because a path need not be UTF-8.
pub(crate) mod path {
    use std::ffi::{OsStr, OsString};
    use std::path::{Path, PathBuf};

    pub(crate) fn written(path: &Path) -> &OsStr {
        path.as_os_str()
    }

    pub(crate) fn read(path: OsString) -> PathBuf {
        path.into()
    }
}

/// [`path`](mod@path) for an `Option`.
mod optional_path {
    use std::ffi::{OsStr, OsString};
    use std::path::{Path, PathBuf};

    pub(super) fn written(path: &Option<PathBuf>) -> Option<&OsStr> {
        path.as_deref().map(Path::as_os_str)
    }

    pub(super) fn read(path: Option<OsString>) -> Option<PathBuf> {
        path.map(PathBuf::from)
    }
}

/// [`path`](mod@path) for a list.
mod paths {
    use std::ffi::{OsStr, OsString};
    use std::path::PathBuf;

    pub(super) fn written(paths: &[PathBuf]) -> Vec<&OsStr> {
        paths.iter().map(|path| path.as_os_str()).collect()
    }

    pub(super) fn read(paths: Vec<OsString>) -> Vec<PathBuf> {
        paths.into_iter().map(PathBuf::from).collect()
    }
}
