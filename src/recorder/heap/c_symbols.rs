//! C's allocation functions, defined in this executable or library in place of the C library's. The
//! loader finds these first, for the program and for all of its libraries.
//!
//! In a process that does not record they cost a load and a branch. Each is recorded for its own
//! caller, so that the hooks are inlined into it.

use core::ffi::c_int;
use libc::{c_void, pthread_attr_t, pthread_t, size_t};

use super::c_allocator::MIN_ALIGN;
use super::c_hooks;
use super::thread::pause;
use crate::recorder::primitive::{AtomicPtr, Ordering::Relaxed};

const PAGE: usize = 4096;

/// Sets `errno`, as the C library does.
fn set_error(error: c_int) {
    // SAFETY: the address of this thread's `errno`, which is always valid.
    unsafe { *libc::__errno_location() = error };
}

/// malloc(3)
///
/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn malloc(size: size_t) -> *mut c_void {
    // SAFETY: the alignment is that of every block.
    unsafe { c_hooks::alloc::<false>(MIN_ALIGN, size) }
}

/// calloc(3)
///
/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn calloc(count: size_t, size: size_t) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: the alignment is that of every block.
        Some(size) => unsafe { c_hooks::alloc::<true>(MIN_ALIGN, size) },
        None => {
            set_error(libc::ENOMEM);
            core::ptr::null_mut()
        }
    }
}

/// Reallocates a block, for the stack of the function that this is inlined into.
///
/// # Safety
/// `at` is null or a live block, which is not used any more if this does not return null, or `size` is 0.
#[inline(always)]
unsafe fn resized(at: *mut c_void, size: size_t) -> *mut c_void {
    // SAFETY: the contract of this function, and the alignment is that of every block.
    unsafe {
        match (at.is_null(), size) {
            (true, _) => c_hooks::alloc::<false>(MIN_ALIGN, size),
            (false, 0) => {
                c_hooks::free(at);
                core::ptr::null_mut()
            }
            (false, _) => c_hooks::realloc(at, size),
        }
    }
}

/// realloc(3); of size 0 it frees the block and returns null, as glibc's does.
///
/// # Safety
/// `at` is null or a live block, which is not used any more if this does not return null.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn realloc(at: *mut c_void, size: size_t) -> *mut c_void {
    // SAFETY: the contract of this function.
    unsafe { resized(at, size) }
}

/// reallocarray(3)
///
/// # Safety
/// That of [`realloc`].
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn reallocarray(
    at: *mut c_void,
    count: size_t,
    size: size_t,
) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else {
        set_error(libc::ENOMEM);
        return core::ptr::null_mut();
    };
    // SAFETY: the contract of this function.
    unsafe { resized(at, size) }
}

/// free(3)
///
/// # Safety
/// `at` is null or a live block, which is not used any more.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn free(at: *mut c_void) {
    if !at.is_null() {
        // SAFETY: the contract of this function.
        unsafe { c_hooks::free(at) };
    }
}

/// memalign(3); glibc rounds an alignment that is no power of two up to the next.
///
/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn memalign(align: size_t, size: size_t) -> *mut c_void {
    match rounded_up(align) {
        // SAFETY: the alignment is a power of two.
        Some(align) => unsafe { c_hooks::alloc::<false>(align, size) },
        None => {
            set_error(libc::EINVAL);
            core::ptr::null_mut()
        }
    }
}

/// The power of two that memalign(3) takes for an alignment.
fn rounded_up(align: usize) -> Option<usize> {
    let align = align.checked_next_power_of_two();
    align.filter(|align| *align <= isize::MAX as usize)
}

/// Whether aligned_alloc(3) is memalign(3): up to glibc 2.37. Later ones refuse an alignment that is no power of
/// two.
#[cold]
fn aligned_alloc_rounds_up() -> bool {
    // SAFETY: glibc returns a text that ends in a null byte and is never freed.
    let version = unsafe { core::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    let minor = version.to_str().ok().and_then(|v| v.strip_prefix("2."));
    let digits = minor.and_then(|m| m.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .and_then(|d| d.parse::<u32>().ok())
        .is_some_and(|minor| minor < 38)
}

/// aligned_alloc(3)
///
/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn aligned_alloc(align: size_t, size: size_t) -> *mut c_void {
    let align = match align.is_power_of_two() {
        true => Some(align),
        false => rounded_up(align).filter(|_| aligned_alloc_rounds_up()),
    };
    match align {
        // SAFETY: the alignment is a power of two.
        Some(align) => unsafe { c_hooks::alloc::<false>(align, size) },
        None => {
            set_error(libc::EINVAL);
            core::ptr::null_mut()
        }
    }
}

/// posix_memalign(3)
///
/// # Safety
/// `to` may be written.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn posix_memalign(
    to: *mut *mut c_void,
    align: size_t,
    size: size_t,
) -> c_int {
    if !align.is_power_of_two() || align < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    // SAFETY: the alignment is a power of two, and the caller may write to `to`. The function leaves
    // `errno` as it was (posix_memalign(3)).
    unsafe {
        let before = *libc::__errno_location();
        let at = c_hooks::alloc::<false>(align, size);
        set_error(before);
        if at.is_null() {
            return libc::ENOMEM;
        }
        *to = at;
    }
    0
}

/// valloc(3)
///
/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn valloc(size: size_t) -> *mut c_void {
    // SAFETY: the alignment is a power of two.
    unsafe { c_hooks::alloc::<false>(PAGE, size) }
}

/// pvalloc(3): as valloc, of whole pages.
///
/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pvalloc(size: size_t) -> *mut c_void {
    match size.checked_next_multiple_of(PAGE) {
        // SAFETY: the alignment is a power of two.
        Some(size) => unsafe { c_hooks::alloc::<false>(PAGE, size) },
        None => {
            set_error(libc::ENOMEM);
            core::ptr::null_mut()
        }
    }
}

/// pthread_getattr_np(3), without recording. It locks the thread's control block while it allocates, and a
/// hook that looked for the bounds of the stack would wait for that lock for ever. It is the first thing that
/// a thread of Rust's standard library does.
///
/// # Safety
/// That of the C library's function.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_getattr_np(
    thread: pthread_t,
    attributes: *mut pthread_attr_t,
) -> c_int {
    type GetAttributes = unsafe extern "C" fn(pthread_t, *mut pthread_attr_t) -> c_int;
    static NEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
    let _paused = pause();
    let mut next = NEXT.load(Relaxed);
    if next.is_null() {
        // SAFETY: the name ends in a null byte.
        next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_getattr_np".as_ptr()) };
        NEXT.store(next, Relaxed);
    }
    if next.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: the C library's function of this name has this type, and the contract of this function is
    // that of it (tests/cases.rs: `each_case_is_measured_separately`, whose threads call it first of all).
    unsafe { core::mem::transmute::<*mut c_void, GetAttributes>(next)(thread, attributes) }
}
