//! Frames of Python: whose code they are, and how their files are shown.

use std::path::Path;

use super::ownership::classify_path;
use crate::model::frame::{Frame, Owner};
use crate::model::python::PythonLocation;

/// Folders of packages, of which the standard library has its own.
const PACKAGES: [&str; 2] = ["/site-packages/", "/dist-packages/"];

/// Names in the place of a file for code that the user has written.
const TYPED: [&str; 5] = [
    "<string>",
    "<stdin>",
    "<console>",
    "<ipython-input",
    "<cell",
];

/// The frame of a location, and the path of its file if it has one.
pub(super) fn frame_of(location: &PythonLocation) -> (Frame, Option<&str>) {
    let PythonLocation {
        file,
        function,
        line,
        ..
    } = location;
    let has_path = !file.starts_with('<');
    (
        python_frame(function, file, *line),
        has_path.then_some(file),
    )
}

/// A frame of a function, a file and a line, which is 0 if it is not known.
pub(crate) fn python_frame(function: &str, file: &str, line: u32) -> Frame {
    let (shown, owner) = classify(file);
    Frame {
        function: function.to_owned(),
        file: Some(shown),
        line: Some(line).filter(|&line| line > 0),
        owner,
    }
}

/// Whether the native code in an object is the interpreter.
pub(super) fn is_interpreter(object: &Path) -> bool {
    let name = object.file_name().unwrap_or_default().to_string_lossy();
    ["libpython", "python"]
        .iter()
        .any(|start| name.strip_prefix(start).is_some_and(is_version))
}

/// Whether this is what may follow the name of an interpreter: nothing, a version, an ending.
fn is_version(rest: &str) -> bool {
    rest.chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 's' | 'o' | 't' | 'd'))
}

/// A file as reports show it, and whose code it is.
fn classify(file: &str) -> (String, Owner) {
    if file.starts_with('<') {
        let is_typed = TYPED.iter().any(|typed| file.starts_with(typed));
        let owner = if is_typed {
            Owner::Own
        } else {
            Owner::Dependency
        };
        return (file.into(), owner);
    }
    for folder in PACKAGES {
        if let Some((_, inside)) = file.rsplit_once(folder) {
            return (inside.into(), Owner::Dependency);
        }
    }
    match in_standard_library(file) {
        Some(inside) => (inside.into(), Owner::Dependency),
        None => (classify_path(file).0, Owner::Own),
    }
}

/// `python3.11/json/decoder.py` for a file of the standard library.
fn in_standard_library(file: &str) -> Option<&str> {
    let (at, _) = file.rmatch_indices("/lib/python").next()?;
    let inside = &file[at + "/lib/".len()..];
    let (folder, _) = inside.split_once('/')?;
    let version = folder.strip_prefix("python")?;
    let is_version = version
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 't'));
    is_version.then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_the_standard_library_are_dependencies() {
        for (file, shown, owner) in [
            ("/srv/app/serve.py", "/srv/app/serve.py", Owner::Own),
            ("<string>", "<string>", Owner::Own),
            ("<frozen runpy>", "<frozen runpy>", Owner::Dependency),
            (
                "/srv/venv/lib/python3.11/site-packages/keras/src/a.py",
                "keras/src/a.py",
                Owner::Dependency,
            ),
            (
                "/usr/lib/python3/dist-packages/numpy/b.py",
                "numpy/b.py",
                Owner::Dependency,
            ),
            (
                "/usr/lib/python3.11/json/decoder.py",
                "python3.11/json/decoder.py",
                Owner::Dependency,
            ),
            (
                "/srv/lib/pythonic/x.py",
                "/srv/lib/pythonic/x.py",
                Owner::Own,
            ),
        ] {
            assert_eq!(classify(file), (shown.into(), owner), "{file}");
        }
    }

    #[test]
    fn the_interpreter_is_known_by_its_file() {
        let is = |path: &str| is_interpreter(Path::new(path));
        assert!(is("/usr/bin/python3.11") && is("/a/libpython3.13.so.1.0") && is("/b/python"));
        assert!(!is("/usr/lib/libpythonic.so") && !is("/srv/python3-server"));
    }
}
