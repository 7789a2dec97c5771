//! The heap of C code: the counters of glibc's allocator, and what a block takes in it.

/// Bytes in glibc's heap, over all arenas (mallinfo(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Obtained from the system: `arena + hblkhd`.
    pub(crate) system: u64,
    /// Allocated, rounding included: `uordblks + hblkhd`.
    pub(crate) in_use: u64,
    /// Free and kept for reuse: `fordblks`.
    pub(crate) free: u64,
    /// The part of `system` that is in mappings for one block each: `hblkhd`.
    pub(crate) mapped: u64,
}

/// Reads the counters; `None` if the C library has none (musl, glibc before 2.33).
#[cfg(target_env = "gnu")]
pub(crate) fn read() -> Option<Counters> {
    type Mallinfo = unsafe extern "C" fn() -> libc::mallinfo2;
    // SAFETY: the name ends in a null byte. A symbol that does not exist gives null.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: glibc's function of this name has had this type since it was added in 2.33. It takes
    // the locks of the arenas, and is called at a boundary, not inside a hook (tests:
    // `blocks_of_c_code_are_in_use`).
    let info = unsafe { core::mem::transmute::<*mut libc::c_void, Mallinfo>(found)() };
    Some(Counters {
        system: (info.arena + info.hblkhd) as u64,
        in_use: (info.uordblks + info.hblkhd) as u64,
        free: info.fordblks as u64,
        mapped: info.hblkhd as u64,
    })
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn read() -> Option<Counters> {
    None
}

/// Returns the free memory of the C heap to the system (malloc_trim(3)).
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no precondition, and its locks are not held, because this is called outside of
    // hooks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Smallest block that may get a mapping of its own (`DEFAULT_MMAP_THRESHOLD_MIN`).
const MIN_MAPPED: usize = 128 << 10;

/// The most bytes that a block of this size takes in glibc's heap: its chunk, rounded up to whole
/// pages if it may get a mapping of its own (malloc.c, `request2size`, `sysmalloc_mmap`).
#[inline]
pub(crate) fn chunk(size: usize) -> u64 {
    const MIN_CHUNK: usize = 32;
    const HEADER: usize = 8;
    if size < MIN_MAPPED {
        return ((size + HEADER + 15) & !15).max(MIN_CHUNK) as u64;
    }
    let chunk = size.saturating_add(2 * HEADER);
    chunk.checked_next_multiple_of(4096).unwrap_or(usize::MAX) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_holds_its_block_and_a_header() {
        assert_eq!(
            [chunk(0), chunk(24), chunk(25), chunk(40)],
            [32, 32, 48, 48]
        );
        assert_eq!(chunk(200_000), 200_704);
        assert!(chunk(usize::MAX) > 0);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn blocks_of_c_code_are_in_use() {
        // Much more than other tests may allocate or free meanwhile.
        const BIG: usize = 512 << 20;
        let before = read().unwrap();
        // SAFETY: `malloc` has no precondition.
        let block = unsafe { libc::malloc(BIG) };
        let held = read().unwrap();
        // SAFETY: allocated by `malloc` above and freed once.
        unsafe { libc::free(block) };
        assert!(held.in_use >= before.in_use + BIG as u64 / 2, "{held:?}");
        assert!(held.mapped <= held.system && held.in_use <= held.system);
    }
}
