//! Reports as JSON: writing, reading, and changing every string.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::ser::{Formatter, Serializer};

use crate::base::error::Error;

/// The value as indented JSON. An array of numbers or strings takes a single line, because a series
/// has a number for each boundary.
pub(super) fn indented(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut json, Lines::default());
    // Every map key is a string and every number finite, so that this cannot fail.
    match value.serialize(&mut serializer) {
        // Removes trailing spaces. Within strings line breaks are escaped.
        Ok(()) => String::from_utf8(json)
            .unwrap_or_default()
            .replace(", \n", ",\n"),
        Err(_) => String::new(),
    }
}

/// Reads a JSON file with this schema. `what` names its contents in messages.
///
/// # Errors
/// If the file cannot be read, has other contents, or has another schema.
pub(super) fn read<T: DeserializeOwned>(path: &Path, what: &str, schema: &str) -> Result<T, Error> {
    /// The field that every such file has.
    #[derive(Deserialize)]
    struct Head {
        schema: Option<String>,
    }
    let malformed = |line, wrong: String| Error::malformed(path, line, wrong);
    let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let wrong = |e: &serde_json::Error| match e.classify() {
        Category::Eof => malformed(None, "the file is truncated".into()),
        Category::Data => malformed(None, format!("not a {what} of {schema}: {e}")),
        _ => malformed(Some(e.line() as u64), format!("not JSON: {e}")),
    };
    let head: Head = serde_json::from_slice(&text).map_err(|e| wrong(&e))?;
    match head.schema {
        Some(found) if found == schema => serde_json::from_slice(&text).map_err(|e| wrong(&e)),
        Some(found) => {
            let wrong = format!("schema `{}` is not {schema}", found.escape_debug());
            Err(malformed(None, wrong).hint("run it again with this version of afterdrop"))
        }
        None => Err(malformed(None, format!("not a {what}: it has no schema"))),
    }
}

/// Whether a string of the value, or the name of a field, contains `part`.
pub(super) fn mentions(value: &impl Serialize, part: &str) -> bool {
    // Escaped as in JSON.
    let part = serde_json::to_string(part).unwrap_or_default();
    let json = serde_json::to_string(value).unwrap_or_default();
    json.contains(part.trim_matches('"'))
}

/// A copy of the value with every string changed; `None` if the result is not a valid `T`.
pub(super) fn with_texts<T: Serialize + DeserializeOwned>(
    value: &T,
    change: &mut dyn FnMut(&mut String),
) -> Option<T> {
    fn visit(value: &mut Value, change: &mut dyn FnMut(&mut String)) {
        match value {
            Value::String(text) => change(text),
            Value::Array(values) => values.iter_mut().for_each(|v| visit(v, change)),
            Value::Object(fields) => fields.values_mut().for_each(|v| visit(v, change)),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(value).ok()?;
    visit(&mut json, change);
    serde_json::from_value(json).ok()
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    #[test]
    fn a_part_of_any_string_is_found() {
        let value = json!({"a": ["x", {"b": "at /home/a\"b/c"}]});
        assert!(mentions(&value, "/home/a\"b") && !mentions(&value, "/home/b"));
    }

    #[test]
    fn every_string_is_changed() {
        let value = json!({"a": ["x", {"b": "x"}], "c": 1});
        let changed = with_texts(&value, &mut |text| *text += "y").unwrap();
        assert_eq!(changed, json!({"a": ["xy", {"b": "xy"}], "c": 1}));
    }
}
