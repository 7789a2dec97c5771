//! A fixed ring buffer in a mapping of its own.

use super::mapping::{NoMemory, map, unmap};

/// A ring of a power of two of elements, or of none. Indices may be any number: they are taken
/// modulo the length. `T` must be valid if all its bytes are zero, which they are at first.
///
/// A ring whose own bytes are all zero is valid too: it has no elements.
pub(super) struct MappedRing<T: Copy> {
    start: *mut T,
    len: usize,
}

// SAFETY: a `MappedRing` owns its mapping as a `Vec` owns its buffer, and `T: Copy + Send` has no
// ties to a thread.
unsafe impl<T: Copy + Send> Send for MappedRing<T> {}

impl<T: Copy> MappedRing<T> {
    /// A ring without elements.
    pub(super) const fn empty() -> Self {
        Self {
            start: core::ptr::null_mut(),
            len: 0,
        }
    }

    /// A ring of `len` elements, a power of two or 0.
    pub(super) fn new(len: usize) -> Result<Self, NoMemory> {
        debug_assert!(len == 0 || len.is_power_of_two());
        if len == 0 {
            return Ok(Self::empty());
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

    /// The element at `index` modulo the length; `None` if the ring has no elements.
    #[inline]
    pub(super) fn get(&mut self, index: usize) -> Option<&mut T> {
        if self.start.is_null() {
            return None;
        }
        // SAFETY: `start` maps `len` elements, `len` is a power of two, so that the masked index is
        // below it, and `&mut self` is the only way to them (tests: `indices_wrap_around`).
        Some(unsafe { &mut *self.start.add(index & (self.len - 1)) })
    }
}

impl<T: Copy> Drop for MappedRing<T> {
    fn drop(&mut self) {
        if !self.start.is_null() {
            // SAFETY: this ring owns the mapping of `len` elements and is dropped, so that nothing
            // refers to it (tests: `indices_wrap_around`).
            unsafe { unmap(self.start.cast(), self.len * size_of::<T>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::heap::mapping::{LARGE_MAPPING, mapped_bytes};

    #[test]
    fn indices_wrap_around() {
        assert!(MappedRing::<u32>::empty().get(3).is_none());
        assert_eq!(MappedRing::<u32>::new(0).unwrap().len(), 0);
        let mut ring = MappedRing::new(8192).unwrap();
        for number in 0..8192_usize {
            assert_eq!(ring.get(number), Some(&mut 0));
            *ring.get(number).unwrap() = number;
        }
        for number in [0, 1, 8191, 8192, 8193, usize::MAX] {
            assert_eq!(ring.get(number), Some(&mut (number % 8192)));
        }
        let _large_mapping = LARGE_MAPPING.lock().unwrap();
        let before = mapped_bytes();
        let large = MappedRing::<u64>::new(1 << 27).unwrap();
        assert!(mapped_bytes() > before + (1 << 29));
        drop(large);
        assert!(mapped_bytes() < before + (1 << 29));
    }
}
