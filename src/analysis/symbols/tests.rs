//! Debug information wherever compilers and packagers put it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::binary::Binary;
use super::sources::Sources;
use super::symbolizer::frames_at;
use super::unread::Unread;
use crate::base::private_folder;

const PROGRAM: &str = "\
#[inline(always)]
fn inner(n: usize, divisor: usize) -> usize {
    n / divisor
}

#[inline(never)]
fn outer(n: usize, divisor: usize) -> usize {
    inner(n + 1, divisor)
}

fn main() {
    let n = std::env::args().count();
    assert_eq!(outer(n, n), 2);
}
";

/// The frames of `PROGRAM` where `inner` was inlined, innermost first.
const FRAMES: [(&str, Option<u32>); 2] = [("program::inner", Some(3)), ("program::outer", Some(8))];

/// A folder with `PROGRAM`, compiled. It is removed when this is dropped.
struct Built(PathBuf);

impl Drop for Built {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Built {
    fn with(options: &[&str]) -> Self {
        let built = Self(private_folder::unpredictable_path());
        fs::create_dir(&built.0).unwrap();
        fs::write(built.0.join("program.rs"), PROGRAM).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        built.run(
            Command::new(rustc)
                .args(["-g", "-Copt-level=1", "program.rs"])
                .args(options),
        );
        built
    }

    fn program(&self) -> PathBuf {
        self.0.join("program")
    }

    /// Runs a command in the folder.
    fn run(&self, command: &mut Command) {
        let done = command.current_dir(&self.0).output();
        let done = done.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command:?}: {error}");
    }

    fn objcopy(&self, args: &[&str]) {
        self.run(Command::new("objcopy").args(args));
    }

    /// Moves the debug information to `program.debug`, and the symbols as well.
    fn strip(&self) {
        self.objcopy(&["--only-keep-debug", "program", "program.debug"]);
        self.objcopy(&["--strip-all", "program"]);
    }

    /// The same, and the program refers to it.
    fn strip_with_link(&self) {
        self.strip();
        self.objcopy(&["--add-gnu-debuglink=program.debug", "program"]);
    }

    /// Moves a file to a path in the folder.
    fn move_to(&self, from: &str, to: &Path) {
        let to = self.0.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(self.0.join(from), to).unwrap();
    }

    fn read(&self) -> Binary {
        Binary::read_with(&self.program(), &self.debug_folder()).unwrap()
    }

    /// What stands for `/usr/lib/debug`.
    fn debug_folder(&self) -> PathBuf {
        self.0.join("debug-folder")
    }

    /// The address of the symbol `outer`, which may have been stripped.
    fn outer(&self) -> u64 {
        use object::{Object as _, ObjectSymbol as _};
        let bytes = fs::read(self.program()).unwrap();
        let file = object::read::elf::ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
        let symbol = file
            .symbols()
            .find(|s| s.name().unwrap().contains("5outer"));
        symbol.unwrap().address()
    }
}

/// Function and line of the frames at the first address of `outer` that has several.
fn frames(binary: &Binary, outer: u64) -> Vec<(String, Option<u32>)> {
    let sources = Sources::default();
    let all = (outer..outer + 100).map(|address| frames_at(binary, &sources, address));
    let several = all.into_iter().find(|frames| frames.len() > 1);
    let frames = several.unwrap_or_else(|| frames_at(binary, &sources, outer));
    frames.into_iter().map(|f| (f.function, f.line)).collect()
}

#[track_caller]
fn assert_whole(binary: &Binary, outer: u64) {
    assert_eq!(binary.unread(), None);
    let found = frames(binary, outer);
    let found: Vec<(&str, Option<u32>)> = found.iter().map(|(f, l)| (&f[..], *l)).collect();
    assert_eq!(found, FRAMES);
    assert_eq!(binary.unread(), None);
}

#[rstest::rstest]
#[case::inside(&[])]
#[case::packed(&["-Csplit-debuginfo=packed"])]
#[case::packed_dwarf_5(&["-Csplit-debuginfo=packed", "-Cdwarf-version=5"])]
#[case::unpacked(&["-Csplit-debuginfo=unpacked"])]
#[case::unpacked_dwarf_5(&["-Csplit-debuginfo=unpacked", "-Cdwarf-version=5"])]
fn inlined_frames_have_lines(#[case] options: &[&str]) {
    let built = Built::with(options);
    assert_whole(&built.read(), built.outer());
}

#[test]
fn split_files_are_found_beside_the_program() {
    let built = Built::with(&["-Csplit-debuginfo=unpacked"]);
    for file in fs::read_dir(&built.0).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name == "program" || name.ends_with(".dwo") {
            built.move_to(&name, &Path::new("moved").join(&name));
        }
    }
    let outer = {
        let moved = Built(built.0.join("moved"));
        let outer = moved.outer();
        assert_whole(&moved.read(), outer);
        outer
    };
    assert_ne!(outer, 0);
}

#[cfg(feature = "compressed-debug")]
#[rstest::rstest]
#[case::zlib("zlib")]
#[case::zlib_in_sections_of_other_names("zlib-gnu")]
#[case::zstd("zstd")]
fn compressed_sections_are_read(#[case] method: &str) {
    let built = Built::with(&[]);
    let outer = built.outer();
    built.objcopy(&[&format!("--compress-debug-sections={method}"), "program"]);
    assert_whole(&built.read(), outer);
}

#[cfg(not(feature = "compressed-debug"))]
#[test]
fn compressed_sections_are_named() {
    let built = Built::with(&[]);
    let outer = built.outer();
    built.objcopy(&["--compress-debug-sections=zlib", "program"]);
    let binary = built.read();
    assert_eq!(frames(&binary, outer), [("program::outer".into(), None)]);
    let unread = binary.unread().unwrap().to_string();
    assert!(unread.contains("compressed with zlib"), "{unread}");
}

#[rstest::rstest]
#[case::beside("program.debug")]
#[case::in_a_folder_beside(".debug/program.debug")]
fn the_debug_information_of_a_stripped_program_is_found(#[case] place: &str) {
    let built = Built::with(&[]);
    let outer = built.outer();
    built.strip_with_link();
    built.move_to("program.debug", Path::new(place));
    assert_whole(&built.read(), outer);
}

#[test]
fn the_debug_folder_has_files_by_the_path_of_the_program() {
    let built = Built::with(&[]);
    let outer = built.outer();
    built.strip_with_link();
    let below = built
        .debug_folder()
        .join(built.0.strip_prefix("/").unwrap());
    built.move_to("program.debug", &below.join("program.debug"));
    assert_whole(&built.read(), outer);
}

#[test]
fn the_debug_folder_has_files_by_build_id() {
    let built = Built::with(&["-Clink-arg=-Wl,--build-id=0xabcdef"]);
    let outer = built.outer();
    built.strip();
    let file = built.debug_folder().join(".build-id/ab/cdef.debug");
    built.move_to("program.debug", &file);
    assert_whole(&built.read(), outer);
}

#[test]
fn a_package_is_found_beside_a_stripped_program() {
    let built = Built::with(&["-Csplit-debuginfo=packed"]);
    let outer = built.outer();
    built.strip_with_link();
    assert_whole(&built.read(), outer);
}

#[rstest::rstest]
#[case::by_checksum(&["-Clink-arg=-Wl,--build-id=none"], &["-Clink-arg=-Wl,--build-id=none"])]
#[case::by_build_id(&["-Clink-arg=-Wl,--build-id=0xab"], &["-Clink-arg=-Wl,--build-id=0xac"])]
fn the_debug_information_of_another_build_is_not_taken(
    #[case] options: &[&str],
    #[case] of_other: &[&str],
) {
    let (built, other) = (Built::with(options), Built::with(of_other));
    let outer = built.outer();
    built.strip_with_link();
    other.objcopy(&["--only-keep-debug", "program", "program.debug"]);
    let debug = built.0.join("program.debug");
    fs::copy(other.0.join("program.debug"), &debug).unwrap();
    let binary = built.read();
    assert_eq!(frames(&binary, outer), []);
    let file = built.program();
    assert_eq!(
        binary.unread(),
        Some(Unread::OtherBuild { file, found: debug })
    );
}

#[test]
fn debug_information_that_was_moved_and_not_found_is_named() {
    let built = Built::with(&[]);
    built.strip_with_link();
    fs::remove_file(built.0.join("program.debug")).unwrap();
    let (file, name) = (built.program(), "program.debug".into());
    assert_eq!(built.read().unread(), Some(Unread::NotFound { file, name }));
}

#[test]
fn a_program_without_debug_information_lacks_none() {
    let built = Built::with(&["-Cstrip=debuginfo"]);
    let binary = built.read();
    let outer = built.outer();
    assert_eq!(frames(&binary, outer), [("program::outer".into(), None)]);
    assert_eq!(binary.unread(), None);
}

#[test]
fn a_damaged_package_is_named() {
    let built = Built::with(&["-Csplit-debuginfo=packed"]);
    let outer = built.outer();
    let package = built.0.join("program.dwp");
    fs::write(&package, "no package").unwrap();
    let binary = built.read();
    assert_eq!(frames(&binary, outer).len(), 1);
    let unread = binary.unread().unwrap();
    assert!(
        matches!(&unread, Unread::Damaged { file, .. } if *file == package),
        "{unread}"
    );
}

#[test]
fn missing_split_files_are_named() {
    let built = Built::with(&["-Csplit-debuginfo=packed"]);
    let outer = built.outer();
    fs::remove_file(built.0.join("program.dwp")).unwrap();
    let binary = built.read();
    assert_eq!(binary.unread(), None, "nothing was looked up");
    assert_eq!(frames(&binary, outer).len(), 1);
    let unread = binary.unread().unwrap();
    let Unread::Split {
        file,
        first,
        others,
    } = &unread
    else {
        panic!("{unread}");
    };
    assert_eq!((file, *others), (&built.program(), 0));
    assert!(first.to_string_lossy().ends_with(".dwo"), "{unread}");
}
