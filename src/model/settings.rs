//! The options of the command line that workloads read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
use crate::base::error::Error;

/// The options of the command line that a workload may read; `None` or empty if an option was not
/// given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// `--device`: the device of a Burn model.
    pub device: Option<String>,
    /// `--format`: the file format that a Burn model is loaded from.
    pub format: Option<String>,
    /// `--model`: a file to load instead of the shipped one.
    #[serde(with = "optional_path")]
    pub model: Option<PathBuf>,
    /// `--size`: the width of a Burn model, as a multiple of the shipped one.
    pub size: Option<u32>,
    /// `--precision`: the data type in which the weights are stored.
    pub precision: Option<String>,
    /// `--input`: files with the inputs of a Keras model, one for each option given.
    #[serde(with = "paths")]
    pub inputs: Vec<PathBuf>,
    /// `--expect`: a file with the expected predictions of a Keras model.
    #[serde(with = "optional_path")]
    pub expect: Option<PathBuf>,
    /// `--batch`: the size of a generated batch.
    pub batch: Option<u32>,
    /// A folder for temporary files of the workload. It is removed after the run.
    #[serde(with = "path")]
    pub scratch: PathBuf,
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

/// Serializes a path as a sequence of bytes, because a path need not be UTF-8.
pub(crate) mod path {
    use super::*;
    use serde::{Deserializer, Serializer};
    use std::ffi::OsString;
    use std::path::Path;

    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(from).map(PathBuf::from)
    }
}

/// [`path`](mod@path) for an `Option`.
mod optional_path {
    use super::*;
    use serde::{Deserializer, Serializer};
    use std::ffi::OsString;
    use std::path::Path;

    pub(super) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Path::as_os_str).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<OsString>::deserialize(from)?.map(PathBuf::from))
    }
}

/// [`path`](mod@path) for a list.
mod paths {
    use super::*;
    use serde::{Deserializer, Serializer};
    use std::ffi::OsString;
    use std::path::Path;

    pub(super) fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(paths.iter().map(|path| Path::as_os_str(path)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<PathBuf>, D::Error> {
        let paths = Vec::<OsString>::deserialize(from)?;
        Ok(paths.into_iter().map(PathBuf::from).collect())
    }
}
