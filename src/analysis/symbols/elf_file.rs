//! An ELF file, of which only the sections that are needed are read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use object::Object;
use object::read::elf::ElfFile64;
use object::{CompressedFileRange, CompressionFormat, Endianness, ObjectSection, ReadCache};

use super::section::Reader;
use super::unread::Unread;

/// An open file.
pub(super) struct ElfFile {
    pub(super) path: PathBuf,
    file: Rc<File>,
    cache: ReadCache<File>,
}

/// The headers of a file.
pub(super) struct Headers<'a> {
    pub(super) elf: &'a ElfFile,
    pub(super) parsed: ElfFile64<'a, Endianness, &'a ReadCache<File>>,
}

impl ElfFile {
    /// Opens a file; `None` if it cannot be read.
    pub(super) fn open(path: &Path) -> Option<Self> {
        // Opening a pipe would block.
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let file = File::open(path).ok()?;
        Some(Self {
            path: path.into(),
            cache: ReadCache::new(file.try_clone().ok()?),
            file: Rc::new(file),
        })
    }

    /// Reads the headers; `None` if it is not a 64-bit ELF file.
    pub(super) fn headers(&self) -> Option<Headers<'_>> {
        let parsed = ElfFile64::parse(&self.cache).ok()?;
        Some(Headers { elf: self, parsed })
    }

    /// Bytes of the file; 0 if that is not known.
    pub(super) fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The content from `at` on.
    pub(super) fn reader(&self, at: u64) -> io::Result<impl Read> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(at))?;
        Ok(file)
    }
}

impl Headers<'_> {
    /// The debug section of this name, decompressed; empty if there is none.
    pub(super) fn debug_section(&self, name: &str) -> Result<Reader, Unread> {
        // Older tools named compressed sections `.zdebug_info`.
        let older = || {
            name.strip_prefix(".debug_")
                .map(|rest| format!(".zdebug_{rest}"))
        };
        let section = self.parsed.section_by_name(name);
        let section = section.or_else(|| self.parsed.section_by_name(&older()?));
        section.map_or_else(|| Ok(Reader::empty()), |s| self.section(&s))
    }

    /// A section that is read where it is needed, unless it is compressed.
    fn section<'s>(&self, section: &impl ObjectSection<'s>) -> Result<Reader, Unread> {
        let range = self.range(section)?;
        if range.format != CompressionFormat::None {
            return Ok(Reader::in_memory(self.unpacked(section, &range)?));
        }
        let length = self.length(&range);
        let length = length.ok_or_else(|| self.damaged(section))?;
        let file = Rc::clone(&self.elf.file);
        Ok(Reader::in_file(file, range.offset, length))
    }

    /// The content of a section, decompressed.
    pub(super) fn content<'s>(&self, section: &impl ObjectSection<'s>) -> Result<Vec<u8>, Unread> {
        let range = self.range(section)?;
        if range.format != CompressionFormat::None {
            return self.unpacked(section, &range);
        }
        let length = self.length(&range);
        let length = length.ok_or_else(|| self.damaged(section))?;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(length).is_err() {
            return Err(self.no_memory());
        }
        bytes.resize(length, 0);
        let read = self.elf.file.read_exact_at(&mut bytes, range.offset);
        read.map_err(|_| self.damaged(section))?;
        Ok(bytes)
    }

    fn range<'s>(&self, section: &impl ObjectSection<'s>) -> Result<CompressedFileRange, Unread> {
        let range = section.compressed_file_range();
        range.map_err(|_| self.damaged(section))
    }

    fn damaged<'s>(&self, section: &impl ObjectSection<'s>) -> Unread {
        Unread::Damaged {
            file: self.elf.path.clone(),
            section: section.name().unwrap_or_default().into(),
        }
    }

    pub(super) fn no_memory(&self) -> Unread {
        Unread::NoMemory {
            file: self.elf.path.clone(),
        }
    }

    /// The content of a compressed section.
    fn unpacked<'s>(
        &self,
        section: &impl ObjectSection<'s>,
        range: &CompressedFileRange,
    ) -> Result<Vec<u8>, Unread> {
        let damaged = || self.damaged(section);
        let packed = self.elf.reader(range.offset).map_err(|_| damaged())?;
        match decompressor(range.format, packed.take(range.compressed_size)) {
            None => Err(Unread::Compressed {
                file: self.elf.path.clone(),
                by: name_of(range.format),
            }),
            Some(unpacked) => {
                let unpacked = unpacked.and_then(|u| all_of(u, range.uncompressed_size));
                unpacked.map_err(|error| match error.kind() {
                    io::ErrorKind::OutOfMemory => self.no_memory(),
                    _ => damaged(),
                })
            }
        }
    }

    /// The length of a part of the file; `None` if the file is shorter, as a damaged header may have it.
    fn length(&self, range: &CompressedFileRange) -> Option<usize> {
        let end = range.offset.checked_add(range.compressed_size)?;
        (end <= self.elf.length()).then(|| usize::try_from(range.compressed_size).ok())?
    }
}

/// All bytes of `reader`, which have to be `size`.
fn all_of(reader: impl Read, size: u64) -> io::Result<Vec<u8>> {
    const STEP: usize = 1 << 20;
    // A damaged header may state any size. One byte more shows that it is wrong.
    let mut reader = reader.take(size.saturating_add(1));
    let mut bytes = Vec::new();
    loop {
        // `read_to_end` would abort the process where there is no memory.
        let more = STEP.max(bytes.len() / 4);
        bytes
            .try_reserve_exact(more)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        if reader.by_ref().take(more as u64).read_to_end(&mut bytes)? < more {
            break;
        }
    }
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn name_of(format: CompressionFormat) -> &'static str {
    match format {
        CompressionFormat::Zlib => "zlib",
        CompressionFormat::Zstandard => "zstd",
        _ => "an unknown method",
    }
}

/// A reader of what `packed` decompresses to; `None` if this build does not decompress the format.
#[cfg(feature = "compressed-debug")]
fn decompressor<'a>(
    format: CompressionFormat,
    packed: impl Read + 'a,
) -> Option<io::Result<Box<dyn Read + 'a>>> {
    match format {
        CompressionFormat::Zlib => Some(Ok(Box::new(flate2::read::ZlibDecoder::new(packed)))),
        CompressionFormat::Zstandard => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(packed);
            let decoder = decoder.map_err(|_| io::ErrorKind::InvalidData.into());
            Some(decoder.map(|d| Box::new(d) as _))
        }
        _ => None,
    }
}

#[cfg(not(feature = "compressed-debug"))]
fn decompressor<'a>(
    _format: CompressionFormat,
    _packed: impl Read + 'a,
) -> Option<io::Result<Box<dyn Read + 'a>>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"a string of the debug information\0and another one\0";

    /// A 64-bit ELF file with one section `.debug_str`, compressed: file header, section data, section
    /// names, three section headers (System V ABI, chapter 4).
    fn file(method: u32, uncompressed_size: u64, packed: &[u8]) -> Vec<u8> {
        // `Elf64_Chdr`: method, reserved, size, alignment.
        let mut data = Vec::new();
        data.extend(method.to_le_bytes());
        data.extend(0_u32.to_le_bytes());
        data.extend(uncompressed_size.to_le_bytes());
        data.extend(1_u64.to_le_bytes());
        data.extend(packed);
        let names = b"\0.debug_str\0.shstrtab\0";
        let names_at = 64 + data.len() as u64;
        let headers_at = (names_at + names.len() as u64).next_multiple_of(8);
        // The 64-bit little-endian file header of an x86-64 executable.
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend(2_u16.to_le_bytes());
        elf.extend(62_u16.to_le_bytes());
        elf.extend(1_u32.to_le_bytes());
        elf.extend([0; 16]);
        elf.extend(headers_at.to_le_bytes());
        elf.extend(0_u32.to_le_bytes());
        for number in [64_u16, 0, 0, 64, 3, 2] {
            elf.extend(number.to_le_bytes());
        }
        elf.extend(&data);
        elf.extend(names);
        elf.resize(headers_at as usize, 0);
        let mut section = |name: u32, kind: u32, flags: u64, at: u64, size: u64| {
            elf.extend(name.to_le_bytes());
            elf.extend(kind.to_le_bytes());
            for number in [flags, 0, at, size, 0, 1, 0] {
                elf.extend(number.to_le_bytes());
            }
        };
        section(0, 0, 0, 0, 0);
        // SHT_PROGBITS with SHF_COMPRESSED, and SHT_STRTAB.
        section(1, 1, 0x800, 64, data.len() as u64);
        section(12, 3, 0, names_at, names.len() as u64);
        elf
    }

    /// The content of `.debug_str` of a file, or why it is not read.
    fn read(bytes: &[u8]) -> Result<Vec<u8>, Unread> {
        let path = crate::base::private_folder::unpredictable_path();
        std::fs::write(&path, bytes).unwrap();
        let file = ElfFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let headers = file.headers().unwrap();
        let section = headers.debug_section(".debug_str")?;
        Ok(gimli::Reader::to_slice(&section).unwrap().into_owned())
    }

    /// A zlib stream with one stored block (RFC 1950 and 1951), and its checksum.
    fn zlib() -> Vec<u8> {
        let size = CONTENT.len() as u16;
        let (low, high) = CONTENT.iter().fold((1, 0), |(low, high), &byte| {
            let low = (low + u32::from(byte)) % 65_521;
            (low, (high + low) % 65_521)
        });
        let mut packed = vec![0x78, 0x01, 1];
        packed.extend(size.to_le_bytes());
        packed.extend((!size).to_le_bytes());
        packed.extend(CONTENT);
        packed.extend((high << 16 | low).to_be_bytes());
        packed
    }

    /// A zstd frame with one raw block (RFC 8878).
    fn zstd() -> Vec<u8> {
        let mut packed = 0xfd2f_b528_u32.to_le_bytes().to_vec();
        // A single segment, whose size is one byte; the last block, which is raw.
        packed.extend([0x20, CONTENT.len() as u8]);
        packed.extend(&(1 | (CONTENT.len() as u32) << 3).to_le_bytes()[..3]);
        packed.extend(CONTENT);
        packed
    }

    const ZLIB: u32 = 1;
    const ZSTD: u32 = 2;

    #[cfg(feature = "compressed-debug")]
    #[rstest::rstest]
    #[case::zlib(ZLIB, zlib())]
    #[case::zstd(ZSTD, zstd())]
    fn a_section_that_is_compressed_is_read(#[case] method: u32, #[case] packed: Vec<u8>) {
        let size = CONTENT.len() as u64;
        assert_eq!(read(&file(method, size, &packed)).unwrap(), CONTENT);
        for (size, packed) in [
            (size + 1, &packed[..]),
            (size - 1, &packed),
            (u64::MAX, &packed),
            (size, &packed[..packed.len() / 2]),
            (size, &[]),
        ] {
            let unread = read(&file(method, size, packed)).unwrap_err();
            assert!(matches!(unread, Unread::Damaged { .. }), "{unread}");
        }
    }

    #[cfg(not(feature = "compressed-debug"))]
    #[rstest::rstest]
    #[case::zlib(ZLIB, zlib(), "zlib")]
    #[case::zstd(ZSTD, zstd(), "zstd")]
    fn a_section_that_is_compressed_is_named_with_its_method(
        #[case] method: u32,
        #[case] packed: Vec<u8>,
        #[case] name: &str,
    ) {
        let unread = read(&file(method, CONTENT.len() as u64, &packed)).unwrap_err();
        assert!(matches!(unread, Unread::Compressed { by, .. } if by == name));
    }

    #[test]
    fn a_section_that_is_compressed_by_an_unknown_method_is_not_read() {
        assert!(read(&file(77, 10, b"?")).is_err());
    }
}
