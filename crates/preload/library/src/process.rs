//! What the command is told about this process.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};

use crate::base::files::write_atomically;
use crate::model::exec::{PROCESS_FILE, ProcessRecord};
use crate::model::journal::{self, PROCESSES};

/// Creates the folder of this process in that of the run, with the record of what it is.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn announce(run: &Path) -> io::Result<(PathBuf, ProcessRecord)> {
    let folder = create_folder(&run.join(PROCESSES))?;
    let record = ProcessRecord {
        pid: std::process::id(),
        parent: std::os::unix::process::parent_id(),
        arguments: arguments()?,
        foreign_malloc: foreign_malloc(),
    };
    let text = serde_json::to_vec(&record)?;
    write_atomically(&folder.join(PROCESS_FILE), |to| to.write_all(&text))?;
    let exited = CString::new(folder.join(journal::EXITED).as_os_str().as_bytes())?;
    EXITED.store(exited.into_raw(), Relaxed);
    PROCESS.store(record.pid, Relaxed);
    Ok((folder, record))
}

/// The path of the file that says that this process has ended by `_exit`.
static EXITED: AtomicPtr<libc::c_char> = AtomicPtr::new(core::ptr::null_mut());

/// The process whose path that is, not a copy that has no folder of its own.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Says that this process ends by `_exit`. A signal handler may call this, and so may a copy that shares its
/// memory with the process.
pub(crate) fn note_exit() {
    let path = EXITED.load(Relaxed);
    if path.is_null() || std::process::id() != PROCESS.load(Relaxed) {
        return;
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC;
    // SAFETY: the path ends in a null byte and is never freed. The system calls change no memory
    // (tests/exec_processes.rs: `a_worker_that_is_killed_is_told`).
    unsafe {
        let file = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, 0o600);
        if file >= 0 {
            libc::syscall(libc::SYS_close, file);
        }
    }
}

/// Creates the folder of this process. One process may execute several programs, one after another.
fn create_folder(processes: &Path) -> io::Result<PathBuf> {
    for number in 1.. {
        let folder = processes.join(format!("{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The arguments of this program, the first of which is its name.
fn arguments() -> io::Result<Vec<String>> {
    let text = fs::read("/proc/self/cmdline")?;
    let text = text.strip_suffix(b"\0").unwrap_or(&text);
    let arguments = text.split(|&byte| byte == 0);
    Ok(arguments
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect())
}

/// The file with a `malloc` that is found before that of this library; `None` if there is none.
fn foreign_malloc() -> Option<String> {
    // SAFETY: the name ends in a null byte.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) };
    // Not the address of the function: inside of this library it is that of the one that is found.
    let own = object_of(foreign_malloc as *const libc::c_void)?;
    let object = object_of(found)?;
    if object.dli_fbase == own.dli_fbase {
        return None;
    }
    if object.dli_fname.is_null() {
        return Some("an unknown file".into());
    }
    // SAFETY: the loader's name of a loaded object, which ends in a null byte.
    let name = unsafe { CStr::from_ptr(object.dli_fname) };
    Some(name.to_string_lossy().into_owned())
}

/// The loaded object that a function is in. A program that is not position-independent and takes the address
/// of a function of another object has a stub for it in the place of the function: then `None`.
fn object_of(function: *const libc::c_void) -> Option<libc::Dl_info> {
    unsafe extern "C" {
        fn dladdr1(
            address: *const libc::c_void,
            info: *mut libc::Dl_info,
            symbol: *mut *const libc::Elf64_Sym,
            flags: core::ffi::c_int,
        ) -> core::ffi::c_int;
    }
    const RTLD_DL_SYMENT: core::ffi::c_int = 1;
    const SHN_UNDEF: u16 = 0;
    // SAFETY: `Dl_info` is a C struct of pointers, for which zero is a valid value.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    let mut symbol: *const libc::Elf64_Sym = core::ptr::null();
    // SAFETY: fills local variables of the right types.
    let is_known = unsafe { dladdr1(function, &mut info, &mut symbol, RTLD_DL_SYMENT) } != 0;
    // SAFETY: null, or the symbol of a loaded object, which stays loaded.
    let is_stub = unsafe { symbol.as_ref() }.is_some_and(|s| s.st_shndx == SHN_UNDEF);
    (is_known && !is_stub).then_some(info)
}
