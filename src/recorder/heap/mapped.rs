//! Memory of the tool's own: anonymous mappings, so that nothing the ledger keeps is on the heap
//! that it counts.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that this module has mapped and not yet unmapped.
static MAPPED_BYTES: AtomicUsize = AtomicUsize::new(0);

const PAGE: usize = 4096;

/// Bytes of the tool's own mappings in this process: its cost in address space, and the upper
/// bound of its cost in resident memory.
pub(crate) fn mapped_bytes() -> usize {
    MAPPED_BYTES.load(Relaxed)
}

fn round_up(bytes: usize) -> usize {
    bytes.div_ceil(PAGE) * PAGE
}

/// Maps at least `bytes` zeroed bytes, or returns null if the system refuses.
pub(super) fn map(bytes: usize) -> *mut u8 {
    let bytes = round_up(bytes);
    // SAFETY: a new private anonymous mapping at an address of the kernel's choice overlaps
    // nothing (tests: `a_mapping_is_zeroed_and_counted`).
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
    // SAFETY: advice on a whole mapping that was just made. It keeps the kernel from merging this
    // mapping with a neighbour of another owner, and marks it (`smaps.rs`); refused, nothing is lost.
    unsafe { libc::madvise(at, bytes, libc::MADV_DONTDUMP) };
    MAPPED_BYTES.fetch_add(bytes, Relaxed);
    at.cast()
}

/// Gives back what [`map`] returned for the same `bytes`.
///
/// # Safety
/// `at` came from `map(bytes)`, is unmapped once, and nothing refers to it any more.
pub(super) unsafe fn unmap(at: *mut u8, bytes: usize) {
    let bytes = round_up(bytes);
    // SAFETY: the caller promises that this is a whole mapping of ours that nobody uses.
    unsafe { libc::munmap(at.cast(), bytes) };
    MAPPED_BYTES.fetch_sub(bytes, Relaxed);
}

/// Makes what [`map`] returned for `bytes` larger, by moving its pages, not their contents: what is
/// large would hold its user up. Null if the system refuses, and then it is as it was.
///
/// # Safety
/// `at` came from `map(bytes)`, and nothing refers to it any more if it has moved.
unsafe fn grow(at: *mut u8, bytes: usize, to: usize) -> *mut u8 {
    let (bytes, to) = (round_up(bytes), round_up(to));
    // SAFETY: the caller promises that this is a whole mapping of ours that nobody refers to.
    let moved = unsafe { libc::mremap(at.cast(), bytes, to, libc::MREMAP_MAYMOVE) };
    if moved == libc::MAP_FAILED {
        return core::ptr::null_mut();
    }
    MAPPED_BYTES.fetch_add(to - bytes, Relaxed);
    moved.cast()
}

/// A power of two of elements in a mapping of their own, or none; the one behind the last is the first. Valid if
/// all its bytes are zero: it has none. `T` must be valid when all its bytes are zero, as all of them are at first.
pub(super) struct MappedRing<T: Copy> {
    start: *mut T,
    len: usize,
}

// SAFETY: as that of a `MappedVec`.
unsafe impl<T: Copy + Send> Send for MappedRing<T> {}

impl<T: Copy> MappedRing<T> {
    pub(super) const fn none() -> Self {
        Self {
            start: core::ptr::null_mut(),
            len: 0,
        }
    }

    /// So many, a power of two or 0.
    pub(super) fn new(len: usize) -> Result<Self, NoMemory> {
        debug_assert!(len == 0 || len.is_power_of_two());
        if len == 0 {
            return Ok(Self::none());
        }
        let start: *mut T = map(len * size_of::<T>()).cast();
        if start.is_null() {
            return Err(NoMemory);
        }
        Ok(Self { start, len })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The one of this number, counted on beyond the last; `None` if there is none.
    #[inline]
    pub(super) fn get(&mut self, number: usize) -> Option<&mut T> {
        if self.start.is_null() {
            return None;
        }
        // SAFETY: `start` maps `len` of them, a power of two, and `&mut self` is the only way to them
        // (tests: `a_ring_goes_on_at_its_first`).
        Some(unsafe { &mut *self.start.add(number & (self.len - 1)) })
    }
}

impl<T: Copy> Drop for MappedRing<T> {
    fn drop(&mut self) {
        if !self.start.is_null() {
            // SAFETY: mapped for so many, and gone with `self`.
            unsafe { unmap(self.start.cast(), self.len * size_of::<T>()) };
        }
    }
}

/// A growable array in a mapping of its own. `T` must be valid when all its bytes are zero.
pub(crate) struct MappedVec<T: Copy> {
    start: *mut T,
    len: usize,
    capacity: usize,
}

// SAFETY: it owns its mapping as a `Vec` owns its buffer, and `T: Copy + Send` has no ties to a
// thread (tests: `a_vector_grows_and_keeps_what_it_held` moves one to another thread).
unsafe impl<T: Copy + Send> Send for MappedVec<T> {}

/// The system refused memory for the tool's own use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl From<NoMemory> for std::io::Error {
    fn from(NoMemory: NoMemory) -> Self {
        std::io::ErrorKind::OutOfMemory.into()
    }
}

impl<T: Copy> MappedVec<T> {
    pub(crate) const fn new() -> Self {
        Self {
            start: core::ptr::null_mut(),
            len: 0,
            capacity: 0,
        }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `start` maps `capacity >= len` elements, the first `len` of which were written.
        unsafe { core::slice::from_raw_parts(self.start, self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as in `as_slice`; `&mut self` makes it the only reference.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len) }
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Keeps the first `len` elements.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn push(&mut self, value: T) -> Result<(), NoMemory> {
        self.extend_from_slice(&[value])
    }

    pub(crate) fn extend_from_slice(&mut self, values: &[T]) -> Result<(), NoMemory> {
        self.reserve(self.len + values.len())?;
        // SAFETY: `reserve` made room for `len + values.len()` elements, and a borrowed slice
        // cannot lie in our spare room.
        unsafe {
            core::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(self.len), values.len());
        }
        self.len += values.len();
        Ok(())
    }

    /// Makes it `len` elements long, all of them `value`.
    pub(crate) fn reset(&mut self, len: usize, value: T) -> Result<(), NoMemory> {
        self.reserve(len)?;
        for i in 0..len {
            // SAFETY: `reserve` made room for `len` elements.
            unsafe { self.start.add(i).write(value) };
        }
        self.len = len;
        Ok(())
    }

    fn reserve(&mut self, wanted: usize) -> Result<(), NoMemory> {
        if wanted <= self.capacity {
            return Ok(());
        }
        let element = size_of::<T>().max(1);
        let bytes = round_up(wanted.max(self.capacity * 2) * element);
        let at = match self.capacity {
            0 => map(bytes),
            // SAFETY: the old mapping is ours, and `start` is overwritten next.
            capacity => unsafe { grow(self.start.cast(), capacity * element, bytes) },
        };
        if at.is_null() {
            return Err(NoMemory);
        }
        self.start = at.cast();
        self.capacity = bytes / element;
        Ok(())
    }
}

impl<T: Copy> Default for MappedVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> Drop for MappedVec<T> {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: the mapping is ours and goes with `self`.
            unsafe { unmap(self.start.cast(), self.capacity * size_of::<T>().max(1)) };
        }
    }
}

impl core::fmt::Write for MappedVec<u8> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.extend_from_slice(text.as_bytes())
            .map_err(|NoMemory| core::fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What is mapped is the process's: one test at a time maps much.
    static MUCH: Mutex<()> = Mutex::new(());

    #[test]
    fn a_mapping_is_zeroed_and_counted() {
        // Others map and unmap, but not as much.
        let much = MUCH.lock().unwrap();
        let before = mapped_bytes();
        let large = map((1 << 30) + 1);
        assert!(!large.is_null());
        assert!(mapped_bytes() > before + (1 << 29));
        // SAFETY: mapped just now, with the same size.
        unsafe { unmap(large, (1 << 30) + 1) };
        assert!(mapped_bytes() < before + (1 << 29));
        drop(much);
        let at = map(10_000);
        // SAFETY: `map` gave at least 10 000 readable bytes.
        assert!((0..10_000).all(|i| unsafe { at.add(i).read() } == 0));
        // SAFETY: mapped above, with the same size.
        unsafe { unmap(at, 10_000) };
    }

    #[test]
    fn a_vector_grows_and_keeps_what_it_held() {
        let mut numbers = MappedVec::new();
        for i in 0..100_000_u64 {
            numbers.push(i).unwrap();
        }
        let numbers = std::thread::spawn(move || numbers).join().unwrap();
        assert!(numbers.as_slice().iter().copied().eq(0..100_000));
    }

    #[test]
    fn a_ring_goes_on_at_its_first() {
        assert!(MappedRing::<u32>::none().get(3).is_none());
        assert_eq!(MappedRing::<u32>::new(0).unwrap().len(), 0);
        let mut ring = MappedRing::new(8192).unwrap();
        for number in 0..8192_usize {
            assert_eq!(ring.get(number), Some(&mut 0));
            *ring.get(number).unwrap() = number;
        }
        for number in [0, 1, 8191, 8192, 8193, usize::MAX] {
            assert_eq!(ring.get(number), Some(&mut (number % 8192)));
        }
        // Others map and unmap, but not as much.
        let _much = MUCH.lock().unwrap();
        let before = mapped_bytes();
        let large = MappedRing::<u64>::new(1 << 27).unwrap();
        assert!(mapped_bytes() > before + (1 << 29));
        drop(large);
        assert!(mapped_bytes() < before + (1 << 29));
    }

    #[test]
    fn reset_fills_and_clear_empties() {
        let mut v = MappedVec::new();
        v.reset(3, 7_u32).unwrap();
        assert_eq!(v.as_slice(), [7, 7, 7]);
        v.as_mut_slice()[1] = 8;
        v.reset(2, 1).unwrap();
        assert_eq!(v.as_slice(), [1, 1]);
        v.clear();
        assert!(v.as_slice().is_empty());
    }
}
