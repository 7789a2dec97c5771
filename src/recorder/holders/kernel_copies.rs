//! Memory that is read through the kernel, from `/proc/self/mem`. Where a read in place would end the
//! process, because a file was truncated or the memory is protected, the kernel reports an error.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::marks::{Marks, Pointer};
use crate::recorder::heap::NoMemory;
use crate::recorder::pagemap::PAGE;

/// Bytes of a copy behind its page, for a word that is not aligned and ends there.
const BEHIND: usize = 7;

/// A copy of one page of this process.
pub(super) struct KernelCopies {
    /// `None` if it cannot be opened.
    memory: Option<File>,
    page: [u64; PAGE / 8 + 1],
}

impl KernelCopies {
    pub(super) fn new() -> Self {
        Self {
            memory: File::open("/proc/self/mem").ok(),
            page: [0; PAGE / 8 + 1],
        }
    }

    /// Calls `visit` with each word in a range that points to a block. What cannot be read is counted in [`Marks::unreadable_bytes`].
    pub(super) fn scan(
        &mut self,
        marks: &mut Marks<'_>,
        start: usize,
        end: usize,
        mut visit: impl FnMut(&mut Marks<'_>, Pointer) -> Result<(), NoMemory>,
    ) -> Result<(), NoMemory> {
        let mut at = start.next_multiple_of(8);
        while at < end {
            let bytes = (end - at).min(PAGE);
            let more = (end - at).min(PAGE + BEHIND);
            let copied = self.copy(at, more).map(|copy| (copy, more));
            match copied.or_else(|| Some((self.copy(at, bytes)?, bytes))) {
                Some((copy, copied)) => {
                    // SAFETY: `copy` is the address of `page`, which has at least `copied` bytes and
                    // is borrowed until the end of this function (test:
                    // `words_are_read_from_memory_that_the_process_may_not_read`).
                    unsafe {
                        marks.scan_copy(copy, copy + copied, at.wrapping_sub(copy), &mut visit)?
                    }
                }
                None => marks.unreadable_bytes += bytes as u64,
            }
            at += bytes;
        }
        Ok(())
    }

    /// Copies memory at an address, at most a page and [`BEHIND`] bytes. Returns the address of the copy; `None` if not
    /// all of it can be read.
    fn copy(&mut self, at: usize, bytes: usize) -> Option<usize> {
        let memory = self.memory.as_ref()?;
        let mut buffer = [0; PAGE + 8];
        memory.read_exact_at(&mut buffer[..bytes], at as u64).ok()?;
        for (word, bytes) in self.page.iter_mut().zip(buffer.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        Some(self.page.as_ptr().expose_provenance())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::holders::index::{Index, Sizes};
    use crate::recorder::holders::scan::Words;

    #[test]
    fn words_are_read_from_memory_that_the_process_may_not_read() {
        let block = Box::new([0_u64; 8]);
        let start = block.as_ptr().expose_provenance();
        let sizes = Sizes {
            usable: |_| 64,
            pointable: |_| 64,
        };
        let index = Index::new(|visit| visit(start), sizes.usable).unwrap();
        let mut marks = Marks::new(&index, sizes, None).unwrap();
        // SAFETY: the kernel chooses the address of the new mapping, so that it overlaps no other.
        let mapping = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                3 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(mapping, libc::MAP_FAILED);
        let at = mapping.expose_provenance();
        for offset in [0, PAGE - 16, PAGE + 72] {
            // SAFETY: the word is in the mapping, which is writable.
            unsafe {
                mapping
                    .wrapping_byte_add(offset)
                    .cast::<usize>()
                    .write(start)
            };
        }
        // Not aligned, on two pages.
        let across = PAGE - 3;
        // SAFETY: as above.
        unsafe {
            let words = mapping.wrapping_byte_add(across).cast::<usize>();
            words.write_unaligned(start);
        }
        // SAFETY: the range is the mapping that was just created, and nothing refers to it. The last
        // page is removed.
        unsafe {
            libc::mprotect(mapping, 3 * PAGE, libc::PROT_NONE);
            libc::munmap(mapping.wrapping_byte_add(2 * PAGE), PAGE);
        }
        for (words, expected) in [
            (Words::Aligned, &[0, PAGE - 16, PAGE + 72][..]),
            (Words::Unaligned, &[across]),
        ] {
            marks.words = words;
            marks.unreadable_bytes = 0;
            let mut found = Vec::new();
            KernelCopies::new()
                .scan(&mut marks, at, at + 3 * PAGE, |_, pointer| {
                    assert_eq!(pointer.block.start, start);
                    found.push(pointer.at - at);
                    Ok(())
                })
                .unwrap();
            assert_eq!(found, expected);
            assert_eq!(marks.unreadable_bytes, PAGE as u64);
        }
        // SAFETY: the rest of the mapping, to which nothing refers any more.
        unsafe { libc::munmap(mapping, 2 * PAGE) };
    }
}
