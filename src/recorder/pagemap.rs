//! State of individual pages of this process, read from `/proc/self/pagemap` without allocating.
//!
//! Reference: Documentation/admin-guide/mm/pagemap.rst.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Size of a page in bytes.
pub(crate) const PAGE: usize = 4096;

/// Most pages that are read with one system call.
pub(crate) const CHUNK: usize = 512;

/// The open file.
pub(crate) struct Pagemap(File);

/// The kernel's entry for a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;

    /// The entry with these bits.
    pub(crate) const fn of(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether the page is in memory.
    pub(crate) fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// Whether a page of private memory has ever been written: it is in memory or in swap space.
    pub(crate) fn is_touched(self) -> bool {
        self.0 & (Self::PRESENT | Self::SWAPPED) != 0
    }
}

impl Pagemap {
    /// `None` if the file cannot be opened.
    pub(crate) fn open() -> Option<Self> {
        File::open("/proc/self/pagemap").ok().map(Self)
    }

    /// Reads the entries of consecutive pages, at most [`CHUNK`], starting with the page at an
    /// address. Returns the number of entries read.
    pub(crate) fn read(&self, address: usize, entries: &mut [Entry]) -> usize {
        let mut bytes = [0; CHUNK * 8];
        let wanted = entries.len().min(CHUNK) * 8;
        let offset = (address / PAGE * 8) as u64;
        let Ok(read) = self.0.read_at(&mut bytes[..wanted], offset) else {
            return 0;
        };
        for (entry, bytes) in entries.iter_mut().zip(bytes[..read].chunks_exact(8)) {
            *entry = Entry::of(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()));
        }
        read / 8
    }

    /// Bytes of a range that are in memory; 0 if the kernel does not report it.
    pub(crate) fn present_bytes(&self, start: usize, end: usize) -> u64 {
        let mut present = 0;
        let mut entries = [Entry::default(); CHUNK];
        let (mut page, end) = (start / PAGE, end.div_ceil(PAGE));
        while page < end {
            let wanted = (end - page).min(CHUNK);
            let read = self.read(page * PAGE, &mut entries[..wanted]);
            if read == 0 {
                break;
            }
            let pages = entries[..read].iter().filter(|e| e.is_present()).count();
            present += (pages * PAGE) as u64;
            page += read;
        }
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_pages_are_present() {
        const PAGES: usize = 64;
        let mut memory = vec![0_u8; (PAGES + 1) * PAGE];
        let start = memory.as_ptr().addr().next_multiple_of(PAGE);
        let offset = start - memory.as_ptr().addr();
        for page in 0..PAGES / 2 {
            memory[offset + page * PAGE] = 1;
        }
        let pagemap = Pagemap::open().unwrap();
        let present = pagemap.present_bytes(start, start + PAGES * PAGE);
        assert!(present >= (PAGES / 2 * PAGE) as u64, "{present}");
        assert!(present <= (PAGES * PAGE) as u64, "{present}");
        let mut entries = [Entry::default(); 2 * CHUNK];
        assert_eq!(pagemap.read(start, &mut entries), CHUNK);
        assert!(entries[..PAGES / 2].iter().all(|e| e.is_touched()));
        assert_eq!(entries[CHUNK], Entry::default());
    }
}
