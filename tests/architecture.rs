//! The rules of the source tree that ARCHITECTURE.md states: who may import whom, no circle of
//! files, and the limits on the size of a file and of a function.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Folders of `src`, each with the folders that it may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("model", &["base"]),
    ("recorder", &["base", "model"]),
    ("analysis", &["base", "model"]),
    ("report", &["base", "model"]),
    (
        "measure",
        &["base", "model", "recorder", "analysis", "report"],
    ),
    ("live", &["base", "model", "recorder", "analysis", "report"]),
    ("workloads", &["base", "model", "recorder"]),
    (
        "check",
        &["base", "model", "recorder", "analysis", "report", "measure"],
    ),
    (
        "cli",
        &[
            "base",
            "model",
            "recorder",
            "analysis",
            "report",
            "measure",
            "workloads",
            "check",
        ],
    ),
];

/// Lines of code that a file may have, without blank lines, comments and its tests.
const MOST_LINES_OF_A_FILE: usize = 500;

/// Lines that a function may have, from its signature to its closing brace.
const MOST_LINES_OF_A_FUNCTION: usize = 80;

/// Crates of the library without features, itself included, as the README promises.
const MOST_CRATES: usize = 18;

#[test]
fn the_library_has_as_few_crates_as_the_readme_says() {
    let crates = crates_of_the_library();
    assert!(crates.len() > 10, "{crates:?}");
    assert!(crates.len() <= MOST_CRATES, "{}: {crates:?}", crates.len());
    let readme = fs::read_to_string("README.md").unwrap();
    assert!(readme.contains(&format!("{MOST_CRATES} crates")));
}

#[test]
fn the_minimum_rust_of_the_library_is_enough_for_its_dependencies() {
    let minimum = version(env!("CARGO_PKG_RUST_VERSION"));
    for (name, rust) in crates_of_the_library() {
        assert!(version(&rust) <= minimum, "{name} needs Rust {rust}");
    }
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap()).collect()
}

/// The output of a cargo command.
fn cargo(args: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO")).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    output.stdout
}

/// The crates of the library without features: name and version, and the Rust version that each
/// needs.
fn crates_of_the_library() -> BTreeMap<String, String> {
    let tree = [
        "tree",
        "-p",
        "afterdrop",
        "-e",
        "normal",
        "--prefix",
        "none",
    ];
    let tree = cargo(&[&tree[..], &["--format", "{p}", "--offline"]].concat());
    // Such as `serde v1.0.229` and `afterdrop v0.1.0 (/path)`.
    let names: BTreeSet<String> = String::from_utf8(tree)
        .unwrap()
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some(format!("{name} {version}"))
        })
        .collect();
    let metadata = cargo(&["metadata", "--format-version", "1", "--locked", "--offline"]);
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .filter_map(|p| {
            let name = format!("{} {}", text(p, "name")?, text(p, "version")?);
            let rust = text(p, "rust_version").unwrap_or_else(|| "1.0".into());
            names.contains(&name).then_some((name, rust))
        })
        .collect()
}

#[test]
fn a_folder_imports_only_folders_below_it() {
    let tree = Tree::read("src");
    let mut wrong = Vec::new();
    for (module, imports) in tree.imports() {
        let folder = top(&module);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == folder) else {
            // lib.rs may import everything.
            assert_eq!(folder, "", "src/{folder} has no rule in MAY_IMPORT");
            continue;
        };
        for import in imports {
            let to = top(&import);
            if to != folder && !allowed.contains(&to) {
                wrong.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = circles(&Tree::read("src").imports());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn the_keras_crate_has_no_circle_of_files() {
    let circles = circles(&Tree::read("crates/keras-burn/src").imports());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn the_keras_crate_does_not_know_afterdrop() {
    let tree = Tree::read("crates/keras-burn/src");
    for (module, file) in &tree.files {
        assert!(
            !without_comments(&file.text).contains("afterdrop"),
            "{module}"
        );
    }
}

#[test]
fn files_and_functions_are_short() {
    let folders = ["src", "crates/keras-burn/src", "tests", "benches"];
    let mut wrong = Vec::new();
    for (module, file) in folders.iter().flat_map(|f| Tree::read(f).files) {
        let lines = lines_of_code(&file.text);
        if lines > MOST_LINES_OF_A_FILE {
            wrong.push(format!("{module} has {lines} lines of code"));
        }
        for (function, lines) in functions(&file.text) {
            if lines > MOST_LINES_OF_A_FUNCTION {
                wrong.push(format!("{module}: {function} has {lines} lines"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let imports = |pairs: &[(&str, &str)]| -> Imports {
        let mut imports = Imports::new();
        for &(from, to) in pairs {
            imports.entry(from.into()).or_default().insert(to.into());
        }
        imports
    };
    let round = imports(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]);
    assert_eq!(circles(&round), ["a -> b -> c -> a"]);
    assert!(circles(&imports(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
}

#[test]
fn imports_are_read_off_a_file() {
    let mut tree = Tree::default();
    for module in ["", "a", "a::b", "a::c", "d"] {
        tree.files.insert(module.into(), File::default());
    }
    let text = "use super::c::{X, y::Z};\nuse std::fs;\n// use crate::d;\nfn f() { crate::d::g(); }\n\
                #[cfg(test)]\nmod tests {\n    use crate::a;\n}\n";
    tree.files.get_mut("a::b").unwrap().text = text.into();
    let found: Vec<String> = tree.imports()["a::b"].iter().cloned().collect();
    assert_eq!(found, ["a::c", "d"]);
}

#[test]
fn a_function_is_measured_to_its_closing_brace() {
    let text = "impl X {\n    fn short(&self) {}\n    pub(crate) fn long(\n        &self,\n    ) {\n        one();\n    }\n}\n";
    assert_eq!(functions(text), [("long".to_owned(), 5)]);
}

/// Modules, each with the modules that its file imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[derive(Default)]
struct File {
    text: String,
}

/// The source files below a folder, by module path; the crate's root is the empty path.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, File>,
}

impl Tree {
    fn read(folder: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut tree = Self::default();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    tree.files.insert(module_of(&root, &path), File { text });
                }
            }
        }
        assert!(!tree.files.is_empty(), "{folder} has no source files");
        tree
    }

    fn imports(&self) -> Imports {
        self.files
            .iter()
            .filter(|(module, _)| !is_test(module) && *module != "main")
            .map(|(module, file)| {
                let text = without_comments(&without_tests(&file.text));
                let imports = paths(&text)
                    .into_iter()
                    .chain(children(&text))
                    .filter_map(|path| self.resolve(module, &path))
                    .filter(|import| import != module)
                    .collect();
                (module.clone(), imports)
            })
            .collect()
    }

    /// The module that a path leads to from a module; `None` if it is another crate's.
    fn resolve(&self, module: &str, path: &str) -> Option<String> {
        let mut segments = path.split("::").peekable();
        let mut base: Vec<&str> = module.split("::").filter(|s| !s.is_empty()).collect();
        let is_local = segments.peek() == Some(&"crate");
        if is_local {
            base.clear();
            segments.next();
        }
        while let Some(&step @ ("self" | "super")) = segments.peek() {
            if step == "super" {
                base.pop();
            }
            segments.next();
        }
        base.extend(segments);
        let longest = (1..=base.len()).rev().map(|n| base[..n].join("::"));
        let found = longest.into_iter().find(|m| self.files.contains_key(m));
        // A name that the root itself exports.
        found.or_else(|| is_local.then(String::new))
    }
}

fn module_of(root: &Path, file: &Path) -> String {
    let inside: PathBuf = file.strip_prefix(root).unwrap().with_extension("");
    let path = inside.to_string_lossy().replace('/', "::");
    let path = path.strip_suffix("::mod").unwrap_or(&path);
    match path {
        "lib" => String::new(),
        path => path.to_owned(),
    }
}

fn is_test(module: &str) -> bool {
    module.split("::").any(|part| part == "tests")
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

fn without_tests(text: &str) -> String {
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// All paths that a text imports or names in full.
fn paths(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    for (n, part) in format!(" {text}").split("\nuse ").enumerate() {
        if n == 0 {
            rest += part;
            continue;
        }
        let (list, after) = part.split_once(';').unwrap_or((part, ""));
        flatten("", list, &mut paths);
        rest += after;
    }
    for part in rest.split("use ").skip(1) {
        flatten("", part.split(';').next().unwrap(), &mut paths);
    }
    for start in ["crate::", "super::"] {
        for (at, _) in rest.match_indices(start) {
            let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path: String = rest[at..].chars().take_while(|&c| is_path(c)).collect();
            // A list of names belongs to a `use`, and is read there.
            if !path.ends_with(':') {
                paths.push(path);
            }
        }
    }
    paths
}

/// Modules that a file declares and names in its code.
fn children(text: &str) -> Vec<String> {
    let declared = text.lines().filter_map(|line| {
        let (before, name) = line.trim().strip_suffix(';')?.split_once("mod ")?;
        (before.is_empty() || before.starts_with("pub")).then_some(name)
    });
    let is_named = |name: &&str| {
        let call = format!("{name}::");
        text.match_indices(&call).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
        })
    };
    declared
        .filter(is_named)
        .map(|name| format!("self::{name}"))
        .collect()
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn flatten(prefix: &str, list: &str, to: &mut Vec<String>) {
    let list = list.trim();
    let Some((head, body)) = list.split_once('{') else {
        let path = list.split(" as ").next().unwrap_or_default().trim();
        to.push(format!("{prefix}{path}"));
        return;
    };
    let body = body.trim().trim_end_matches('}');
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    for (at, c) in body.char_indices().chain([(body.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth <= 0 => {
                let part = body[start..at].trim();
                if !part.is_empty() {
                    let closed = format!("{part}{}", "}".repeat(missing(part)));
                    flatten(&prefix, &closed, to);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Closing braces that a text lacks.
fn missing(text: &str) -> usize {
    let count = |c| text.matches(c).count();
    count('{').saturating_sub(count('}'))
}

/// Groups of modules that import each other, one line each.
fn circles(imports: &Imports) -> Vec<String> {
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for start in imports.keys() {
        let mut path = Vec::new();
        search(start, imports, &mut path, &mut done, &mut found);
    }
    found
}

/// Depth first; `path` is the way from the start.
fn search(
    module: &str,
    imports: &Imports,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
    found: &mut Vec<String>,
) {
    if let Some(at) = path.iter().position(|m| m == module) {
        found.push(format!("{} -> {module}", path[at..].join(" -> ")));
        return;
    }
    if !done.insert(module.to_owned()) {
        return;
    }
    path.push(module.to_owned());
    for import in imports.get(module).into_iter().flatten() {
        search(import, imports, path, done, found);
    }
    path.pop();
}

fn lines_of_code(text: &str) -> usize {
    let text = without_tests(text);
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// Functions of more than one line, with their lines.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "fn") else {
            continue;
        };
        let is_signature = words[..at].iter().all(|word| {
            word.starts_with("pub")
                || ["const", "async", "unsafe", "extern", "\"C\"", "in"].contains(word)
                || word.ends_with(')')
        });
        let Some(name) = words.get(at + 1).filter(|_| is_signature) else {
            continue;
        };
        let closing = format!("{}}}", " ".repeat(indent));
        let body = lines[start + 1..]
            .iter()
            .take_while(|line| {
                line.is_empty() || !line.starts_with(&closing[..indent]) || **line != closing
            })
            .count();
        let is_one_line = line.trim_end().ends_with(['}', ';']);
        if !is_one_line {
            let name = name.split(['(', '<']).next().unwrap_or_default();
            found.push((name.to_owned(), body + 2));
        }
    }
    found
}
