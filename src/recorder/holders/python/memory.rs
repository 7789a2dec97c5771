//! Checked reading of the frozen copy's memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::recorder::foreign_memory::word;
use crate::recorder::heap::{PythonLayout, python_characters};
use crate::recorder::holders::index::{BlockId, Index};
use crate::recorder::holders::regions::{Access, RegionKind, Regions};

/// Characters of a text that are read, at most.
const LONGEST_TEXT: usize = 1 << 12;

/// The memory of the copy. An address is read in place where it is proved to be in a live block or in static
/// memory, which the copy neither frees nor unmaps; anything else is read through the kernel.
pub(super) struct Memory<'a> {
    pub(super) layout: &'a PythonLayout,
    index: &'a Index,
    regions: &'a Regions,
    usable: fn(usize) -> usize,
    file: File,
}

impl<'a> Memory<'a> {
    pub(super) fn new(
        layout: &'a PythonLayout,
        index: &'a Index,
        regions: &'a Regions,
        usable: fn(usize) -> usize,
    ) -> io::Result<Self> {
        let file = File::open("/proc/self/mem")?;
        Ok(Self {
            layout,
            index,
            regions,
            usable,
            file,
        })
    }

    /// The address of a block.
    pub(super) fn start(&self, block: BlockId) -> usize {
        self.index.get(block).start
    }

    /// The bytes of a block, as a range of addresses.
    pub(super) fn range(&self, block: BlockId) -> (usize, usize) {
        let start = self.index.get(block).start;
        (start, start + (self.usable)(start))
    }

    /// The block that has an address.
    pub(super) fn block_at(&self, at: usize) -> Option<BlockId> {
        Some(self.index.find(at, self.usable)?.id)
    }

    /// The word at an address; `None` if it is not known to be readable.
    #[inline]
    pub(super) fn word(&self, at: usize) -> Option<usize> {
        if !at.is_multiple_of(8) || !self.has(at, 8) {
            return None;
        }
        // SAFETY: the aligned word is in a live block, or in readable memory that no other process can
        // truncate; the copy frees and unmaps nothing (test: `no_memory_makes_it_panic`).
        Some(unsafe { word::<0>(at) })
    }

    /// The word at an offset in an object, which may be none.
    pub(super) fn field(&self, object: usize, offset: usize) -> Option<usize> {
        self.word(object.checked_add(offset)?)
    }

    /// The byte at an address.
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        Some(self.word(at & !7)?.to_ne_bytes()[at & 7])
    }

    /// The 32-bit number at an address that is aligned to that.
    pub(super) fn number(&self, at: usize) -> Option<u32> {
        let word = self.word(at & !7)?;
        Some((word >> (8 * (at & 4))) as u32)
    }

    /// The word at any address, read through the kernel, which reports an error where nothing is mapped.
    pub(super) fn far_word(&self, at: usize) -> Option<usize> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at as u64).ok()?;
        Some(usize::from_ne_bytes(bytes))
    }

    /// Reads what is at any address through the kernel, as far as it is mapped.
    pub(super) fn far_bytes<'b>(&self, at: usize, buffer: &'b mut [u8]) -> &'b [u8] {
        let read = self.file.read_at(buffer, at as u64).unwrap_or(0);
        &buffer[..read]
    }

    /// Whether a range is in one live block, or in one range of static memory.
    pub(super) fn has(&self, at: usize, len: usize) -> bool {
        let Some(end) = at.checked_add(len) else {
            return false;
        };
        match self.index.find(at, self.usable) {
            Some(block) => at >= block.start && end <= block.start + (self.usable)(block.start),
            None => self.is_static(at, end),
        }
    }

    fn is_static(&self, at: usize, end: usize) -> bool {
        // They are sorted by kind, and this kind is the first.
        let regions = self.regions.regions.as_slice();
        let statics = regions.partition_point(|r| r.kind == RegionKind::Statics);
        let statics = &regions[..statics];
        let next = statics.partition_point(|r| r.start <= at);
        let region = next.checked_sub(1).map(|i| &statics[i]);
        region.is_some_and(|r| r.access == Access::Private && end <= r.end)
    }

    /// The characters of the string at an address; none if they are not [readable](Memory::has).
    pub(super) fn characters(&self, string: usize) -> impl Iterator<Item = char> {
        let length = self.readable_characters(string).unwrap_or(0);
        let string = (length > 0).then_some(string).into_iter();
        // SAFETY: the head of the string, and the bytes of the characters that are taken, are in a live block or in
        // static memory (test: `no_memory_makes_it_panic`).
        let characters =
            string.flat_map(|string| unsafe { python_characters(string, &self.layout.offsets) });
        characters.take(length)
    }

    /// How many characters of a string are readable.
    fn readable_characters(&self, string: usize) -> Option<usize> {
        const ASCII: u32 = 1 << 6;
        let offsets = &self.layout.offsets;
        let length = self.word(string.checked_add(offsets.text_length)?)?;
        let state = self.number(string + offsets.text_state)?;
        let (start, bytes) = match state & ASCII {
            0 => (offsets.characters, (state >> 2 & 7) as usize),
            _ => (offsets.ascii, 1),
        };
        let length = length.min(LONGEST_TEXT);
        self.has(string, start + length * bytes).then_some(length)
    }
}
