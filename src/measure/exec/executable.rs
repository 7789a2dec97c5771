//! Whether a program can be recorded, as far as its file tells.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{EM_X86_64, FileHeader64, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::base::error::Error;

/// Bytes at the begin of a file in which its headers are.
const HEADERS: u64 = 64 << 10;

/// Interpreters of scripts that are interpreters of scripts themselves, at most (execve(2)).
const MOST_INTERPRETERS: u32 = 4;

/// Checks that a program exists and that its `malloc` can be replaced. Of a script the interpreter is
/// checked. A program that starts another one, such as `nice`, says nothing of that.
///
/// # Errors
/// With what is in the way.
pub(super) fn check(name: &OsStr) -> Result<(), Error> {
    let path = find(name)?;
    check_file(&path, MOST_INTERPRETERS)
}

/// Why the program that a process runs cannot be recorded; `None` if it can be, or if that is not known. What was
/// found out of a file is kept.
pub(super) fn obstacle_of(process: i32, known: &mut Obstacles) -> Option<String> {
    let path = fs::read_link(format!("/proc/{process}/exe")).ok()?;
    let obstacle = known.entry(path).or_insert_with_key(|path| {
        let is_readable = is_executable(path) && File::open(path).is_ok();
        let error = is_readable.then(|| check_file(path, 0).err()).flatten();
        error.map(|error| error.to_string())
    });
    obstacle.clone()
}

/// What is in the way of recording a program, by its file.
pub(super) type Obstacles = BTreeMap<PathBuf, Option<String>>;

/// The file of a program, in the folders of PATH if its name has no slash.
fn find(name: &OsStr) -> Result<PathBuf, Error> {
    let shown = name.to_string_lossy();
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let files = env::split_paths(&folders).map(|folder| folder.join(name));
    let found = files.into_iter().find(|file| is_executable(file));
    found.ok_or_else(|| {
        let error = Error::usage(format!("cannot find the program `{shown}` in PATH"));
        match Path::new(name).exists() {
            true => error.hint(format!("for the file in this folder: ./{shown}")),
            false => error,
        }
    })
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn check_file(path: &Path, interpreters: u32) -> Result<(), Error> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|e| Error::io("start", path, e))?;
    if !is_executable(path) {
        return Err(
            Error::usage(format!("cannot start {shown}: it is no executable file"))
                .hint("a script is started by its interpreter: python3 script.py"),
        );
    }
    const SET_ID: u32 = 0o6000;
    if metadata.mode() & SET_ID != 0 && metadata.uid() != crate::base::private_folder::this_user() {
        return Err(
            cannot_record(path, "it has more rights than its user (set-user-ID)")
                .hint("the loader loads no library into it; run a copy of it"),
        );
    }
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(HEADERS).read_to_end(&mut start))
        .map_err(|e| Error::io("read", path, e))?;
    match interpreter(&start) {
        Some(interpreter) if interpreters > 0 => check_file(&interpreter, interpreters - 1)
            .map_err(|error| Error::usage(format!("{shown} is a script: {error}"))),
        Some(_) => Err(Error::usage(format!(
            "cannot start {shown}: its interpreters are scripts"
        ))),
        None => check_elf(path, &start),
    }
}

/// The interpreter in the first line of a script.
fn interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let name = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    Some(OsStr::from_bytes(name).into())
}

fn check_elf(path: &Path, start: &[u8]) -> Result<(), Error> {
    const CLASS: usize = 4;
    const CLASS_32: u8 = 1;
    if !start.starts_with(b"\x7fELF") {
        return Err(Error::usage(format!(
            "cannot start {}: it is neither an ELF file nor a script with `#!`",
            path.display()
        )));
    }
    if start.get(CLASS) == Some(&CLASS_32) {
        return Err(cannot_record(path, "it is a 32-bit program"));
    }
    let unreadable = |_| cannot_record(path, "its ELF header cannot be read");
    let header = FileHeader64::<Endianness>::parse(start).map_err(unreadable)?;
    let endian = header.endian().map_err(unreadable)?;
    if header.e_machine(endian) != EM_X86_64 {
        return Err(cannot_record(path, "it is not for x86-64"));
    }
    let segments = header.program_headers(endian, start).map_err(unreadable)?;
    let is_dynamic = segments.iter().any(|s| s.p_type(endian) == PT_DYNAMIC);
    let loader = segments.iter().find(|s| s.p_type(endian) == PT_INTERP);
    let loader = loader.and_then(|s| s.data(endian, start).ok());
    match loader {
        // It loads the program that its arguments name.
        None if is_dynamic && is_loader(path) => Ok(()),
        None if is_dynamic => Err(cannot_record(path, "it is statically linked (static-pie)")),
        None => Err(cannot_record(path, "it is statically linked")),
        Some(loader) if !loader.windows(8).any(|part| part == b"ld-linux") => {
            let loader = String::from_utf8_lossy(loader.strip_suffix(b"\0").unwrap_or(loader));
            let why = format!("its C library is not glibc (its loader is {loader})");
            Err(cannot_record(path, &why))
        }
        Some(_) => Ok(()),
    }
}

/// Whether a file is named as glibc's loader is: `ld-linux-x86-64.so.2`, and `ld-2.31.so` in old versions.
fn is_loader(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.starts_with(b"ld-") && name.windows(3).any(|part| part == b".so")
}

fn cannot_record(path: &Path, why: &str) -> Error {
    Error::usage(format!(
        "cannot record {}: {why}, so that its `malloc` cannot be replaced",
        path.display()
    ))
}
