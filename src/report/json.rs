//! Reports as JSON: writing and reading.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::Path;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::ser::{Formatter, Serializer};

use super::bounded::Bounded;
use crate::base::error::Error;
use crate::base::json::fields;
use crate::base::text::is_hidden;

/// The value as indented JSON: see [`write_indented`].
pub(super) fn indented(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    // Every map key is a string and every number finite, so that this cannot fail.
    match write_indented(value, &mut text) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Writes the value as indented JSON. An array of numbers or strings takes a single line, because a
/// series has a number for each boundary.
///
/// # Errors
/// If `to` cannot be written.
pub(super) fn write_indented(value: &impl Serialize, to: &mut dyn Write) -> io::Result<()> {
    let trimmed = Trimmed { to, space: false };
    let mut serializer = Serializer::with_formatter(trimmed, Lines::default());
    Ok(value.serialize(&mut serializer)?)
}

/// Writes text without the space that would end a line. Within strings line breaks are escaped.
struct Trimmed<'a> {
    to: &'a mut dyn Write,
    /// Whether a space follows, unless a line break does.
    space: bool,
}

impl Write for Trimmed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(first) = bytes.first() {
            if self.space && *first != b'\n' {
                self.to.write_all(b" ")?;
            }
            let kept = bytes.strip_suffix(b" ");
            self.space = kept.is_some();
            self.to.write_all(kept.unwrap_or(bytes))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Reads a JSON file of at most `largest` bytes with this schema, which `schema_of` takes from its
/// contents. `what` names them in messages.
///
/// The file is read piece by piece, so that it does not take memory besides its contents.
///
/// # Errors
/// If the file cannot be read, has other contents, or another schema, or is too large.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    what: &str,
    largest: u64,
    schema: &str,
    schema_of: fn(&T) -> &str,
) -> Result<T, Error> {
    let malformed = |line, wrong: String| Error::malformed(path, line, wrong);
    let unreadable = |e| Error::io("read", path, e);
    let other_schema = |found: &str| {
        let wrong = format!("schema `{}` is not {schema}", found.escape_debug());
        malformed(None, wrong).hint("run it again with this version of afterdrop")
    };
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut bounded = Bounded::new(&file, size, largest);
    let read = parse(&mut bounded);
    if let Some(excess) = bounded.excess() {
        return Err(malformed(None, excess).hint(Bounded::<File>::HINT));
    }
    let error = match read {
        Ok(contents) => {
            return match schema_of(&contents) {
                found if found == schema => Ok(contents),
                found => Err(other_schema(found)),
            };
        }
        Err(error) => error,
    };
    Err(match error.classify() {
        Category::Eof => malformed(None, "the file is truncated".into()),
        Category::Syntax => malformed(Some(error.line() as u64), format!("not JSON: {error}")),
        Category::Io => unreadable(error.into()),
        Category::Data => match schema_in(file) {
            Some(Some(found)) if found != schema => other_schema(&found),
            Some(None) => malformed(None, format!("not a {what}: it has no schema")),
            _ => malformed(None, format!("not a {what} of {schema}: {error}")),
        },
    })
}

/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// Reads JSON piece by piece. The type of the reader is erased, so that the parser is compiled once.
fn parse<T: DeserializeOwned>(from: &mut dyn Read) -> serde_json::Result<T> {
    serde_json::from_reader(BufReader::with_capacity(PIECE, from))
}

/// The schema that a file says it has; `None` if it is not JSON, or cannot be read twice.
fn schema_in(mut file: File) -> Option<Option<String>> {
    /// The field that every such file has.
    struct Head {
        schema: Option<String>,
    }

    fields! { read Head { schema: default } }
    file.rewind().ok()?;
    let head: Head = parse(&mut file).ok()?;
    Some(head.schema)
}

/// Indents objects by two spaces. In an array only objects begin a new line.
#[derive(Default)]
struct Lines {
    depth: usize,
    /// For each open array, whether it contains an object.
    lists: Vec<bool>,
    /// Whether the next value is an element of an array.
    in_list: bool,
}

impl Lines {
    fn line<W: ?Sized + io::Write>(&self, to: &mut W, depth: usize) -> io::Result<()> {
        to.write_all(b"\n")?;
        (0..depth).try_for_each(|_| to.write_all(b"  "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.lists.push(false);
        self.depth += 1;
        self.in_list = false;
        to.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.lists.pop() == Some(true) {
            self.line(to, self.depth)?;
        }
        to.write_all(b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.in_list = true;
        match first {
            true => Ok(()),
            false => to.write_all(b", "),
        }
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.in_list = false;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        if std::mem::take(&mut self.in_list) {
            if let Some(list) = self.lists.last_mut() {
                *list = true;
            }
            self.line(to, self.depth)?;
        }
        self.depth += 1;
        to.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.line(to, self.depth)?;
        to.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            to.write_all(b",")?;
        }
        self.line(to, self.depth)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.in_list = false;
        to.write_all(b": ")
    }

    /// JSON has to escape only some control characters. A terminal interprets others, too, and some
    /// characters are not seen.
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        to: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, hidden)) = rest.char_indices().find(|&(_, c)| is_hidden(c)) {
            to.write_all(&rest.as_bytes()[..at])?;
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                write!(to, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        to.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn characters_that_are_not_seen_are_escaped() {
        let value = json!({"a": "b\u{9b}2J \u{e0041}\u{202e}\u{7f}\u{1b} \"é\" "});
        let text = indented(&value);
        let expected = r#"{
  "a": "b\u009b2J \udb40\udc41\u202e\u007f\u001b \"é\" "
}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn plain_arrays_take_one_line() {
        let value = json!({"a": [1, 2, [3, 4]], "b": [{"c": []}, {"d": "x"}], "e": null});
        let text = indented(&value);
        assert_eq!(
            text,
            "{\n  \"a\": [1, 2, [3, 4]],\n  \"b\": [\n    {\n      \"c\": []\n    },\n    {\n      \
             \"d\": \"x\"\n    }\n  ],\n  \"e\": null\n}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
