//! How reports are written as JSON, and how all their texts are reached.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::ser::{Formatter, Serializer};

use crate::base::error::Error;

/// A value as indented JSON. A list of numbers or texts takes one line, however long: a run has a number
/// for each of its boundaries.
pub(super) fn indented(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut json, Lines::default());
    // Every map key is a string and every number finite, so that this cannot fail.
    match value.serialize(&mut serializer) {
        // A line break is never in a text: there it is escaped.
        Ok(()) => String::from_utf8(json)
            .unwrap_or_default()
            .replace(", \n", ",\n"),
        Err(_) => String::new(),
    }
}

/// Reads a file of ours: `what`, of a schema.
///
/// # Errors
/// If it cannot be read, is nothing of that kind, or is of another schema.
pub(super) fn read<T: DeserializeOwned>(path: &Path, what: &str, schema: &str) -> Result<T, Error> {
    /// What every file of ours says of itself.
    #[derive(Deserialize)]
    struct Head {
        schema: Option<String>,
    }
    let malformed = |line, wrong: String| Error::malformed(path, line, wrong);
    let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let wrong = |e: &serde_json::Error| match e.classify() {
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

/// Whether a text, or the name of a field, has this part.
pub(super) fn mentions(value: &impl Serialize, part: &str) -> bool {
    // As it stands in JSON, where a quote is escaped.
    let part = serde_json::to_string(part).unwrap_or_default();
    let json = serde_json::to_string(value).unwrap_or_default();
    json.contains(part.trim_matches('"'))
}

/// A copy of which all texts are changed; `None` if what comes of it is no such value.
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

/// Objects indented by two; a list begins a line only for an object.
#[derive(Default)]
struct Lines {
    depth: usize,
    /// For each list that is open, whether an object was in it.
    lists: Vec<bool>,
    /// The value that comes is a list's.
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
    fn plain_lists_take_one_line() {
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
    fn what_is_mentioned_is_found() {
        let value = json!({"a": ["x", {"b": "at /home/a\"b/c"}]});
        assert!(mentions(&value, "/home/a\"b") && !mentions(&value, "/home/b"));
    }

    #[test]
    fn every_text_is_reached() {
        let value = json!({"a": ["x", {"b": "x"}], "c": 1});
        let changed = with_texts(&value, &mut |text| *text += "y").unwrap();
        assert_eq!(changed, json!({"a": ["xy", {"b": "xy"}], "c": 1}));
    }
}
