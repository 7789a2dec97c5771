//! The two files that Keras writes: legacy HDF5 (`.h5`), and the `.keras` archive, a zip of
//! `config.json`, `metadata.json` and `model.weights.h5`.
//!
//! Neither is kept in memory: the HDF5 reader reads what it is asked for from the file, in the
//! archive through a window onto the member, which Keras stores uncompressed.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hdf5_pure::{AttrValue, FormatError, Source};
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::config::ModelSpec;
use crate::base::error::Error;

/// Most bytes of a configuration: the largest known are half a megabyte.
const MOST_CONFIG: u64 = 16 << 20;
/// Most bytes that its values may take in memory: the largest known take a third of that.
const MOST_PARSED: usize = 40 << 20;
/// About what a value takes, with its place in what holds it.
const VALUE: usize = 64;
/// About what an object takes besides: the map is made in nodes.
const OBJECT: usize = 640;

/// `\x89HDF\r\n\x1a\n` (HDF5 File Format Specification, "Superblock").
const HDF5: [u8; 8] = [0x89, b'H', b'D', b'F', 0x0d, 0x0a, 0x1a, 0x0a];
/// A local file header (APPNOTE.TXT, 4.3.7).
const ZIP: [u8; 4] = *b"PK\x03\x04";

/// An opened file: what the model is, and where its weights are.
pub(super) struct Container {
    pub(super) path: PathBuf,
    /// The model that the configuration describes.
    pub(super) spec: ModelSpec,
    pub(super) weights: hdf5_pure::File,
    pub(super) format: Format,
    is_keras_2: bool,
}

/// Which of the two it is: they name weights differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `.h5`: `model_weights/<layer>`, in the order of `weight_names`.
    Legacy,
    /// `.keras`: `layers/<class>_<n>/vars/<i>`.
    Archive,
}

/// An error about this file.
pub(super) fn wrong(path: &Path, what: impl Into<String>) -> Error {
    Error::malformed(path, None, what)
}

impl Container {
    /// Opens a file of either kind, told apart by how it begins.
    ///
    /// # Errors
    /// If it cannot be read, is neither, is cut off, or lacks its configuration.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io("read the model", path, e))?;
        if !metadata.is_file() {
            // A pipe would be waited for, and a device read for ever.
            return Err(wrong(path, "is not a regular file"));
        }
        let file = File::open(path).map_err(|e| Error::io("read the model", path, e))?;
        let mut start = [0; 8];
        let read = file.read_at(&mut start, 0);
        let read = read.map_err(|e| Error::io("read the model", path, e))?;
        let start = &start[..read];
        if start == HDF5 {
            Self::legacy(path, file, metadata.len())
        } else if start.starts_with(&ZIP) {
            Self::archive(path, file)
        } else {
            let what = match (begins_later(&file), metadata.len()) {
                (true, _) => "is an HDF5 file with a user block in front, which is not supported",
                (false, 0) => "is empty",
                (false, _) => "is neither an HDF5 file nor a .keras archive",
            };
            Err(wrong(path, what).hint("write it with `model.save(\"model.keras\")`"))
        }
    }

    fn legacy(path: &Path, file: File, len: u64) -> Result<Self, Error> {
        let weights = open_hdf5(path, "", file, 0, len)?;
        let attributes = weights.root().attrs().map_err(|e| {
            wrong(
                path,
                format!("the attributes of the file cannot be read: {e}"),
            )
        })?;
        let config = attributes.get("model_config").ok_or_else(|| {
            wrong(
                path,
                "has no attribute `model_config`: it holds weights, and no model",
            )
            .hint("save the whole model, with `model.save`, not `save_weights`")
        })?;
        let text =
            text(config).ok_or_else(|| wrong(path, "the attribute `model_config` is no text"))?;
        if text.len() as u64 > MOST_CONFIG {
            return Err(wrong(
                path,
                format!("`model_config` has {} bytes", text.len()),
            ));
        }
        let version = attributes.get("keras_version").and_then(self::text);
        Ok(Self {
            path: path.into(),
            spec: parse(path, "model_config", &text)?,
            weights,
            format: Format::Legacy,
            is_keras_2: version.is_some_and(|v| v.starts_with("2.")),
        })
    }

    fn archive(path: &Path, file: File) -> Result<Self, Error> {
        let again = file.try_clone();
        let again = again.map_err(|e| Error::io("read the model", path, e))?;
        let mut zip = zip::ZipArchive::new(again)
            .map_err(|e| wrong(path, format!("the zip archive is damaged: {e}")))?;
        let missing = |name: &str, e: zip::result::ZipError| {
            wrong(path, format!("the member `{name}` cannot be read: {e}"))
        };
        const CONFIG: &str = "config.json";
        refuse_packed(path, &mut zip)?;
        let member = zip.by_name(CONFIG).map_err(|e| missing(CONFIG, e))?;
        if member.size() > MOST_CONFIG {
            return Err(wrong(
                path,
                format!("`{CONFIG}` has {} bytes", member.size()),
            ));
        }
        let mut text = String::new();
        // What is declared may be a lie.
        let read = member.take(MOST_CONFIG + 1).read_to_string(&mut text);
        read.map_err(|e| wrong(path, format!("the member `{CONFIG}` cannot be read: {e}")))?;
        if text.len() as u64 > MOST_CONFIG {
            return Err(wrong(
                path,
                format!("`{CONFIG}` is longer than {MOST_CONFIG} bytes"),
            ));
        }
        let mut metadata = String::new();
        const METADATA: &str = "metadata.json";
        let member = zip.by_name(METADATA).map_err(|e| missing(METADATA, e))?;
        let read = member.take(1 << 16).read_to_string(&mut metadata);
        read.map_err(|e| missing(METADATA, e.into()))?;
        let metadata: Option<serde_json::Value> = serde_json::from_str(&metadata).ok();
        let version = metadata
            .as_ref()
            .and_then(|m| m.get("keras_version")?.as_str());
        let version = version.map(str::to_owned);
        const WEIGHTS: &str = "model.weights.h5";
        let member = zip.by_name(WEIGHTS).map_err(|e| missing(WEIGHTS, e))?;
        let start = member.data_start();
        let start = start.ok_or_else(|| wrong(path, format!("`{WEIGHTS}` has no data")))?;
        let size = member.size();
        drop(member);
        Ok(Self {
            path: path.into(),
            spec: parse(path, CONFIG, &text)?,
            weights: open_hdf5(path, WEIGHTS, file, start, size)?,
            format: Format::Archive,
            is_keras_2: version.is_some_and(|v| v.starts_with("2.")),
        })
    }
}

/// Refuses an archive of which a member is compressed: its weights are read where they lie.
fn refuse_packed(path: &Path, zip: &mut zip::ZipArchive<File>) -> Result<(), Error> {
    for at in 0..zip.len() {
        let Ok(member) = zip.by_index_raw(at) else {
            continue;
        };
        if member.compression() != zip::CompressionMethod::Stored {
            let what = format!(
                "the member `{}` is compressed, which Keras does not do",
                member
                    .name()
                    .map_or("?".into(), |name| name.into_owned())
                    .escape_debug()
            );
            return Err(wrong(path, what).hint("pack it again with `zip -0`, or save it again"));
        }
    }
    Ok(())
}

/// Whether an HDF5 file begins behind a user block of 512 bytes or twice as many, and so on (HDF5
/// File Format Specification, "Superblock").
fn begins_later(file: &File) -> bool {
    let places = (9..16).map(|power| 1_u64 << power);
    let mut start = [0; 8];
    let mut begins = |at| file.read_exact_at(&mut start, at).is_ok() && start == HDF5;
    places.into_iter().any(&mut begins)
}

/// Opens the HDF5 file in a part of a file.
fn open_hdf5(
    path: &Path,
    member: &str,
    file: File,
    start: u64,
    len: u64,
) -> Result<hdf5_pure::File, Error> {
    let name = if member.is_empty() {
        String::new()
    } else {
        format!("`{member}`: ")
    };
    let whole = file
        .metadata()
        .map_err(|e| Error::io("read the model", path, e))?;
    if start.checked_add(len).is_none_or(|end| end > whole.len()) {
        return Err(wrong(
            path,
            format!("{name}is cut off: it goes beyond the end of the file"),
        ));
    }
    let window = Window { file, start, len };
    let opened = hdf5_pure::File::from_source(window)
        .map_err(|e| wrong(path, format!("{name}is no HDF5 file that can be read: {e}")))?;
    let end = opened.superblock().eof_address;
    if end > len {
        return Err(wrong(
            path,
            format!("{name}is cut off: it has {len} bytes of {}", end),
        ));
    }
    Ok(opened)
}

/// A part of a file, as the HDF5 reader asks for it.
struct Window {
    file: File,
    start: u64,
    len: u64,
}

impl Source for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), FormatError> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(FormatError::UnexpectedEof {
                expected: usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .saturating_add(buf.len()),
                available: usize::try_from(self.len).unwrap_or(usize::MAX),
            });
        }
        let read = self.file.read_exact_at(buf, self.start + offset);
        read.map_err(|_| FormatError::UnexpectedEof {
            expected: buf.len(),
            available: 0,
        })
    }
}

/// The model of a configuration. What its values take is summed up before any is kept, and the parser refuses
/// what is nested more than 128 deep.
fn parse(path: &Path, place: &str, text: &str) -> Result<ModelSpec, Error> {
    // Some editors put a mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let broken = |e: serde_json::Error| {
        let what = match e.to_string().starts_with("recursion limit") {
            true => format!("`{place}` is nested too deep: more than 128 values in each other"),
            false => format!("`{place}` is not JSON: {e}"),
        };
        wrong(path, what)
    };
    let left = Cell::new(MOST_PARSED);
    let mut parser = serde_json::Deserializer::from_str(text);
    let counted = Countdown(&left).deserialize(&mut parser);
    if left.get() == 0 {
        let what =
            format!("`{place}` has too many values: they take more than {MOST_PARSED} bytes");
        return Err(wrong(path, what));
    }
    counted.map_err(broken)?;
    ModelSpec::of(path, serde_json::from_str(text).map_err(broken)?)
}

/// Counts down what values of JSON would take, keeping none, and fails at 0.
#[derive(Clone, Copy)]
struct Countdown<'a>(&'a Cell<usize>);

impl Countdown<'_> {
    fn take<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        self.0.set(self.0.get().saturating_sub(bytes));
        match self.0.get() {
            0 => Err(E::custom("too many values")),
            _ => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Countdown<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.take::<D::Error>(VALUE)?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Countdown<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while all.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        self.take::<A::Error>(OBJECT)?;
        while all.next_key::<IgnoredAny>()?.is_some() {
            all.next_value_seed(self)?;
        }
        Ok(())
    }
}

/// The text of an attribute, in whichever way it is stored.
fn text(value: &AttrValue) -> Option<String> {
    texts(value).and_then(|all| match <[String; 1]>::try_from(all) {
        Ok([one]) => Some(one),
        Err(_) => None,
    })
}

/// The texts of an attribute; an empty list may be stored as numbers.
fn texts(value: &AttrValue) -> Option<Vec<String>> {
    match value {
        AttrValue::F64Array(none) if none.is_empty() => Some(Vec::new()),
        AttrValue::F32Array(none) if none.is_empty() => Some(Vec::new()),
        AttrValue::String(one) | AttrValue::AsciiString(one) => Some(vec![one.clone()]),
        AttrValue::VarLenString(one) | AttrValue::VarLenAsciiString(one) => Some(vec![one.clone()]),
        AttrValue::StringSized { value, .. } | AttrValue::AsciiStringSized { value, .. } => {
            Some(vec![value.clone()])
        }
        AttrValue::StringArray(all)
        | AttrValue::AsciiStringArray(all)
        | AttrValue::VarLenStringArray(all)
        | AttrValue::VarLenAsciiStringArray(all) => Some(all.clone()),
        AttrValue::StringArraySized { values, .. }
        | AttrValue::AsciiStringArraySized { values, .. } => Some(values.clone()),
        _ => None,
    }
}

/// The texts of an attribute that may be split over `name0`, `name1`, … because a header is too
/// small for it; `None` if it is not there at all.
pub(super) fn names(attributes: &HashMap<String, AttrValue>, name: &str) -> Option<Vec<String>> {
    if let Some(whole) = attributes.get(name) {
        return texts(whole);
    }
    let parts = (0..).map_while(|n| attributes.get(&format!("{name}{n}")));
    let parts: Vec<Vec<String>> = parts.map(texts).collect::<Option<_>>()?;
    (!parts.is_empty()).then(|| parts.concat())
}

impl Container {
    /// Written by Keras 2, which gives some names another meaning.
    pub(super) fn is_keras_2(&self) -> bool {
        self.is_keras_2
    }

    /// An error about this file.
    pub(super) fn wrong(&self, what: impl Into<String>) -> Error {
        wrong(&self.path, what)
    }
}
