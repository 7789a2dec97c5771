//! A growable array in a mapping of its own.

use super::mapping::{NoMemory, map, remap, round_up, unmap};

/// A `Vec` of the recorder: its buffer is a mapping, not a heap block. `T` must be valid if all its
/// bytes are zero.
pub(crate) struct MappedVec<T: Copy> {
    start: *mut T,
    len: usize,
    capacity: usize,
}

// SAFETY: a `MappedVec` owns its mapping as a `Vec` owns its buffer, and `T: Copy + Send` has no
// ties to a thread (tests: `a_vector_grows_and_keeps_its_elements` moves one to another thread).
unsafe impl<T: Copy + Send> Send for MappedVec<T> {}

impl<T: Copy> MappedVec<T> {
    pub(crate) const fn new() -> Self {
        Self {
            start: core::ptr::null_mut(),
            len: 0,
            capacity: 0,
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `start` maps `capacity >= len` elements, and the first `len` were written
        // (tests: `a_vector_grows_and_keeps_its_elements`).
        unsafe { core::slice::from_raw_parts(self.start, self.len) }
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: `start` maps `capacity >= len` elements, the first `len` of them were written,
        // and `&mut self` is the only way to them (tests: `reset_fills_and_clear_empties`).
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
        // cannot overlap the unused part of our buffer
        // (tests: `a_vector_grows_and_keeps_its_elements`).
        unsafe {
            core::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(self.len), values.len());
        }
        self.len += values.len();
        Ok(())
    }

    /// Makes the vector `len` elements long, each of them `value`.
    pub(crate) fn reset(&mut self, len: usize, value: T) -> Result<(), NoMemory> {
        self.reserve(len)?;
        for i in 0..len {
            // SAFETY: `reserve` made room for `len` elements, and `i < len`
            // (tests: `reset_fills_and_clear_empties`).
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
            // SAFETY: `start` is the mapping of `capacity` elements that this vector owns, and it
            // is overwritten with the new address below
            // (tests: `a_vector_grows_and_keeps_its_elements`).
            capacity => unsafe { remap(self.start.cast(), capacity * element, bytes) },
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
            // SAFETY: this vector owns the mapping of `capacity` elements and is dropped, so that
            // nothing refers to it (tests: `a_vector_grows_and_keeps_its_elements`).
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

    #[test]
    fn a_vector_grows_and_keeps_its_elements() {
        let mut numbers = MappedVec::new();
        for i in 0..100_000_u64 {
            numbers.push(i).unwrap();
        }
        let numbers = std::thread::spawn(move || numbers).join().unwrap();
        assert!(numbers.as_slice().iter().copied().eq(0..100_000));
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
