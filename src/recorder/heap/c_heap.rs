//! What C code's allocator says of itself: glibc's `mallinfo2`, where there is one.

/// Bytes of glibc's heap (mallinfo(3)), all arenas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Taken from the system: `arena + hblkhd`.
    pub(crate) system: u64,
    /// Allocated, rounding included: `uordblks + hblkhd`.
    pub(crate) in_use: u64,
    /// Free, and kept for reuse: `fordblks`.
    pub(crate) free: u64,
    /// Of `system`, in mappings of their own: `hblkhd`.
    pub(crate) mapped: u64,
}

/// The counters; `None` where the C library has none (musl, glibc before 2.33).
#[cfg(target_env = "gnu")]
pub(crate) fn read() -> Option<Counters> {
    type Mallinfo = unsafe extern "C" fn() -> libc::mallinfo2;
    // SAFETY: the name ends in a null byte; what is not there gives null.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: glibc's function of this name has this type since it exists (2.33). It takes its
    // arenas' locks, and is called at a boundary, not inside a hook.
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

/// Gives back to the system what the C heap keeps for reuse (malloc_trim(3)).
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time outside a hook.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Size from which on a block may get a mapping of its own (`DEFAULT_MMAP_THRESHOLD_MIN`).
const MAPPED_FROM: usize = 128 << 10;

/// Bytes that a block of this size takes in glibc's heap, at most: its chunk, rounded up to whole
/// pages where it may get a mapping of its own (malloc.c, `request2size`, `sysmalloc_mmap`).
#[inline]
pub(crate) fn chunk(size: usize) -> u64 {
    const LEAST: usize = 32;
    const HEADER: usize = 8;
    if size < MAPPED_FROM {
        return ((size + HEADER + 15) & !15).max(LEAST) as u64;
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
    fn what_c_code_allocates_is_in_use() {
        // Other tests allocate as well: only what is far more than theirs is sure.
        const BIG: usize = 512 << 20;
        let before = read().unwrap();
        // SAFETY: a size, and no more.
        let block = unsafe { libc::malloc(BIG) };
        let held = read().unwrap();
        // SAFETY: allocated above, and freed once.
        unsafe { libc::free(block) };
        assert!(held.in_use >= before.in_use + BIG as u64 / 2, "{held:?}");
        assert!(held.mapped <= held.system && held.in_use <= held.system);
    }
}
