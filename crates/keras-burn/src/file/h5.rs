//! HDF5 in a file or a part of one, and string attributes.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use hdf5_pure::{AttrValue, FormatError, Source};

/// The first bytes of an HDF5 file (HDF5 File Format Specification, "Superblock").
pub(super) const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// Whether HDF5 data begins after a user block of 512 bytes, or 1024, 2048 and so on (HDF5 File
/// Format Specification, "Superblock").
pub(super) fn has_user_block(file: &File) -> bool {
    let mut start = [0; 8];
    (9..16).any(|power| file.read_exact_at(&mut start, 1 << power).is_ok() && start == SIGNATURE)
}

/// Opens the HDF5 data that occupies `len` bytes of a file from the offset `start`.
///
/// # Errors
/// If it is damaged, or ends before it says that it does.
pub(super) fn open(file: File, start: u64, len: u64) -> Result<hdf5_pure::File, String> {
    let whole = file.metadata().map_err(|e| e.to_string())?.len();
    if start.checked_add(len).is_none_or(|end| end > whole) {
        return Err("is truncated: it extends past the end of the file".into());
    }
    let opened = hdf5_pure::File::from_source(Window { file, start, len });
    let opened = opened.map_err(|e| format!("cannot be read as HDF5: {e}"))?;
    let end = opened.superblock().eof_address;
    if end > len {
        return Err(format!("is truncated: it has {len} bytes of {end}"));
    }
    Ok(opened)
}

/// A part of a file, as a source of the HDF5 reader.
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

/// An attribute that is a single string.
pub(super) fn text(value: &AttrValue) -> Option<String> {
    let [text] = <[String; 1]>::try_from(texts(value)?).ok()?;
    Some(text)
}

/// An attribute that is a list of strings, of fixed or variable length. Keras stores an empty list
/// as an empty array of floats.
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

/// An attribute that is a list of strings. A list that is too long for an object header is split
/// over the attributes `name0`, `name1` and so on. `None` if there is no such attribute.
pub(crate) fn names(attributes: &HashMap<String, AttrValue>, name: &str) -> Option<Vec<String>> {
    if let Some(whole) = attributes.get(name) {
        return texts(whole);
    }
    let parts = (0..).map_while(|n| attributes.get(&format!("{name}{n}")));
    let parts: Vec<Vec<String>> = parts.map(texts).collect::<Option<_>>()?;
    (!parts.is_empty()).then(|| parts.concat())
}
