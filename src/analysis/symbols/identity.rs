//! What an executable or shared object is, for servers that have its debug information: its build ID, and the virtual
//! addresses of its code.

use std::path::Path;

use object::{Object, ObjectSegment};

use super::elf_file::ElfFile;

/// The identity of a file, and the addresses of its parts.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The build ID in hexadecimal digits; empty if the file has none.
    pub(crate) build_id: String,
    /// Loadable segments: offset in the file, bytes in the file, virtual address.
    segments: Vec<(u64, u64, u64)>,
}

impl Identity {
    /// Reads it; `None` if the file cannot be read or is not a 64-bit ELF file.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let file = ElfFile::open(path)?;
        let headers = file.headers()?;
        let id = headers.parsed.build_id().ok().flatten().unwrap_or_default();
        let segments = headers.parsed.segments().map(|segment| {
            let (offset, size) = segment.file_range();
            (offset, size, segment.address())
        });
        Some(Self {
            build_id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
            segments: segments.collect(),
        })
    }

    /// The virtual address of a byte of the file.
    pub(crate) fn address(&self, offset: u64) -> Option<u64> {
        let mut segments = self.segments.iter();
        let &(start, _, address) = segments
            .find(|&&(start, size, _)| (start..start.saturating_add(size)).contains(&offset))?;
        (offset - start).checked_add(address)
    }
}
