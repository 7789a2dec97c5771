//! A model's file, opened: its configuration, and the HDF5 file with its weights.
//!
//! Keras writes two formats: legacy HDF5 (`.h5`), and the `.keras` archive, a zip of `config.json`,
//! `metadata.json` and `model.weights.h5`. The format is recognised by its first bytes. Neither is
//! read into memory as a whole: the HDF5 reader reads the parts that it is asked for, in an archive
//! through a window onto the member, which Keras stores uncompressed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use super::{archive, h5, json};
use crate::error::{Error, Result};

/// A local file header of a zip archive (APPNOTE.TXT, 4.3.7).
const ZIP: [u8; 4] = *b"PK\x03\x04";

/// An open model file.
pub(crate) struct Container {
    pub(crate) format: Format,
    /// Written by Keras 2, which gives some names another meaning.
    pub(crate) is_keras_2: bool,
    /// The model's configuration.
    pub(crate) config: Value,
    pub(crate) weights: hdf5_pure::File,
}

/// The format of a file: the two name weights differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `.h5`: `model_weights/<layer>`, in the order of the attribute `weight_names`.
    Legacy,
    /// `.keras`: `layers/<class>_<n>/vars/<i>`.
    Archive,
}

impl Container {
    /// Opens a file of either format.
    ///
    /// # Errors
    /// If the file cannot be read, is of neither format, is truncated, or has no configuration.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |e| Error::io("read the model", path, e);
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            // Opening a pipe would block, and a device may never end.
            return Err(Error::file(path, "is not a regular file"));
        }
        let file = File::open(path).map_err(io)?;
        let mut start = [0; 8];
        let count = file.read_at(&mut start, 0).map_err(io)?;
        if start[..count] == h5::SIGNATURE {
            Self::legacy(path, file, metadata.len())
        } else if start[..count].starts_with(&ZIP) {
            Self::archive(path, file)
        } else {
            let what = match metadata.len() {
                _ if h5::has_user_block(&file) => {
                    "is an HDF5 file with a user block before its data, which is not supported"
                }
                0 => "is empty",
                _ => "is neither an HDF5 file nor a .keras archive",
            };
            Err(Error::file(path, what).hint("write it with `model.save(\"model.keras\")`"))
        }
    }

    fn legacy(path: &Path, file: File, len: u64) -> Result<Self> {
        let wrong = |what: String| Error::file(path, what);
        let weights = h5::open(file, 0, len).map_err(wrong)?;
        let attributes = weights.root().attrs();
        let attributes =
            attributes.map_err(|e| wrong(format!("the root attributes cannot be read: {e}")))?;
        const CONFIG: &str = "model_config";
        let Some(config) = attributes.get(CONFIG) else {
            let what = format!("has no attribute `{CONFIG}`: it holds weights without a model");
            return Err(
                wrong(what).hint("save the whole model with `model.save`, not only `save_weights`")
            );
        };
        let config = h5::text(config);
        let config =
            config.ok_or_else(|| wrong(format!("the attribute `{CONFIG}` is not a string")))?;
        let version = attributes.get("keras_version").and_then(h5::text);
        Ok(Self {
            format: Format::Legacy,
            is_keras_2: is_keras_2(version.as_deref()),
            config: json::parse(CONFIG, &config).map_err(wrong)?,
            weights,
        })
    }

    fn archive(path: &Path, file: File) -> Result<Self> {
        let wrong = |what: String| Error::file(path, what);
        let again = file.try_clone();
        let again = again.map_err(|e| Error::io("read the model", path, e))?;
        let mut archive = archive::open(path, again)?;
        let config = archive::config(&mut archive).map_err(wrong)?;
        let version = archive::keras_version(&mut archive).map_err(wrong)?;
        let (start, len) = archive::weights(&mut archive).map_err(wrong)?;
        let weights = h5::open(file, start, len);
        Ok(Self {
            format: Format::Archive,
            is_keras_2: is_keras_2(version.as_deref()),
            config: json::parse(archive::CONFIG, &config).map_err(wrong)?,
            weights: weights.map_err(|what| wrong(format!("`{}`: {what}", archive::WEIGHTS)))?,
        })
    }
}

fn is_keras_2(version: Option<&str>) -> bool {
    version.is_some_and(|v| v.starts_with("2."))
}
