//! The C library's allocator itself, behind the functions that [`c_symbols`](super::c_symbols)
//! defines in its place.
//!
//! glibc exports each function under a second name, which nothing replaces. So no symbol has to be
//! looked up at run time, which could allocate.

use libc::c_void;

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(at: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_free(at: *mut c_void);
}

/// The alignment of every block of glibc's.
pub(crate) const MIN_ALIGN: usize = 16;

/// Allocates a block; null if there is no memory.
///
/// # Safety
/// `align` is a power of two, or is not above [`MIN_ALIGN`].
#[inline(always)]
pub(crate) unsafe fn alloc<const ZEROED: bool>(align: usize, size: usize) -> *mut c_void {
    // SAFETY: these functions take any size, and the alignment is the caller's
    // (tests/exec.rs: `sizes_are_those_that_were_asked_for`).
    unsafe {
        match (align <= MIN_ALIGN, ZEROED) {
            (true, false) => __libc_malloc(size),
            (true, true) => __libc_calloc(1, size),
            (false, false) => __libc_memalign(align, size),
            (false, true) => {
                let at = __libc_memalign(align, size);
                if !at.is_null() {
                    at.cast::<u8>().write_bytes(0, size);
                }
                at
            }
        }
    }
}

/// Reallocates a block; null if there is no memory.
///
/// # Safety
/// `at` is null or a live block of glibc's.
#[inline(always)]
pub(crate) unsafe fn realloc(at: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the contract of this function.
    unsafe { __libc_realloc(at, size) }
}

/// Frees a block.
///
/// # Safety
/// `at` is null or a live block of glibc's, which is not used any more.
#[inline(always)]
pub(crate) unsafe fn free(at: *mut c_void) {
    // SAFETY: the contract of this function.
    unsafe { __libc_free(at) }
}

/// Bytes that a block may use, at least those asked for.
///
/// # Safety
/// `at` is a live block of glibc's.
#[inline(always)]
pub(crate) unsafe fn usable_bytes(at: *mut c_void) -> usize {
    // SAFETY: the contract of this function: the size is stored in front of the block.
    unsafe { libc::malloc_usable_size(at) }
}
