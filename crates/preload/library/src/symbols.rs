//! Functions of this library that the program calls: `afterdrop_cycle`, and those by which it opens
//! files and closes libraries, in place of the C library's.

use core::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed};

use libc::{FILE, c_void, mode_t};

use crate::recorder::heap;
use crate::{openings, process, session};

/// Whether calls of [`afterdrop_cycle`] mark cycles.
pub(crate) static CALLS_ARE_MARKS: AtomicBool = AtomicBool::new(false);

/// Ends a cycle and begins the next.
#[unsafe(no_mangle)]
pub extern "C" fn afterdrop_cycle() {
    if CALLS_ARE_MARKS.load(Relaxed) {
        session::mark();
    }
}

/// _exit(2), after which the journal has no end.
#[unsafe(no_mangle)]
pub extern "C" fn _exit(status: c_int) -> ! {
    process::note_exit();
    loop {
        // SAFETY: the system call ends the process.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}

/// _Exit(3)
#[unsafe(no_mangle)]
pub extern "C" fn _Exit(status: c_int) -> ! {
    _exit(status)
}

/// dlclose(3): other code may get the addresses of the object that is unloaded.
///
/// # Safety
/// That of the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    static NEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
    session::note_code();
    let next = next(&NEXT, c"dlclose");
    if next.is_null() {
        return -1;
    }
    // SAFETY: the C library's function of this name has this type, and the contract of this function is
    // that of it.
    let closed = unsafe {
        let next: unsafe extern "C" fn(*mut c_void) -> c_int = core::mem::transmute(next);
        next(handle)
    };
    heap::forget_rules();
    closed
}

/// The function of this name that would be called without this library. It is looked up once.
fn next(slot: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = slot.load(Relaxed);
    if !known.is_null() {
        return known;
    }
    // The loader may allocate.
    let _paused = heap::pause();
    // SAFETY: the name ends in a null byte.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    slot.store(found, Relaxed);
    found
}

/// Counts an opening.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn count(path: *const c_char) {
    if !path.is_null() {
        // SAFETY: the contract of this function.
        openings::opened(unsafe { CStr::from_ptr(path) }.to_bytes());
    }
}

/// Defines a function that counts the opening of `path` and calls the C library's function of the same
/// name. A variadic function of C takes its arguments in the same registers.
macro_rules! opens {
    ($(#[$doc:meta])* $name:ident, $symbol:literal, ($($argument:ident: $type:ty),*), $path:ident -> $result:ty, $failed:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// That of the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            static NEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
            // SAFETY: the contract of this function. The C library's function of this name has this
            // type.
            unsafe {
                count($path);
                let next = next(&NEXT, $symbol);
                if next.is_null() {
                    *libc::__errno_location() = libc::ENOSYS;
                    return $failed;
                }
                let next: unsafe extern "C" fn($($type),*) -> $result = core::mem::transmute(next);
                next($($argument),*)
            }
        }
    };
}

opens!(
    /// open(2)
    open, c"open", (path: *const c_char, flags: c_int, mode: mode_t), path -> c_int, -1
);
opens!(
    /// open(2)
    open64, c"open64", (path: *const c_char, flags: c_int, mode: mode_t), path -> c_int, -1
);
opens!(
    /// openat(2)
    openat, c"openat", (folder: c_int, path: *const c_char, flags: c_int, mode: mode_t), path -> c_int, -1
);
opens!(
    /// openat(2)
    openat64, c"openat64", (folder: c_int, path: *const c_char, flags: c_int, mode: mode_t), path -> c_int, -1
);
opens!(
    /// open(2), as programs call it that were compiled with checks.
    __open_2, c"__open_2", (path: *const c_char, flags: c_int), path -> c_int, -1
);
opens!(
    /// open(2), as programs call it that were compiled with checks.
    __open64_2, c"__open64_2", (path: *const c_char, flags: c_int), path -> c_int, -1
);
opens!(
    /// openat(2), as programs call it that were compiled with checks.
    __openat_2, c"__openat_2", (folder: c_int, path: *const c_char, flags: c_int), path -> c_int, -1
);
opens!(
    /// openat(2), as programs call it that were compiled with checks.
    __openat64_2, c"__openat64_2", (folder: c_int, path: *const c_char, flags: c_int), path -> c_int, -1
);
opens!(
    /// fopen(3)
    fopen, c"fopen", (path: *const c_char, mode: *const c_char), path -> *mut FILE, core::ptr::null_mut()
);
opens!(
    /// fopen(3)
    fopen64, c"fopen64", (path: *const c_char, mode: *const c_char), path -> *mut FILE, core::ptr::null_mut()
);
