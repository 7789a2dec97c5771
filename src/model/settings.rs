//! What a workload is told on the command line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::error::Error;

/// What a workload is told on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `--device`, if it was given.
    pub device: Option<String>,
    /// `--format`, if it was given.
    pub format: Option<String>,
    /// `--model`, if it was given: a file to load in place of the shipped one.
    #[serde(with = "optional_path")]
    pub model: Option<PathBuf>,
    /// `--size`, if it was given: how many times as wide as the shipped model.
    pub size: Option<u32>,
    /// `--precision`, if it was given: in what the weights are stored.
    pub precision: Option<String>,
    /// `--input`, as often as it was given: what a Keras model is run on.
    #[serde(with = "paths")]
    pub inputs: Vec<PathBuf>,
    /// `--expect`, if it was given: what it must predict.
    #[serde(with = "optional_path")]
    pub expect: Option<PathBuf>,
    /// `--batch`, if it was given: the size of a batch that is made.
    pub batch: Option<u32>,
    /// A folder for what the workload unpacks; it is removed after the run.
    #[serde(with = "path")]
    pub scratch: PathBuf,
}

impl Settings {
    /// Refuses the first of these options that was given.
    pub(crate) fn refuse(&self, options: &[(&str, bool)]) -> Result<(), Error> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::usage(format!("this workload takes no {option}"))),
            None => Ok(()),
        }
    }

    /// Refuses what only Keras files have.
    pub(crate) fn refuse_data(&self) -> Result<(), Error> {
        self.refuse(&[
            ("--input", !self.inputs.is_empty()),
            ("--expect", self.expect.is_some()),
            ("--batch", self.batch.is_some()),
        ])
    }
}

/// Serializes a path without loss: a path need not be UTF-8.
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

/// The same for a path that may be missing.
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

/// The same for a list of paths.
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
