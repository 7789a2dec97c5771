//! The `.keras` archive: a zip whose members are stored uncompressed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::json::MAX_TEXT;
use crate::error::{Error, Result};

/// The member with the model's configuration.
pub(super) const CONFIG: &str = "config.json";
/// The member with the version of Keras.
const METADATA: &str = "metadata.json";
/// The member with the weights, an HDF5 file.
pub(super) const WEIGHTS: &str = "model.weights.h5";

/// Largest size of `metadata.json`, in bytes.
const MAX_METADATA: u64 = 1 << 16;

/// Reads the directory of an archive.
///
/// # Errors
/// If it is damaged, or one of its members is compressed: weights are read in place.
pub(super) fn open(path: &Path, file: File) -> Result<ZipArchive<File>> {
    let archive = ZipArchive::new(file);
    let mut archive =
        archive.map_err(|e| Error::file(path, format!("the zip archive is damaged: {e}")))?;
    for index in 0..archive.len() {
        let Ok(member) = archive.by_index_raw(index) else {
            continue;
        };
        if member.compression() != zip::CompressionMethod::Stored {
            let name = member.name().map_or("?".into(), |name| name.into_owned());
            let name = name.escape_debug();
            let what = format!("the member `{name}` is compressed, which Keras does not do");
            return Err(Error::file(path, what)
                .hint("pack the archive again with `zip -0`, or save the model again"));
        }
    }
    Ok(archive)
}

fn unreadable(name: &str, e: impl Into<ZipError>) -> String {
    format!("the member `{name}` cannot be read: {}", e.into())
}

/// The text of the configuration.
pub(super) fn config(archive: &mut ZipArchive<File>) -> std::result::Result<String, String> {
    let member = archive.by_name(CONFIG).map_err(|e| unreadable(CONFIG, e))?;
    let mut text = String::new();
    // The size that the archive declares may be wrong. One byte more than is allowed shows that the
    // text is too long.
    let read = member.take(MAX_TEXT as u64 + 1).read_to_string(&mut text);
    read.map_err(|e| unreadable(CONFIG, e))?;
    Ok(text)
}

/// The version of Keras that wrote the archive, if it says so.
pub(super) fn keras_version(
    archive: &mut ZipArchive<File>,
) -> std::result::Result<Option<String>, String> {
    let member = archive.by_name(METADATA);
    let member = member.map_err(|e| unreadable(METADATA, e))?;
    let mut text = String::new();
    let read = member.take(MAX_METADATA).read_to_string(&mut text);
    read.map_err(|e| unreadable(METADATA, e))?;
    let metadata: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let version = metadata.as_ref().and_then(|m| m.get("keras_version"));
    Ok(version.and_then(|v| v.as_str()).map(str::to_owned))
}

/// Where the weights are in the archive: the offset of their first byte, and their size in bytes.
pub(super) fn weights(archive: &mut ZipArchive<File>) -> std::result::Result<(u64, u64), String> {
    let member = archive.by_name(WEIGHTS);
    let member = member.map_err(|e| unreadable(WEIGHTS, e))?;
    let start = member.data_start();
    let start = start.ok_or_else(|| format!("the member `{WEIGHTS}` has no data"))?;
    Ok((start, member.size()))
}
