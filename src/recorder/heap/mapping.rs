//! Anonymous mappings for the recorder's own data, so that nothing it keeps is on the heap that it
//! counts.
//!
//! Every mapping is private, without reserved swap space, and marked `MADV_DONTDUMP`. The mark has
//! two uses: the kernel does not merge the mapping with a neighbour that belongs to someone else,
//! and `smaps.rs` recognises the recorder's memory by it.

use crate::recorder::primitive::{AtomicUsize, Ordering::Relaxed};

/// Bytes that this module has mapped and not yet unmapped.
static MAPPED_BYTES: AtomicUsize = AtomicUsize::new(0);

const PAGE: usize = 4096;

/// The system refused memory for the recorder's own data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl From<NoMemory> for std::io::Error {
    fn from(NoMemory: NoMemory) -> Self {
        std::io::ErrorKind::OutOfMemory.into()
    }
}

/// Bytes of all mappings of the recorder in this process: what it takes of the address space, and
/// an upper bound on its resident memory.
pub(crate) fn mapped_bytes() -> usize {
    MAPPED_BYTES.load(Relaxed)
}

/// The size of a mapping that holds at least `bytes`.
pub(super) fn round_up(bytes: usize) -> usize {
    bytes.div_ceil(PAGE) * PAGE
}

/// Maps at least `bytes` zeroed bytes, or returns null if the system refuses.
pub(super) fn map(bytes: usize) -> *mut u8 {
    let bytes = round_up(bytes);
    // SAFETY: a new private anonymous mapping at an address that the kernel chooses overlaps no
    // other (tests: `a_mapping_is_zeroed_and_counted`).
    let at = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return core::ptr::null_mut();
    }
    // SAFETY: `at` and `bytes` are exactly the mapping made above, and this advice changes no
    // contents. If the kernel refuses it, only the mark is missing.
    unsafe { libc::madvise(at, bytes, libc::MADV_DONTDUMP) };
    MAPPED_BYTES.fetch_add(bytes, Relaxed);
    at.cast()
}

/// Unmaps what [`map`] returned for the same `bytes`.
///
/// # Safety
/// `at` came from `map(bytes)`, is unmapped once, and nothing refers to it any more.
pub(super) unsafe fn unmap(at: *mut u8, bytes: usize) {
    let bytes = round_up(bytes);
    // SAFETY: the contract of `unmap`: a whole mapping of this module that is no longer used
    // (tests: `a_mapping_is_zeroed_and_counted`).
    unsafe { libc::munmap(at.cast(), bytes) };
    MAPPED_BYTES.fetch_sub(bytes, Relaxed);
}

/// Enlarges what [`map`] returned for `bytes` to `to` bytes. The kernel moves page table entries,
/// not contents, so that a large mapping grows without a long pause. Returns null if the system
/// refuses, and leaves the mapping unchanged.
///
/// # Safety
/// `at` came from `map(bytes)`, and if the result is another address, nothing refers to the old
/// one any more.
pub(super) unsafe fn remap(at: *mut u8, bytes: usize, to: usize) -> *mut u8 {
    let (bytes, to) = (round_up(bytes), round_up(to));
    // SAFETY: the contract of `remap`: a whole mapping of this module without other references
    // (mapped_vec.rs, tests: `a_vector_grows_and_keeps_its_elements`).
    let moved = unsafe { libc::mremap(at.cast(), bytes, to, libc::MREMAP_MAYMOVE) };
    if moved == libc::MAP_FAILED {
        return core::ptr::null_mut();
    }
    MAPPED_BYTES.fetch_add(to - bytes, Relaxed);
    moved.cast()
}

/// Held by tests that compare [`mapped_bytes`] before and after: other tests map little meanwhile.
#[cfg(test)]
pub(super) static LARGE_MAPPING: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zeroed_and_counted() {
        let large_mapping = LARGE_MAPPING.lock().unwrap();
        let before = mapped_bytes();
        let large = map((1 << 30) + 1);
        assert!(!large.is_null());
        assert!(mapped_bytes() > before + (1 << 29));
        // SAFETY: mapped above with the same size, and never read.
        unsafe { unmap(large, (1 << 30) + 1) };
        assert!(mapped_bytes() < before + (1 << 29));
        drop(large_mapping);
        let at = map(10_000);
        // SAFETY: `map` gave at least 10,000 readable bytes.
        assert!((0..10_000).all(|i| unsafe { at.add(i).read() } == 0));
        // SAFETY: mapped above with the same size, and no longer read.
        unsafe { unmap(at, 10_000) };
    }
}
