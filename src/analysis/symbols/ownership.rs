//! Whose code a frame is, by the path of its file and by the name of its function.

use std::path::{Component, Path, PathBuf};

use crate::model::frame::{Frame, Owner};
use crate::model::layout::WORKLOADS;

/// The folder in which this crate was compiled.
const CRATE_FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The suffix that reports give the folder of a Git checkout.
const CHECKOUT: &str = "-git";

/// Crates that allocate only on behalf of their callers. Nobody would edit them to fix a leak.
const PASS_THROUGH: &[&str] = &[
    "std",
    "core",
    "alloc",
    "proc_macro",
    "hashbrown",
    "bytes",
    "smallvec",
    "arrayvec",
    "indexmap",
    "rayon",
    "rayon_core",
    "crossbeam",
    "crossbeam_deque",
    "crossbeam_epoch",
    "crossbeam_utils",
    "parking_lot",
    "parking_lot_core",
    "lock_api",
    "once_cell",
    "dhat",
    "tikv_jemallocator",
    "backtrace",
];

/// The C library, the loader, and what compilers link to every program.
const RUNTIME: [&str; 12] = [
    "ld-linux",
    "libc.so",
    "libc-",
    "libdl",
    "libgcc_s",
    "libm.so",
    "libm-",
    "libpthread",
    "libresolv",
    "librt",
    "libstdc++",
    "libc++",
];

/// The library that records a program as it is.
const RECORDER: &str = "libafterdrop.so";

/// Folders of libraries that the user has not written.
const FOLDERS_OF_LIBRARIES: [&str; 6] = [
    "/usr/lib/",
    "/usr/lib64/",
    "/lib/",
    "/lib64/",
    "/usr/local/lib/",
    "/opt/",
];

/// Folders of packages, anywhere in a path.
const PACKAGES: [&str; 2] = ["/site-packages/", "/node_modules/"];

/// Corrects whose code frames are by the file that they were loaded from: of a library of the system the
/// sources, if they are known, are no file of the user. In other files functions without a line are the
/// user's, too.
pub(super) fn own_by_object(frames: &mut [Frame], object: &Path) {
    let name = object.file_name().unwrap_or_default().to_string_lossy();
    let path = object.to_string_lossy();
    let is_in = |&folder: &&str| match PACKAGES.contains(&folder) {
        true => path.contains(folder),
        false => path.starts_with(folder),
    };
    let of_object = match () {
        () if name == RECORDER => Some(Owner::Tool),
        () if RUNTIME.iter().any(|known| name.starts_with(known)) => Some(Owner::Standard),
        () if FOLDERS_OF_LIBRARIES.iter().chain(&PACKAGES).any(is_in) => Some(Owner::Dependency),
        () => None,
    };
    for frame in frames {
        let is_plain = frame.line.is_none() && !frame.function.contains("::");
        match of_object {
            Some(owner) => frame.owner = owner,
            None if frame.owner == Owner::Standard && is_plain && !is_start_up(&frame.function) => {
                frame.owner = Owner::Own;
            }
            None => {}
        }
    }
}

/// Whether a function is of the start-up code that is linked to every program.
fn is_start_up(function: &str) -> bool {
    ["_start", "__libc_start_main", "__rust"]
        .iter()
        .any(|name| function.starts_with(name))
}

/// The frame of a function at a file and line, as the debug information has them.
pub(super) fn frame_of(function: &str, path: Option<&str>, line: Option<u32>) -> Frame {
    let line = line.filter(|&l| l > 0);
    let (file, by_path) = match path.map(classify_path) {
        Some((file, owner)) => (Some(file), owner),
        None => (None, None),
    };
    let owner = match by_path {
        _ if function.starts_with("__rust") => Owner::Standard,
        // A build without line tables still names its functions. C's start-up code has no module
        // in its name.
        None if function.contains("::") && line.is_none() => by_name(crate_of(function)),
        _ if line.is_none() => Owner::Standard,
        Some(owner) => owner,
        None if crate_of(function) == "afterdrop" => Owner::Tool,
        None => Owner::Own,
    };
    Frame {
        function: function.into(),
        file,
        line,
        owner,
    }
}

/// A path as reports show it, and whose code the file is; `None` if the path does not tell.
///
/// The path loses `.` and `..`. A registry's crate becomes `burn-nn-0.22.1/src/x.rs`, the standard
/// library `std/src/x.rs`, and a file below the current folder or below this crate is relative to
/// it.
pub(super) fn classify_path(path: &str) -> (String, Option<Owner>) {
    let path = normalized(Path::new(path));
    let text = path.to_string_lossy();
    if let Some(short) = dependency_path(&text) {
        let name = crate_of_folder(short.split('/').next().unwrap_or_default());
        let name = name.unwrap_or_default().replace('-', "_");
        let owner = match name.as_str() {
            "afterdrop" => Owner::Tool,
            name if is_pass_through(name) => Owner::Standard,
            _ => Owner::Dependency,
        };
        return (short, Some(owner));
    }
    // Templates of C++'s library are compiled into the user's functions.
    if let Some((_, rest)) = text.split_once("/include/")
        && rest.split('/').any(|folder| folder == "c++")
    {
        return (rest.into(), Some(Owner::Standard));
    }
    if let Some((_, rest)) = text.split_once("/library/")
        && (text.starts_with("/rustc/") || text.contains("/rustlib/src/rust/library/"))
    {
        return (rest.into(), Some(Owner::Standard));
    }
    if let Some(rest) = text.strip_prefix("/rust/deps/") {
        return (rest.into(), Some(Owner::Standard));
    }
    if let Ok(inside) = path.strip_prefix(CRATE_FOLDER) {
        // The workloads are what is measured, so they count as the user's code.
        let is_tool = inside.starts_with("src") && !inside.starts_with(WORKLOADS);
        let owner = if is_tool { Owner::Tool } else { Owner::Own };
        return (inside.to_string_lossy().into_owned(), Some(owner));
    }
    let here = std::env::current_dir().ok();
    let inside = here.and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
    (inside.unwrap_or(path).to_string_lossy().into_owned(), None)
}

/// Whether this crate allocates only on behalf of its callers.
pub(super) fn is_pass_through(name: &str) -> bool {
    PASS_THROUGH.contains(&name)
}

/// The crate at the beginning of a function's name: `a` for `<a::B as c::D>::e`.
pub(super) fn crate_of(function: &str) -> &str {
    let name = function.trim_start_matches(['<', '&', '*', '(', '[']);
    let name = name.strip_prefix("dyn ").unwrap_or(name);
    let name = name.strip_prefix("mut ").unwrap_or(name);
    let end = name
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(name.len());
    &name[..end]
}

/// Whose code the functions of a crate are, if only the name is known.
fn by_name(name: &str) -> Owner {
    match name {
        "afterdrop" => Owner::Tool,
        "test" => Owner::Standard,
        name if is_pass_through(name) => Owner::Standard,
        _ => Owner::Own,
    }
}

/// `name-1.2.3/src/x.rs` for a registry's crate, `name-git/src/x.rs` for a Git checkout; `None` for
/// anything else.
fn dependency_path(path: &str) -> Option<String> {
    if let Some((_, rest)) = path.split_once("/registry/src/") {
        return rest.split_once('/').map(|(_, rest)| rest.to_owned());
    }
    // `<repository>-<hash>/<commit>/<path>`
    let (_, rest) = path.split_once("/git/checkouts/")?;
    let (repository, rest) = rest.split_once('/')?;
    let (_, rest) = rest.split_once('/')?;
    let name = repository
        .rsplit_once('-')
        .map_or(repository, |(name, _)| name);
    Some(format!("{name}{CHECKOUT}/{rest}"))
}

/// The crate of a folder `name-1.2.3` or `name-git`, as [`dependency_path`] gives it.
fn crate_of_folder(folder: &str) -> Option<&str> {
    if let Some(name) = folder.strip_suffix(CHECKOUT) {
        return Some(name);
    }
    folder.match_indices('-').find_map(|(i, _)| {
        let version = &folder[i + 1..];
        let is_version = version.starts_with(|v: char| v.is_ascii_digit()) && version.contains('.');
        (i > 0 && is_version).then(|| &folder[..i])
    })
}

/// A path without `.` and `..`, as far as that is possible without the file system.
fn normalized(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normalized.file_name().is_some() => {
                normalized.pop();
            }
            part => normalized.push(part),
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        frame_of(function, Some(file), Some(3))
    }

    fn shown(path: &str) -> String {
        classify_path(path).0
    }

    #[test]
    fn paths_do_not_name_the_machine_they_were_built_on() {
        let home = "/home/me/.cargo/registry/src/index-abc/burn-nn-0.22.1/src/x.rs";
        assert_eq!(shown(home), "burn-nn-0.22.1/src/x.rs");
        let std = "/rustc/0123abc/library/alloc/src/vec/mod.rs";
        assert_eq!(shown(std), "alloc/src/vec/mod.rs");
        let git = "/home/me/.cargo/git/checkouts/burn-12ab/34cd/crates/x/src/y.rs";
        assert_eq!(shown(git), "burn-git/crates/x/src/y.rs");
        assert_eq!(frame("x::y", git).owner, Owner::Dependency);
        let here = std::env::current_dir().unwrap().join("src/a/../b.rs");
        assert_eq!(shown(&here.to_string_lossy()), "src/b.rs");
    }

    #[test]
    fn generic_code_belongs_to_the_file_that_defines_it() {
        let inlined = frame(
            "<app::T as core::clone::Clone>::clone",
            "/rustc/1/library/core/src/clone.rs",
        );
        assert_eq!(inlined.owner, Owner::Standard);
        let workload = format!("{CRATE_FOLDER}/src/workloads/burn.rs");
        assert_eq!(
            frame("afterdrop::workloads::burn::x", &workload).owner,
            Owner::Own
        );
    }

    #[test]
    fn the_crate_is_the_first_part_of_a_name() {
        assert_eq!(crate_of("<alloc::vec::Vec<T> as X>::y"), "alloc");
        assert_eq!(crate_of("<&mut a::B as c::D>::e"), "a");
        assert_eq!(crate_of("main"), "main");
    }

    #[test]
    fn workloads_of_this_crate_count_as_the_users_code() {
        let file = format!("{CRATE_FOLDER}/src/workloads/models/cnn.rs");
        let logits = frame(
            "<afterdrop::workloads::models::cnn::Cnn as X>::logits",
            &file,
        );
        assert_eq!(logits.owner, Owner::Own);
        assert_eq!(logits.file.as_deref(), Some("src/workloads/models/cnn.rs"));
        let user = frame(
            "<serving::A as afterdrop::cycle::Workload>::load",
            "/srv/src/heap/a.rs",
        );
        assert_eq!(user.owner, Owner::Own);
        let vendored = frame(
            "afterdrop::recorder::cycle::runner::run",
            "/vendor/afterdrop/src/x.rs",
        );
        assert_eq!(vendored.owner, Owner::Tool);
    }
}
