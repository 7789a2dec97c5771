//! What the source files say of a line, where they are still there: whether it was written by a
//! person or by a macro.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read;

/// Bytes of a source file that are read at most.
const MOST: u64 = 4 << 20;

/// Lines that are shown on either side of one.
const AROUND: u32 = 4;

/// Characters that are shown of a line at most.
const WIDE: usize = 200;

/// Source files that were looked into.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The lines of attributes, by file.
    attributes: RefCell<HashMap<String, BTreeSet<u32>>>,
    /// Where files are, by the short paths that reports have.
    places: RefCell<HashMap<String, String>>,
}

impl Sources {
    /// Keeps where a file is that a report calls otherwise.
    pub(crate) fn remember(&self, shown: &str, path: &str) {
        let mut places = self.places.borrow_mut();
        if !places.contains_key(shown) {
            places.insert(shown.into(), path.into());
        }
    }

    /// The lines around one, and the number of the first; by the path that a report has. `None` if the
    /// file cannot be read, or is shorter.
    pub(crate) fn excerpt(&self, shown: &str, line: u32) -> Option<(u32, Vec<String>)> {
        let text = read(self.places.borrow().get(shown)?)?;
        let first = line.saturating_sub(AROUND).max(1);
        let lines: Vec<String> = (1..=line.saturating_add(AROUND))
            .zip(text.lines())
            .skip_while(|&(number, _)| number < first)
            .map(|(_, text)| text.trim_end().chars().take(WIDE).collect())
            .collect();
        (lines.len() as u32 > line - first).then_some((first, lines))
    }

    /// The line of a file that declares a static of this name; `None` if the file cannot be read, or
    /// does not.
    pub(crate) fn line_of_static(
        &self,
        path: &str,
        name: &str,
        inside: Option<&str>,
    ) -> Option<u32> {
        static_line(&read(path)?, name, inside)
    }

    /// Whether the line is of an attribute, such as `#[derive(Module)]`: the code at it was
    /// generated. `false` where the file cannot be read.
    pub(crate) fn is_attribute(&self, path: &str, line: u32) -> bool {
        let mut known = self.attributes.borrow_mut();
        if !known.contains_key(path) {
            let text = read(path).unwrap_or_default();
            known.insert(path.into(), attribute_lines(&text));
        }
        known[path].contains(&line)
    }
}

/// The line, from 1, that declares a static of this name; in a function or module, if one of that name is
/// in the text.
fn static_line(text: &str, name: &str, inside: Option<&str>) -> Option<u32> {
    let begins = |line: &str, item: &str| {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.skip_while(|&w| w != "fn" && w != "mod").nth(1) == Some(item)
    };
    let first = inside.and_then(|item| text.lines().position(|line| begins(line, item)));
    let first = first.unwrap_or(0);
    let declares = |line: &str| {
        // `lazy_static!` has `static ref`.
        let mut words = line
            .split_whitespace()
            .skip_while(|&w| w != "static")
            .skip(1);
        let word = words.find(|&w| w != "mut" && w != "ref");
        word.and_then(|w| w.split(':').next()) == Some(name)
    };
    let mut lines = (1..).zip(text.lines()).skip(first);
    lines.find(|(_, line)| declares(line)).map(|(n, _)| n)
}

fn read(path: &str) -> Option<String> {
    // A pipe would be waited for.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MOST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Lines, from 1, that hold an attribute, or a part of one, and nothing else.
fn attribute_lines(text: &str) -> BTreeSet<u32> {
    let mut lines = BTreeSet::new();
    let mut depth = 0_usize;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if depth == 0 && !line.starts_with("#[") && !line.starts_with("#![") {
            continue;
        }
        let mut end = line.len();
        for (at, c) in line.char_indices() {
            match c {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                end = at + 1;
                break;
            }
        }
        let behind = line[end..].trim_start();
        if behind.is_empty() || behind.starts_with("//") || behind.starts_with("#[") {
            lines.insert(number);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_may_go_on_over_lines() {
        let text =
            "#[derive(Debug)]\nstruct A {\n    #[x(\n        Module,\n    )]\n    b: [u8; 2],\n}\n";
        assert_eq!(Vec::from_iter(attribute_lines(text)), [1, 3, 4, 5]);
        let beside =
            "#[test] fn f() { x() }\n#[a] // why\n#[allow(x)] let y = [1];\nlet z = [1];\n";
        assert_eq!(Vec::from_iter(attribute_lines(beside)), [2]);
    }

    #[test]
    fn a_static_is_declared_on_a_line() {
        let text = "fn f() {}\npub(crate) static mut A: u8 = 0;\n    static ref B: X = y();\n\
                    thread_local!(static C: Cell<u8> = const { Cell::new(0) });\nstatic AB: u8 = 1;\n";
        let line = |name| static_line(text, name, None);
        assert_eq!(
            [line("A"), line("B"), line("AB")],
            [Some(2), Some(3), Some(5)]
        );
        assert_eq!([line("f"), line("X")], [None, None]);
        let text = "fn a() { static X: u8 = 0; }\nfn ab() {\n    static X: u8 = 1;\n}\nmod m {\n\
                    static X: u8 = 2;\n}\n";
        let inside = |name| static_line(text, "X", Some(name));
        assert_eq!(
            [inside("a"), inside("ab"), inside("m")],
            [Some(1), Some(3), Some(6)]
        );
        assert_eq!(inside("elsewhere"), Some(1));
    }

    #[test]
    fn a_file_that_is_not_there_has_no_attributes() {
        let sources = Sources::default();
        assert!(!sources.is_attribute("/no/such/file.rs", 1));
        assert!(!sources.is_attribute("/dev/stdin", 1));
    }
}
